"""How far a sweep is, from the files of its cells; also while it runs, and from another machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from statistics import median
from typing import Literal

from bridgex.records.plan import planned_cells
from bridgex.records.schema import State, Status
from bridgex.records.store import read_status
from bridgex.records.sweep import cells_of

CellState = Literal[State, "left"]


@dataclass(frozen=True)
class CellProgress:
    """One cell.

    Attributes:
        cell: its folder's name.
        state: `left` where nothing was begun; `interrupted` where the process is gone, and the same command goes on.
        status: None where nothing was begun, or status.json is damaged.
    """

    cell: str
    state: CellState
    status: Status | None


@dataclass(frozen=True)
class Progress:
    """A sweep's cells at one moment.

    Attributes:
        cells: all of them, in the order in which they run.
    """

    cells: Sequence[CellProgress]

    @property
    def counts(self) -> dict[str, int]:
        """Cells by state."""
        return dict(Counter(cell.state for cell in self.cells))

    @property
    def is_over(self) -> bool:
        """Whether nothing runs any more."""
        return not any(cell.state == "running" for cell in self.cells)

    def expected_end(self) -> tuple[datetime, int] | None:
        """When the last cell will be done at this rate, and how many cells the rate is taken from.

        The rate is the median of the done cells' seconds, over as many processes as are at work now; None: nothing is
        done yet, or nothing runs.
        """
        seconds = [took for cell in self.cells if cell.state == "done" and (took := _seconds(cell.status)) is not None]
        running = [cell.status for cell in self.cells if cell.state == "running" and cell.status is not None]
        if not seconds or not running:
            return None
        each, at = median(seconds), datetime.now(timezone.utc)
        begun = [datetime.fromisoformat(found.resumed or found.start) for found in running]
        spent = sum(min(each, (at - moment).total_seconds()) for moment in begun)
        open_cells = sum(cell.state in ("left", "interrupted", "running") for cell in self.cells)
        return at + timedelta(seconds=(open_cells * each - spent) / len(running)), len(seconds)


def progress_of(folder: Path) -> Progress:
    """Reads how far a sweep is.

    Args:
        folder: the sweep's folder.
    """
    cells = cells_of(folder)
    begun = {cell.name for cell in cells}
    found = []
    for name in planned_cells(folder, cells):
        status = read_status(folder / name) if name in begun else None
        state: CellState = status.state if status is not None else "interrupted" if name in begun else "left"
        found.append(CellProgress(name, state, status))
    return Progress(found)


def _seconds(status: Status | None) -> float | None:
    """What the last process needed; one that went on with a run had less to do, and says little."""
    if status is None or status.end is None or status.resumed not in (None, status.start):
        return None
    return (datetime.fromisoformat(status.end) - datetime.fromisoformat(status.start)).total_seconds()
