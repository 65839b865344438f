"""What of a run of train.py is mirrored: summary, drift by block, tables; no W&B in here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from bridgex.lit.wandb_content import Sheet, read_json

_TRANSFER = ("score", "gap", "n")
_RELATION = (
    "relation", "kind", "pooling", "block", "spearman", "pearson", "p", "p_corrected", "p_holm", "n", "partial",
)  # fmt: skip


def train_summary(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Values of one run by name; empty for a run of evaluate.py."""
    transfer: Mapping[str, Mapping[str, Any]] = metrics.get("transfer") or {}
    # As in the run's own means: a language that chose the frozen blocks is left out.
    unreported = metrics.get("unreported") or []
    gaps = [score["gap"] for code, score in transfer.items() if score.get("gap") is not None and code not in unreported]
    sources = [score["score"] for score in transfer.values() if score.get("gap") is None]
    controls = metrics.get("controls") or {}
    found = {
        **{key: metrics.get(key) for key in ("loss", "steps", "freeze", "depth", "survives", "base_fingerprint")},
        "source_score": fmean(sources) if sources else None,
        "mean_gap": fmean(gaps) if gaps else None,
        **{key: controls.get(key) for key in ("chance", "majority")},
        **{f"transfer/{code}": score.get("score") for code, score in transfer.items()},
        **{f"gap/{code}": score.get("gap") for code, score in transfer.items()},
        **{f"hypothesis_only/{code}": score for code, score in (controls.get("hypothesis_only") or {}).items()},
    }
    return {key: value for key, value in found.items() if value is not None} if transfer else {}


def drift_by_block(metrics: Mapping[str, Any]) -> dict[int, dict[str, float]]:
    """By block, the drift of every language under the name of its chart."""
    rows: dict[int, dict[str, float]] = defaultdict(dict)
    for code, blocks in (metrics.get("drift") or {}).items():
        for block, value in blocks.items():
            rows[int(block)][f"drift/{code}"] = value
    return dict(sorted(rows.items()))


def train_sheets(folder: Path) -> Iterator[Sheet]:
    """The tables `transfer` and `relations`, as far as the run has them."""
    metrics = read_json(folder / "metrics.json")
    controls, distances = metrics.get("controls") or {}, metrics.get("distances") or {}
    beside = ("hypothesis_only", "untrained", "fertility", "profile_similarity")
    rows = [
        [
            code, *map(score.get, _TRANSFER), *(score.get("ci95") or (None, None)),
            *((controls.get(name) or {}).get(code) for name in beside),
            *(far.get(code) for far in distances.values()),
        ]
        for code, score in (metrics.get("transfer") or {}).items()
    ]  # fmt: skip
    if rows:
        columns = [
            "language",
            *_TRANSFER,
            "ci95_low",
            "ci95_high",
            *beside,
            *(f"distance_{kind}" for kind in distances),
        ]
        yield Sheet("transfer", columns, rows, len(rows))
    rows = [
        [*map(found.get, _RELATION), *(found.get("ci95") or (None, None))] for found in metrics.get("relations") or []
    ]
    if rows:
        yield Sheet("relations", [*_RELATION, "ci95_low", "ci95_high"], rows, len(rows))
