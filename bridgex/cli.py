"""What `evaluate.py` and `train.py` call; imports no torch, so that help, completion and mistakes answer at once."""

from __future__ import annotations

import contextlib
import hashlib
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from bridgex.errors import UserError
from bridgex.exits import INTERRUPTED, TERMINATED, USER_MISTAKE, guard

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from bridgex.config.settings import LoggerSettings


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


def evaluate() -> NoReturn:
    """`evaluate.py` and `bridgex-evaluate`."""
    _main("evaluate", _evaluate_job)


def train() -> NoReturn:
    """`train.py` and `bridgex-train`."""
    _main("train", _train_job)


def _main(entry: str, job: Callable[[DictConfig], None]) -> NoReturn:
    import hydra

    from bridgex.config import command

    command.prepare()
    arguments = _read_arguments()
    is_query = bool(
        arguments.help or arguments.hydra_help or arguments.cfg or arguments.info or arguments.shell_completion
    )
    if not is_query:
        status = guard(lambda: _check(entry, arguments))
        if status:
            sys.exit(status)
    try:
        hydra.main(config_path=str(command.config_dir()), config_name=entry, version_base="1.3")(job)()
    except SystemExit:
        if not _jobs:
            raise
    sys.exit(_end())


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
    status = guard(lambda: _sum_up(sweep))
    stopped = [found for found in statuses if found in (INTERRUPTED, TERMINATED)]
    return stopped[0] if stopped else status or (USER_MISTAKE if any(statuses) else 0)


def _sum_up(sweep: Path) -> None:
    from bridgex.records.sweep import cells_of, write_summary
    from bridgex.records.train_sweep import is_train_sweep, write_train_summary
    from bridgex.report import html, terminal

    cells = cells_of(sweep)
    if is_train_sweep(cells):
        from bridgex.records.relations import read_relations
        from bridgex.report import relate_terminal

        of_cells = write_train_summary(sweep, cells)
        page = html.write_sweep_page(sweep, cells)
        relate_terminal.show_train_sweep(of_cells, read_relations(sweep), page)
        return
    summary = write_summary(sweep, cells)
    terminal.show_sweep(summary, html.write_sweep_page(sweep, cells))


def _check(entry: str, arguments: Namespace) -> None:
    """Refuses a command with a mistake in it before anything is made, loaded or imported for it."""
    from bridgex.config import command
    from bridgex.records import store

    cells = command.check(
        entry,
        arguments.overrides,
        *_checks_of(entry),
        is_multirun=arguments.multirun,
        user_dir=arguments.config_dir,
    )
    for cell in cells:
        store.check_folder(cell.folder, cell.config)


def _checks_of(entry: str) -> tuple[Callable[[Mapping[str, Any]], object], Callable[[Mapping[str, Any]], None]]:
    """What looks at the keys and values of one config, and what at whether they go together."""
    from bridgex import preflight
    from bridgex.config import settings, train_settings

    if entry == "train":
        return train_settings.validate_train, preflight.agree_train
    return settings.validate, preflight.agree


def _evaluate_job(config: DictConfig) -> None:
    from hydra.core.hydra_config import HydraConfig

    from bridgex.config import command, settings

    folder, sweep = Path(HydraConfig.get().runtime.output_dir), _sweep_folder()

    def run() -> None:
        plain = command.plain(config)
        from bridgex import pipeline
        from bridgex.report import html, terminal

        found = settings.validate(plain)
        if found.task.arguments.get("dry_run"):
            with contextlib.suppress(OSError):
                folder.rmdir()  # Hydra made it; a dry run leaves nothing behind
            terminal.show_preview(pipeline.dry_run(found))
            return
        pipeline.evaluate(found, plain, folder)
        page = html.write_run_page(folder)
        if sweep is None:
            terminal.show(folder, page)
        else:
            terminal.show_cell(folder)
        if found.logger.name == "wandb":
            print(_mirror(folder, found.logger, found.sweep.name if sweep is not None else "single", "evaluate"))

    _finish_job(run, folder, sweep)


def _train_job(config: DictConfig) -> None:
    from hydra.core.hydra_config import HydraConfig

    from bridgex.config import command, train_settings

    folder, sweep = Path(HydraConfig.get().runtime.output_dir), _sweep_folder()

    def run() -> None:
        plain = command.plain(config)
        found = train_settings.validate_train(plain)
        from bridgex import training
        from bridgex.report import html, train_terminal

        if not isinstance(found, train_settings.TrainSettings):
            training.make(found, plain, folder)
            print(f"model: {folder / 'model'}")
            return
        training.train(found, plain, folder)
        page = html.write_run_page(folder)
        if sweep is None:
            train_terminal.show_train(folder, page)
        else:
            train_terminal.show_train_cell(folder)
        if found.logger.name == "wandb":
            print(_mirror(folder, found.logger, found.sweep.name if sweep is not None else "single", "train"))

    _finish_job(run, folder, sweep)


def _mirror(folder: Path, options: LoggerSettings, group: str, job_type: str) -> str:
    from bridgex.lit.wandb_logger import mirror_run
    from bridgex.records.store import read_status

    status = read_status(folder)
    where = folder.name if group != "single" else folder.resolve()
    name = f"{group}/{where}/{status.config_hash if status is not None else ''}"
    run_id = hashlib.sha256(name.encode()).hexdigest()[:16]
    return mirror_run(folder, options, group=group, job_type=job_type, run_id=run_id)


def _sweep_folder() -> Path | None:
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    hydra = HydraConfig.get()
    return Path(hydra.sweep.dir).absolute() if hydra.mode == RunMode.MULTIRUN else None


def _finish_job(run: Callable[[], object], folder: Path, sweep: Path | None) -> None:
    from bridgex.records import store

    errors: list[str] = []
    status = guard(run, errors)
    if errors and sweep is not None:
        with contextlib.suppress(UserError):  # a folder that cannot be written has said so already
            store.write_failure(folder, "; ".join(errors))
    if errors and sweep is None:
        with contextlib.suppress(OSError):  # Hydra made it; what holds a run is not empty and stays
            folder.rmdir()
    _jobs.append(Job(status, sweep))
    if status in (INTERRUPTED, TERMINATED):
        sys.exit(status)  # an ordinary failure leaves the sweep's other cells to run; this one is meant for all of them
