"""Self-contained pages, made from a run's files only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bridgex.errors import UserError
from bridgex.records.files import write_json, write_text
from bridgex.records.relations import RELATIONS_FILE
from bridgex.records.train_files import is_train_run
from bridgex.records.train_sweep import is_train_sweep
from bridgex.report import ablation_part, answers_part, beside_part, ranking_part
from bridgex.report.about_part import about, verdict_box
from bridgex.report.markup import Html, document, join, tag
from bridgex.report.relate import relate_cells
from bridgex.report.run_files import RunFiles, english, read_run
from bridgex.report.sweep_page import sweep_page
from bridgex.report.table_files import write_tables
from bridgex.report.train_page import train_page
from bridgex.report.train_run import read_train_run
from bridgex.report.train_sweep_page import train_sweep_page
from bridgex.report.words import SIGNS, verdict

PAGE = "report.html"
_FILES = (
    "config.yaml",
    "status.json",
    "ranking.json",
    "metrics.json",
    "predictions.jsonl",
    "measures.jsonl",
    "log.jsonl",
)


def write_run_page(folder: Path) -> Path:
    """Writes `report.html` of a run in any state.

    Args:
        folder: the run's folder.

    Returns:
        The page.

    Raises:
        UserError: the page cannot be written.
    """
    # The second: also where config.yaml is damaged, and cannot tell.
    if is_train_run(folder) or (folder / "drift.jsonl").is_file():
        return _write(folder, train_page(read_train_run(folder)))
    return _write(folder, run_page(read_run(folder)))


def write_sweep_page(folder: Path, cells: Sequence[Path]) -> Path:
    """Writes `report.html` of a sweep and its tables as CSV and LaTeX; of one of train.py `relations.json` too.

    Args:
        folder: the sweep's folder.
        cells: its cells' folders.

    Returns:
        The page.

    Raises:
        UserError: the page cannot be written.
    """
    if is_train_sweep(cells):
        found = relate_cells(cells)
        write_json(folder / RELATIONS_FILE, found)
        page, tables = train_sweep_page(folder, cells, found)
    else:
        page, tables = sweep_page(folder, cells)
    write_tables(folder, tables)
    return _write(folder, page)


def write_page(path: Path) -> Path:
    """Writes the page of a run, or those of a sweep and all its cells, by what the folder holds.

    Raises:
        UserError: the folder holds neither, or a page cannot be written.
    """
    if (path / "status.json").is_file():
        return write_run_page(path)
    cells = sorted(found.parent for found in path.glob("*/status.json"))
    if not cells:
        raise UserError(
            f"{path}: holds no run (status.json) and no sweep (folders that hold one). "
            f"Give the folder of a run, or that of a sweep"
        )
    for cell in cells:
        write_run_page(cell)
    return write_sweep_page(path, cells)


def run_page(run: RunFiles) -> str:
    """The page of a run."""
    found = verdict(run)
    box = verdict_box(found.kind, SIGNS[found.kind], found.sentence, found.remarks, run.problems, run.status)
    parts = [
        answers_part.routes(run),
        beside_part.beside(run),
        ranking_part.ranking(run),
        ranking_part.blocks(run),
        ranking_part.neurons(run),
        ablation_part.ablation(run),
        answers_part.errors(run),
        answers_part.samples(run),
        about(run.folder, run.status, run.config_text, _FILES),
    ]
    title = " ".join(filter(None, [run.name("task"), run.pair, _model(run)])) or run.folder.name
    return document(f"{title} - bridgex", join(*_head(run), box), parts)


def _head(run: RunFiles) -> list[Html]:
    source, _, target = run.pair.partition("-")
    names = f"{english(source)} to {english(target)}" if target else ""
    num_items = f"{run.metrics.n} items" if run.metrics is not None else ""
    node = run.config.get("model")
    path = node.get("path") if isinstance(node, Mapping) else None
    model = f"{_model(run)} ({path})" if path else _model(run)
    facts = [run.name("task"), model, f"bridge={run.name('bridge')}", num_items, f"seed {run.config.get('seed')}"]
    title = f"{run.pair}: {names}" if names else run.folder.name
    return [
        tag("h1", title),
        tag("p", " · ".join(fact for fact in facts if fact), class_="quiet"),
    ]


def _model(run: RunFiles) -> str:
    return run.metrics.model if run.metrics is not None else run.name("model")


def _write(folder: Path, page: str) -> Path:
    path = folder / PAGE
    write_text(path, page)
    return path
