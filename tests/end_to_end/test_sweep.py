"""Sweeps, as a user types them: what fails, what is killed, what is looked at meanwhile."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bridgex.data.sources import toy_world
from tests.end_to_end.conftest import Run

NINE = ("qaa-qaf", "qaa-qai", "qab-qae", "qab-qaf", "qab-qah", "qab-qai", "qab-qak", "qab-qal", "qac-qae")
BAD = {
    "language": "defaults: [{override /pair: de-en}]",
    "model": "model: {path: %s/model}",
    "task": "defaults: [{override /task: raising}]",
}


def read(path: Path) -> dict[str, Any]:
    found = json.loads(path.read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def bridgex(*arguments: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; sys.argv[0] = 'bridgex'; from bridgex.commands import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture(scope="module")
def recipes(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """Yaml files of nine cells that can run and three that cannot, and a task that raises."""
    place = tmp_path_factory.mktemp("recipes")
    truncated = place / "truncated"
    shutil.copytree(toy_world(None), truncated)
    (weights,) = truncated.glob("model/*.safetensors")
    os.truncate(weights, weights.stat().st_size // 2)
    (place / "experiment").mkdir()
    (place / "task").mkdir()
    for pair in NINE:
        (place / "experiment" / f"{pair}.yaml").write_text(
            f"# @package _global_\ndefaults: [{{override /pair: {pair}}}]\n"
        )
    for name, text in BAD.items():
        text = text % truncated if "%s" in text else text
        (place / "experiment" / f"{name}.yaml").write_text(f"# @package _global_\n{text}\n")
    (place / "task" / "raising.yaml").write_text(
        "_target_: raising.Raising\nname: raising\nlimit: null\ndry_run: false\nablate: null\n"
    )
    (place / "raising.py").write_text(
        "from bridgex.evaluation.tasks.base import Item, Items, Task\n\n\n"
        "class Raising(Task):\n    metric = 'accuracy'\n\n"
        "    def load(self, settings, bridges):\n"
        "        return Items((Item('1', 'word', ('gold',), '1'),), '0' * 64, ())\n\n"
        "    def dialogue(self, item, source, target, route):\n"
        "        raise RuntimeError('this task <b>always</b> raises')\n        yield\n"
    )
    return place


def test_three_broken_cells_of_twelve_leave_nine_that_are_done(
    command: Run, recipes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(recipes))
    names = [*NINE[:3], "language", *NINE[3:6], "model", *NINE[6:], "task"]
    arguments = [
        "--config-dir",
        str(recipes),
        "-m",
        f"experiment={','.join(names)}",
        "bridge=overlap",
        "sweep.name=twelve",
    ]
    done = command(*arguments, status=1)
    sweep = tmp_path / "outputs" / "sweeps" / "twelve"
    rows = read(sweep / "summary.json")["cells"]
    states = [row["state"] for row in rows]
    assert (len(rows), states.count("done"), states.count("failed")) == (12, 9, 3)
    errors = {row["error"] for row in rows if row["state"] == "failed"}
    assert any("model=toy speaks its own invented languages only" in error for error in errors)
    assert any("RuntimeError: this task <b>always</b> raises" in error for error in errors)
    assert any("truncated" in error for error in errors), errors
    assert "12 cells: 9 done, 3 failed" in done.stdout
    assert "1 of 12 cells cannot run" in done.stdout
    for row in rows:
        assert (sweep / row["cell"] / "config.yaml").is_file()
        assert row["state"] == "done" or row["cell"] in done.stdout
    assert "Traceback" not in done.stderr
    page = (sweep / "report.html").read_text(encoding="utf-8")
    assert all(row["cell"] in page for row in rows)
    assert "<b>always</b>" not in page

    kept = {path: path.stat().st_mtime_ns for path in sweep.glob("*/metrics.json")}
    again = command(*arguments, status=1)
    assert {path: path.stat().st_mtime_ns for path in sweep.glob("*/metrics.json")} == kept
    assert "9 done, 3 failed" in again.stdout

    shown = bridgex("status", str(sweep))
    assert shown.returncode == 0
    assert "12 cells: 9 done, 3 failed" in shown.stdout
    assert "nothing runs" in shown.stdout


def test_what_cannot_run_fails_each_time_and_takes_no_number_with_it(command: Run, tmp_path: Path) -> None:
    lists = [tmp_path / name for name in ("a.txt", "b.txt")]
    for path in lists:
        shutil.copy(toy_world(None) / "muse" / "qaa-qaf.5000-6500.txt", path)
    arguments = [
        "-m", "pair=qaa-qaf", "task.limit=6", "bridge=none", f"data.dictionary={lists[0]},{lists[1]}", "sweep.name=two"
    ]  # fmt: skip
    command(*arguments)
    sweep = tmp_path / "outputs" / "sweeps" / "two"
    whole = tables(sweep)
    kept = lists[1].rename(tmp_path / "kept.txt")
    for _ in range(2):
        done = command(*arguments, status=1)
        assert "2 cells: 1 done, 1 failed" in done.stdout
        assert "b.txt: no such" in done.stdout
    assert sorted(row["state"] for row in read(sweep / "summary.json")["cells"]) == ["done", "failed"]
    kept.rename(lists[1])
    done = command(*arguments)
    assert "2 cells: 2 done" in done.stdout
    assert tables(sweep) == whole, "what was on record is there again"


def test_the_first_failure_ends_a_sweep_that_is_to_fail_fast(
    command: Run, recipes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(recipes))
    names = f"experiment={NINE[0]},task,{NINE[1]},{NINE[2]}"
    arguments = ["--config-dir", str(recipes), "-m", names, "bridge=none", "sweep.name=fast"]
    done = command(*arguments, "sweep.fail_fast=true", status=1)
    sweep = tmp_path / "outputs" / "sweeps" / "fast"
    assert [row["state"] for row in read(sweep / "summary.json")["cells"]] == ["done", "failed"]
    assert "sweep.fail_fast: 2 cells left" in done.stdout
    assert "4 cells: 1 done, 1 failed, 2 left" in bridgex("status", str(sweep)).stdout
    refused = command("-m", "pair=qaa-qaf,de-en", "sweep.name=fast", "sweep.fail_fast=true", status=1)
    assert "error: pair=de-en" in refused.stderr
    assert len(read(sweep / "summary.json")["cells"]) == 2


def test_where_no_cell_can_run_nothing_is_begun(command: Run, tmp_path: Path) -> None:
    done = command("-m", "pair=de-en,de-fr", status=1)
    assert done.stderr.count("error: pair=de-") == 2
    assert not (tmp_path / "outputs").exists()


def test_two_cells_never_write_to_one_folder(command: Run, tmp_path: Path) -> None:
    done = command("-m", "pair=qaa-qaf,qaa-qai", "hydra.sweep.subdir=same", status=1)
    assert "2 cells that differ would write to" in done.stderr
    assert not (tmp_path / "outputs").exists()


def test_a_dry_run_of_a_sweep_leaves_nothing(command: Run, tmp_path: Path) -> None:
    done = command("-m", "pair=qaa-qaf,qab-qac", "task.dry_run=true", "task.limit=2", "sweep.name=dry")
    assert done.stdout.count("6 questions") == 2, done.stdout
    assert not (tmp_path / "outputs" / "sweeps" / "dry").exists()


def tables(sweep: Path) -> dict[str, Any]:
    """What a sweep came to, without what depends on the clock."""
    rows = read(sweep / "summary.json")["cells"]
    found: dict[str, Any] = {"rows": [{**row, "seconds": None} for row in rows]}
    for row in rows:
        folder = sweep / row["cell"]
        found[row["cell"]] = read(folder / "metrics.json")
        ranking = read(folder / "ranking.json")
        for strategy in ranking["strategies"].values():
            strategy["seconds"] = None
        ranking["check"] = None  # which goes with the seconds
        found[f"{row['cell']} ranking"] = ranking
        lines = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
        found[f"{row['cell']} answers"] = sorted((p["route"], p["id"], p["answer"]) for p in lines)
    return found


def recorded(sweep: Path) -> int:
    # From cells that are there: what else the sweep makes for a moment may be gone again while it is listed.
    cells = [path.parent for path in sweep.glob("*/status.json")]
    return sum(path.stat().st_size for cell in cells for path in cell.glob("predictions*.jsonl"))


@pytest.mark.slow
def test_a_sweep_killed_five_times_ends_as_an_unbroken_one(command: Run, repository: Path, tmp_path: Path) -> None:
    arguments = ["-m", "pair=qaa-qaf,qac-qad,qab-qac", "bridge=overlap,hsic", "engine.batch_tokens=60"]
    whole, broken, cache = tmp_path / "whole", tmp_path / "broken", tmp_path / "own cache"
    command(*arguments, f"hydra.sweep.dir={whole}", f"cache.dir={tmp_path / 'other'}")
    line = [
        sys.executable, str(repository / "evaluate.py"), *arguments, f"hydra.sweep.dir={broken}", f"cache.dir={cache}"
    ]  # fmt: skip
    chance = random.Random(11)
    for _ in range(5):
        process = subprocess.Popen(line, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wanted = recorded(broken) + chance.randrange(500, 12_000)
        while process.poll() is None and recorded(broken) < wanted:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        for path in broken.glob("*/predictions*.jsonl"):  # no sample that was on record is asked again
            lines = path.read_bytes().split(b"\n")[:-1]
            keys = [(found["route"], found["id"]) for found in map(json.loads, lines)]
            assert len(keys) == len(set(keys))
    command(*arguments, f"hydra.sweep.dir={broken}", f"cache.dir={cache}")
    assert tables(broken) == tables(whole)
    # An answer that is kept is not asked for again, by any of the six processes: each key stands once.
    shards = [path.read_bytes().splitlines() for path in cache.rglob("answers/*/*.jsonl")]
    asked = [json.loads(line.partition(b" ")[2])[0] for lines in shards for line in lines]
    assert len(asked) == len(set(asked))


def test_a_second_process_takes_what_is_free_and_status_tells_of_both(
    command: Run, repository: Path, tmp_path: Path, cache: Path
) -> None:
    sweep = tmp_path / "shared"
    arguments = [
        "-m", "pair=qaa-qaf,qac-qad", "bridge=none", "engine.batch_tokens=60", f"hydra.sweep.dir={sweep}",
        f"cache.dir={tmp_path / 'own'}",
    ]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, str(repository / "evaluate.py"), *arguments],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    while process.poll() is None and not list(sweep.glob("*/predictions.jsonl")):
        time.sleep(0.005)
    process.send_signal(signal.SIGSTOP)  # alive, and at its first cell for as long as this takes
    try:
        shown = bridgex("status", str(sweep)).stdout
        assert "2 cells: 1 running, 1 left" in shown
        assert f"process {process.pid}" in shown
        done = command(*arguments)
        assert f"left to process {process.pid} on" in done.stdout
        assert "2 cells: 1 done, 1 running" in done.stdout
    finally:
        process.send_signal(signal.SIGCONT)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0, out
    assert "2 cells: 2 done" in out
