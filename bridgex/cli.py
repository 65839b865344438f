"""Console entry points; they import no torch, so that help, completion and mistakes answer at once."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from bridgex.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

USER_MISTAKE, OUR_BUG, INTERRUPTED, TERMINATED = 1, 70, 130, 143
# Exit statuses of this process's jobs: Hydra hands nothing back from a sweep.
_statuses: list[int] = []


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
        status = _guard(lambda: _check(entry, arguments))
        if status:
            sys.exit(status)
    hydra.main(config_path=str(command.config_dir()), config_name=entry, version_base="1.3")(job)()
    sys.exit(_overall(_statuses))


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


def _overall(statuses: list[int]) -> int:
    if len(statuses) == 1:
        return statuses[0]
    return USER_MISTAKE if any(statuses) else 0


def _check(entry: str, arguments: Namespace) -> None:
    """Refuses a command with a mistake in it before anything is made, loaded or imported for it."""
    from bridgex.config import command, settings
    from bridgex.records import store

    if entry == "train":
        _check_train(arguments.overrides)
    cells = command.check(
        entry,
        arguments.overrides,
        *((settings.validate_train,) if entry == "train" else (settings.validate, _check_evaluate)),
        is_multirun=arguments.multirun,
        user_dir=arguments.config_dir,
    )
    for cell in cells:
        store.check_folder(cell.folder, cell.config)


def _check_evaluate(config: Mapping[str, Any]) -> None:
    from bridgex.config import settings
    from bridgex.data import sources
    from bridgex.extract import hub
    from bridgex.select.strategies.base import Strategy

    found = settings.validate(config)
    problems = [*settings.path_problems(found), *settings.pair_problems(found)]
    problems += found.bridge.build(Strategy).problems(found.pair.pair)
    if not problems:
        problems += sources.problems(found)
    problems += hub.problems(found.model)
    if problems:
        raise UserError(*problems)


def _check_train(overrides: list[str]) -> None:
    if not any(text.startswith("experiment=") for text in overrides):
        raise UserError(
            "experiment: not set. train.py knows one recipe so far: python train.py experiment=toy_world. "
            "Fine-tuning and drift (the second study) are not part of this version"
        )


def _evaluate_job(config: DictConfig) -> None:
    from hydra.core.hydra_config import HydraConfig

    from bridgex.config import command, settings

    folder = Path(HydraConfig.get().runtime.output_dir)

    def run() -> None:
        plain = command.plain(config)
        from bridgex import pipeline
        from bridgex.report import terminal

        found = settings.validate(plain)
        if found.task.arguments.get("dry_run"):
            with contextlib.suppress(OSError):
                folder.rmdir()  # Hydra made it; a dry run leaves nothing behind
            terminal.show_preview(pipeline.dry_run(found))
            return
        pipeline.evaluate(found, plain, folder)
        terminal.show(folder)

    _statuses.append(_guard(run))


def _train_job(config: DictConfig) -> None:
    from hydra.core.hydra_config import HydraConfig

    from bridgex.config import command, settings

    folder = Path(HydraConfig.get().runtime.output_dir)

    def run() -> None:
        plain = command.plain(config)
        from bridgex import pipeline

        pipeline.train(settings.validate_train(plain), plain, folder)

    _statuses.append(_guard(run))


def _guard(run: Callable[[], object]) -> int:
    """Runs and turns what goes wrong into lines on stderr and an exit status."""
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        run()
        return 0
    except UserError as error:
        for line in error.problems:
            print(f"error: {line}", file=sys.stderr)
        if os.environ.get("BRIDGEX_TRACEBACK"):
            traceback.print_exc()
        return USER_MISTAKE
    except KeyboardInterrupt:
        print("interrupted; the same command with the same hydra.run.dir goes on from here", file=sys.stderr)
        return INTERRUPTED
    except _Terminated:
        return TERMINATED
    except Exception as error:
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
    raise _Terminated
