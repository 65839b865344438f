"""The page of a sweep: a grid of verdicts, what is missing, the league table, every cell, and what they cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from bridgex.report.league_part import leagues
from bridgex.report.markup import Html, document, join, tag
from bridgex.report.run_files import read_run
from bridgex.report.sweep_cells import TITLES, WORDS, SweepCell, natural, num_tests, sweep_cells
from bridgex.report.sweep_cost import cost
from bridgex.report.sweep_failures import failures, not_begun
from bridgex.report.sweep_grid import grid
from bridgex.report.sweep_list import cell_list
from bridgex.report.tables import Table, number
from bridgex.report.words import ALPHA, SIGNS, Kind
from bridgex.shown import counted


def sweep_page(folder: Path, cells: Sequence[Path]) -> tuple[str, list[Table]]:
    """The page of a sweep, and its tables.

    Args:
        folder: the sweep's folder, from which links lead to the cells' pages.
        cells: its cells' folders.
    """
    runs = [read_run(cell, with_predictions=False) for cell in cells]
    # A folder's name ends in a hash, which would shuffle settings.
    found = sorted(
        sweep_cells(runs),
        key=lambda cell: (cell.run.folder.name.rpartition("_")[0], [natural(value) for value in cell.axes.values()]),
    )
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
    named = [cell.run for cell in cells if cell.run.config]
    same = [named[0].name(group) for group in ("task", "model") if group not in cells[0].axes] if named else []
    same += [f"{TITLES['bridge']} {named[0].name('bridge')}"] if named and "bridge" not in cells[0].axes else []
    own, with_labels = num_tests(cells)
    family = f"Verdicts hold at {number(ALPHA)} after Benjamini-Hochberg over {counted(own, 'test')}."
    if any("bridge" in cell.axes for cell in cells):
        family += " A test counts once, however many strategies chose the same bridge."
    if with_labels:
        family += f" {with_labels} of bridges that labels chose are a family of their own."
    return join(
        tag("h1", f"Sweep {folder.name}"),
        tag("p", " · ".join(filter(None, [*same, f"{states.total()} cells: {counts or 'none yet'}"])), class_="quiet"),
        tag(
            "div",
            *(tag("p", sentence) for sentence in _verdicts(cells)),
            tag("p", family, class_="small"),
            class_="verdict",
        ),
    )


def _verdicts(cells: Sequence[SweepCell]) -> list[str]:
    """How often the chosen bridge helps or hurts; by strategy, since several share pairs and tasks."""
    by_strategy: dict[str, Counter[Kind]] = {}
    for cell in cells:
        by_strategy.setdefault(cell.axes.get("bridge", ""), Counter())[cell.kind] += 1
    found = []
    for strategy, kinds in by_strategy.items():
        said = ", ".join(f"{SIGNS[kind]} {WORDS[kind]} in {kinds[kind]}" for kind in WORDS if kinds[kind])
        beginning = f"{strategy}: the" if strategy else "The"
        found += [f"{beginning} chosen bridge {said}."] if said else []
    return found or ["No cell is done yet."]
