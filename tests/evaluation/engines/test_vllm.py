"""The engine around vllm, against a fake of it: the same answers and scores as transformers gives."""

from __future__ import annotations

import importlib.util
import re
import sys
from dataclasses import replace
from typing import Any

import pytest

from bridgex.config.settings import EngineSettings
from bridgex.errors import UserError
from bridgex.evaluation.dialogue import Choice, Completion, Question, Reply, Request, Scores
from bridgex.evaluation.engines import vllm_check
from bridgex.evaluation.engines.hf import HFEngine
from bridgex.evaluation.engines.vllm import Parity, VLLMEngine, parity, start_vllm
from bridgex.extract.loading import LoadedModel
from tests.evaluation.engines.test_generation import TEMPLATE, chatty, make_questions
from tests.evaluation.engines.test_scoring import make_choices
from tests.fakes import fake_vllm
from tests.fakes.tiny_models import make_loaded

NEVER = re.compile(r"(?!)")


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> LoadedModel:
    found = make_loaded("llama")
    monkeypatch.setitem(sys.modules, "vllm", fake_vllm.make_module(found))
    return found


def start(loaded: LoadedModel, **keys: Any) -> VLLMEngine:
    return start_vllm(loaded, EngineSettings(name="vllm", **keys))


def test_answers_and_scores_are_those_of_transformers_in_the_order_asked(loaded: LoadedModel) -> None:
    requests: list[Request] = []
    for question, choice in zip(make_questions(10), make_choices(10), strict=True):
        requests += [question, choice]
    found = start(loaded).answer(requests)
    for mine, other in zip(found, HFEngine(loaded).answer(requests), strict=True):
        assert mine.given == other.given
        if isinstance(other, Completion):
            assert isinstance(mine, Completion)
            assert (mine.text, mine.num_tokens, mine.is_truncated) == (other.text, other.num_tokens, other.is_truncated)
            assert mine.logprobs == pytest.approx(other.logprobs, abs=1e-4)
        else:
            assert isinstance(mine, Scores)
            for option, expected in zip(mine.options, other.options, strict=True):
                assert option.logprob == pytest.approx(expected.logprob, abs=1e-4)
                assert (option.num_tokens, option.is_merged) == (expected.num_tokens, expected.is_merged)
    assert {reply.is_truncated for reply in found if isinstance(reply, Completion)} == {True, False}


def test_vllm_is_told_where_the_model_lies_and_how_long_it_reads(loaded: LoadedModel) -> None:
    engine = start(loaded, memory_share=0.3, num_gpus=2, max_length=40)
    given = engine._llm.given
    assert (given["model"], given["dtype"], given["max_model_len"]) == ("nowhere", "float32", 40)
    assert (given["gpu_memory_utilization"], given["tensor_parallel_size"]) == (0.3, 2)
    assert given["trust_remote_code"] is False
    question = Question("answer", "x" * 50, 5, NEVER, context=(10, 50))
    (completion,) = engine.complete([question])
    assert completion.num_cut == 50 - (40 - 5 - 1)
    (scores,) = engine.score([Choice("x" * 50, ("a", "bc"), context=(10, 50))])
    assert scores.num_cut == 50 - (40 - 1 - 2 - 1), "one token is left for what vllm says after it"
    assert engine.cost(question) == 40


def test_an_answer_goes_on_behind_a_line_break_that_did_not_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = make_loaded("llama", chat_template=TEMPLATE)
    monkeypatch.setitem(sys.modules, "vllm", fake_vllm.make_module(loaded))
    engine = start(loaded)
    with chatty(loaded, "\n\nHund\nKatze"):
        (completion,) = engine.complete([Question("answer", "a", 12, re.compile(r"\n"))])
    assert completion.text == "\n\nHund\n"
    assert not completion.is_truncated
    assert len(engine._llm.calls) == 3


def test_what_ends_elsewhere_than_at_a_line_is_cut_there(loaded: LoadedModel) -> None:
    engine = start(loaded)
    with chatty(loaded, "ab\ncd#ef"):
        (completion,) = engine.complete([Question("answer", "a", 8, re.compile("#"))])
    assert completion.text == "ab\ncd#"
    assert completion.num_tokens == len(completion.logprobs) == 6
    assert engine._llm.calls == [1]


def test_nothing_asked_is_nothing_done(loaded: LoadedModel) -> None:
    engine = start(loaded)
    assert engine.answer([]) == []
    assert engine._llm.calls == []


def test_what_vllm_cannot_load_is_one_line(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake_vllm.LLM, "error", ValueError("no room for keys and values\nand a long story"))
    with pytest.raises(UserError, match=r"^engine=vllm: no room for keys and values\. Use another engine\.m"):
        start(loaded)


def test_parity_counts_disagreements(loaded: LoadedModel) -> None:
    requests = [*make_questions(6), *make_choices(5)]
    engine = HFEngine(loaded)
    same = parity(engine, start(loaded), requests)
    assert (same.n, same.different_choices, same.different_texts) == (11, 0, 0)
    assert same.max_difference_per_token < 1e-4

    class Other:
        def answer(self, requests: Any) -> list[Reply]:
            found = engine.answer(requests)
            for place, reply in enumerate(found):
                if isinstance(reply, Completion) and place % 2:
                    found[place] = replace(reply, text=reply.text + "!")
                elif isinstance(reply, Scores):
                    found[place] = replace(
                        reply,
                        options=tuple(
                            replace(option, logprob=-option.logprob - 0.5 * option.num_tokens)
                            for option in reply.options
                        ),
                    )
            return found

    found = parity(engine, Other(), requests)
    options = [reply.options for reply in engine.score(make_choices(5))]
    assert found.different_texts == 3
    assert found.different_choices == sum(len(row) > 1 for row in options)
    assert found.max_difference_per_token == pytest.approx(
        max(abs(2 * option.logprob / option.num_tokens + 0.5) for row in options for option in row)
    )
    assert Parity(64, 1, 2, 0.034).note() == (
        "of the first 64 requests vllm chooses otherwise than transformers in 1 and says something else in 2; "
        "log-probabilities differ by at most 0.03 a token"
    )


class FakeSettings:
    def __init__(self, engine: str, **model: Any) -> None:
        self.engine = EngineSettings(name=engine)  # type: ignore[arg-type]
        self.model = type("Model", (), {"adapter": None, "quantization": None, **model})


def test_what_is_missing_is_said_before_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(vllm_check, "find_spec", lambda name: None)
    assert vllm_check.problems(FakeSettings("hf")) == []  # type: ignore[arg-type]
    assert vllm_check.problems(FakeSettings("vllm", quantization="8bit")) == [  # type: ignore[arg-type]
        "engine=vllm: vllm is not installed. Run pip install 'bridgex[vllm]', or use engine=hf",
        "model.quantization=8bit: engine=vllm reads the model's folder as it is. Use engine=hf",
    ]
    monkeypatch.setattr(vllm_check, "find_spec", lambda name: object())
    assert vllm_check.problems(FakeSettings("vllm")) == []  # type: ignore[arg-type]


def test_other_engines_than_these_are_refused() -> None:
    with pytest.raises(ValueError, match="name"):
        EngineSettings(name="other")  # type: ignore[arg-type]
