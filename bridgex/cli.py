"""What `evaluate.py` and `train.py` call; imports no torch, so that help, completion and mistakes answer at once."""

from __future__ import annotations

import contextlib
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from bridgex.exits import INTERRUPTED, TERMINATED, USER_MISTAKE, guard
from bridgex.signals import HeldSignals

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from bridgex.config.command import Command
    from bridgex.jobs import Entry


@dataclass(frozen=True)
class Job:
    """A job of this process that has ended: Hydra hands nothing back from a sweep.

    Attributes:
        status: its exit status.
        sweep: the sweep's folder, None for a single run.
    """

    status: int
    sweep: Path | None


_jobs: list[Job] = []
# What Hydra does around a job: an interruption of it would come out as OmegaConf's error.
_composing = HeldSignals()


def evaluate() -> NoReturn:
    """`evaluate.py` and `bridgex-evaluate`."""
    _main("evaluate", _evaluate_job)


def train() -> NoReturn:
    """`train.py` and `bridgex-train`."""
    _main("train", _train_job)


def _main(entry: Entry, job: Callable[[DictConfig], None]) -> NoReturn:
    # Around all of it: a signal may come while Hydra composes, between the guards of check and job.
    ended: list[int] = []
    stopped = guard(lambda: ended.append(_run(entry, job)))
    sys.exit(stopped or ended[0])


def _run(entry: Entry, job: Callable[[DictConfig], None]) -> int:
    """Reads the command line, runs what it asks for, and gives the exit status."""
    from bridgex.config import command

    command.prepare()
    arguments = _read_arguments()
    is_query = bool(
        arguments.help or arguments.hydra_help or arguments.cfg or arguments.info or arguments.shell_completion
    )
    # Of torchrun's processes the first one reads the command, and the others do their share of what it asks for.
    rank = int(os.environ["RANK"]) if "TORCHELASTIC_RUN_ID" in os.environ else None
    if rank:
        if not is_query:
            from bridgex.lit import crew

            crew.follow_torchrun()
        return 0
    status = _run_command(entry, job, arguments, is_query)
    if rank == 0 and not is_query and not status:
        from bridgex.lit import crew

        crew.dismiss()
    return status


def _run_command(entry: Entry, job: Callable[[DictConfig], None], arguments: Namespace, is_query: bool) -> int:
    import hydra

    from bridgex.config import command

    if not is_query:
        checked = _check(entry, arguments)
        from bridgex import sweeping

        if sweeping.is_ours(checked):
            return sweeping.run_sweep(entry, checked, arguments.config_dir)
    try:
        with _composing:
            hydra.main(config_path=str(command.config_dir()), config_name=entry, version_base="1.3")(job)()
    except SystemExit:
        if not _jobs:
            raise
    return _end()


def _read_arguments() -> Namespace:
    """The command line, with flags and overrides in any order: Hydra itself wants all overrides in one run."""
    from hydra._internal.utils import get_args_parser

    try:
        arguments = get_args_parser().parse_intermixed_args()
    except SystemExit as stop:  # argparse has printed its line
        sys.exit(USER_MISTAKE if stop.code else 0)
    flags = list(sys.argv[1:])
    for override in arguments.overrides:
        flags.remove(override)
    # data.text has a key for every language that has a file, and Hydra wants new keys marked.
    arguments.overrides = [f"++{text}" if text.startswith("data.text.") else text for text in arguments.overrides]
    sys.argv[1:] = [*flags, *arguments.overrides]
    return arguments


def _end() -> int:
    """Sums a sweep up, and gives the process's exit status."""
    statuses = [job.status for job in _jobs]
    sweep = next((job.sweep for job in _jobs if job.sweep is not None), None)
    if sweep is None:
        return max(statuses, default=0)
    from bridgex import sweeping

    status = guard(lambda: sweeping.sum_up(sweep))
    stopped = [found for found in statuses if found in (INTERRUPTED, TERMINATED)]
    return stopped[0] if stopped else status or (USER_MISTAKE if any(statuses) else 0)


def _check(entry: Entry, arguments: Namespace) -> Command:
    """Refuses a command with a mistake in it before anything is made, loaded or imported for it."""
    from bridgex.config import command
    from bridgex.records import claim, store

    found = command.read(
        entry,
        arguments.overrides,
        *_checks_of(entry),
        is_multirun=arguments.multirun,
        user_dir=arguments.config_dir,
    )
    for cell in found.cells:
        with contextlib.suppress(*[claim.HeldFolder] if found.sweep is not None else []):
            store.check_folder(cell.folder, cell.config)
    return found


def _checks_of(entry: Entry) -> tuple[Callable[[Mapping[str, Any]], object], Callable[[Mapping[str, Any]], None]]:
    """What looks at the keys and values of one config, and what at whether they go together."""
    from bridgex import preflight
    from bridgex.config import settings, train_settings

    if entry == "train":
        return train_settings.validate_train, preflight.agree_train
    return settings.validate, preflight.agree


def _job(config: DictConfig, entry: Entry) -> None:
    """What Hydra runs: a single run, or a cell that a sweeper of the user's own choice made."""
    from hydra.core.hydra_config import HydraConfig

    from bridgex import jobs
    from bridgex.config import command

    folder, sweep = Path(HydraConfig.get().runtime.output_dir), _sweep_folder()
    with _composing.released():
        status = guard(lambda: command.plain(config)) or jobs.run_job(entry, command.plain(config), folder, sweep)
    _jobs.append(Job(status, sweep))
    if status in (INTERRUPTED, TERMINATED):
        sys.exit(status)  # an ordinary failure leaves the sweep's other cells to run; this one is meant for all of them


def _evaluate_job(config: DictConfig) -> None:
    _job(config, "evaluate")


def _train_job(config: DictConfig) -> None:
    _job(config, "train")


def _sweep_folder() -> Path | None:
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    hydra = HydraConfig.get()
    return Path(hydra.sweep.dir).absolute() if hydra.mode == RunMode.MULTIRUN else None
