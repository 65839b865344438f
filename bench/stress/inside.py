"""A command run within this process, which has torch and the model at hand."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable
from pathlib import Path

from bench.stress.commands import Command, Ended
from bridgex import preflight
from bridgex.config import command as commands
from bridgex.config import settings, train_settings
from bridgex.exits import guard
from bridgex.jobs import run_job
from bridgex.records.store import check_folder


def run_inside(command: Command, place: Path, cache: Path) -> Ended:
    """Runs one job as its command does, from the check of its keys to its page."""
    program, *_, folder, cache_dir = command.line(place, cache)
    del program
    overrides = [*command.overrides, folder, cache_dir]
    checks = (
        (settings.validate, preflight.agree)
        if command.entry == "evaluate"
        else (train_settings.validate_train, preflight.agree_train)
    )
    cells: list[commands.Cell] = []

    def check() -> None:
        cells.extend(commands.check(command.entry, overrides, *checks))
        check_folder(cells[0].folder, cells[0].config)

    return captured(lambda: guard(check) or run_job(command.entry, cells[0].config, cells[0].folder))


def captured(run: Callable[[], int]) -> Ended:
    """Runs something that gives an exit status, its output kept."""
    out, err, begun = io.StringIO(), io.StringIO(), time.monotonic()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = run()
    return Ended(status, out.getvalue(), err.getvalue(), time.monotonic() - begun)
