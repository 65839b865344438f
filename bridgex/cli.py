"""Console entry points; they import no torch, so that help, completion and mistakes answer at once."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import sys
import traceback
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from bridgex.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from bridgex.config.settings import LoggerSettings

USER_MISTAKE, OUR_BUG, INTERRUPTED, TERMINATED = 1, 70, 130, 143


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


def main() -> NoReturn:
    """`bridgex`: what needs no run.

    `bridgex report PATH...` makes pages again from records, `bridgex relate PATH...` relates finished runs of train.py
    with each other, `bridgex models [PATH...]` says of which models the neurons
    can be read, `bridgex data list|fetch|doctor` lists, fetches and checks data sets.
    """
    parser = ArgumentParser(prog="bridgex", description="What needs no run.")
    commands = parser.add_subparsers(dest="command", required=True)
    report = commands.add_parser("report", help="make the pages of runs and sweeps again from their files")
    report.add_argument("path", nargs="+", type=Path, help="folder of a run or of a sweep")
    relate = commands.add_parser("relate", help="relate finished runs of train.py: over seeds, sources and freezing")
    relate.add_argument("path", nargs="+", type=Path, help="folder of a run, or of a sweep, whose subfolders are runs")
    relate.add_argument(
        "--out", type=Path, help="folder of relations.json and relations.html; not given: the first path if it is a "
        "sweep, else ./relations"
    )  # fmt: skip
    models = commands.add_parser("models", help="say of which models the neurons can be read, tried out here and now")
    models.add_argument("path", nargs="*", type=Path, help="local folder of a model; none: a table of families")
    data = commands.add_parser("data", help="list, fetch and check the tasks' data sets")
    _add_data_commands(data)
    try:
        arguments = parser.parse_args()
    except SystemExit as stop:  # argparse has printed its line
        sys.exit(USER_MISTAKE if stop.code else 0)
    runs: dict[str, Callable[[], None]] = {
        "report": lambda: _report(arguments.path),
        "relate": lambda: _relate(arguments.path, arguments.out),
        "models": lambda: _models(arguments.path),
        "data": lambda: _data(arguments),
    }
    sys.exit(_guard(runs[arguments.command]))


def _report(paths: list[Path]) -> None:
    from bridgex.report.html import write_page

    for path in paths:
        if not path.is_dir():
            raise UserError(f"{path}: no such folder. Give the folder of a run or of a sweep")
        print(write_page(path))


def _relate(paths: list[Path], out: Path | None) -> None:
    from bridgex.report import relate, relate_terminal

    found = relate.relate(paths)
    is_sweep = not (paths[0] / "status.json").is_file()
    folder = out if out is not None else paths[0] if is_sweep else Path("relations")
    relate_terminal.show_relations(found, relate.write_relations(folder, found))


def _models(paths: list[Path]) -> None:
    from bridgex.report import models_table

    with models_table.progress("loading torch and transformers"):
        from bridgex.extract import families
    if not paths:
        models_table.show_families(list(families.FAMILIES), families.check_family)
    problems: list[str] = []
    for path in paths:
        try:
            with models_table.progress(f"checking {path}"):
                found = families.check_folder(path)
        except UserError as error:
            problems += error.problems
        else:
            models_table.show_folder(path, found)
    if problems:
        raise UserError(*problems)


def _add_data_commands(parser: ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="part", required=True)
    listing = commands.add_parser("list", help="what there is: tasks, languages, splits, licence, size, place")
    listing.add_argument("--task", help="only those of a task, e.g. xnli")
    listing.add_argument("--language", help="only those that have a language, e.g. sw")
    fetching = commands.add_parser("fetch", help="bring data sets to a folder that data.root may name")
    fetching.add_argument("name", nargs="+", help="data sets, as bridgex data list names them")
    fetching.add_argument("--language", nargs="+", action="extend", default=[], help="codes, e.g. en sw; none: all")
    fetching.add_argument("--train", action="store_true", help="also the rows to fine-tune on, which are many")
    for command in (listing, fetching):
        command.add_argument("--root", type=Path, default=Path("data"), help="folder of data sets, ./data if not given")
    doctor = commands.add_parser("doctor", help="read every row in a folder as a run would, and say what is wrong")
    doctor.add_argument("folder", type=Path, help="a folder of data sets, or one of them")


def _data(arguments: Namespace) -> None:
    from bridgex.report import data_table

    if arguments.part == "list":
        from bridgex.data import listing

        data_table.show_list(listing.lines(arguments.root, arguments.task, arguments.language))
        return
    from bridgex.data import doctor

    if arguments.part == "fetch":
        _fetch(arguments.name, arguments.language, arguments.root, arguments.train)
        return
    errors = data_table.show_findings(doctor.examine(arguments.folder))
    if errors:
        raise UserError(f"{arguments.folder}: {errors} of these findings would stop a run that reads those rows")


def _fetch(names: list[str], codes: list[str], root: Path, with_training: bool) -> None:
    from bridgex.data import doctor
    from bridgex.data.fetch import command
    from bridgex.report import data_table

    found = [command.checked(name, codes) for name in dict.fromkeys(names)]
    problems: list[str] = []
    for data, _ in found:
        try:
            with data_table.fetch_bar() as bar:
                fetched = command.fetch(data.name, codes, root, bar, with_training=with_training)
        except UserError as error:
            problems += error.problems
            continue
        folder, licence = str(fetched.folder), f"{data.licence.line()} ({data.licence.page})"
        data_table.show_fetched(data.title, folder, fetched.num_files, fetched.num_new, fetched.origins, licence)
        errors = data_table.show_findings(doctor.examine(fetched.folder))
        if errors:
            problems.append(f"{folder}: {errors} of these findings would stop a run that reads those rows")
    if problems:
        raise UserError(*problems)


def _main(entry: str, job: Callable[[DictConfig], None]) -> NoReturn:
    import hydra

    from bridgex.config import command

    command.prepare()
    arguments = _read_arguments()
    is_query = bool(
        arguments.help or arguments.hydra_help or arguments.cfg or arguments.info or arguments.shell_completion
    )
    if not is_query:
        status = _guard(lambda: _check(entry, arguments))
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
    status = _guard(lambda: _sum_up(sweep))
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
    status = _guard(run, errors)
    if errors and sweep is not None:
        with contextlib.suppress(UserError):  # a folder that cannot be written has said so already
            store.write_failure(folder, "; ".join(errors))
    if errors and sweep is None:
        with contextlib.suppress(OSError):  # Hydra made it; what holds a run is not empty and stays
            folder.rmdir()
    _jobs.append(Job(status, sweep))
    if status in (INTERRUPTED, TERMINATED):
        sys.exit(status)  # an ordinary failure leaves the sweep's other cells to run; this one is meant for all of them


def _guard(run: Callable[[], object], errors: list[str] | None = None) -> int:
    """Runs, and turns what goes wrong into lines on stderr (and on a list) and an exit status."""
    errors = [] if errors is None else errors
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        run()
        return 0
    except UserError as error:
        errors += error.problems
        for line in error.problems:
            print(f"error: {line}", file=sys.stderr)
        if os.environ.get("BRIDGEX_TRACEBACK"):
            traceback.print_exc()
        return USER_MISTAKE
    except KeyboardInterrupt:
        print("interrupted; a run goes on with the same hydra.run.dir, a sweep with the same command", file=sys.stderr)
        return INTERRUPTED
    except _Terminated:
        return TERMINATED
    except Exception as error:
        errors.append(f"{type(error).__name__}: {error}")
        print(
            f"error: a fault in bridgex: {type(error).__name__}: {error}. Please report it with this:", file=sys.stderr
        )
        traceback.print_exc()
        return OUR_BUG
    finally:
        signal.signal(signal.SIGTERM, previous)


class _Terminated(BaseException):
    """SIGTERM arrived; not an Exception, so that nothing on the way takes it for a failure."""


def _terminate(signum: int, frame: FrameType | None) -> NoReturn:
    raise _Terminated("stopped by SIGTERM")
