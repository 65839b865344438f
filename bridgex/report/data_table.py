"""Data sets in the terminal: what `bridgex data` prints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn
from rich.table import Table
from rich.text import Text

from bridgex.records.data_checks import DataSetLine, Finding

_LISTED_AT_MOST = 12
_STYLES = {"error": "bold red", "note": "yellow", "fine": "green"}


def show_list(lines: Sequence[DataSetLine], console: Console | None = None) -> None:
    """Prints a table of data sets, and how to get what is not here.

    Args:
        lines: one a data set.
        console: where to print.
    """
    console = console or Console()
    table = Table(title="data sets", title_justify="left")
    for title in ("data set", "for", "languages", "splits", "size", "licence", "place"):
        table.add_column(title, overflow="fold")
    for line in lines:
        few = len(line.languages) <= _LISTED_AT_MOST
        table.add_row(
            *map(
                Text,
                (
                    f"{line.name}\n{line.title}",
                    "\n".join(line.tasks),
                    " ".join(line.languages) if few else f"{len(line.languages)}",
                    "\n".join(line.splits),
                    f"{line.kilobytes / 1000:.1f} MB",
                    line.licence,
                    line.place,
                ),
            )
        )
    console.print(table)
    console.print(Text("size: of one language, or of one pair of them; rows are those of a language"))
    missing = [line.name for line in lines if line.place == "not here"]
    if missing:
        console.print(Text(f"not here: bridgex data fetch {missing[0]} --language CODE brings it to ./data"))


def show_findings(findings: Iterable[Finding], console: Console | None = None) -> int:
    """Prints findings as they come, one line each.

    Returns:
        How many of them would stop a run.
    """
    console = console or Console()
    errors = 0
    for finding in findings:
        errors += finding.severity == "error"
        severity = Text(f"{finding.severity:5} ", style=_STYLES[finding.severity])
        console.print(severity + Text(finding.text), soft_wrap=True)
    return errors


class Bar:
    """How far a fetch has come, drawn as a bar on stderr."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None

    def begin(self, name: str, num_bytes: int | None) -> None:
        """A data set's files begin to arrive; None: how much is not known."""
        self._task = self._progress.add_task(name, total=num_bytes)

    def advance(self, num_bytes: int) -> None:
        """So many bytes more have arrived; negative: they must be had again."""
        if self._task is not None:
            self._progress.advance(self._task, num_bytes)


@contextmanager
def fetch_bar() -> Iterator[Bar]:
    """A bar while open; nothing where nobody looks."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield Bar(progress)


def show_fetched(title: str, folder: str, num_files: int, num_new: int, origins: Sequence[str], licence: str) -> None:
    """Prints what was fetched, from where, and under which licence."""
    console = Console()
    there = f", {num_files - num_new} were there" if num_new < num_files else ""
    for text in (
        f"{title}: {num_new} files fetched{there}, in {folder}",
        f"from {', '.join(origins)}",
        f"licence: {licence}",
    ):
        console.print(Text(text), soft_wrap=True)
