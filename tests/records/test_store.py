"""A run's folder: what it refuses, what it survives."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bridgex.errors import UserError
from bridgex.records import store
from bridgex.records.claim import HeldFolder
from bridgex.records.predictions import PredictionWriter
from bridgex.records.schema import Metrics, Prediction, RouteScore

CONFIG: dict[str, Any] = {
    "model": {"name": "toy", "path": None},
    "seed": 0,
    "engine": {"name": "hf", "batch_tokens": 8},
}


def metrics() -> Metrics:
    score = RouteScore(score=0.5, ci95=(0.1, 0.9), n=2, misses={"wrong": 1})
    return Metrics(
        task="bli", pair="en-de", model="m", n=2, metric="accuracy", chance=None, majority=0.5, routes={"direct": score}
    )


def test_a_finished_run_is_done_and_readable(tmp_path: Path) -> None:
    with store.RunFolder.open(tmp_path / "run", CONFIG) as run:
        run.note("once")
        run.note("once")
        run.finish(metrics())
    status = store.read_status(tmp_path / "run")
    assert status is not None
    assert (status.state, status.notes, status.error) == ("done", ["once"], None)
    assert status.versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert store.read_metrics(tmp_path / "run") == metrics()
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "config.yaml",
        "log.jsonl",
        "metrics.json",
        "status.json",
    ]


@pytest.mark.parametrize(
    ("error", "state", "text"),
    [
        (UserError("disk full"), "failed", "disk full"),
        (RuntimeError("boom"), "failed", "boom"),
        (KeyboardInterrupt(), "interrupted", "KeyboardInterrupt"),
        (SystemExit(3), "interrupted", "3"),
    ],
)
def test_an_early_end_is_recorded_with_its_reason(tmp_path: Path, error: BaseException, state: str, text: str) -> None:
    with pytest.raises(type(error)), store.RunFolder.open(tmp_path, CONFIG):
        raise error
    status = store.read_status(tmp_path)
    assert status is not None
    assert (status.state, status.error) == (state, text)
    last = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert type(error).__name__ in last["traceback"]


def test_another_config_is_refused_by_the_keys_that_differ(tmp_path: Path) -> None:
    with store.RunFolder.open(tmp_path, CONFIG):
        pass
    other = {**CONFIG, "seed": 1, "model": {"name": "toy", "path": "x"}}
    with pytest.raises(UserError) as caught:
        store.RunFolder.open(tmp_path, other)
    assert caught.value.problems == (
        f"{tmp_path}: holds another run, which differs in model.path, seed. Give a new hydra.run.dir, or delete it",
    )
    same = {**CONFIG, "engine": {"name": "hf", "batch_tokens": 9}, "trainer": {"devices": 2}}
    with store.RunFolder.open(tmp_path, same):
        pass


def test_a_process_that_is_gone_leaves_an_interrupted_run(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from bridgex.records import store\n"
        f"run = store.RunFolder.open(Path(sys.argv[1]), {CONFIG!r})\nrun.__enter__()\nos.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False, timeout=60)
    assert json.loads((tmp_path / "status.json").read_text())["state"] == "running"
    status = store.read_status(tmp_path)
    assert status is not None
    assert status.state == "interrupted"
    store.check_folder(tmp_path, CONFIG)


def test_a_living_process_keeps_its_folder(tmp_path: Path) -> None:
    with store.RunFolder.open(tmp_path, CONFIG):
        for begin in (store.check_folder, store.RunFolder.open):
            with pytest.raises(HeldFolder, match=f"process {os.getpid()} on {socket.gethostname()} is writing to it"):
                begin(tmp_path, CONFIG)
    store.check_folder(tmp_path, CONFIG)


def test_changed_files_are_refused_by_name_once_something_was_asked(tmp_path: Path) -> None:
    with store.RunFolder.open(tmp_path, CONFIG) as run:
        run.identify({"model": "broken", "data": "b"})
        run.identify({"model": "a", "data": "b"})  # mended before anything was asked
    writer = PredictionWriter(tmp_path)
    writer.append([Prediction(id="x", route="direct", steps=[], gold=[], correct=False, miss="wrong")])
    writer.close()
    with (
        pytest.raises(UserError, match="was begun with other files of model"),
        store.RunFolder.open(tmp_path, CONFIG) as run,
    ):
        run.identify({"model": "c", "data": "b"})


def test_a_file_in_the_folders_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file, and a folder is needed there"):
        store.check_folder(tmp_path / "file" / "run", CONFIG)


@pytest.mark.parametrize("content", ["", "{", '{"state": "done"}', "\x00\x01"])
def test_a_damaged_status_counts_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "status.json").write_text(content)
    assert store.read_status(tmp_path) is None
    with store.RunFolder.open(tmp_path, CONFIG):
        pass


def test_missing_and_damaged_metrics_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not there. The run is not finished"):
        store.read_metrics(tmp_path)
    (tmp_path / "metrics.json").write_text("{")
    with pytest.raises(UserError, match="damaged. Delete it"):
        store.read_metrics(tmp_path)
