"""Two processes do what one does, and one that fails or goes keeps nobody waiting."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch.distributed as dist

from bridgex.errors import UserError
from bridgex.lit import crew, places
from bridgex.records.store import RunFolder

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import json, os, sys
from pathlib import Path

import numpy as np
from lightning.pytorch import Callback, LightningModule

from bridgex.config.settings import ModelSettings
from bridgex.data.sources import toy_world
from bridgex.errors import UserError
from bridgex.lit.callbacks import CollectOutputs
from bridgex.lit.crew import Crew, ModelKey, crew_of, keep_model
from bridgex.lit.data import SampleData
from bridgex.lit.probe import collect_probe_matrix, collect_profiles
from bridgex.lit.states import collect_states
from bridgex.lit.trainer import CrewTrainer
from tests.fakes.trainer import make_trainer
from tests.lit.test_crew import Ranks

place, what = Path(sys.argv[1]), sys.argv[2]
key = ModelKey(ModelSettings(kind="toy", name="toy", dtype="float32"), toy_world(None) / "model", "toy")
loaded = keep_model(key)


def trainer(callbacks):
    return CrewTrainer(found, key, loaded, "cpu", callbacks)


def read(make):
    texts = {"qaa": ["fulu", "la fulu", "mi"], "qad": ["sor", "a b c d e f g h"]}
    profiles = collect_profiles(loaded, texts, make, batch_tokens=6)
    few = collect_profiles(loaded, {"qaa": ["mi"]}, make, batch_tokens=60)
    neurons = [np.arange(256)] * 5
    prompts = [f'qaa:"{word}"\\N{RIGHTWARDS ARROW}qaf:' for word in ("fulu", "mi", "sor")]
    matrix = collect_probe_matrix(loaded, prompts, neurons, make, batch_tokens=1)
    ids = [loaded.encoder.encode(prompt) for prompt in prompts]
    states = collect_states(loaded, ids, make, blocks=[2, "last"], pooling="last", batch_tokens=8)
    arrays = {f"{code}_{name}": a for code, part in profiles.items() for name, a in part.arrays().items()}
    arrays |= {f"few_{name}": a for name, a in few["qaa"].arrays().items()}
    return arrays | {f"matrix_{b}": values for b, values in enumerate(matrix.values)} | {"states": states}


def ranks(fails_at=None, error="user"):
    collect = CollectOutputs()
    data = SampleData(list(range(6)), lambda sample: 1, 1)
    trainer([collect]).predict(Ranks(loaded.model, fails_at, error), datamodule=data, return_predictions=False)
    return sorted(collect.found)


if __name__ == "__main__":
    found = crew_of(2)
    if what == "same":
        np.savez(place / "two.npz", **read(trainer))
        np.savez(place / "one.npz", **read(make_trainer))
        print(json.dumps(ranks()))
    elif what == "fails":
        for fails_at, error in ((0, "user"), (1, "user"), (1, "other"), (1, "odd")):
            try:
                ranks(fails_at, error)
            except Exception as met:
                print(json.dumps([type(met).__name__, str(met)]))
        print(json.dumps(ranks()))  # the same processes do the next thing
        assert crew_of(2) is found
    elif what == "gone":
        try:
            ranks(1, "gone")
        except UserError as met:
            print(json.dumps(str(met)))
        found = crew_of(2)  # others in their place
        print(json.dumps(ranks()))
    elif what == "wait":
        print(json.dumps([process.pid for process in found._others]), flush=True)
        ranks(1, "wait")
"""


class OddError(Exception):
    """Cannot go from one process to another."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__("odd")


from lightning.pytorch import LightningModule  # noqa: E402


class Ranks(LightningModule):
    """Says which process got which sample; one of them fails if told."""

    def __init__(self, model: object, fails_at: int | None, error: str) -> None:
        super().__init__()
        self.model = model
        self._fails_at, self._error = fails_at, error

    def predict_step(self, batch: list[int], batch_idx: int = 0, dataloader_idx: int = 0) -> list[tuple[int, int]]:
        if self.global_rank == self._fails_at:
            if self._error == "gone":
                os.kill(os.getpid(), signal.SIGKILL)
            if self._error == "wait":
                time.sleep(600)
            if self._error == "user":
                raise UserError(f"process {self.global_rank}: no memory", "and more")
            raise ValueError("as it is") if self._error == "other" else OddError(1, 2)
        return [(sample, self.global_rank) for sample in batch]


def environment(home: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HOME": str(home)}


def start(folder: Path, what: str) -> subprocess.Popen[str]:
    script = folder / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", str(script), str(folder), what],
        env=environment(folder), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def run(folder: Path, what: str) -> list[object]:
    process = start(folder, what)
    out, err = process.communicate(timeout=250)
    assert process.returncode == 0, err[-3000:]
    return [json.loads(line) for line in out.splitlines()]


@pytest.mark.slow
def test_two_processes_read_what_one_reads(tmp_path: Path) -> None:
    """From equal activations; the order of a sum is another one."""
    (dealt,) = run(tmp_path, "same")
    assert dealt == [[0, 0], [1, 1], [2, 0], [3, 1], [4, 0], [5, 1]]
    with np.load(tmp_path / "one.npz") as one, np.load(tmp_path / "two.npz") as two:
        assert set(one.files) == set(two.files)
        for name in one.files:
            scale = max(1.0, float(np.abs(one[name]).max()))
            np.testing.assert_allclose(two[name], one[name], rtol=0, atol=1e-9 * scale, err_msg=name)


@pytest.mark.slow
def test_one_that_fails_keeps_none_waiting(tmp_path: Path) -> None:
    assert run(tmp_path, "fails") == [
        ["UserError", "process 0: no memory\nand more"],
        ["UserError", "process 1: no memory\nand more"],
        ["ValueError", "as it is"],
        ["RuntimeError", "OddError: odd"],
        [[0, 0], [1, 1], [2, 0], [3, 1], [4, 0], [5, 1]],
    ]


@pytest.mark.slow
def test_one_that_is_gone_is_named_and_replaced(tmp_path: Path) -> None:
    told, dealt = run(tmp_path, "gone")
    assert str(told).startswith("trainer.devices=2: a process of this run is gone (exit status -9)")
    assert dealt == [[0, 0], [1, 1], [2, 0], [3, 1], [4, 0], [5, 1]]


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_no_process_outlives_the_first(tmp_path: Path, sent: signal.Signals) -> None:
    process = start(tmp_path, "wait")
    assert process.stdout is not None
    (other,) = json.loads(process.stdout.readline())
    time.sleep(2)  # into the wait; earlier is as well
    process.send_signal(sent)
    limit = time.monotonic() + 5
    process.communicate(timeout=60)
    while time.monotonic() < limit + 60 and Path(f"/proc/{other}").exists():
        time.sleep(0.05)
    assert time.monotonic() < limit + 10, "it took too long to go"
    assert not Path(f"/proc/{other}").exists()


def test_a_run_folder_says_nothing_in_another_process(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path, {}) as own:
        note = pickle.loads(pickle.dumps(own.note))
        note("twice")
        assert own.status.notes == []


def test_torchruns_processes_know_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    assert places.torchrun_place() is None
    for name, value in (("RANK", 3), ("WORLD_SIZE", 4), ("LOCAL_RANK", 1), ("LOCAL_WORLD_SIZE", 2)):
        monkeypatch.setenv(name, str(value))
    assert places.torchrun_place() is None  # these alone may be a scheduler's
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert places.torchrun_place() == places.Place(3, 4, 1, 2, "env://")
    monkeypatch.setattr(crew, "_crews", [])
    with pytest.raises(UserError, match="trainer.devices=3: torchrun started 4 processes"):
        crew.Crew(3)
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert places.torchrun_place() is None


def test_ctrl_c_is_heard_while_processes_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def start(place: places.Place, rank: int) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]))
        return started[-1]

    monkeypatch.setattr(crew, "_start", start)
    monkeypatch.setattr(crew, "_join_group", lambda place: time.sleep(30))  # as torch waits, deaf
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        crew.Crew(2)
    assert time.monotonic() - begun < 5
    assert [process.poll() for process in started] == [-signal.SIGKILL]


def test_a_process_that_finds_nobody_to_meet_ends_without_a_word(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(place: places.Place) -> None:
        raise dist.DistNetworkError("Connection was likely closed")

    monkeypatch.setattr(crew, "_join_group", fail)
    monkeypatch.setattr("logging.disable", lambda level: None)
    monkeypatch.setattr("atexit.unregister", lambda function: None)
    with warnings.catch_warnings(), pytest.raises(SystemExit) as stop:
        crew.follow(places.Place(1, 2, 1, 2, "tcp://127.0.0.1:1"))
    assert stop.value.code == 1
    assert capsys.readouterr().err == ""
