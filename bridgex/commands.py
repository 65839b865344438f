"""The command `bridgex`: what needs no run; imports no torch before a command asks for it."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from bridgex.errors import UserError
from bridgex.exits import USER_MISTAKE, guard
from bridgex.shown import say


def main() -> NoReturn:
    """`bridgex`: what needs no run.

    `bridgex status SWEEP` says how far a sweep is, `bridgex report PATH...` makes pages again from records, `bridgex
    sync PATH...` the W&B mirrors, `bridgex relate PATH...` relates finished runs of train.py with each other, `bridgex
    models [PATH...]` says of which models the neurons can be read, `bridgex data list|fetch|doctor` lists, fetches and
    checks data sets.
    """
    parser = ArgumentParser(prog="bridgex", description="What needs no run.")
    commands = parser.add_subparsers(dest="command", required=True)
    report = commands.add_parser("report", help="make the pages of runs and sweeps again from their files")
    report.add_argument("path", nargs="+", type=Path, help="folder of a run or of a sweep")
    report.add_argument("--wandb", action="store_true", help="publish a W&B report of each sweep, too")
    status = commands.add_parser("status", help="say how far a sweep is: done, running where, failed, left")
    status.add_argument("path", type=Path, help="folder of a sweep")
    sync = commands.add_parser("sync", help="make the W&B mirrors of runs again from their files, and send them")
    sync.add_argument("path", nargs="+", type=Path, help="folder of a run, or of a sweep: all its runs")
    for command in (report, sync):
        command.add_argument("--project", help="of W&B; not given: as the run's config says, else bridgex")
        command.add_argument(
            "--entity", help="user or team at W&B; not given: as the run's config says, else the key's"
        )
    sync.add_argument(
        "--mode", choices=("auto", "online", "offline"), help="auto, if not given: online with an API key"
    )  # fmt: skip
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
        "report": lambda: _report(arguments),
        "sync": lambda: _sync(arguments),
        "status": lambda: _status(arguments.path),
        "relate": lambda: _relate(arguments.path, arguments.out),
        "models": lambda: _models(arguments.path),
        "data": lambda: _data(arguments),
    }
    sys.exit(guard(runs[arguments.command]))


def _report(arguments: Namespace) -> None:
    from bridgex.report.html import write_page

    for path in arguments.path:
        if not path.is_dir():
            raise UserError(f"{path}: no such folder. Give the folder of a run or of a sweep")
        say(str(write_page(path)))
    if arguments.wandb:
        from bridgex.report.wandb_report import publish

        for line in publish(arguments.path, arguments.project, arguments.entity):
            say(line)


def _sync(arguments: Namespace) -> None:
    from bridgex.lit.wandb_sync import sync

    for line in sync(arguments.path, arguments.project, arguments.entity, arguments.mode):
        say(line)


def _status(path: Path) -> None:
    from bridgex.records.progress import progress_of
    from bridgex.report.status_table import show_status

    if not path.is_dir():
        raise UserError(f"{path}: no such folder. Give the folder of a sweep, e.g. outputs/sweeps/default")
    if (path / "status.json").is_file():
        raise UserError(f"{path}: is the folder of one run. Give that of a sweep, or look at {path / 'status.json'}")
    if not progress_of(path).cells:
        raise UserError(f"{path}: holds no sweep (folders that hold a status.json, or a plan). Give a sweep's folder")
    show_status(path)


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
