"""What a W&B report of a sweep says and shows, from the sweep's records; no W&B in here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from bridgex.errors import UserError
from bridgex.records.relations import read_relations
from bridgex.records.schema import Record
from bridgex.records.train_files import read_train_metrics
from bridgex.records.train_sweep import is_train_sweep
from bridgex.report.league import standings
from bridgex.report.league_part import groups, headline
from bridgex.report.run_files import RunFiles, read_run
from bridgex.report.sweep_cells import SweepCell, sweep_cells
from bridgex.report.sweep_page import sweep_page
from bridgex.report.table_files import plain
from bridgex.report.tables import Cell, Table, number
from bridgex.report.train_sweep_page import train_sweep_page
from bridgex.report.words import ALPHA

MAX_ROWS = 200
"""Rows of a table in a report; the page has all."""
_PRIMARY = "hsic"  # what chooses where no record tells


class Chart(Record):
    """A panel over all runs of the sweep."""

    kind: Literal["bars", "images"]
    title: str
    keys: list[str] = Field(description="what the mirror logged: summary values for bars, figures for images")


class Part(Record):
    """A heading with what stands below it."""

    heading: str
    text: str = Field("", description="markdown")
    charts: list[Chart] = Field(default_factory=list)


def parts_of(folder: Path, cells: Sequence[Path]) -> list[Part]:
    """The parts of a sweep's report, in their order.

    Args:
        folder: the sweep's, whose page is up to date.
        cells: its cells' folders.

    Raises:
        UserError: a sweep of train.py has no relations.json, which its page brings.
    """
    found = _train_parts(folder, cells) if is_train_sweep(cells) else _parts(folder, cells)
    return [part for part in found if part.text or part.charts]


def markdown(table: Table) -> str:
    """A table in markdown, cut to `MAX_ROWS`, which is then said.

    Args:
        table: of the sweep's page.
    """
    lines = [
        _line([column.title for column in table.columns]),
        _line(["---:" if column.is_number else "---" for column in table.columns]),
        *(_line([_shown(cell) for cell in row.cells]) for row in table.rows[:MAX_ROWS]),
    ]
    if len(table.rows) > MAX_ROWS:
        lines.append(f"\n{MAX_ROWS} of {len(table.rows)} rows; the sweep's page has all.")
    return "\n".join(lines)


def _parts(folder: Path, cells: Sequence[Path]) -> list[Part]:
    runs = [read_run(cell, with_predictions=False) for cell in cells]
    found = sweep_cells(runs)
    tables = sweep_page(folder, cells)[1]
    routes = list(dict.fromkeys(route for cell in found for route in cell.scores))
    gains = ["difference"] if any(cell.paired is not None for cell in found) else []
    ranked = _strategies(runs)
    mapped = [name for name in ranked if _has_map(runs, name)]
    return [
        Part(heading="Verdicts", text=_verdicts(found, tables)),
        Part(heading="Which strategy chooses best", text=_league(runs, tables)),
        Part(
            heading="Scores",
            charts=[
                *_bars("Score by route", [f"score/{route}" for route in routes]),
                *_bars("Chosen bridge less direct", gains),
            ],
        ),
        Part(
            heading="Rankings",
            charts=_images("Scores with 95 % intervals; filled: the chosen bridge", ["ranking"] if ranked else []),
        ),
        Part(
            heading="Blocks",
            charts=[chart for name in mapped for chart in _images(f"Raw scores by block, {name}", [f"blocks_{name}"])],
        ),
    ]


def _verdicts(cells: Sequence[SweepCell], tables: Sequence[Table]) -> str:
    tested = sum(cell.p_corrected is not None for cell in cells)
    said = f"Verdicts hold at {number(ALPHA)} after Benjamini-Hochberg over {tested} tests. Bold: the row's best score."
    return "\n\n".join([said, *(markdown(table) for table in tables if table.key == "cells")])


def _league(runs: Sequence[RunFiles], tables: Sequence[Table]) -> str:
    chosen_by = (run.ranking.chosen_by for run in runs if run.ranking is not None and len(run.ranking.strategies) > 1)
    primary = next((name for name in chosen_by if name is not None), _PRIMARY)
    said = []
    for label, cells in groups(runs):
        said += [f"**{label}**"] if label else []
        said += headline(standings(cells), cells, primary)
    shown = [table for table in tables if table.key.startswith("league")]
    return "\n\n".join([*said, *(f"{markdown(table)}\n\n{table.note}" for table in shown)]) if said else ""


def _strategies(runs: Sequence[RunFiles]) -> list[str]:
    """Strategies that ranked anywhere, in their order."""
    rankings = [run.ranking for run in runs if run.ranking is not None]
    return list(dict.fromkeys(name for found in rankings for name, one in found.strategies.items() if one.scores))


def _has_map(runs: Sequence[RunFiles], strategy: str) -> bool:
    records = [run.ranking.strategies.get(strategy) for run in runs if run.ranking is not None]
    return any(one.block_scores for record in records if record is not None for one in record.scores.values())


def _train_parts(folder: Path, cells: Sequence[Path]) -> list[Part]:
    related = read_relations(folder)
    tables = train_sweep_page(folder, cells, related)[1]
    languages: dict[str, None] = {}
    has_drift = has_relations = False
    for cell in cells:
        try:
            metrics = read_train_metrics(cell)
        except UserError:  # of a cell that is not done
            continue
        languages.update(dict.fromkeys(metrics.transfer))
        has_drift |= any(metrics.drift.values())
        has_relations |= bool(metrics.relations)
    held = [f"{group.heading}: {group.survives}" for group in related.groups]
    scores = ["source_score", "mean_gap"] if languages else []
    return [
        Part(heading="Cells", text="\n\n".join(markdown(table) for table in tables if table.key == "cells")),
        Part(heading="What holds over all cells", text="\n\n".join(held)),
        Part(
            heading="Transfer",
            charts=[
                *_bars("Score by language", [f"transfer/{code}" for code in languages]),
                *_bars("Source score and mean transfer gap", scores),
            ],
        ),
        Part(heading="Drift", charts=_images("Drift by language and block", ["drift"] if has_drift else [])),
        Part(
            heading="Distance, drift and transfer",
            charts=_images("Target languages", ["relations"] if has_relations else []),
        ),
    ]


def _bars(title: str, keys: list[str]) -> list[Chart]:
    return [Chart(kind="bars", title=title, keys=keys)] if keys else []


def _images(title: str, names: list[str]) -> list[Chart]:
    return [Chart(kind="images", title=title, keys=[f"figures/{name}" for name in names])] if names else []


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(plain(cell).replace('|', chr(92) + '|') for cell in cells)} |"


def _shown(given: str | Cell) -> str:
    cell = given if isinstance(given, Cell) else Cell(given)
    text = cell.plain or plain(cell.text)
    return f"**{text}**" if cell.is_strong and text else text
