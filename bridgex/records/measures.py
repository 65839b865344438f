"""measures.jsonl: the long table of both studies, a line a measurement."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from bridgex.records.files import write_text
from bridgex.records.schema import MeasureRow, StrategyRecord


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
        estimator = estimators.get(strategy)

        def row(
            bridge: str | None, block: int | None, measure: str, value: float, of: str | None = estimator
        ) -> MeasureRow:
            return MeasureRow(
                model=model, source=source, target=target, bridge=bridge, block=block, site="mlp_act", pooling="mean",
                measure=measure, estimator=of, value=value, n=1, seed=seed,
            )  # fmt: skip

        for code, record in ranking.scores.items():
            rows.append(row(code, None, strategy, record.score))
            rows += [row(code, block, f"{strategy}_raw", value) for block, value in (record.block_scores or {}).items()]
        for name, sizes in ranking.set_sizes.items():
            bridge = None if name == "overlap" else name
            rows += [row(bridge, block, "num_neurons", float(size), None) for block, size in sizes.items()]
    return rows


def write_measures(folder: Path, rows: Iterable[MeasureRow]) -> None:
    """Writes measures.jsonl whole."""
    write_text(folder / "measures.jsonl", "".join(row.model_dump_json() + "\n" for row in rows))
