"""What the relations of several fine-tuning runs show in the terminal, made from records."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bridgex.records.relations import FreezeComparison, Relations, RunGroup
from bridgex.records.train_sweep import TrainSummary
from bridgex.report.console import SafeConsole
from bridgex.report.terminal import show_not_done


def show_relations(found: Relations, page: Path, console: Console | None = None) -> None:
    """Prints what was left out, of each group its freezing and what survives, and where the page lies."""
    console = console or SafeConsole()
    for one in found.left_out:
        _line(console, f"left out: {one.run}: {one.reason}")
    for group in found.groups:
        _show_group(group, console)
    _line(console, f"page: {_short(page)}")


def show_train_sweep(summary: TrainSummary, found: Relations, page: Path, console: Console | None = None) -> None:
    """Prints how many cells are done, what went wrong with the others, what survives, and where the page lies."""
    console = console or SafeConsole()
    states = Counter(row.state for row in summary.cells)
    show_not_done([(row.cell, row.state, row.error) for row in summary.cells], console)
    counts = ", ".join(f"{n} {state}" for state, n in sorted(states.items()))
    _line(console, f"{len(summary.cells)} cells: {counts}")
    for group in found.groups:
        _show_group(group, console)
    _line(console, f"page: {_short(page)}")


def _show_group(group: RunGroup, console: Console) -> None:
    sources = ", ".join(dict.fromkeys(run.source for run in group.runs))
    num_seeds = len({run.seed for run in group.runs})
    counted = f"{len(group.runs)} run{'' if len(group.runs) == 1 else 's'}"
    _line(console, f"{group.heading}: {counted}, sources {sources}, {num_seeds} seed{'' if num_seeds == 1 else 's'}")
    for note in group.notes:
        _line(console, f"note: {note}")
    for comparison in group.freezing:
        if comparison.outcomes:
            console.print(_table(comparison))
        for note in comparison.notes:
            _line(console, f"note: {note}")
    for finding in group.findings:
        _line(console, finding.sentence)
    _line(console, group.survives, style="bold")


def _table(comparison: FreezeComparison) -> Table:
    title = f"frozen {comparison.freeze} less {comparison.against}, {len(comparison.seeds)} seeds"
    table = Table(title=Text(title), title_justify="left", show_edge=False, pad_edge=False)
    table.add_column("outcome", no_wrap=True)
    for name in ("difference", "t interval", "bootstrap", "Holm p"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in comparison.outcomes:
        table.add_row(
            Text(one.outcome),
            f"{one.difference:+.3f}",
            *("" if ends is None else f"{ends[0]:+.3f} to {ends[1]:+.3f}" for ends in (one.ci95, one.bootstrap95)),
            "" if one.p_holm is None else f"{one.p_holm:.2g}",
            style="bold" if one.verdict != "no evidence" else None,
        )
    return table


def _line(console: Console, text: str, style: str = "") -> None:
    # Text, not str: words from data must not be read as markup.
    console.print(Text(text, style=style), soft_wrap=True)


def _short(path: Path) -> str:
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
