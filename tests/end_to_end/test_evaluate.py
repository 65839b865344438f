"""python evaluate.py, as a user types it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Run


def read(path: Path) -> dict:
    found = json.loads(path.read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_default_run_writes_every_file_and_says_where(command: Run, tmp_path: Path) -> None:
    done = command()
    (folder,) = (tmp_path / "outputs" / "bli" / "toy" / "qaa-qaf").iterdir()
    assert {path.name for path in folder.iterdir()} == {
        "config.yaml",
        "log.jsonl",
        "measures.jsonl",
        "metrics.json",
        "predictions.jsonl",
        "ranking.json",
        "status.json",
    }
    assert f"files: {folder.relative_to(tmp_path)}" in done.stdout
    assert "Warning" not in done.stderr
    metrics, status = read(folder / "metrics.json"), read(folder / "status.json")
    ranking = read(folder / "ranking.json")
    assert (metrics["pair"], metrics["n"], metrics["chosen_by"]) == ("qaa-qaf", 24, "hsic")
    best = min(ranking["strategies"]["hsic"]["scores"].items(), key=lambda found: found[1]["rank"])[0]
    assert metrics["chosen"] == ranking["chosen"] == best
    assert list(metrics["routes"]) == ["direct", f"via {best}"]
    assert metrics["oracle"] is None
    predictions = lines(folder / "predictions.jsonl")
    for route, found in metrics["routes"].items():
        of_route = [p for p in predictions if p["route"] == route]
        assert len({p["id"] for p in of_route}) == len(of_route) == 24
        assert found["score"] == pytest.approx(sum(p["correct"] for p in of_route) / 24)
    assert predictions[0]["steps"][0]["prompt"] == f'qaa:"{predictions[0]["id"]}"→qaf:'
    assert (status["state"], len(status["fingerprints"]["model"])) == ("done", 64)
    assert any("differ by 0 from recomputed ones" in detail for detail in status["details"])
    assert {line["measure"] for line in lines(folder / "measures.jsonl")} == {"hsic", "hsic_raw", "num_neurons"}

    # The same folder again: nothing is asked, the same table is shown.
    before = (folder / "predictions.jsonl").read_bytes()
    again = command(f"hydra.run.dir={folder}")
    assert "0." in again.stdout
    assert (folder / "predictions.jsonl").read_bytes() == before
    assert "Asking" not in again.stdout


def test_a_killed_run_goes_on_and_ends_as_an_unbroken_one(
    command: Run, repository: Path, tmp_path: Path, cache: Path
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    arguments = ["pair=qac-qad", "engine.batch_tokens=80"]
    command(*arguments, f"hydra.run.dir={whole}")
    line = [
        sys.executable,
        str(repository / "evaluate.py"),
        *arguments,
        f"hydra.run.dir={broken}",
        f"cache.dir={cache}",
    ]
    recorded = broken / "predictions.jsonl"
    chance = random.Random(7)
    for _ in range(3):
        process = subprocess.Popen(line, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wanted = (recorded.stat().st_size if recorded.exists() else 0) + chance.randrange(1, 1500)
        while process.poll() is None and (not recorded.exists() or recorded.stat().st_size < wanted):
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
    kept = [p["id"] for p in lines(recorded)] if recorded.read_bytes().endswith(b"\n") else None
    command(*arguments, f"hydra.run.dir={broken}")
    assert read(broken / "metrics.json") == read(whole / "metrics.json")
    assert sorted(p["id"] for p in lines(recorded)) == sorted(p["id"] for p in lines(whole / "predictions.jsonl"))
    assert kept is None or set(kept) <= {p["id"] for p in lines(recorded)}


def test_sigterm_leaves_an_interrupted_run_that_goes_on(
    command: Run, repository: Path, tmp_path: Path, cache: Path
) -> None:
    folder = tmp_path / "run"
    arguments = ["engine.batch_tokens=40", f"hydra.run.dir={folder}"]
    process = subprocess.Popen(
        [sys.executable, str(repository / "evaluate.py"), *arguments, f"cache.dir={cache}"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while process.poll() is None and not (folder / "predictions.jsonl").exists():
        time.sleep(0.002)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 143
    assert read(folder / "status.json")["state"] == "interrupted"
    command(*arguments)
    assert read(folder / "status.json")["state"] == "done"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["pair=xx-yy"], ["no language 'xx'; no language 'yy'"]),
        (["pair=qaa-qaa"], ["source and target are the same"]),
        (["model=nope"], ["Allowed: bloom, gemma3, hf"]),
        (["pear=de-fr"], ["did you mean pair?"]),
        (
            ["model=hf", "model.path=/no/such/folder"],
            ["model.path=/no/such/folder: no such folder", "only model=toy speaks"],
        ),
        (["model=llama3"], ["only model=toy speaks", "the hub cannot be reached"]),
        (["pair=de-fr"], ["speaks its own invented languages only"]),
        (["seed=-1", "task.limit=0"], ["task.limit=0", "seed=-1"]),
        (["task.max_tokens=x", "model=random", "pair=en-xx"], ["no language 'xx'", "task.max_tokens=x"]),
        (["hydra.run.dir=/proc/none"], ["cannot be written"]),
    ],
)
def test_mistakes_are_lines_within_two_seconds(
    command: Run, tmp_path: Path, arguments: list[str], expected: list[str]
) -> None:
    start = time.perf_counter()
    done = command(*arguments, status=1)
    seconds = time.perf_counter() - start
    found = done.stderr.splitlines()
    assert len(found) == len(expected), done.stderr
    assert all(line.startswith("error: ") for line in found)
    assert all(any(part in line for line in found) for part in expected), done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "outputs").exists(), "a mistake leaves nothing behind"
    assert seconds < 2.0 * float(os.environ.get("BRIDGEX_SLOW_MACHINE", "1"))


def test_a_full_disk_is_named_and_leaves_nothing_half_written(command: Run, tmp_path: Path) -> None:
    done = command("hydra.run.dir=/dev/full/run", status=1)
    assert done.stderr.splitlines() == [
        "error: /dev/full: is a file, and the run needs a folder there. Give another hydra.run.dir"
    ]


def test_a_sweep_runs_every_cell_in_a_folder_of_its_own(command: Run, tmp_path: Path) -> None:
    done = command("-m", "pair=qaa-qaf,qad-qac", "task.limit=3")
    cells = sorted(path for path in (tmp_path / "outputs" / "sweeps" / "default").iterdir() if path.is_dir())
    assert [cell.name.rpartition("_")[0] for cell in cells] == ["toy_qaa-qaf_bli_hsic", "toy_qad-qac_bli_hsic"]
    assert all(read(cell / "status.json")["state"] == "done" for cell in cells)
    assert done.stdout.count("3 items") == 2


def test_a_dry_run_shows_ids_and_leaves_nothing(command: Run, tmp_path: Path) -> None:
    done = command("task.dry_run=true")
    assert done.stdout.count("the answer begins here") == 3
    assert "24 questions, 168 prompt tokens, at most 720 answer tokens" in done.stdout
    assert not list(tmp_path.rglob("*.json"))


def test_a_users_own_task_needs_only_an_importable_path(
    command: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(repository))
    command(
        "task._target_=tests.fakes.own_task.OwnTask",
        "task.name=own",
        "~task.prompt",
        "~task.chain",
        "~task.max_tokens",
        "+task.loud=true",
        "hydra.run.dir=own",
    )
    metrics = read(tmp_path / "own" / "metrics.json")
    assert (metrics["task"], metrics["metric"], metrics["routes"]["direct"]["score"]) == ("own", "loudness", 0.0)


@pytest.mark.parametrize("pair", ["de-fr", "ar-he", "zh-ja"])
def test_the_random_model_runs_on_any_script(command: Run, tmp_path: Path, test_data: Path, pair: str) -> None:
    command("model=random", "task=bli", f"pair={pair}", f"data.root={test_data}", "hydra.run.dir=run", "task.limit=60")
    metrics = read(tmp_path / "run" / "metrics.json")
    assert metrics["n"] == 60
    assert metrics["routes"]["direct"]["score"] < 0.05


def test_real_words_are_weak_directly(command: Run, tmp_path: Path, test_data: Path) -> None:
    """muse9 never saw its test words between German and French: its own page measured .10."""
    root = test_data / "muse9"
    command("model=hf", f"model.path={root / 'model'}", "pair=de-fr", f"data.root={root}", "hydra.run.dir=run")
    assert 0.05 < read(tmp_path / "run" / "metrics.json")["routes"]["direct"]["score"] < 0.15


def test_train_says_what_it_knows(command: Run) -> None:
    done = command(entry="train", status=1)
    (line,) = done.stderr.splitlines()
    assert "experiment: not set. train.py knows one recipe so far: python train.py experiment=toy_world" in line
    done = command("experiment=toy_world", "seed=x", entry="train", status=1)
    assert done.stderr == "error: seed=x: should be a valid integer, unable to parse string as an integer\n"
