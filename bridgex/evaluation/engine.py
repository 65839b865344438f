"""Runs the model: greedy continuation of many prompts at once."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from bridgex.evaluation.dialogue import Completion, Question
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
    """Answers questions with a transformers model, on whatever device it lies.

    Args:
        loaded: model and encoder.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        self._loaded = loaded

    def cost(self, question: Question) -> int:
        """Tokens of the prompt and of the longest answer."""
        return len(self._loaded.encoder.encode(question.prompt)) + question.max_tokens

    @torch.inference_mode()
    def answer(self, questions: Sequence[Question]) -> list[Completion]:
        """Continues every prompt greedily until its stop pattern, an end token, or `max_tokens`.

        Left padding with an attention mask: a batch answers as its prompts do one by one.
        """
        if not questions:
            return []
        encoder, model = self._loaded.encoder, self._loaded.model
        prompts = [encoder.encode(question.prompt) for question in questions]
        width = max(map(len, prompts))
        pad = self._pad_id()
        ids = torch.tensor([[pad] * (width - len(prompt)) + prompt for prompt in prompts], device=model.device)
        mask = torch.tensor(
            [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=model.device
        )
        stop = _Stop([question.stop for question in questions], [q.max_tokens for q in questions], width, self._loaded)
        greedy = _GreedyLogprobs()
        model.generate(  # type: ignore[operator]
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=max(question.max_tokens for question in questions),
            do_sample=False,
            num_beams=1,
            # Chat models ship sampling settings, which greedy decoding would warn of.
            temperature=None,
            top_p=None,
            top_k=None,
            repetition_penalty=1.0,
            eos_token_id=None,
            pad_token_id=pad,
            logits_processor=LogitsProcessorList([greedy]),
            stopping_criteria=StoppingCriteriaList([stop]),
        )
        logprobs = [tuple(row[:length]) for row, length in zip(greedy.rows(), stop.lengths, strict=True)]
        return [
            Completion(
                given=encoder.text(question.prompt),
                text=stop.texts[row],
                num_tokens=stop.lengths[row],
                logprob=sum(logprobs[row]),
                is_truncated=not stop.is_complete[row],
                logprobs=logprobs[row],
            )
            for row, question in enumerate(questions)
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


class _Stop(StoppingCriteria):
    """Ends a row at its stop pattern or an end token, and keeps what it said until then."""

    def __init__(self, patterns: list[re.Pattern[str]], limits: list[int], width: int, loaded: LoadedModel) -> None:
        self._patterns, self._limits, self._width = patterns, limits, width
        self._encoder, self._ends = loaded.encoder, frozenset(loaded.end_ids)
        self.texts = [""] * len(patterns)
        self.lengths = [0] * len(patterns)
        self.is_complete = [False] * len(patterns)
        self._is_over = [False] * len(patterns)

    def __call__(self, input_ids: torch.LongTensor, scores: Any, **kwargs: Any) -> torch.BoolTensor:
        said = input_ids[:, self._width :].tolist()
        for row, ids in enumerate(said):
            if self._is_over[row]:
                continue
            self.texts[row] = text = self._encoder.decode(ids)
            self.lengths[row] = len(ids)
            self.is_complete[row] = ids[-1] in self._ends or self._patterns[row].search(text) is not None
            self._is_over[row] = self.is_complete[row] or len(ids) >= self._limits[row]
        return torch.tensor(self._is_over, device=input_ids.device)  # type: ignore[return-value]


class _GreedyLogprobs(LogitsProcessor):
    """Keeps the log-probability of each step's best token, which is the one that greedy decoding takes."""

    def __init__(self) -> None:
        self._steps: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        wide = scores.float()
        self._steps.append(wide.amax(dim=-1) - wide.logsumexp(dim=-1))
        return scores

    def rows(self) -> list[list[float]]:
        """Of each row's tokens, those after its end included, nats."""
        found: list[list[float]] = torch.stack(self._steps, dim=1).tolist()
        return found
