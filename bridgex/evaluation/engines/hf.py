"""Runs the model: greedy continuation of prompts, and how likely options are after them."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from bridgex.evaluation.dialogue import Choice, Completion, Question, Reply, Request, ScoredOption, Scores
from bridgex.evaluation.engines.generation import Generator, Task
from bridgex.evaluation.engines.prompts import Boundary, PromptReader
from bridgex.evaluation.engines.scoring import Scorer, num_row_tokens
from bridgex.extract.loading import LoadedModel


@dataclass(frozen=True)
class Continuation:
    """A text whose probability after a prompt is asked for.

    Attributes:
        prompt: as in a question, before any chat template.
        text: what might follow.
    """

    prompt: str
    text: str


class HFEngine:
    """Answers requests with a transformers model, on whatever device it lies.

    Args:
        loaded: model and encoder.
        boundary: where an option begins: see `prompts.PromptReader`.
        batch_tokens: tokens in one pass at most, padding included; None: by device. Where memory does not suffice,
            fewer.
    """

    def __init__(self, loaded: LoadedModel, boundary: Boundary = "merged", batch_tokens: int | None = None) -> None:
        self._loaded = loaded
        self._reader = PromptReader(loaded, boundary)
        self._scorer = Scorer(loaded.model, batch_tokens)
        self._generator = Generator(loaded, self._pad_id(), batch_tokens)

    @property
    def notes(self) -> list[str]:
        """What a reader of results must know: which faster ways this model does not allow, as far as tried."""
        return [*self._scorer.notes, *self._generator.notes]

    def cost(self, request: Request) -> int:
        """Tokens of the prompt and of the longest answer, or of all options.

        Raises:
            UserError: the request does not fit into the model's input.
        """
        if isinstance(request, Question):
            return len(self._reader.question(request).ids) + request.max_tokens
        return num_row_tokens(self._reader.choice(request).options)

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """Continues the questions' prompts and weighs the choices' options; replies in the order asked."""
        questions = [request for request in requests if isinstance(request, Question)]
        choices = [request for request in requests if isinstance(request, Choice)]
        completions, scores = iter(self.complete(questions)), iter(self.score(choices))
        return [next(completions) if isinstance(request, Question) else next(scores) for request in requests]

    def score(self, choices: Sequence[Choice]) -> list[Scores]:
        """Weighs every option of every choice.

        Raises:
            UserError: a choice does not fit into the model's input, or a single one not into memory.
        """
        given = [self._reader.choice(choice) for choice in choices]
        found = self._scorer.logprobs([choice.options for choice in given])
        return [
            Scores(
                given=choice.text,
                options=tuple(
                    ScoredOption(logprob, len(option.ids) - option.start, option.is_merged)
                    for option, logprob in zip(choice.options, logprobs, strict=True)
                ),
                num_cut=choice.num_cut,
            )
            for choice, logprobs in zip(given, found, strict=True)
        ]

    def complete(self, questions: Sequence[Question]) -> list[Completion]:
        """Continues every prompt greedily until its stop pattern, an end token, or `max_tokens`.

        Raises:
            UserError: a question does not fit into the model's input, or a single one not into memory.
        """
        given = [self._reader.question(question) for question in questions]
        tasks = [
            Task(prompt.ids, question.max_tokens, question.stop)
            for prompt, question in zip(given, questions, strict=True)
        ]
        return [
            Completion(
                given=prompt.text,
                text=self._loaded.encoder.decode(said.ids),
                num_tokens=len(said.ids),
                logprob=sum(said.logprobs),
                is_truncated=not said.is_complete,
                logprobs=tuple(said.logprobs),
                num_cut=prompt.num_cut,
            )
            for prompt, said in zip(given, self._generator.complete(tasks), strict=True)
        ]

    def length(self, continuation: Continuation) -> int:
        """Tokens of prompt and text."""
        return sum(map(len, self._ids(continuation)))

    @torch.inference_mode()
    def logprobs(self, continuations: Sequence[Continuation]) -> list[float]:
        """Log-probability of each text after its prompt: sum over its tokens, nats.

        The text's tokens follow the prompt's as generated ones do; the two are never tokenised as one. Rows are padded
        on the right, where a causal model does not look.
        """
        if not continuations:
            return []
        rows = [self._ids(continuation) for continuation in continuations]
        width = max(len(prompt) + len(text) for prompt, text in rows)
        pad, model = self._pad_id(), self._loaded.model
        ids = torch.tensor(
            [[*prompt, *text] + [pad] * (width - len(prompt) - len(text)) for prompt, text in rows], device=model.device
        )
        lengths = torch.tensor([len(prompt) + len(text) for prompt, text in rows], device=model.device)
        mask = (torch.arange(width, device=model.device) < lengths[:, None]).long()
        # Logits are wanted from the last token of the shortest prompt on; a large vocabulary makes the rest costly.
        first = min(len(prompt) for prompt, _ in rows) - 1
        places = torch.arange(first, width - 1, device=model.device)
        can_choose = "logits_to_keep" in inspect.signature(model.forward).parameters
        options: dict[str, Any] = {"logits_to_keep": places} if can_choose else {}
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False, **options).logits
        wide = (logits if can_choose else logits[:, places]).float()
        following = ids[:, first + 1 :, None]
        found = (wide.gather(2, following)[:, :, 0] - wide.logsumexp(dim=2)).double().cpu()
        return [
            float(found[row, len(prompt) - 1 - first : len(prompt) - 1 - first + len(text)].sum())
            for row, (prompt, text) in enumerate(rows)
        ]

    def _ids(self, continuation: Continuation) -> tuple[list[int], list[int]]:
        text: list[int] = self._loaded.encoder.tokenizer(continuation.text, add_special_tokens=False).input_ids
        return self._loaded.encoder.encode(continuation.prompt), text

    def _pad_id(self) -> int:
        tokenizer = self._loaded.encoder.tokenizer
        for value in (tokenizer.pad_token_id, tokenizer.eos_token_id):
            if isinstance(value, int):
                return value
        return 0
