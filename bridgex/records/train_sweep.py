"""summary.json of a sweep of train.py: one row a cell, made from the cells' own files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from pydantic import Field

from bridgex.config.settings import from_yaml
from bridgex.errors import UserError
from bridgex.records.files import write_json
from bridgex.records.schema import Record, State
from bridgex.records.sweep import summary_row
from bridgex.records.train_files import read_train_metrics


class TrainSummaryRow(Record):
    """One cell of a sweep of train.py."""

    cell: str = Field(description="its folder's name")
    state: State
    model: str
    source: str
    task: str
    freeze: str = Field(description="none, or the setting: of random blocks their number, not which ones")
    seed: int | None
    source_score: float | None = Field(description="mean over the sources; null until the cell is done, as all below")
    target_score: float | None = Field(description="mean over the targets that are reported")
    gap: float | None = Field(description="mean transfer gap over the same")
    depth: float | None = Field(description="Spearman of block and drift")
    seconds: float | None = Field(description="that processes worked at it, less those that were killed")
    error: str | None


class TrainSummary(Record):
    """summary.json of a sweep of train.py."""

    cells: list[TrainSummaryRow]


def is_train_sweep(cells: Sequence[Path]) -> bool:
    """Whether a sweep is one of train.py: the first of its cells whose config can be read tells."""
    configs = (from_yaml(cell / "config.yaml") for cell in cells)
    return "finetune" in next(filter(None, configs), {})


def write_train_summary(folder: Path, cells: Sequence[Path]) -> TrainSummary:
    """Writes summary.json of a sweep of train.py.

    Args:
        folder: the sweep's folder.
        cells: its cells' folders.

    Raises:
        UserError: the folder cannot be written.
    """
    summary = TrainSummary(cells=[train_summary_row(cell) for cell in cells])
    write_json(folder / "summary.json", summary)
    return summary


def train_summary_row(cell: Path) -> TrainSummaryRow:
    """What one cell came to; a cell that is not done has no scores."""
    base, config = summary_row(cell), from_yaml(cell / "config.yaml")
    try:
        metrics = read_train_metrics(cell) if base.state == "done" else None
    except UserError:
        metrics = None
    source, seed = config.get("source"), config.get("seed")
    sources = metrics.source.split("+") if metrics is not None else []
    scores = metrics.transfer if metrics is not None else {}
    unreported = metrics.unreported if metrics is not None else []
    targets = [found for code, found in scores.items() if found.gap is not None and code not in unreported]
    return TrainSummaryRow(
        cell=base.cell,
        state=base.state,
        model=metrics.model if metrics is not None else base.model,
        source="+".join(map(str, source)) if isinstance(source, list) else str(source or ""),
        task=metrics.task if metrics is not None else base.task,
        freeze=freeze_setting(config, metrics.freeze if metrics is not None else "none"),
        seed=seed if isinstance(seed, int) else None,
        source_score=_mean([scores[code].score for code in sources if code in scores]),
        target_score=_mean([found.score for found in targets]),
        gap=_mean([found.gap for found in targets if found.gap is not None]),
        depth=metrics.depth if metrics is not None else None,
        seconds=base.seconds,
        error=base.error,
    )


def freeze_setting(config: Mapping[str, Any], recorded: str) -> str:
    """What a run froze, in words that are the same for every seed.

    Random blocks, and those chosen by correlation, differ from seed to seed or from source to source.

    Args:
        config: of the run.
        recorded: what its metrics say, where the config does not tell.
    """
    node = config.get("freeze")
    if not isinstance(node, Mapping):
        return recorded
    bottom = node.get("bottom") or 0
    blocks = sorted({*(node.get("layers") or []), *range(1, bottom + 1)})
    parts = ["embeddings"] if node.get("embeddings") or bottom else []
    if node.get("name") == "random":
        parts.append(f"{_blocks(node)} at random")
    if node.get("name") == "by_correlation":
        parts.append(f"{_blocks(node)} by {node.get('kind')} correlation")
    if blocks:
        parts.append("blocks " + " ".join(map(str, blocks)))
    return ", ".join(parts) or "none"


def _blocks(node: Mapping[str, Any]) -> str:
    count = node.get("num_layers")
    return f"{count} block{'' if count == 1 else 's'}"


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None
