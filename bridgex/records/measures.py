"""measures.jsonl: the long table of both studies, a line a measurement."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from bridgex.records.files import as_lines, read_lines, write_text
from bridgex.records.schema import MeasureRow, StrategyRecord
from bridgex.records.train_schema import DriftRecord, TrainMeasureRow, TrainMetrics

# Strategies that read activations, and of those the site and how tokens become one number; the others read words,
# answers or nothing.
_READ: Mapping[str, tuple[str, str]] = {
    **dict.fromkeys(("hsic", "hsic_or_direct", "overlap", "cosine"), ("mlp_act", "mean")),
    "convergence": ("hidden", "last"),
    "alignment": ("hidden", "mean"),
}
_UNREAD = ("none", "none")


def measure_rows(
    rankings: Mapping[str, StrategyRecord],
    model: str,
    source: str,
    target: str,
    estimators: Mapping[str, str],
    seed: int,
) -> list[MeasureRow]:
    """What the strategies measured: every score, every block's score, every set's size.

    Args:
        rankings: by strategy.
        model: its name.
        source: code.
        target: code.
        estimators: by strategy, where it has one.
        seed: of the run.
    """
    rows = []
    for strategy, ranking in rankings.items():
        site, pooling = _READ.get(strategy, _UNREAD)
        row = partial(MeasureRow, model=model, source=source, target=target, site=site, pooling=pooling, seed=seed)
        scored = partial(row, estimator=estimators.get(strategy), n=ranking.num_samples)
        for code, record in ranking.scores.items():
            rows.append(scored(bridge=code, block=None, measure=strategy, value=record.score))
            for block, value in (record.block_scores or {}).items():
                rows.append(scored(bridge=code, block=block, measure=f"{strategy}_raw", value=value))
        for name, sizes in ranking.set_sizes.items():
            bridge = None if name == "overlap" else name
            for block, size in sizes.items():
                rows.append(
                    row(bridge=bridge, block=block, measure="num_neurons", value=float(size), estimator=None, n=None)
                )
    return rows


def train_measure_rows(metrics: TrainMetrics, drift: Iterable[DriftRecord]) -> list[TrainMeasureRow]:
    """What a run of train.py measured: transfer, drift of every block by both estimators, controls, distances.

    Args:
        metrics: of the run.
        drift: of its last step, every pooling.
    """
    row = partial(
        TrainMeasureRow,
        model=metrics.model,
        source=metrics.source,
        bridge=None,
        seed=metrics.seed,
        freeze=metrics.freeze,
        block=None,
        site="none",
        pooling="none",
        estimator=None,
        n=None,
    )
    rows = []
    for code, score in metrics.transfer.items():
        rows.append(row(target=code, measure="transfer", value=score.score, n=score.n))
        if score.gap is not None:
            rows.append(row(target=code, measure="transfer_gap", value=score.gap, n=score.n))
    for found in drift:
        for estimator in ("unbiased", "biased"):
            values: list[float | None] = getattr(found, estimator)
            rows += [
                row(
                    target=found.language,
                    measure="drift",
                    value=value,
                    n=found.n,
                    block=block,
                    site="hidden",
                    pooling=found.pooling,
                    estimator=estimator,
                )
                for block, value in enumerate(values)
                if value is not None
            ]
    controls = metrics.controls
    for measure, values_of in (
        ("untrained", controls.untrained),
        ("hypothesis_only", controls.hypothesis_only or {}),
        ("fertility", controls.fertility),
        ("profile_similarity", controls.profile_similarity),
        ("hsic", controls.hsic),
    ):
        rows += [row(target=code, measure=measure, value=value) for code, value in values_of.items()]
    for code, blocks in controls.alignment.items():
        rows += [
            row(
                target=code,
                measure="alignment",
                value=value,
                block=block,
                site="hidden",
                pooling=metrics.pooling,
                estimator=metrics.estimator,
            )
            for block, value in blocks.items()
        ]
    for kind, by_code in metrics.distances.items():
        rows += [row(target=code, measure=f"distance_{kind}", value=value) for code, value in by_code.items()]
    return rows


def read_measures(folder: Path) -> list[MeasureRow]:
    """measures.jsonl of a run of evaluate.py; empty where it is not there.

    Raises:
        UserError: a line is damaged.
    """
    return read_lines(folder / "measures.jsonl", MeasureRow)


def write_measures(folder: Path, rows: Iterable[MeasureRow]) -> None:
    """Writes measures.jsonl whole."""
    write_text(folder / "measures.jsonl", as_lines(rows))
