"""`make stress` in short: that it runs, and that it would see what is lost."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.stress import commands, damage
from bench.stress.commands import EVALUATE, Ended, asked_twice, differences, manner_problems
from bench.stress.outcomes import Outcome


def stress(repository: Path, home: Path, kind: str, share: str) -> dict[str, object]:
    line = [sys.executable, "-m", "bench.stress", "--only", kind, "--share", share, "--home", str(home)]
    done = subprocess.run(line, cwd=repository, capture_output=True, text=True, timeout=280, check=False)
    assert done.stdout, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    assert done.returncode == (1 if found["lost"] else 0)
    return found


def test_killed_writers_lose_nothing(repository: Path, tmp_path: Path) -> None:
    found = stress(repository, tmp_path, "kill-writers", "0.1")
    assert (found["tried"], found["survived"], found["lost"], found["findings"]) == (20, 20, 0, [])


def run_folder(place: Path) -> Path:
    place.mkdir()
    (place / "config.yaml").write_text("seed: 0\n")
    (place / "metrics.json").write_text('{"n": 2}')
    (place / "ranking.json").write_text('{"strategies": {"hsic": {"seconds": 1.5}}}')
    rows = [{"route": "direct", "id": name, "answer": "v"} for name in "ab"]
    (place / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return place


def test_what_is_lost_is_seen(tmp_path: Path) -> None:
    whole, cache = run_folder(tmp_path / "whole"), tmp_path / "cache"
    place = shutil.copytree(whole, tmp_path / "place")
    (place / "ranking.json").write_text('{"strategies": {"hsic": {"seconds": 9.9}}}')
    assert differences(EVALUATE, whole, place) == asked_twice(EVALUATE, place, cache) == []
    lines = (place / "predictions.jsonl").read_text().splitlines(keepends=True)
    (place / "predictions.jsonl").write_text("".join([*lines, lines[0]]))
    assert asked_twice(EVALUATE, place, cache) == ["place: ('direct', 'a') is recorded 2 times"]
    (place / "predictions.jsonl").write_text(lines[0])
    (place / "metrics.json").write_text('{"n": 1}')
    assert differences(EVALUATE, whole, place) == [
        f"place/{name} differs from an unbroken run's" for name in ("metrics.json", "predictions.jsonl")
    ]
    shard = cache / "answers" / "6f1e" / "host-1-a.jsonl"
    shard.parent.mkdir(parents=True)
    shard.write_text('00 ["9a0c",{}]\n11 ["9a0d",{}]\n22 ["9a0c",{}]\n')
    assert asked_twice(EVALUATE, tmp_path / "none", cache) == ["9a0c was answered 2 times"]


@pytest.mark.parametrize(
    ("status", "err", "problem"),
    [
        (0, "", None),
        (1, "error: x.json: damaged. Delete it\n", None),
        (1, "Killed", "status 1 without a line"),
        (70, "error: a fault in bridgex: KeyError\nTraceback (most recent call last)", "Traceback on the terminal"),
        (143, "", "status 143, expected 0 or 1"),
    ],
)
def test_an_end_without_manners_is_seen(status: int, err: str, problem: str | None) -> None:
    found = manner_problems(Ended(status, "", err, 1.0), 0, 1)
    assert (found == []) if problem is None else found[0].startswith(problem)


def test_files_are_cut_and_flipped(tmp_path: Path) -> None:
    path, whole = tmp_path / "file", bytes(range(100))
    for seed in range(20):
        path.write_bytes(whole)
        damage.broken(path, random.Random(seed), is_cut=True)
        assert whole.startswith(path.read_bytes())
        assert path.stat().st_size < 100
        path.write_bytes(whole)
        damage.broken(path, random.Random(seed), is_cut=False, within=10)
        (changed,) = [(a, b) for a, b in zip(path.read_bytes(), whole, strict=True) if a != b]
        assert (changed[0] ^ changed[1]).bit_count() == 1
        assert path.read_bytes()[10:] == whole[10:]


def test_a_kind_counts_trials_and_findings() -> None:
    outcome = Outcome("kills")
    outcome.count("one", [])
    outcome.count("two", ["a line is gone", "status 70"])
    found = json.loads(outcome.line())
    assert (found["tried"], found["survived"], found["lost"]) == (2, 1, 1)
    assert found["findings"] == ["two: a line is gone", "two: status 70"]


def test_the_commands_are_what_they_are_called(tmp_path: Path) -> None:
    line = commands.SWEEP.line(tmp_path / "s", tmp_path / "c")
    assert line[1].endswith("evaluate.py")
    assert line[-2:] == [f"hydra.sweep.dir={tmp_path / 's'}", f"cache.dir={tmp_path / 'c'}"]
    assert commands.TRAIN.line(tmp_path, tmp_path)[1].endswith("train.py")
