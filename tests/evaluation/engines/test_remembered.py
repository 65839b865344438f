"""No prompt is asked twice, and what is remembered is what was said."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bridgex.config.settings import ModelSettings
from bridgex.data.sources import toy_world
from bridgex.errors import UserError
from bridgex.evaluation.dialogue import Choice, Completion, Question, Reply, Request, ScoredOption, Scores
from bridgex.evaluation.engines import remembered
from bridgex.evaluation.engines.hf import HFEngine
from bridgex.evaluation.engines.prompts import PromptReader
from bridgex.evaluation.engines.remembered import RememberingEngine
from bridgex.extract.loading import LoadedModel, load_model
from bridgex.records.answers import AnswerCache

END = re.compile(r"\n")
REQUESTS: list[Request] = [
    Question("answer", 'qaa:"kade"→qaf:', 6, END),
    Choice('qaa:"rora fefo xeso"|qaa:"rora fefo xeso"→', ("+", "=", "-")),
    Question("bridge", 'qaa:"lobu"→qad:', 6, END),
]


class Counting:
    """An engine that counts what it is asked."""

    def __init__(self, engine: HFEngine) -> None:
        self._engine = engine
        self.asked: list[Request] = []
        self.notes: list[str] = ["a note"]

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        self.asked += requests
        return self._engine.answer(requests)

    def cost(self, request: Request) -> int:
        return self._engine.cost(request)


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return load_model(ModelSettings(kind="toy", name="toy", dtype="float32"), toy_world(None) / "model")


def engines(loaded: LoadedModel, folder: Path, model: str = "m") -> tuple[RememberingEngine, Counting]:
    counting = Counting(HFEngine(loaded))
    return RememberingEngine(counting, PromptReader(loaded), AnswerCache(folder, {"model": model})), counting


def test_what_is_remembered_equals_what_was_said_in_every_field(loaded: LoadedModel, tmp_path: Path) -> None:
    first, _ = engines(loaded, tmp_path)
    said = first.answer(REQUESTS)
    second, counting = engines(loaded, tmp_path)
    assert second.answer(REQUESTS) == said
    assert counting.asked == []
    assert (second.num_asked, second.num_remembered) == (0, 3)
    assert second.answer(REQUESTS[::-1]) == said[::-1]
    assert second.notes == ["a note"]
    assert second.cost(REQUESTS[0]) == counting.cost(REQUESTS[0])


def test_equal_prompts_of_one_batch_are_asked_once(loaded: LoadedModel, tmp_path: Path) -> None:
    engine, counting = engines(loaded, tmp_path)
    replies = engine.answer([REQUESTS[0], REQUESTS[1], REQUESTS[0]])
    assert counting.asked == REQUESTS[:2]
    assert replies[0] == replies[2] != replies[1]


def test_the_kind_of_a_question_changes_nothing_and_all_else_does(loaded: LoadedModel, tmp_path: Path) -> None:
    question = Question("answer", 'qaa:"kade"→qaf:', 6, END)
    choice = Choice(question.prompt, ('"dadu"', '"bero"'))
    engine, counting = engines(loaded, tmp_path)
    engine.answer([question, choice])
    engine.answer([replace(question, kind="bridge")])
    assert len(counting.asked) == 2
    changed: list[Request] = [
        replace(question, prompt='qaa:"kade"→qae:'),
        replace(question, max_tokens=5),
        replace(question, stop=re.compile("x")),
        replace(question, stop=re.compile(r"\n", re.IGNORECASE)),
        replace(choice, prompt='qaa:"kade"→qae:'),
        replace(choice, options=('"bero"', '"dadu"')),
        replace(choice, options=('"dadu"',)),
    ]
    for number, request in enumerate(changed, start=3):
        engine.answer([request])
        assert len(counting.asked) == number, f"{request} is another prompt"
    other, counting = engines(loaded, tmp_path, model="n")
    other.answer([question])
    assert counting.asked == [question], "another model never hits"


def test_what_was_answered_before_a_failure_is_kept(loaded: LoadedModel, tmp_path: Path) -> None:
    engine, counting = engines(loaded, tmp_path)
    engine.answer(REQUESTS[:1])
    counting.answer = lambda requests: 1 / 0  # type: ignore[assignment,return-value]
    with pytest.raises(ZeroDivisionError):
        engine.answer(REQUESTS)
    again, counting = engines(loaded, tmp_path)
    again.answer(REQUESTS)
    assert counting.asked == REQUESTS[1:]


def test_long_work_is_kept_part_by_part(tmp_path: Path, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill in the middle loses one part; parts grow while they are quick."""
    engine, counting = engines(loaded, tmp_path)
    clock = iter(range(0, 10**6, 15))  # every part takes 15 seconds: long enough not to grow
    monkeypatch.setattr(remembered.time, "monotonic", lambda: float(next(clock)))
    words = [
        first + second
        for first in ["ka", "de", "lo", "bu", "fe", "gi", "mi", "ne", "pu", "ra", "so"]
        for second in ["da", "ke", "li"]
    ]
    questions: list[Request] = [
        Question("answer", f'qaa:"{word}"→{code}:', 400, END) for word in words for code in ("qaf", "qad", "qai", "qac")
    ]
    parts: list[int] = []

    def answer(requests: Sequence[Request]) -> list[Reply]:
        if len(parts) == 3:
            raise KeyboardInterrupt
        parts.append(len(requests))
        return [Completion(request.prompt, "x", 1, -1.0, False, (-1.0,)) for request in requests]

    monkeypatch.setattr(counting, "answer", answer)
    with pytest.raises(KeyboardInterrupt):
        engine.answer(questions)
    assert parts == [10, 10, 10]
    again, counting = engines(loaded, tmp_path)
    monkeypatch.setattr(counting, "answer", answer)
    parts.clear()
    monkeypatch.setattr(remembered.time, "monotonic", lambda: 0.0)
    with pytest.raises(KeyboardInterrupt):
        again.answer(questions)
    assert again.num_remembered == 30
    assert parts == [10, 20, 40]


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_what_is_no_probability_stops_the_run_and_is_not_kept(
    tmp_path: Path, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    engine, counting = engines(loaded, tmp_path)
    broken: list[Reply] = [Scores("x", (ScoredOption(-1.0, 1), ScoredOption(value, 1), ScoredOption(-2.0, 1)))]
    monkeypatch.setattr(counting, "answer", lambda requests: broken)
    with pytest.raises(UserError, match=r"no numbers \(NaN or infinite\).*model\.dtype=float32"):
        engine.answer([REQUESTS[1]])
    again, counting = engines(loaded, tmp_path)
    again.answer([REQUESTS[1]])
    assert len(counting.asked) == 1, "it was not kept"
