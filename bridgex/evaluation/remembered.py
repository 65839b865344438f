"""An engine that asks no prompt twice, in this run or in any other with the same cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Protocol

from bridgex.evaluation.dialogue import Completion, Question, Reply, Request, ScoredOption, Scores
from bridgex.evaluation.prompts import PromptReader
from bridgex.records.answers import AnswerCache


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
        cache.look()

    @property
    def notes(self) -> list[str]:
        """The engine's own."""
        return self._engine.notes

    def cost(self, request: Request) -> int:
        """The engine's own."""
        return self._engine.cost(request)

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """Replies in the order asked; what is not known yet is asked once, in one batch, and kept before this returns."""
        keys = [self._key(request) for request in requests]
        known = {key: reply for key in keys if (reply := self._cache.get(key)) is not None}
        new = {key: request for key, request in zip(keys, requests, strict=True) if key not in known}
        self.num_asked += len(new)
        self.num_remembered += len(requests) - len(new)
        replies = dict(zip(new, self._engine.answer(list(new.values())), strict=True)) if new else {}
        self._cache.put({key: _to_data(reply) for key, reply in replies.items()})
        return [replies[key] if key in replies else _from_data(known[key]) for key in keys]

    def _key(self, request: Request) -> str:
        asked: list[Any]
        if isinstance(request, Question):
            prompt = self._reader.question(request)
            asked = ["question", prompt.ids, request.max_tokens, request.stop.pattern, request.stop.flags]
        else:
            choice = self._reader.choice(request)
            asked = ["choice", [(option.ids, option.start) for option in choice.options]]
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:40]


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
