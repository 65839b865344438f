"""What a sweep still lacks: every cell that is not done or lacks a file, with its reason and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bridgex.records.plan import planned_cells
from bridgex.report.markup import Html, Section, exact, section, tag
from bridgex.report.sweep_cells import SweepCell, linked, setting
from bridgex.report.words import SIGNS, Kind

_MAX_TEXT, _MAX_ALL = 4000, 300_000
_AGAIN: dict[str, tuple[Kind, str, str]] = {
    "failed": ("failed", "failed", "Mend what the text says; then the same command again tries them anew."),
    "damaged": ("failed", "unreadable", "The same command again makes anew what can be made; else it says what to do."),
    "interrupted": ("unfinished", "interrupted", "The same command again goes on from the last answer on record."),
    "running": (
        "unfinished",
        "still running",
        "Nothing to do: make this page again with bridgex report when they end.",
    ),
    "done": ("unfinished", "done, with records lost", "The same command again makes them anew."),
}


def failures(folder: Path, cells: Sequence[SweepCell]) -> Section | None:
    """Cells that are not done, lack a file or were never begun, those of one reason together; None: all is well.

    Args:
        folder: the sweep's folder.
        cells: of the sweep.
    """
    left = not_begun(folder, cells)
    wrong = [cell for cell in cells if cell.state != "done" or cell.run.problems]
    if not wrong and not left:
        return None
    parts: list[Html] = []
    for state, (kind, title, advice) in _AGAIN.items():
        own = [cell for cell in wrong if cell.state == state]
        if not own:
            continue
        parts += [_heading(kind, len(own), title), tag("p", advice)]
        by_reason: dict[str, list[SweepCell]] = {}
        for cell in own:
            by_reason.setdefault(_reason(cell), []).append(cell)
        longest = max(300, min(_MAX_TEXT, _MAX_ALL // len(by_reason)))
        for reason, same in by_reason.items():
            parts.append(tag("ul", *(_item(folder, cell) for cell in same), class_="cells"))
            parts += [exact(_cut(reason, longest))] if reason else []
    if left:
        parts += [_heading("unfinished", len(left), "not begun"), tag("p", "The same command again runs them.")]
        parts.append(tag("ul", *(tag("li", name) for name in left), class_="cells"))
    done = sum(cell.state == "done" for cell in cells)
    head = tag("p", f"{done} of {len(cells) + len(left)} cells are done. The same command keeps what is done.")
    return section("failures", "What is missing", head, *parts)


def not_begun(folder: Path, cells: Sequence[SweepCell]) -> list[str]:
    """Names of the cells that a command asked for and that have no folder yet."""
    begun = [cell.run.folder for cell in cells]
    return sorted({*planned_cells(folder, begun)} - {cell.name for cell in begun})


def _heading(kind: Kind, count: int, title: str) -> Html:
    sign = tag("span", SIGNS[kind], class_="sign", aria_hidden="true")
    return tag("h3", sign, f"{count} {'cell' if count == 1 else 'cells'} {title}", class_=kind)


def _reason(cell: SweepCell) -> str:
    status = cell.run.status
    error = status.error if status is not None and status.state != "running" else None
    return "\n".join([*(error or "").splitlines(), *(f"{problem}." for problem in cell.run.problems)])


def _item(folder: Path, cell: SweepCell) -> Html:
    settings = ", ".join(setting(name, value) for name, value in cell.axes.items() if "." in name and value)
    return tag("li", linked(folder, cell.run, cell.run.folder.name), f" ({settings})" if settings else "")


def _cut(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    return f"{text[:longest]}\n... {len(text) - longest:,} characters left out, see status.json"
