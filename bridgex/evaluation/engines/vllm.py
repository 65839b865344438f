"""The same requests answered by vllm: faster on a GPU; neurons are still read with transformers."""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from bridgex.config.settings import EngineSettings
from bridgex.errors import UserError
from bridgex.evaluation.dialogue import Choice, Completion, Question, Reply, Request, ScoredOption, Scores
from bridgex.evaluation.engines.generation import Row, Task
from bridgex.evaluation.engines.prompts import Boundary, PromptReader
from bridgex.extract.limits import longest_input
from bridgex.extract.loading import LoadedModel


class Answering(Protocol):
    """What answers requests."""

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """Replies in the order asked."""


def start_vllm(loaded: LoadedModel, settings: EngineSettings) -> VLLMEngine:
    """Loads the model's folder a second time, with vllm.

    Args:
        loaded: the same model in transformers.
        settings: how vllm is run.

    Raises:
        UserError: vllm cannot be imported, does not know the model, or has too little memory.
    """
    longest = settings.max_length or longest_input(loaded)
    try:
        llm = _vllm().LLM(
            model=str(loaded.folder),
            dtype=str(loaded.model.dtype).removeprefix("torch."),
            max_model_len=longest,
            gpu_memory_utilization=settings.memory_share,
            tensor_parallel_size=settings.num_gpus,
            trust_remote_code=loaded.trusts_code,
            seed=0,
        )
    except Exception as error:  # vllm raises whatever its many parts raise
        raise UserError(
            f"engine=vllm: {(str(error).splitlines() or [type(error).__name__])[0][:300]}. Use another "
            f"engine.memory_share, a smaller engine.max_length, or engine=hf"
        ) from error
    return VLLMEngine(loaded, llm, longest, settings.boundary)


class VLLMEngine:
    """Answers requests with vllm.

    Args:
        loaded: the same model's encoder and end tokens.
        llm: vllm's.
        longest: tokens that it reads at most, the answer among them.
        boundary: see `prompts.PromptReader`.
    """

    def __init__(self, loaded: LoadedModel, llm: Any, longest: int, boundary: Boundary = "merged") -> None:
        self._loaded, self._llm = loaded, llm
        # Where it weighs a text it insists on saying a token more.
        self._reader, self._choice_reader = (
            PromptReader(loaded, boundary, longest),
            PromptReader(loaded, boundary, longest - 1),
        )

    @property
    def notes(self) -> list[str]:
        """What a reader of results must know."""
        return ["answered by vllm"]

    def cost(self, request: Request) -> int:
        """Tokens of the prompt and of the longest answer, or of all options, each with the prompt in front.

        Raises:
            UserError: the request does not fit into the model's input.
        """
        if isinstance(request, Question):
            return len(self._reader.question(request).ids) + request.max_tokens
        return sum(len(option.ids) for option in self._choice_reader.choice(request).options)

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """Continues the questions' prompts and weighs the choices' options; replies in the order asked."""
        questions = [request for request in requests if isinstance(request, Question)]
        choices = [request for request in requests if isinstance(request, Choice)]
        completions, scores = iter(self.complete(questions)), iter(self.score(choices))
        return [next(completions) if isinstance(request, Question) else next(scores) for request in requests]

    def complete(self, questions: Sequence[Question]) -> list[Completion]:
        """Continues every prompt greedily until its stop pattern, an end token, or `max_tokens`.

        Raises:
            UserError: a question does not fit into the model's input.
        """
        given = [self._reader.question(question) for question in questions]
        rows = [
            Row(number, Task(prompt.ids, question.max_tokens, question.stop), self._loaded)
            for number, (prompt, question) in enumerate(zip(given, questions, strict=True))
        ]
        going = rows
        while going:
            going = self._go_on(going)
        return [
            Completion(
                given=prompt.text,
                text=self._loaded.encoder.decode(row.said.ids),
                num_tokens=len(row.said.ids),
                logprob=sum(row.said.logprobs),
                is_truncated=not row.said.is_complete,
                logprobs=tuple(row.said.logprobs),
                num_cut=prompt.num_cut,
            )
            for prompt, row in zip(given, rows, strict=True)
        ]

    def score(self, choices: Sequence[Choice]) -> list[Scores]:
        """Weighs every option of every choice.

        Raises:
            UserError: a choice does not fit into the model's input.
        """
        given = [self._choice_reader.choice(choice) for choice in choices]
        options = [option for choice in given for option in choice.options]
        asked = [{"temperature": 0.0, "max_tokens": 1, "prompt_logprobs": 1, "detokenize": False}] * len(options)
        found = iter(self._generate([option.ids for option in options], asked))
        return [
            Scores(
                given=choice.text,
                options=tuple(
                    ScoredOption(
                        _sum(next(found).prompt_logprobs, option.ids, option.start),
                        len(option.ids) - option.start,
                        option.is_merged,
                    )
                    for option in choice.options
                ),
                num_cut=choice.num_cut,
            )
            for choice in given
        ]

    def _go_on(self, rows: Sequence[Row]) -> list[Row]:
        """Lets every row say more, and returns those that have still more to say.

        vllm stops at strings and not at patterns. Where a line's end ends an answer it is told so, and what it says is
        read token by token as any engine's; a line's end that did not end the answer is gone on from.
        """
        asked = [
            {
                "temperature": 0.0,
                "max_tokens": row.task.max_tokens - len(row.said.ids),
                "logprobs": 1,
                "stop": ["\n"] if _ends_at_line(row.task.stop) else None,
                "stop_token_ids": list(self._loaded.end_ids),
                "ignore_eos": True,
                "include_stop_str_in_output": True,
            }
            for row in rows
        ]
        going = []
        outputs = self._generate([(*row.task.ids, *row.said.ids) for row in rows], asked)
        for row, output in zip(rows, outputs, strict=True):
            (said,) = output.outputs
            assert len(said.token_ids) > 0, "vllm says something"
            if not any(row.add(token, step[token].logprob) for token, step in _steps(said)):
                going.append(row)
        return going

    def _generate(self, prompts: Sequence[Sequence[int]], asked: Sequence[dict[str, Any]]) -> list[Any]:
        if not prompts:
            return []
        vllm = _vllm()
        found: list[Any] = self._llm.generate(
            [vllm.TokensPrompt(prompt_token_ids=list(ids)) for ids in prompts],
            [vllm.SamplingParams(**given) for given in asked],
            use_tqdm=False,
        )
        return found


@dataclass(frozen=True)
class Parity:
    """How far two engines agree.

    Attributes:
        n: requests.
        different_choices: choices of which they find another option likeliest.
        different_texts: questions that they answer otherwise.
        max_difference_per_token: largest difference of log-probabilities, by an option's tokens and, where both say the
            same, by a token of the answer, nats.
    """

    n: int
    different_choices: int
    different_texts: int
    max_difference_per_token: float

    def note(self) -> str:
        """What a reader of results must know."""
        return (
            f"of the first {self.n} requests vllm chooses otherwise than transformers in {self.different_choices} and "
            f"says something else in {self.different_texts}; log-probabilities differ by at most "
            f"{self.max_difference_per_token:.1g} a token"
        )


def parity(hf: Answering, vllm: Answering, requests: Sequence[Request]) -> Parity:
    """Asks both engines the same.

    Args:
        hf: the one that is trusted.
        vllm: the other.
        requests: what is asked.
    """
    choices = texts = 0
    worst = 0.0
    for first, second in zip(hf.answer(requests), vllm.answer(requests), strict=True):
        if isinstance(first, Completion) and isinstance(second, Completion):
            texts += first.text != second.text
            if first.text == second.text:
                pairs = zip(first.logprobs, second.logprobs, strict=False)
                worst = max([worst, *(abs(a - b) for a, b in pairs)])
        elif isinstance(first, Scores) and isinstance(second, Scores):
            choices += _best(first) != _best(second)
            both = zip(first.options, second.options, strict=True)
            worst = max([worst, *(abs(a.logprob - b.logprob) / a.num_tokens for a, b in both)])
    return Parity(len(requests), choices, texts, worst)


def _vllm() -> Any:
    return importlib.import_module("vllm")


def _best(scores: Scores) -> int:
    return max(range(len(scores.options)), key=lambda number: scores.options[number].logprob)


def _sum(prompt_logprobs: Sequence[Any], ids: Sequence[int], start: int) -> float:
    """Log-probability of the ids from `start` on, nats."""
    return float(sum(prompt_logprobs[place][ids[place]].logprob for place in range(start, len(ids))))


def _steps(said: Any) -> list[tuple[int, Any]]:
    return list(zip(said.token_ids, said.logprobs, strict=True))


def _ends_at_line(stop: re.Pattern[str]) -> bool:
    """Whether, as a rule, an answer is over at the end of its first line."""
    return stop.search("a\n") is not None and stop.search("a") is None
