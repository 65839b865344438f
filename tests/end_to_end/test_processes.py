"""Several processes, and several runs with one cache: nothing lost, doubled or changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
NLI = (
    "task=nli", "task.limit=30", "bridge=fixed", "bridge.language=qad", "trainer=cpu", "engine.batch_tokens=500",
)  # fmt: skip


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]


def details(folder: Path) -> list[str]:
    found: list[str] = json.loads((folder / "status.json").read_text(encoding="utf-8"))["details"]
    return found


def same_but_for_rounding(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> float:
    """Whether all but log-probabilities is equal, and by how much these differ a token."""
    worst = 0.0
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        for a, b in zip(one.pop("options"), other.pop("options"), strict=True):
            worst = max(worst, abs(a["logprob"] - b["logprob"]) / a["num_tokens"])
        assert {**one, "check": None} == {**other, "check": None}  # which goes with the log-probabilities
    return worst


@pytest.mark.slow
def test_two_processes_ask_as_one_does(command: Run, tmp_path: Path) -> None:
    for devices in (1, 2):
        command(*NLI, f"trainer.devices={devices}", f"hydra.run.dir=run{devices}", f"cache.dir={tmp_path}/c{devices}")
    assert same_but_for_rounding(lines(tmp_path / "run1"), lines(tmp_path / "run2")) < 1e-4
    shards = list((tmp_path / "c2" / "answers").rglob("*.jsonl"))
    assert len(shards) == 2, "each process keeps its answers in a file of its own"
    scores = [json.loads((tmp_path / f"run{devices}" / "metrics.json").read_text()) for devices in (1, 2)]
    for score in scores:
        score.pop("check")
        for route in score["routes"].values():
            route.pop("calibration")
    assert scores[0] == scores[1]
    # Half of it lost, one process goes on with what two began.
    kept = tmp_path / "run2" / "predictions.jsonl"
    kept.write_text("".join(kept.read_text(encoding="utf-8").splitlines(keepends=True)[::2]), encoding="utf-8")
    (tmp_path / "run2" / "metrics.json").unlink()
    shutil.rmtree(tmp_path / "c2" / "answers")
    command(*NLI, "hydra.run.dir=run2", f"cache.dir={tmp_path}/c2")
    assert same_but_for_rounding(lines(tmp_path / "run1"), lines(tmp_path / "run2")) < 1e-4


@pytest.mark.slow
def test_runs_that_share_a_cache_ask_each_prompt_once(command: Run, tmp_path: Path) -> None:
    own = f"cache.dir={tmp_path}/own"
    command("task.limit=8", "bridge=fixed", "bridge.language=qad", "hydra.run.dir=first", own)
    command("task.limit=8", "bridge=oracle", "hydra.run.dir=all", own)
    assert not any("answers were known" in detail for detail in details(tmp_path / "first"))
    # 8 words, directly and in two steps through each of three hubs; of those, direct and qad were asked before.
    assert "24 answers were known from the cache, 32 were asked for" in details(tmp_path / "all")
    command("task.limit=8", "bridge=oracle", "hydra.run.dir=again", own)
    assert "56 answers were known from the cache, 0 were asked for" in details(tmp_path / "again")
    assert lines(tmp_path / "all") == lines(tmp_path / "again")
    known = {(line["route"], line["id"]): line for line in lines(tmp_path / "all")}
    assert all(known[line["route"], line["id"]] == line for line in lines(tmp_path / "first"))


def test_devices_that_are_not_there_are_one_line(command: Run) -> None:
    done = command("trainer.accelerator=gpu", "trainer.devices=3", status=None)
    assert done.returncode == 1
    assert done.stderr.startswith("error: trainer.accelerator=gpu, trainer.devices=")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_more_processes_than_work_is_no_fault(command: Run, tmp_path: Path) -> None:
    command(
        "task.limit=1", "bridge=none", "trainer=cpu", "trainer.devices=3", f"cache.dir={tmp_path}/c", "hydra.run.dir=r"
    )
    assert len(lines(tmp_path / "r")) == 1
