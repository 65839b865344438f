"""The page of a sweep of train.py: its cells, and what the finished ones say together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from bridgex.records.relations import Relations
from bridgex.records.train_sweep import TrainSummaryRow, train_summary_row
from bridgex.report.markup import Html, Section, document, exact, join, section, tag
from bridgex.report.relate_page import box, left_out, sections
from bridgex.report.run_files import described
from bridgex.report.table_files import with_files
from bridgex.report.tables import MISSING, Cell, Column, Row, Table, number
from bridgex.report.words import SIGNS, Kind

_MAX_TEXT = 4000
_KINDS: dict[str, Kind] = {"done": "none", "failed": "failed", "running": "unfinished", "interrupted": "unfinished"}


def train_sweep_page(folder: Path, cells: Sequence[Path], found: Relations) -> tuple[str, list[Table]]:
    """The page of a sweep of train.py, and its tables.

    Args:
        folder: the sweep's folder, from which links lead to the cells' pages.
        cells: its cells' folders.
        found: what the finished cells say together.
    """
    rows = [train_summary_row(cell) for cell in cells]
    states = Counter(row.state for row in rows)
    counts = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    same = [values.pop() for values in ({row.task for row in rows}, {row.model for row in rows}) if len(values) == 1]
    head = join(
        tag("h1", f"Sweep {folder.name}"),
        tag("p", " · ".join(filter(None, [*same, f"{len(rows)} cells: {counts or 'none yet'}"])), class_="quiet"),
        box(found),
    )
    table = _table(folder, cells, rows)
    shown = section("cells", "Cells", with_files(table)) if rows else None
    parts = [shown, _failures(rows), *sections(found), _left_out(found, rows)]
    return document(f"{folder.name} - bridgex sweep", head, parts, has_script=True), [table] if rows else []


def _table(folder: Path, cells: Sequence[Path], rows: Sequence[TrainSummaryRow]) -> Table:
    telling = [
        (title, of)
        for title, of in (("task", _task), ("model", _model), ("freeze", _freeze))
        if len({of(row) for row in rows}) > 1
    ]
    columns = [
        Column("source", False),
        Column("seed"),
        *(Column(title, False) for title, _ in telling),
        Column("state", False),
        Column("source score"),
        Column("mean target score"),
        Column("mean gap", hint="transfer gap: score of the source less that of a target, mean over targets"),
        Column("depth", hint="Spearman of block and mean drift"),
        Column("seconds"),
    ]
    body = [
        Row(
            [
                Cell(_link(folder, cell, row), row.source or row.cell),
                Cell(MISSING if row.seed is None else str(row.seed), row.seed),
                *(of(row) for _, of in telling),
                Cell(_state(row), row.state, plain=row.state),
                *(_plain(value) for value in (row.source_score, row.target_score, row.gap)),
                Cell(number(row.depth, is_signed=True), row.depth),
                Cell(MISSING if row.seconds is None else f"{row.seconds:,.0f}", row.seconds),
            ]
        )
        for cell, row in zip(cells, rows, strict=True)
    ]
    note = "Press a heading to sort. Sources link to the cell's own page."
    return Table("cells", "cells", columns, body, page_note=note)


def _task(row: TrainSummaryRow) -> str:
    return row.task


def _model(row: TrainSummaryRow) -> str:
    return row.model


def _freeze(row: TrainSummaryRow) -> str:
    return row.freeze


def _plain(value: float | None) -> Cell:
    return Cell(number(value), value)


def _state(row: TrainSummaryRow) -> Html:
    kind = _KINDS[row.state]
    sign = tag("span", SIGNS[kind], class_="sign", aria_hidden="true")
    return tag("span", sign, row.state, class_=f"verdict-word {kind}")


def _link(folder: Path, cell: Path, row: TrainSummaryRow) -> Html:
    label = described(row.source) if row.source else row.cell
    try:
        place = (cell / "report.html").resolve().relative_to(folder.resolve())
    except ValueError:
        return tag("span", label)
    if not (cell / "report.html").is_file():
        return tag("span", label)
    return tag("a", label, href="./" + quote(place.as_posix()))


def _failures(rows: Sequence[TrainSummaryRow]) -> Section | None:
    wrong = [row for row in rows if row.error]
    if not wrong:
        return None
    parts = [part for row in wrong for part in (tag("h3", row.cell), exact((row.error or "")[:_MAX_TEXT]))]
    return section("failures", "What went wrong", *parts)


def _left_out(found: Relations, rows: Sequence[TrainSummaryRow]) -> Section | None:
    """What the relations leave out, where the cells' states do not say it already."""
    if not found.left_out or all(row.state != "done" for row in rows if row.cell in {o.run for o in found.left_out}):
        return None
    return section("left-out", "Left out of the relations", *left_out(found))
