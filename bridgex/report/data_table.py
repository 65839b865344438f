"""Data sets in the terminal: what `bridgex data` prints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn
from rich.table import Table
from rich.text import Text

from bridgex.records.data_checks import DataSetLine, Finding
from bridgex.report.console import SafeConsole

_FEW = 3
_STYLES = {"error": "bold red", "note": "yellow", "fine": "green"}


def show_list(lines: Sequence[DataSetLine], console: Console | None = None) -> None:
    """Prints a table of data sets, and how to get what is not here.

    Args:
        lines: one a data set.
        console: where to print.
    """
    console = console or SafeConsole()
    table = Table(title="data sets", title_justify="left")
    for title in ("name", "task", "langs", "rows", "MB", "licence", "here"):
        table.add_column(title, no_wrap=title != "licence", overflow="fold")
    for line in lines:
        cells = (
            line.name,
            "\n".join(text.split()[0].removeprefix("task=") for text in line.tasks),
            f"{len(line.languages)}",
            "\n".join(line.splits),
            f"{line.kilobytes / 1000:.1f}",
            line.licence,
            line.place,
        )
        table.add_row(*map(Text, cells))
    console.print(table)
    remarks = ["rows and MB: of one language, or of a pair of them; the first split is the one that is evaluated"]
    remarks += [f"{line.name}: {text}" for line in lines for text in line.tasks if " " in text]
    for condition in dict.fromkeys(text for line in lines for text in line.conditions):
        remarks.append(f"{condition}: {', '.join(line.name for line in lines if condition in line.conditions)}")
    if len(lines) <= _FEW:
        remarks += [f"{line.name}: {' '.join(line.languages)}" for line in lines]
    missing = [line.name for line in lines if line.place == "no"]
    if missing:
        remarks.append(f"to bring one to ./data: bridgex data fetch {missing[0]} --language CODE")
    for remark in remarks:
        console.print(Text(remark))


def show_findings(findings: Iterable[Finding], console: Console | None = None) -> int:
    """Prints findings as they come, one line each.

    Returns:
        How many of them would stop a run.
    """
    console = console or SafeConsole()
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
    console = SafeConsole(is_error=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield Bar(progress)


def show_fetched(title: str, folder: str, num_files: int, num_new: int, origins: Sequence[str], licence: str) -> None:
    """Prints what was fetched, from where, and under which licence."""
    console = SafeConsole()
    there = f", {num_files - num_new} were there" if num_new < num_files else ""
    for text in (
        f"{title}: {num_new} files fetched{there}, in {folder}",
        f"from {', '.join(origins)}",
        f"licence: {licence}",
    ):
        console.print(Text(text), soft_wrap=True)
