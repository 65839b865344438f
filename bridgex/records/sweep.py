"""summary.json of a sweep: one row a cell, made from the cells' own files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bridgex.config.settings import from_yaml
from bridgex.errors import UserError
from bridgex.records.files import write_json
from bridgex.records.schema import Summary, SummaryRow
from bridgex.records.store import read_metrics, read_status


def cells_of(folder: Path) -> list[Path]:
    """The folders of a sweep's cells, sorted by name."""
    return sorted(path.parent for path in folder.glob("*/status.json"))


def write_summary(folder: Path, cells: Sequence[Path]) -> Summary:
    """Writes summary.json of a sweep.

    Args:
        folder: the sweep's folder.
        cells: its cells' folders.
    """
    summary = Summary(cells=[summary_row(cell) for cell in cells])
    write_json(folder / "summary.json", summary)
    return summary


def summary_row(cell: Path) -> SummaryRow:
    """What one cell came to; a cell that is not done has no scores."""
    status, config = read_status(cell), from_yaml(cell / "config.yaml")
    try:
        metrics = read_metrics(cell) if status is not None and status.state == "done" else None
    except UserError:
        metrics = None

    def name(group: str) -> str:
        node = config.get(group)
        return str(node.get("name", "")) if isinstance(node, dict) else ""

    return SummaryRow(
        cell=cell.name,
        state=status.state if status is not None else "interrupted",
        model=name("model"),
        pair=name("pair"),
        task=name("task"),
        bridge=name("bridge"),
        scores={route: score.score for route, score in metrics.routes.items()} if metrics else {},
        chosen=metrics.chosen if metrics else None,
        chose_direct=metrics.chose_direct if metrics else False,
        verdict=metrics.paired.verdict if metrics and metrics.paired else None,
        seconds=status.seconds if status is not None else None,
        error=status.error if status is not None else "status.json is missing or damaged",
    )
