"""The page of a sweep: a grid of verdicts, what is missing, the league table, every cell, and what they cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from bridgex.report.league_part import leagues
from bridgex.report.markup import Html, document, join, tag
from bridgex.report.run_files import read_run
from bridgex.report.sweep_cells import TITLES, WORDS, SweepCell, sweep_cells
from bridgex.report.sweep_cost import cost
from bridgex.report.sweep_failures import failures, not_begun
from bridgex.report.sweep_grid import grid
from bridgex.report.sweep_list import cell_list
from bridgex.report.tables import Table, number
from bridgex.report.words import ALPHA, SIGNS


def sweep_page(folder: Path, cells: Sequence[Path]) -> tuple[str, list[Table]]:
    """The page of a sweep, and its tables.

    Args:
        folder: the sweep's folder, from which links lead to the cells' pages.
        cells: its cells' folders.
    """
    runs = [read_run(cell, with_predictions=False) for cell in cells]
    found = sweep_cells(runs)
    parts = [grid(folder, found), leagues(runs), cell_list(folder, found), cost(found)]
    sections = [part[0] if part is not None else None for part in parts]
    # What is missing stands before the long list, which is where nobody would look for it.
    sections.insert(1, failures(folder, found))
    tables = [one for part in parts if part is not None for one in part[1]]
    page = document(f"{folder.name} - bridgex sweep", _head(folder, found), sections, has_script=True, is_wide=True)
    return page, tables


def _head(folder: Path, cells: Sequence[SweepCell]) -> Html:
    states = Counter(cell.state for cell in cells)
    states["not begun"] = len(not_begun(folder, cells))
    counts = ", ".join(f"{count} {state}" for state, count in sorted(states.items()) if count)
    kinds = Counter(cell.kind for cell in cells)
    said = ", ".join(f"{SIGNS[kind]} {WORDS[kind]} in {kinds[kind]}" for kind in WORDS if kinds[kind])
    named = [cell.run for cell in cells if cell.run.config]
    same = [named[0].name(group) for group in ("task", "model") if group not in cells[0].axes] if named else []
    same += [f"{TITLES['bridge']} {named[0].name('bridge')}"] if named and "bridge" not in cells[0].axes else []
    tested = sum(cell.p_corrected is not None for cell in cells)
    family = f"Verdicts hold at {number(ALPHA)} after Benjamini-Hochberg over {tested} tests."
    return join(
        tag("h1", f"Sweep {folder.name}"),
        tag("p", " · ".join(filter(None, [*same, f"{states.total()} cells: {counts or 'none yet'}"])), class_="quiet"),
        tag(
            "div",
            tag("p", f"The chosen bridge: {said or 'no cell is done yet'}."),
            tag("p", family, class_="small"),
            class_="verdict",
        ),
    )
