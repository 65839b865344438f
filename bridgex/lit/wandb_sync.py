"""`bridgex sync`: the W&B mirror of runs, made again from their files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from bridgex.config.settings import LoggerSettings
from bridgex.errors import UserError
from bridgex.lit.wandb_logger import mirror_run
from bridgex.records.mirror import Identity, identity_of, options_of, runs_of


def sync(
    paths: Sequence[Path], project: str | None = None, entity: str | None = None, mode: str | None = None
) -> Iterator[str]:
    """Mirrors runs in whatever state they are, one after the other.

    Args:
        paths: folders of runs, or of sweeps, which stand for all their cells.
        project: where they appear; None: as the run's config says.
        entity: the same, user or team.
        mode: auto, online or offline; None: auto, whatever the config says, for a run that was kept offline is
            what one wants to send.

    Returns:
        A line for each run.

    Raises:
        UserError: a path is no run and no sweep, or a run's status.json is damaged; nothing was mirrored.
    """
    problems: list[str] = []
    found: dict[Path, Identity | None] = {}
    for path in paths:
        try:
            found.update({run: identity_of(run) for run in runs_of(path)})
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(*problems)
    given = {"project": project, "entity": entity}
    return (
        f"{run}: {mirror_run(run, _options(run, {k: v for k, v in given.items() if v is not None}, mode), identity)}"
        for run, identity in found.items()
    )


def _options(run: Path, given: dict[str, str], mode: str | None) -> LoggerSettings:
    options = options_of(run)
    # A run that was copied from elsewhere may name a folder that is not here.
    place = options.dir if options.dir is not None and Path(options.dir).expanduser().is_dir() else None
    return options.model_copy(update={**given, "mode": mode or "auto", "dir": place})
