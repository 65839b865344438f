"""Folders that may only be read: refused with a line where they are to be written, enough where they are data."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
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
from bridgex.data.sources import toy_world


def protect(bench: Bench) -> Outcome:
    """Each folder that a command names, one at a time."""
    outcome = Outcome("read-only folders")
    home = bench.home / "read-only"
    try:
        with read_only(home / "try"):
            pass
    except (OSError, subprocess.CalledProcessError):
        outcome.skipped = "permissions do not bind root, and nothing can be mounted here"
        return outcome
    for command in (EVALUATE, TRAIN, SWEEP):
        place = home / f"new-{command.name}" / "run"
        problems = _refused(command, place, cache_of(place.parent), place.parent)
        outcome.count(f"a new {command.name}", problems)
        place = home / f"cache-{command.name}"
        outcome.count(f"{command.name}, cache", _refused(command, place, cache_of(place), cache_of(place)))
        place = home / f"begun-{command.name}"
        outcome.count(f"a {command.name} that is begun", _begun(bench, command, place))
    outcome.count("model and data", _inputs(bench, home / "toy", home / "own-model"))
    return outcome


def _refused(command: Command, place: Path, cache: Path, protected: Path) -> list[str]:
    with read_only(protected):
        ended = run(command.line(place, cache))
    problems = manner_problems(ended, 1)
    lines = errors_of(ended)
    # The cells of a sweep may have nothing but a place in common.
    if not problems and not all(str(protected) in line and "cannot be written" in line for line in lines):
        problems.append(f"no line that names {protected}: {ended.err}")
    if not problems and len(lines) != 1 and not command.is_sweep:
        problems.append(f"{len(lines)} lines for one folder: {ended.err}")
    return problems


def _begun(bench: Bench, command: Command, place: Path) -> list[str]:
    """A finished folder without its results becomes read-only, is refused, and is gone on with when it is not."""
    whole = unbroken(bench, command)
    shutil.copytree(whole.place, place)
    shutil.copytree(whole.cache, cache_of(place))
    for cell in command.cells(place):
        (cell / "metrics.json").unlink()
    problems = _refused(command, place, cache_of(place), place)
    return problems or manner_problems(run(command.line(place, cache_of(place))), 0) or differences(
        command, whole.place, place
    )  # fmt: skip


def _inputs(bench: Bench, world: Path, place: Path) -> list[str]:
    """What is read only: a model's folder and its data."""
    shutil.copytree(toy_world(None), world)
    command = replace(EVALUATE, overrides=(*EVALUATE.overrides, f"model.path={world / 'model'}", f"data.root={world}"))
    with read_only(world):
        ended = run(command.line(place, cache_of(place)))
    return manner_problems(ended, 0) or differences(command, unbroken(bench, EVALUATE).place, place)


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Makes a folder, and all in it, one that may only be read, also by root."""
    folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid():
        mode = folder.stat().st_mode
        folder.chmod(0o555)
        try:
            yield
        finally:
            folder.chmod(mode)
        return
    for options in (["--bind", str(folder), str(folder)], ["-o", "remount,ro,bind", str(folder)]):
        subprocess.run(["mount", *options], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)
