"""A disk that is full: a small file system in memory, or, where none can be mounted, a limit on the size of files."""

from __future__ import annotations

import contextlib
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

from bench.stress.commands import (
    EVALUATE,
    SWEEP,
    TRAIN,
    Command,
    cache_of,
    differences,
    errors_of,
    manner_problems,
    run,
    unbroken,
)
from bench.stress.outcomes import Bench, Outcome

# Of the space that the whole command takes; nearly all of it takes it to its last files.
_LEVELS = {EVALUATE: (0.02, 0.4, 0.9), TRAIN: (0.3, 0.9), SWEEP: (0.1, 0.8)}
_KIB = 1024
_FULL = ("No space left on device", "File too large")


def fill(bench: Bench) -> Outcome:
    """Commands whose folder and cache lie on a disk that becomes full; then there is space, and they go on."""
    outcome = Outcome("full disk")
    is_mountable = _can_mount(bench.home / "disk")
    if not is_mountable:
        outcome.skipped = "no file system can be mounted here: files are limited in size instead"
    for command, levels in _LEVELS.items():
        whole = unbroken(bench, command)
        needed = sum(_size(path) for place in (whole.place, whole.cache) for path in place.rglob("*"))
        largest = max(path.stat().st_size for path in whole.place.rglob("*"))
        for level in levels[: bench.trials(len(levels))]:
            disk = bench.home / "disk" / f"{command.name}-{level}"
            limit = round(level * (needed if is_mountable else largest) / _KIB)
            problems = _on_full(command, disk, limit, whole.place, is_mountable=is_mountable)
            outcome.count(f"{command.name} with {limit} KiB", problems)
    return outcome


def _on_full(command: Command, disk: Path, limit: int, whole: Path, *, is_mountable: bool) -> list[str]:
    disk.mkdir(parents=True)
    place = disk / "run"
    line = command.line(place, cache_of(place))
    with mounted(disk, f"size={max(4, limit)}k") if is_mountable else contextlib.nullcontext():
        ended = run(line if is_mountable else ["bash", "-c", f"ulimit -f {limit}; exec {shlex.join(line)}"])
        problems = manner_problems(ended, 1)
        lines = errors_of(ended)
        if not problems and not any(str(disk) in text and any(full in text for full in _FULL) for text in lines):
            problems.append(f"no line names the file and the reason: {ended.err}")
        if not problems and len(lines) != 1 and not command.is_sweep:
            problems.append(f"{len(lines)} lines for one disk: {ended.err}")
        if is_mountable:
            _mount(disk, "remount,size=256m")
        ended = run(line)
        return problems + (manner_problems(ended, 0) or differences(command, whole, place))


@contextlib.contextmanager
def mounted(place: Path, options: str) -> Iterator[None]:
    """A file system in memory at a place."""
    place.mkdir(parents=True, exist_ok=True)
    _mount(place, options)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)


def _mount(place: Path, options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], check=True, capture_output=True)


def _can_mount(place: Path) -> bool:
    try:
        with mounted(place / "try", "size=64k"):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def _size(path: Path) -> int:
    """What a file takes of a disk of pages."""
    return -(-path.stat().st_size // 4096) * 4096 if path.is_file() else 0
