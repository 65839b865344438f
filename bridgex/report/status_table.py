"""The table of `bridgex status`: how far a sweep is, who works at what, what failed and why."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from bridgex.records.progress import Progress, progress_of
from bridgex.records.schema import Status
from bridgex.report.console import SafeConsole
from bridgex.shown import counted

_ORDER = ("done", "running", "failed", "interrupted", "left")
_SECONDS = 2.0
# Of each kind so many cells at most are named; the counts are of all.
_MAX_ROWS = 20


def show_status(folder: Path, console: Console | None = None) -> None:
    """Shows how far a sweep is: on a terminal until nothing runs any more, elsewhere once.

    Args:
        folder: the sweep's folder.
        console: where to.
    """
    console = console or SafeConsole()
    found = progress_of(folder)
    if not console.is_terminal or found.is_over:
        console.print(status_table(folder, found))
        return
    with Live(status_table(folder, found), console=console, auto_refresh=False) as live:
        while not found.is_over:
            time.sleep(_SECONDS)
            found = progress_of(folder)
            live.update(status_table(folder, found), refresh=True)


def status_table(folder: Path, found: Progress) -> Group:
    """The table at one moment."""
    counts = found.counts
    said = ", ".join(f"{counts[state]} {state}" for state in _ORDER if state in counts)
    head = f"{folder.name}: {counted(len(found.cells), 'cell')}: {said or 'none yet'}"
    parts: list[Text | Table] = [Text(head, style="bold")]
    expected = found.expected_end()
    if expected is not None:
        end, num_cells = expected
        parts.append(Text(f"expected end: {_moment(end)}, at the rate of {num_cells} done"))
    parts += _running(found) + _wrong(found)
    if found.is_over and any(state in counts for state in ("failed", "interrupted", "left")):
        parts.append(Text("nothing runs; the sweep's command, given again, runs what is not done"))
    return Group(*parts)


def _running(found: Progress) -> list[Text | Table]:
    rows = [cell for cell in found.cells if cell.state == "running" and cell.status is not None]
    if not rows:
        return []
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("running", "where", "for"):
        table.add_column(heading, overflow="fold")
    for cell in rows[:_MAX_ROWS]:
        assert cell.status is not None
        where = f"{cell.status.host}, process {cell.status.pid}"
        table.add_row(Text(cell.cell), Text(where), Text(_for(cell.status)))
    return [table, *_more(len(rows))]


def _wrong(found: Progress) -> list[Text | Table]:
    rows = [cell for cell in found.cells if cell.state in ("failed", "interrupted")]
    if not rows:
        return []
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("not done", "state", "why"):
        table.add_column(heading, overflow="fold")
    for cell in rows[:_MAX_ROWS]:
        table.add_row(Text(cell.cell), Text(cell.state), Text(_why(cell.status)))
    return [table, *_more(len(rows))]


def _more(num_rows: int) -> list[Text]:
    return [Text(f"and {num_rows - _MAX_ROWS} more")] if num_rows > _MAX_ROWS else []


def _why(status: Status | None) -> str:
    if status is None:
        return "status.json is damaged"
    return status.error or f"process {status.pid} on {status.host} is gone"


def _for(status: Status) -> str:
    begun = datetime.fromisoformat(status.resumed or status.start)
    return _span((datetime.now(timezone.utc) - begun).total_seconds())


def _moment(end: datetime) -> str:
    left = _span((end - datetime.now(timezone.utc)).total_seconds())
    return f"{end.astimezone():%a %H:%M} (in {left})"


def _span(seconds: float) -> str:
    seconds = max(0.0, seconds)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"
