"""A run with another engine: it is compared with transformers first, and answers the same."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

import bridgex
from bridgex.config.settings import ModelSettings
from bridgex.data.sources import toy_world
from bridgex.evaluation.engines.vllm import Parity
from bridgex.extract.loading import load_model
from tests.fakes.fake_vllm import make_module

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers.*",  # a batch is text; workers would only add to the work
    "ignore:.*LeafSpec.*:FutureWarning",  # Lightning 2.6 uses a name that torch 2.13 has set aside
)


def test_a_run_with_vllm_says_how_far_it_agrees_and_scores_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = load_model(ModelSettings(kind="toy", name="toy", dtype="float32"), toy_world(None) / "model")
    fake = make_module(loaded)
    fake.__spec__ = ModuleSpec("vllm", None)
    monkeypatch.setitem(sys.modules, "vllm", fake)
    keys = {
        "task": "nli", "task__limit": 3, "bridge": "fixed", "bridge__language": "qad", "trainer": "cpu",
        "cache__dir": str(tmp_path / "cache"),
    }  # fmt: skip
    plain = bridgex.evaluate(tmp_path / "hf", **keys)
    other = bridgex.evaluate(tmp_path / "vllm", engine="vllm", engine__parity=5, **keys)
    said = "of the first 5 requests vllm chooses otherwise than transformers in 0 and says something else in 0"
    assert any(note.startswith(said) for note in other.status.notes)
    assert said in capsys.readouterr().out
    assert not any("vllm" in note for note in plain.status.notes)
    assert [(one.route, one.id, one.answer) for one in plain.predictions] == [
        (one.route, one.id, one.answer) for one in other.predictions
    ]
    assert "answered by vllm" in other.status.details
    (told,) = [detail for detail in other.status.details if "answers were known" in detail]
    known, asked = (int(word) for word in told.split() if word.isdigit())
    assert asked > 10, "another engine's answers never count"
    assert known >= 5, "what was compared is not asked again"


def test_a_parity_is_told_in_numbers() -> None:
    assert Parity(64, 1, 2, 0.012).note() == (
        "of the first 64 requests vllm chooses otherwise than transformers in 1 and says something else in 2; "
        "log-probabilities differ by at most 0.01 a token"
    )
