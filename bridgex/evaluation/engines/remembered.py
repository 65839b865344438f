"""An engine that asks no prompt twice, in this run or in any other with the same cache."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Sequence
from typing import Any, Protocol

from bridgex.errors import UserError
from bridgex.evaluation.dialogue import Completion, Question, Reply, Request, ScoredOption, Scores
from bridgex.evaluation.engines.prompts import PromptReader
from bridgex.records.answers import AnswerCache

# Answers are kept after about so long, if each takes less: that is what a kill loses.
_SECONDS = 20.0
_FIRST_TOKENS = 4096


class Engine(Protocol):
    """What answers requests."""

    @property
    def notes(self) -> list[str]:
        """What a reader of results must know of it."""

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """Replies in the order asked."""

    def cost(self, request: Request) -> int:
        """Tokens that a request takes, the longest answer included."""


class RememberingEngine:
    """Looks replies up before it asks, and keeps what it was told.

    Args:
        engine: what is asked.
        reader: turns requests into the ids that the model is given, which are a reply's key.
        cache: what has been answered.
    """

    def __init__(self, engine: Engine, reader: PromptReader, cache: AnswerCache) -> None:
        self._engine, self._reader, self._cache = engine, reader, cache
        self.num_asked = 0
        self.num_remembered = 0
        self._part_tokens = _FIRST_TOKENS
        cache.look()

    @property
    def notes(self) -> list[str]:
        """The engine's own."""
        return self._engine.notes

    def cost(self, request: Request) -> int:
        """The engine's own."""
        return self._engine.cost(request)

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """Replies in the order asked; what is not known yet is asked once, and kept as it comes."""
        read = [self._read(request) for request in requests]
        new = {key: (request, tokens) for (key, tokens), request in zip(read, requests, strict=True)}
        new = {key: found for key, found in new.items() if self._cache.get(key) is None}
        self.num_asked += len(new)
        self.num_remembered += sum(key not in new for key, _ in read)
        said: dict[str, Reply] = {}
        waiting = list(new.items())
        while waiting:
            part = self._next_part([tokens for _, (_, tokens) in waiting])
            asked, waiting = dict(waiting[:part]), waiting[part:]
            start = time.monotonic()
            replies = dict(zip(asked, self._engine.answer([request for request, _ in asked.values()]), strict=True))
            for reply in replies.values():
                _check_finite(reply)
            self._cache.put({key: _to_data(reply) for key, reply in replies.items()})
            if time.monotonic() - start < _SECONDS / 2:
                self._part_tokens *= 2
            said.update(replies)
        return [said[key] if key in said else _from_data(self._cache.get(key)) for key, _ in read]

    def _next_part(self, tokens: Sequence[int]) -> int:
        """How many of the waiting requests to ask at once: what is asked at once is lost at once."""
        count = total = 0
        for size in tokens:
            total += size
            if count and total > self._part_tokens:
                break
            count += 1
        return count

    def _read(self, request: Request) -> tuple[str, int]:
        """A request's key, and about how many tokens it takes."""
        asked: list[Any]
        if isinstance(request, Question):
            prompt = self._reader.question(request)
            asked = ["question", prompt.ids, request.max_tokens, request.stop.pattern, request.stop.flags]
            tokens = len(prompt.ids) + request.max_tokens
        else:
            choice = self._reader.choice(request)
            asked = ["choice", [(option.ids, option.start) for option in choice.options]]
            tokens = sum(len(option.ids) for option in choice.options)
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:40], tokens


def _check_finite(reply: Reply) -> None:
    """Refuses what no probability can be, before it is kept.

    Raises:
        UserError: the model gave NaN or infinity.
    """
    values = reply.logprobs if isinstance(reply, Completion) else [option.logprob for option in reply.options]
    if not all(map(math.isfinite, values)):
        raise UserError(
            f"the model gives log-probabilities that are no numbers (NaN or infinite) after {reply.given[-80:]!r}. Its "
            f"weights are damaged, or its dtype overflows: use model.dtype=float32 or bfloat16, or download it again"
        )


def _to_data(reply: Reply) -> dict[str, Any]:
    if isinstance(reply, Completion):
        return {
            "given": reply.given,
            "text": reply.text,
            "logprobs": reply.logprobs,
            "num_tokens": reply.num_tokens,
            "is_truncated": reply.is_truncated,
            "num_cut": reply.num_cut,
        }
    options = [(option.logprob, option.num_tokens, option.is_merged) for option in reply.options]
    return {"given": reply.given, "options": options, "num_cut": reply.num_cut}


def _from_data(data: dict[str, Any]) -> Reply:
    if "options" in data:
        options = tuple(ScoredOption(*option) for option in data["options"])
        return Scores(data["given"], options, data["num_cut"])
    logprobs = tuple(data["logprobs"])
    return Completion(
        given=data["given"],
        text=data["text"],
        num_tokens=data["num_tokens"],
        logprob=sum(logprobs),
        is_truncated=data["is_truncated"],
        logprobs=logprobs,
        num_cut=data["num_cut"],
    )
