"""One job of evaluate.py or train.py: runs it, shows what came out, and says on disk what went wrong."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bridgex.errors import UserError
from bridgex.exits import INTERRUPTED, TERMINATED, guard
from bridgex.records.claim import HeldFolder
from bridgex.records.store import ChangedInputs, put_aside
from bridgex.shown import say

if TYPE_CHECKING:
    from bridgex.config.settings import LoggerSettings

Entry = Literal["evaluate", "train"]


def run_job(entry: Entry, config: Mapping[str, Any], folder: Path, sweep: Path | None = None) -> int:
    """Runs one job whole.

    Args:
        entry: which command it is a job of.
        config: the resolved config, as plain data.
        folder: where it writes.
        sweep: the folder of the sweep that it is a cell of; None: of none.

    Returns:
        The exit status. What goes wrong in a cell stands in its status.json; a cell at which another process is at work
        is left to that, and does not count as failed.
    """
    run = _evaluate if entry == "evaluate" else _train
    errors: list[str] = []

    def job() -> None:
        try:
            run(config, folder, sweep)
        except HeldFolder as held:
            if sweep is None:
                raise
            say(f"{folder.name}: left to process {held.owner.pid} on {held.owner.host}, which is at it")
        except ChangedInputs as changed:
            if sweep is None:
                raise
            aside = put_aside(folder)
            say(f"{folder.name}: runs again, for {', '.join(changed.names)} changed; what it was lies in {aside}")
            run(config, folder, sweep)

    status = guard(job, errors, "" if sweep is None else folder.name)
    if errors and sweep is not None:
        with contextlib.suppress(UserError):  # a folder that cannot be written has said so already
            from bridgex.records import store

            store.write_failure(folder, config, "; ".join(errors))
    if errors and sweep is None:
        with contextlib.suppress(OSError):  # Hydra made it; what holds a run is not empty and stays
            folder.rmdir()
    stopped = _mirror_failed(config, folder) if errors else 0
    return stopped if stopped in (INTERRUPTED, TERMINATED) else status


def _evaluate(config: Mapping[str, Any], folder: Path, sweep: Path | None) -> None:
    from bridgex import pipeline
    from bridgex.config import settings
    from bridgex.report import html, terminal

    found = settings.validate(config)
    if found.task.arguments.get("dry_run"):
        with contextlib.suppress(OSError):
            folder.rmdir()  # Hydra made it; a dry run leaves nothing behind
        terminal.show_preview(pipeline.dry_run(found))
        return
    pipeline.evaluate(found, config, folder)
    page = html.write_run_page(folder)
    if sweep is None:
        terminal.show(folder, page)
    else:
        terminal.show_cell(folder)
    _mirror(folder, found.logger)


def _train(config: Mapping[str, Any], folder: Path, sweep: Path | None) -> None:
    from bridgex import training
    from bridgex.config import train_settings
    from bridgex.report import html, train_terminal

    found = train_settings.validate_train(config)
    if not isinstance(found, train_settings.TrainSettings):
        training.make(found, config, folder)
        say(f"model: {folder / 'model'}")
        return
    training.train(found, config, folder)
    page = html.write_run_page(folder)
    if sweep is None:
        train_terminal.show_train(folder, page)
    else:
        train_terminal.show_train_cell(folder)
    _mirror(folder, found.logger)


def _mirror(folder: Path, logger: LoggerSettings) -> None:
    if logger.name == "wandb":
        from bridgex.lit.wandb_logger import say_mirrored

        say_mirrored(folder, logger)


def _mirror_failed(config: Mapping[str, Any], folder: Path) -> int:
    """Mirrors what a failed run left, where that is asked for; the run's own error and exit status stand.

    Returns:
        The exit status of the mirror: 0, or why it ended early.
    """
    if not isinstance(logger := config.get("logger"), Mapping) or logger.get("name") != "wandb":
        return 0
    from bridgex.config.settings import config_hash
    from bridgex.records.mirror import options_of
    from bridgex.records.store import read_status

    status = read_status(folder)
    if status is None or status.state != "failed" or status.config_hash != config_hash(config):
        return 0  # it ended before it had a folder, or another run lies there
    return guard(lambda: _mirror(folder, options_of(folder)))
