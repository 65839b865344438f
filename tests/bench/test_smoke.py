"""Every bench imports, and runs its smallest case to the end."""

from __future__ import annotations

import importlib
import json
import logging
import runpy
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from bench.worlds import Measured, World
from bridgex.select.strategies.neurons import Hsic

SMALLEST = {
    "calibration": ["--sets", "2"],
    "drift": ["--pairs", "4", "--tokens", "8", "--rounds", "1"],
    "generate": ["--prompts", "2", "--rounds", "1"],
    "hsic": ["--neurons", "4", "--samples", "20", "--rounds", "1"],
    "permutation": ["--neurons", "4", "--samples", "20", "--rounds", "1"],
    "probe": ["--num-prompts", "2", "--loop-prompts", "2", "--rounds", "1"],
    "ranking": ["--neurons", "4", "--candidates", "2", "--samples", "20", "--orders", "1", "--replicates", "4"],
    "score": ["--items", "2", "--rounds", "1"],
}


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A bench has its process to itself: it silences logging and warnings, sets threads and the environment."""
    threads, silenced = torch.get_num_threads(), logging.root.manager.disable
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with warnings.catch_warnings():
        yield
    torch.set_num_threads(threads)
    logging.disable(silenced)


def test_every_bench_imports(repository: Path) -> None:
    names = sorted(path.stem for path in (repository / "bench").glob("*.py"))
    assert {*SMALLEST, "readings", "convergence", "toy_world"} <= {*names}
    for name in names:
        importlib.import_module(f"bench.{name}")


@pytest.mark.filterwarnings("ignore:.*found in sys.modules.*:RuntimeWarning")  # the test above has imported it
@pytest.mark.parametrize("name", SMALLEST)
def test_the_smallest_case_ends_in_a_line(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [f"bench.{name}", *SMALLEST[name]])
    monkeypatch.delenv("BRIDGEX_REFERENCE", raising=False)
    runpy.run_module(f"bench.{name}", run_name="__main__")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines
    assert all(isinstance(line, dict) and len(line) > 3 for line in lines)


def test_evidence_of_a_world_can_be_ranked(repository: Path, tmp_path: Path) -> None:
    world = World.toy(repository / "bridgex" / "toy")
    measured = Measured(world, [], tmp_path, num_pairs=1)
    (pair,) = measured.pairs
    made = measured.settings(pair)
    with measured.evidence(made, ["qad", "qag"]) as evidence:
        keys = {"estimator": "normalised", "orders": 1, "bootstrap": 0, "draws": 0}
        ranking = Hsic(name="hsic", neurons="all", match_self=True, hsic=keys).rank(evidence)
        confidence = evidence.confidence(["direct"])  # asks the engine
    assert sorted(ranking.scores) == ["qad", "qag"]
    assert list(confidence) == ["direct"]
