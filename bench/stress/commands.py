"""The commands that trouble is made for, and whether what they leave is what an unbroken one leaves."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.stress.outcomes import Bench

REPOSITORY = Path(__file__).resolve().parents[2]
PATIENCE = 280.0
# Words that a traceback or a fault of our own leaves on the terminal.
_FAULTS = ("Traceback", "a fault in bridgex")


@dataclass(frozen=True)
class Command:
    """One command, without its folders.

    Attributes:
        name: in findings.
        entry: evaluate or train.
        overrides: its keys.
    """

    name: str
    entry: str
    overrides: tuple[str, ...]

    @property
    def is_sweep(self) -> bool:
        """Whether it has several cells."""
        return "-m" in self.overrides

    def line(self, place: Path, cache: Path) -> list[str]:
        """What is run."""
        folder = "hydra.sweep.dir" if self.is_sweep else "hydra.run.dir"
        program = str(REPOSITORY / f"{self.entry}.py")
        return [sys.executable, program, *self.overrides, f"{folder}={place}", f"cache.dir={cache}"]

    def cells(self, place: Path) -> list[Path]:
        """The folders of runs below a place."""
        return sorted(path.parent for path in place.glob("*/config.yaml")) if self.is_sweep else [place]


EVALUATE = Command(
    "evaluate",
    "evaluate",
    ("pair=qac-qad", "task.limit=12", "engine.batch_tokens=60", "bridge.hsic.orders=1", "bridge.hsic.bootstrap=20"),
)
TRAIN = Command(
    "train",
    "train",
    ("targets=[qab,qad,qaf,qag]", "finetune.steps=30", "drift.every=10", "task.limit=40", "finetune.keep_model=true"),
)
SWEEP = Command(
    "sweep",
    "evaluate",
    ("-m", "pair=qaa-qaf,qac-qad,qab-qac", "bridge=overlap,none", "task.limit=12", "engine.batch_tokens=60"),
)
PROCESSES = Command(
    "two processes",
    "evaluate",
    ("pair=qac-qad", "task.limit=12", "engine.batch_tokens=60", "bridge=overlap", "trainer=ddp",
     "trainer.accelerator=cpu", "trainer.devices=2"),
)  # fmt: skip


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str
    seconds: float


def environment() -> dict[str, str]:
    """One thread, and no hub in reach."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "HF_ENDPOINT": "http://127.0.0.1:9", "COLUMNS": "200"}


def start(line: list[str]) -> subprocess.Popen[str]:
    """Starts a command in a session of its own, its output kept."""
    return subprocess.Popen(
        line,
        cwd=REPOSITORY,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(line: list[str], patience: float | None = PATIENCE) -> Ended:
    """Runs a command to its end, for so many seconds at most; None: for as long as it takes."""
    begun = time.monotonic()
    process = start(line)
    out, err = process.communicate(timeout=patience)
    return Ended(process.returncode, out, err, time.monotonic() - begun)


@dataclass(frozen=True)
class Whole:
    """What an unbroken command left.

    Attributes:
        place: its folder.
        cache: its own cache.
        seconds: that it took.
    """

    place: Path
    cache: Path
    seconds: float


def unbroken(bench: Bench, command: Command) -> Whole:
    """An unbroken command's folder, made once for all kinds of trouble."""
    place = bench.home / "whole" / command.name.replace(" ", "-")
    cache, told = Path(f"{place}-cache"), Path(f"{place}-seconds")
    if not told.exists():
        shutil.rmtree(place, ignore_errors=True)
        ended = run(command.line(place, cache))
        if ended.status:
            raise SystemExit(f"{command.name} does not run undisturbed:\n{ended.out}{ended.err}")
        told.write_text(str(ended.seconds))
    return Whole(place, cache, float(told.read_text()))


def manner_problems(ended: Ended, *allowed: int) -> list[str]:
    """What is wrong with the way in which a command ended: its status, its lines."""
    problems = [f"{word} on the terminal: {ended.err[-1500:]}" for word in _FAULTS if word in ended.err][:1]
    if ended.status not in allowed:
        problems.append(f"status {ended.status}, expected {' or '.join(map(str, allowed))}: {ended.err[-600:]}")
    if ended.status == 1 and not errors_of(ended):
        problems.append(f"status 1 without a line that says why: {ended.err[-600:]}")
    return problems


def errors_of(ended: Ended) -> list[str]:
    """The lines that say what is wrong."""
    return [line for line in ended.err.splitlines() if line.startswith("error: ")]


def differences(command: Command, whole: Path, place: Path) -> list[str]:
    """Which files of a finished command say something else than those of an unbroken one."""
    if command.is_sweep and (names := [cell.name for cell in command.cells(place)]) != [
        cell.name for cell in command.cells(whole)
    ]:
        return [f"cells {names}"]
    found = []
    for one, other in zip(command.cells(whole), command.cells(place), strict=True):
        expected, got = content(command, one), content(command, other)
        found += [
            f"{other.name}/{name} differs from an unbroken run's" for name in expected if expected[name] != got[name]
        ]
    if command.is_sweep and _rows(whole) != _rows(place):
        found.append("summary.json differs from an unbroken sweep's")
    return found


def content(command: Command, folder: Path) -> dict[str, Any]:
    """What a run found, without what depends on the clock."""
    if command.entry == "train":
        names = ("metrics.json", "drift.jsonl", "answers.jsonl", "measures.jsonl")
        return {name: _bytes(folder / name) for name in names}
    ranking = _json(folder / "ranking.json")
    for strategy in ranking.get("strategies", {}).values():
        strategy["seconds"] = None
    ranking.pop("check", None)
    return {
        "metrics.json": _bytes(folder / "metrics.json"),
        "ranking.json": ranking,
        "predictions.jsonl": Counter(lines_of(folder / "predictions.jsonl")),
        "measures.jsonl": _bytes(folder / "measures.jsonl"),
    }


def lines_of(path: Path) -> list[bytes]:
    """The whole lines of a file; none where it is not there."""
    return (_bytes(path) or b"").split(b"\n")[:-1]


def recorded(command: Command, place: Path) -> Counter[tuple[str, bytes]]:
    """Every whole line of every cell's predictions, of all processes."""
    return Counter(
        (cell.name, line)
        for cell in command.cells(place)
        for path in cell.glob("predictions*.jsonl")
        for line in lines_of(path)
    )


def asked_twice(command: Command, place: Path, cache: Path) -> list[str]:
    """Samples that stand twice on record, and prompts that were asked twice."""
    problems = []
    for cell in command.cells(place):
        keys = Counter(
            (found["route"], found["id"])
            for path in cell.glob("predictions*.jsonl")
            for found in map(json.loads, lines_of(path))
        )
        problems += [f"{cell.name}: {key} is recorded {count} times" for key, count in keys.items() if count > 1]
    for folder in cache.glob("answers/*"):
        shards = Counter(line.split(b'"')[1] for shard in folder.glob("*.jsonl") for line in lines_of(shard))
        problems += [f"{key.decode()} was answered {count} times" for key, count in shards.items() if count > 1]
    return problems


def _rows(sweep: Path) -> list[dict[str, Any]]:
    return [{**row, "seconds": None} for row in _json(sweep / "summary.json").get("cells", [])]


def _json(path: Path) -> dict[str, Any]:
    found = json.loads(_bytes(path) or b"{}")
    assert isinstance(found, dict)
    return found


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def cache_of(place: Path) -> Path:
    """A cache of its own for a folder."""
    return place.with_name(f"{place.name}-cache")
