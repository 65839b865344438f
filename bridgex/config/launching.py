"""Composes the cells of a sweep one by one, and hands its jobs to Hydra's launchers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, open_dict, read_write

from bridgex.config.command import open_hydra
from bridgex.config.composing import composed
from bridgex.errors import UserError

_OF_HYDRA = re.compile(r"[+~]*hydra[./]")


def compose_cell(entry: str, overrides: Sequence[str], user_dir: str | None) -> DictConfig:
    """The config of one cell of a sweep, with the node `hydra`, as Hydra gives it to a job.

    Args:
        entry: `evaluate` or `train`.
        overrides: of the cell.
        user_dir: folder of a user's own yaml files.
    """
    with open_hydra(entry, overrides, user_dir):
        config = composed(entry, overrides)
    with read_write(config.hydra), open_dict(config.hydra):
        config.hydra.mode = RunMode.MULTIRUN
    return config


def launch(
    entry: str, jobs: Sequence[Sequence[str]], user_dir: str | None, function: Callable[[DictConfig], Any]
) -> Iterator[Any]:
    """Runs jobs by the launcher that the command chose, here or elsewhere, and waits for them.

    Args:
        entry: `evaluate` or `train`.
        jobs: of each job the overrides that compose its config.
        user_dir: folder of a user's own yaml files.
        function: what each job does.

    Yields:
        What each job returned.

    Raises:
        UserError: the launcher gave a job up.
    """
    config = compose_cell(entry, jobs[0], user_dir)
    with open_hydra(entry, jobs[0], user_dir) as loader:
        context = HydraContext(config_loader=loader, callbacks=Callbacks())
        launcher = Plugins.instance().instantiate_launcher(context, function, config)
        # Hydra adds the command's own keys of `hydra` again. A job works for many cells: its folder is the sweep's.
        own = [[text for text in overrides if not _OF_HYDRA.match(text)] for overrides in jobs]
        given = [[*overrides, "hydra.sweep.subdir=."] for overrides in own]
        try:
            results = launcher.launch(given, initial_job_idx=0)
        except Exception as error:
            if launcher_name(config) == "basic":
                raise
            told = " ".join(str(error).strip().splitlines()[:1]).rstrip(".")
            raise UserError(
                f"hydra/launcher={launcher_name(config)}: {type(error).__name__}: {told}. Jobs that run go on; the "
                f"same command, given again, runs what is not done"
            ) from error
    for result in results:
        yield result.return_value


def launcher_name(config: DictConfig) -> str:
    """Name of the launcher that a composed config chose."""
    return str(config.hydra.runtime.choices["hydra/launcher"])
