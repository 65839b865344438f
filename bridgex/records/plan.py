"""plan.<hash>.json of a sweep: the cells that a command asked for, written before the first of them runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, ValidationError

from bridgex.records.claim import Owner
from bridgex.records.files import write_json, writing
from bridgex.records.schema import Record


class PlannedCell(Record):
    """One cell that a command asked for."""

    cell: str = Field(description="its folder's name")
    model: str
    overrides: list[str] = Field(description="what composes its config")
    problems: list[str] = Field(description="why it cannot run, found before any cell ran; empty: it can")


class Plan(Record):
    """A command's cells, in the order in which they run."""

    entry: str = Field(description="evaluate or train")
    owner: Owner = Field(description="the process that was given the command")
    cells: list[PlannedCell]


def write_plan(folder: Path, plan: Plan) -> Path:
    """Writes a command's plan; the same command has the same file each time, on every machine.

    Args:
        folder: the sweep's folder; made if missing.
        plan: of the command.

    Returns:
        The file.

    Raises:
        UserError: the folder cannot be written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    asked = json.dumps([plan.entry, [cell.cell for cell in plan.cells]])
    path = folder / f"plan.{hashlib.sha256(asked.encode()).hexdigest()[:8]}.json"
    write_json(path, plan)
    return path


def read_plan(path: Path) -> Plan | None:
    """One command's plan; None: it is missing or damaged."""
    try:
        return Plan.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def planned_cells(folder: Path, cells: Sequence[Path]) -> list[str]:
    """Names of all cells of a sweep: those that were begun, and those that the last or a running command asked for.

    What an earlier command asked for and never began does not count: its user has since asked for something else.

    Args:
        folder: the sweep's folder.
        cells: the folders of the cells that were begun.
    """
    plans = [(path, plan) for path in folder.glob("plan.*.json") if (plan := read_plan(path)) is not None]
    newest = max((plan.owner.start for _, plan in plans), default="")
    wanted = [plan for path, plan in plans if plan.owner.start == newest or plan.owner.is_alive(path)]
    names = [cell.cell for plan in wanted for cell in plan.cells]
    return list(dict.fromkeys([*names, *(cell.name for cell in cells)]))
