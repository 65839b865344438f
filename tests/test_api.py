"""bridgex from Python: keyword arguments in, records out, nothing else touched."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import bridgex
from bridgex.errors import UserError


def test_ranking_then_evaluating_in_one_folder_gives_what_the_command_gives(tmp_path: Path) -> None:
    before = os.getcwd()
    keys = {"pair": "qaa-qaf", "bridge__hsic__bootstrap": 20, "cache__dir": str(tmp_path / "cache")}
    ranking = bridgex.rank_bridges(tmp_path / "run", **keys)
    assert ranking.chosen_by == "hsic"
    assert bridgex.load_run(tmp_path / "run").metrics is None
    run = bridgex.evaluate(tmp_path / "run", **keys)
    assert run.metrics is not None
    assert run.ranking is not None
    assert run.metrics.chosen == ranking.chosen == run.ranking.chosen
    assert [score.score for score in run.ranking.strategies["hsic"].scores.values()] == [
        score.score for score in ranking.strategies["hsic"].scores.values()
    ]
    assert len(run.predictions) == 48
    assert run.measures
    assert run.config["bridge"]["hsic"]["bootstrap"] == 20
    assert os.getcwd() == before
    again = bridgex.load_run(tmp_path / "run")
    assert again == run
    with pytest.raises(UserError, match=r"holds a run of evaluate.py. Use load_run"):
        bridgex.load_train_run(tmp_path / "run")


def test_mistakes_are_the_same_lines(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        bridgex.evaluate(tmp_path / "run", pair="qaa-qaa", task__limit=0)
    assert len(caught.value.problems) == 2
    assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match="no run lies there"):
        bridgex.load_run(tmp_path)


def test_importing_bridgex_costs_nothing() -> None:
    code = "import sys, bridgex; assert not {'torch', 'hydra', 'pydantic'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        _ = bridgex.nope
