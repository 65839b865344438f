"""Which blocks are frozen: named, drawn, or chosen on some languages by an earlier run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from bridgex.config import command
from bridgex.config.train_settings import TrainSettings, validate_train
from bridgex.errors import UserError
from bridgex.evaluation.freezing import Frozen, choose_frozen, correlations_over, development_languages, freeze_problems
from bridgex.records.files import write_json
from bridgex.records.train_schema import Controls, TrainMetrics, TransferScore

TARGETS = ["qab", "qac", "qad", "qae", "qaf", "qag", "qah", "qai"]
DRIFT = {code: {0: 0.0, 1: n * 0.1, 2: (n * 5 % 8) * 0.1, 3: 1 - n * 0.1} for n, code in enumerate(TARGETS)}


def settings(*overrides: str) -> TrainSettings:
    (cell,) = command.check("train", list(overrides), validate_train)
    found = validate_train(cell.config)
    assert isinstance(found, TrainSettings)
    return found


def earlier(folder: Path, **more: Any) -> TrainMetrics:
    scores = {code: TransferScore(score=0.5, ci95=(0.4, 0.6), n=9, gap=0.1) for code in TARGETS}
    given: dict[str, Any] = {
        "task": "nli", "model": "toy", "source": "qaa", "seed": 0, "freeze": "none", "steps": 9, "loss": 0.5,
        "transfer": {"qaa": TransferScore(score=0.9, ci95=(0.8, 1.0), n=9, gap=None), **scores},
        "pooling": "mean", "drift": {"qaa": {1: 0.5}, **DRIFT},
        "controls": Controls(chance=0.3, majority=0.3, untrained={}, hypothesis_only=None, fertility={}, num_cut={}),
        "distances": {"far": {code: float(n) for n, code in enumerate(TARGETS)}},
        "base_fingerprint": "ab", "survives": "",
    }  # fmt: skip
    metrics = TrainMetrics(**{**given, **more})
    folder.mkdir(exist_ok=True)
    write_json(folder / "metrics.json", metrics)
    return metrics


def test_named_blocks_and_bottom() -> None:
    assert choose_frozen(settings(), 5) == Frozen()
    assert choose_frozen(settings(), 5).name == "none"
    found = choose_frozen(settings("freeze=layers", "freeze.layers=[4,2]"), 5)
    assert (found.blocks, found.embeddings, found.name) == ((2, 4), False, "blocks 2 4")
    found = choose_frozen(settings("freeze=bottom", "freeze.bottom=2"), 5)
    assert (found.blocks, found.embeddings, found.name) == ((1, 2), True, "embeddings, blocks 1 2")
    assert choose_frozen(settings("freeze=embeddings"), 5).name == "embeddings"


def test_random_blocks_follow_from_the_seed() -> None:
    drawn = [choose_frozen(settings("freeze=random", "freeze.num_layers=2", f"seed={seed}"), 12) for seed in range(10)]
    assert all(len(found.blocks) == 2 for found in drawn)
    assert len({found.blocks for found in drawn}) > 5
    assert {block for found in drawn for block in found.blocks} <= set(range(1, 13))
    assert drawn[3] == choose_frozen(settings("freeze=random", "freeze.num_layers=2", "seed=3"), 12)


def test_by_correlation_takes_the_most_negative_blocks_of_the_development_languages(tmp_path: Path) -> None:
    metrics = earlier(tmp_path / "run")
    given = settings(
        "freeze=by_correlation", "freeze.num_layers=1", "freeze.kind=far", f"freeze.relations={tmp_path}/run"
    )
    assert development_languages(given, metrics) == ("qab", "qad", "qaf", "qah")
    found = correlations_over(metrics, "far", ("qab", "qad", "qaf", "qah"))
    expected = stats.spearmanr([DRIFT[code][2] for code in ("qab", "qad", "qaf", "qah")], [0, 2, 4, 6]).statistic
    assert found == pytest.approx({1: 1.0, 2: expected, 3: -1.0})
    frozen = choose_frozen(given, 3)
    assert frozen.blocks == (3,)
    assert frozen.unreported == ("qab", "qad", "qaf", "qah")
    assert "3 (-1.00)" in frozen.notes[0]
    assert freeze_problems(given) == []


@pytest.mark.parametrize(
    ("overrides", "changes", "line"),
    [
        (["freeze.kind=near"], {}, "freeze.kind=near: not known, or without differences"),
        (["freeze.development=[qab,qal]"], {}, "freeze.development: qal was no target of"),
        (["freeze.development=[qab,qac,qad,qae,qaf]"], {}, "5 languages choose the blocks and 3 are left to report"),
        ([], {"freeze": "embeddings"}, "froze embeddings. Give a run with freeze=none"),
        ([], {"source": "qad"}, "was trained on qad, and this run is on qaa"),
    ],
)
def test_relations_that_cannot_choose_are_refused(
    tmp_path: Path, overrides: list[str], changes: dict[str, Any], line: str
) -> None:
    earlier(tmp_path / "run", **changes)
    given = settings("freeze=by_correlation", "freeze.kind=far", f"freeze.relations={tmp_path}/run", *overrides)
    (problem,) = freeze_problems(given)
    assert line in problem


def test_what_a_model_does_not_have_is_refused() -> None:
    with pytest.raises(UserError, match=r"freeze.layers=7: the model has blocks 1 to 5"):
        choose_frozen(settings("freeze=layers", "freeze.layers=[2,7]"), 5)
    with pytest.raises(UserError, match=r"freeze.bottom=6: the model has blocks 1 to 5"):
        choose_frozen(settings("freeze=bottom", "freeze.bottom=6"), 5)
    with pytest.raises(UserError, match=r"freeze.num_layers=6: the model has 5 blocks"):
        choose_frozen(settings("freeze=random", "freeze.num_layers=6"), 5)
    assert freeze_problems(settings("freeze=layers")) != []
    assert freeze_problems(settings("freeze=bottom", "freeze.bottom=0")) != []


def test_relations_of_another_model_are_refused(tmp_path: Path) -> None:
    earlier(tmp_path / "run")
    keys = ["freeze=by_correlation", "freeze.num_layers=1", "freeze.kind=far", f"freeze.relations={tmp_path}/run"]
    assert choose_frozen(settings(*keys), 3, "ab").blocks == (3,)
    with pytest.raises(UserError, match=r"is of another model \(toy\) than this run's"):
        choose_frozen(settings(*keys), 3, "cd")
    with pytest.raises(UserError, match="freeze.num_layers=4: 3 blocks have a correlation"):
        choose_frozen(settings(*keys[:1], "freeze.num_layers=4", *keys[2:]), 5, "ab")
    earlier(tmp_path / "other", task="xnli")
    (line,) = freeze_problems(settings(*keys[:3], f"freeze.relations={tmp_path}/other"))
    assert "was trained on task xnli, and this run is on nli" in line


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        (["freeze.layers=[1]"], "freeze.layers=[1]: is for freeze=layers, and freeze=none was given"),
        (["freeze=random", "freeze.bottom=2"], "freeze.bottom=2: is for freeze=bottom, and freeze=random was given"),
        (["freeze.embeddings=true"], "freeze.embeddings=true: is not for freeze=none"),
    ],
)
def test_keys_that_the_choice_does_not_use_are_refused(keys: list[str], line: str) -> None:
    (problem,) = freeze_problems(settings(*keys))
    assert problem.startswith(line)
    assert freeze_problems(settings("freeze=layers", "freeze.layers=[1]", "freeze.embeddings=true")) == []
