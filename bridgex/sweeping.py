"""A sweep: its cells planned, dealt out to this process or a cluster's, run one after the other, and summed up."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from bridgex.config import command, launching
from bridgex.errors import UserError
from bridgex.exits import INTERRUPTED, TERMINATED, USER_MISTAKE, guard
from bridgex.jobs import Entry, run_job
from bridgex.records.claim import Beat, Owner
from bridgex.records.plan import Plan, PlannedCell, planned_cells, read_plan, write_plan
from bridgex.records.store import is_finished, read_status, write_failure
from bridgex.records.sweep import cells_of
from bridgex.shown import counted, say

# A cluster's process knows of our resolvers and of our pairs by importing this module, and needs both to compose.
command.prepare()


@dataclass(frozen=True)
class Work:
    """What every process of a sweep is told.

    Attributes:
        entry: which command it is.
        plan: the plan's file.
        chunks: first and last cell, the latter not included, of each job.
        fail_fast: whether the first cell that fails ends the sweep.
        user_dir: folder of a user's own yaml files.
    """

    entry: Entry
    plan: Path
    chunks: tuple[tuple[int, int], ...]
    fail_fast: bool
    user_dir: str | None


def is_ours(found: command.Command) -> bool:
    """Whether a command is a sweep over given values, which is run here; other sweepers run themselves."""
    return found.sweep is not None and found.sweeper.endswith(".BasicSweeper")


def run_sweep(entry: Entry, found: command.Command, user_dir: str | None) -> int:
    """Runs a sweep and sums it up.

    Args:
        entry: which command it is.
        found: the command, checked.
        user_dir: folder of a user's own yaml files.

    Returns:
        The exit status: 1 where a cell failed.
    """
    assert found.sweep is not None
    sweep, cells = found.sweep, _ordered(found.cells)
    plan = Plan(entry=entry, owner=Owner.here(), cells=[_planned(cell) for cell in cells])
    statuses: list[int] = []

    def run() -> None:
        path = write_plan(sweep, plan)
        beat = Beat(path)
        try:
            refused = [cell for cell in cells if cell.problems and not is_finished(cell.folder)]
            for cell in refused:
                write_failure(cell.folder, cell.config, "; ".join(cell.problems))
            if refused:
                say(f"{len(refused)} of {counted(len(cells), 'cell')} cannot run: named at the end; the others go on")
            options = cells[0].config["sweep"]
            is_here = found.launcher.endswith(".BasicLauncher")
            chunks = [(0, len(cells))] if is_here else _chunks(cells, options["cells_per_job"])
            work = Work(entry, path, tuple(chunks), bool(options["fail_fast"]), user_dir)
            starts = [plan.cells[first].overrides for first, _ in chunks]
            if not is_here:
                jobs = f"{counted(len(chunks), 'job')} for {counted(len(cells), 'cell')}"
                say(f"{jobs}; how far they are: bridgex status {sweep}")
            for ended in launching.launch(entry, starts, user_dir, partial(_work, work=work)):
                statuses.extend(ended)
        finally:
            beat.end()
            if (cells[0].config.get("task") or {}).get("dry_run"):  # leaves nothing behind
                path.unlink(missing_ok=True)
                with suppress(OSError):
                    sweep.rmdir()

    status = guard(run)
    summed = guard(lambda: sum_up(sweep)) if cells_of(sweep) else 0
    stopped = [code for code in [status, *statuses] if code in (INTERRUPTED, TERMINATED)]
    if stopped:
        return stopped[0]
    failed = any(_has_failed(sweep / cell.cell, plan.owner.start) for cell in plan.cells)
    return max(status, summed) or (USER_MISTAKE if failed or any(statuses) else 0)


def _planned(cell: command.Cell) -> PlannedCell:
    return PlannedCell(
        cell=cell.folder.name,
        model=str(cell.config["model"].get("name")),
        overrides=list(cell.overrides),
        problems=list(cell.problems),
    )


def sum_up(sweep: Path) -> None:
    """Writes a sweep's summary and page, from its cells' files, and shows them."""
    from bridgex.records.sweep import write_summary
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
    num_left = len(planned_cells(sweep, cells)) - len(cells)
    terminal.show_sweep(summary, html.write_sweep_page(sweep, cells), num_left)


def _work(config: DictConfig, work: Work) -> list[int]:
    """What one job of a sweep does: the task function that Hydra's launchers run, here or on another machine.

    Args:
        config: of the job's first cell; every cell is composed when its turn comes.
        work: the sweep's.

    Returns:
        The exit status of each cell that was run.
    """
    plan = read_plan(work.plan)
    if plan is None:
        raise UserError(f"{work.plan}: missing or damaged. Give the sweep's command again")
    first, end = work.chunks[HydraConfig.get().job.num]
    own, statuses = plan.cells[first:end], []
    for number, planned in enumerate(own, start=first + 1):
        if work.fail_fast and any(_has_failed(work.plan.parent / cell.cell, plan.owner.start) for cell in plan.cells):
            say(f"sweep.fail_fast: {counted(len(plan.cells) - number + 1, 'cell')} left")
            break
        status = _run_cell(work, planned)
        if status is not None:
            statuses.append(status)
        if status in (INTERRUPTED, TERMINATED):
            break
    return statuses


def _run_cell(work: Work, planned: PlannedCell) -> int | None:
    """Runs a cell that is not done; None: it is, or it cannot run, which was found before the sweep began."""
    sweep = work.plan.parent
    folder = sweep / planned.cell
    if is_finished(folder) or planned.problems:
        return None
    config: dict[str, Any] = {}

    def compose() -> None:
        composed = launching.compose_cell(work.entry, planned.overrides, work.user_dir)
        config.update(command.plain(composed))

    return guard(compose, [], planned.cell) or run_job(work.entry, config, folder, sweep)


def _ordered(cells: Sequence[command.Cell]) -> list[command.Cell]:
    """The cells with those of one model together, so that one process loads it once; otherwise in their order."""
    models = list(dict.fromkeys(_model_key(cell) for cell in cells))
    return sorted(cells, key=lambda cell: models.index(_model_key(cell)))


def _chunks(cells: Sequence[command.Cell], size: int) -> list[tuple[int, int]]:
    """First and last cell, the latter not included, of jobs of so many cells of one model at most."""
    chunks: list[tuple[int, int]] = []
    start = 0
    for _, group in itertools.groupby(cells, _model_key):
        end = start + len(list(group))
        chunks += [(first, min(first + size, end)) for first in range(start, end, size)]
        start = end
    return chunks


def _model_key(cell: command.Cell) -> str:
    return json.dumps(cell.config["model"], sort_keys=True, default=str)


def _has_failed(folder: Path, since: str) -> bool:
    status = read_status(folder)
    return status is not None and status.state == "failed" and (status.end or "") >= since
