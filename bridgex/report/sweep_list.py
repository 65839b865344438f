"""The list of a sweep's cells, which can be sorted and filtered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bridgex.records.schema import Paired
from bridgex.report.league import DIRECT, Mean
from bridgex.report.league_part import mean_cell
from bridgex.report.markup import Html, Section, section, tag
from bridgex.report.run_files import described
from bridgex.report.sweep_cells import HINTS, MARKS, TITLES, TRANSLATED, SweepCell, linked, p_of, verdict_word
from bridgex.report.table_files import with_files
from bridgex.report.tables import MISSING, Cell, Column, Row, Table, number, probability
from bridgex.report.words import ALPHA, SIGNS

_OVER = "over translated"
_FROM = 8
"""Cells from which a filter is worth its place."""


def cell_list(folder: Path, cells: Sequence[SweepCell]) -> tuple[Section, list[Table]] | None:
    """The cells as a section, and its table; None where there is none.

    Args:
        folder: the sweep's folder, from which links lead to the cells' pages.
        cells: of the sweep.
    """
    if not cells:
        return None
    bridges = list(dict.fromkeys(code for cell in cells for code in cell.via))
    columns = _columns(cells, bridges)
    rows = [_row(folder, cell, columns, bridges) for cell in cells]
    page_note = "Press a heading to sort. Pairs link to the cell's own page."
    found = Table("cells", "cells", columns, rows, (), "Bold: the best score of the row, gold aside.", page_note, MARKS)
    controls = [_controls(cells)] if len(cells) >= _FROM else []
    return section("cells", "Cells", *controls, with_files(found)), [found]


def _columns(cells: Sequence[SweepCell], bridges: Sequence[str]) -> list[Column]:
    routes = {route for cell in cells for route in cell.scores}
    translated = Column(TRANSLATED, hint=HINTS[TRANSLATED])
    over = Column(_OVER, hint="via the chosen bridge less translated, where both are recorded")
    return [
        Column("pair", False),
        Column("verdict", False, f"at {number(ALPHA)} after Benjamini-Hochberg over this sweep"),
        *(Column(TITLES.get(name, name), False) for name in cells[0].axes),
        Column("direct"),
        *([translated] if TRANSLATED in routes else []),
        *(Column(code, hint=f"via {described(code)}") for code in bridges),
        *([Column("gold", hint=HINTS["gold"])] if any(cell.gold is not None for cell in cells) else []),
        Column("chosen", False),
        Column("gain", hint="via the chosen bridge less direct; out of fold where labels were used"),
        *([over] if TRANSLATED in routes else []),
        Column(
            "p",
            hint="two-sided exact McNemar; approximate randomisation of sentences and groups, as on the cell's page",
        ),
        Column("p, corrected", hint="after Benjamini-Hochberg over this sweep"),
        Column("cell", False, in_latex=False, in_page=False),
    ]


def _row(folder: Path, cell: SweepCell, columns: Sequence[Column], bridges: Sequence[str]) -> Row:
    titles = {column.title for column in columns}
    paired = cell.paired
    metrics = cell.run.metrics if cell.run.is_done else None
    against = metrics.against_translated if metrics is not None else None
    p = p_of(paired) if paired is not None else None
    routes = [cell.scores.get(DIRECT), cell.scores.get(TRANSLATED), *cell.via.values()]
    measured = [score for score in routes if score is not None]
    best = max(measured) if len(measured) > 1 else None

    def score(value: float | None) -> Cell:
        return Cell(number(value), value, is_strong=value is not None and value == best)

    return Row(
        [
            Cell(linked(folder, cell.run, cell.label), cell.label),
            # Sorted by what it comes to, best first, and filtered by the same.
            Cell(verdict_word(cell), sort_of(cell), plain=cell.plain_word),
            *(value or MISSING for value in cell.axes.values()),
            score(cell.scores.get(DIRECT)),
            *([score(cell.scores.get(TRANSLATED))] if TRANSLATED in titles else []),
            *(score(cell.via.get(code)) for code in bridges),
            *([Cell(number(cell.gold), cell.gold)] if "gold" in titles else []),
            cell.taken or MISSING,
            _difference(paired)._replace(mark=cell.mark),
            *([_difference(against)] if TRANSLATED in titles else []),
            Cell(probability(p), p),
            Cell(probability(cell.p_corrected), cell.p_corrected),
            cell.run.folder.name,
        ]
    )


def _difference(found: Paired | None) -> Cell:
    return mean_cell(Mean(found.difference, found.ci95, 1) if found is not None else None, is_signed=True)


def sort_of(cell: SweepCell) -> str:
    """A verdict's place among verdicts, and its word."""
    return f"{list(SIGNS).index(cell.kind)} {cell.word}"


def _controls(cells: Sequence[SweepCell]) -> Html:
    """What filters the list: hidden where no script runs, since it would do nothing."""
    text = tag("label", "Find ", tag("input", type="search", name="find", size="14", autocomplete="off"))
    verdicts = {sort_of(cell): cell.word for cell in sorted(cells, key=sort_of)}
    selects = [_select("verdict", 1, verdicts)]
    for place, name in enumerate(cells[0].axes, start=2):
        values = sorted({cell.axes[name] or MISSING for cell in cells})
        selects.append(_select(TITLES.get(name, name), place, {value: value for value in values}))
    count = tag("output", f"{len(cells)} cells", aria_live="polite")
    reset = tag("button", "Show all", type="reset")
    return tag("form", text, *selects, reset, count, class_="filter", hidden=True, role="search", aria_label="cells")


def _select(title: str, column: int, values: dict[str, str]) -> Html:
    options = [tag("option", f"any {title}", value="")]
    options += [tag("option", shown, value=value) for value, shown in values.items()]
    return tag("label", tag("span", title, class_="unseen"), tag("select", *options, name=title, data_column=column))
