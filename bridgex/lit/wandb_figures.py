"""What of a run's records is mirrored in figures; no W&B in here."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bridgex.lit.wandb_content import block_scores, ends, read_json

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MIN_POINTS = 3
_MAX_NAMED = 40  # points of a scatter that bear their language's code


def figures(folder: Path) -> Iterator[tuple[str, Figure]]:
    """Every figure that a run's files give, with its name.

    Args:
        folder: of a run of evaluate.py or train.py.
    """
    ranking, metrics = read_json(folder / "ranking.json"), read_json(folder / "metrics.json")
    if any(found.get("scores") for found in (ranking.get("strategies") or {}).values()):
        yield "ranking", ranking_figure(ranking)
    for strategy, scores in block_scores(folder).items():
        yield f"blocks_{strategy}", block_figure(strategy, scores, ranking)
    if any((metrics.get("drift") or {}).values()):
        yield "drift", drift_figure(metrics)
    scatters = relation_scatters(metrics)
    if scatters:
        yield "relations", relation_figure(scatters, metrics)


def ranking_figure(ranking: Mapping[str, Any]) -> Figure:
    """Scores with their 95 % intervals, best first; the chosen candidate is filled."""
    import matplotlib
    from matplotlib.figure import Figure

    found = {name: s["scores"] for name, s in (ranking.get("strategies") or {}).items() if s.get("scores")}
    num_columns, tallest = min(3, len(found)), max(map(len, found.values()))
    num_rows = math.ceil(len(found) / num_columns)
    with matplotlib.rc_context({"text.parse_math": False}):
        figure = Figure(figsize=(4 * num_columns, num_rows * (1.2 + 0.3 * tallest)), layout="constrained")
        for place, (strategy, scores) in enumerate(found.items(), start=1):
            axes = figure.add_subplot(num_rows, num_columns, place)
            order = sorted(scores, key=lambda code: scores[code].get("rank") or math.inf, reverse=True)
            for height, code in enumerate(order):
                score, (low, high) = scores[code].get("score"), ends(scores[code])
                if low is not None and high is not None:
                    axes.plot([low, high], [height, height], color="0.5", linewidth=2)
                if score is not None:
                    fill = "full" if code == ranking.get("chosen") else "none"
                    axes.plot(score, height, "o", color="C0", fillstyle=fill)
            axes.set_yticks(range(len(order)), order)
            axes.set_ylim(-0.5, len(order) - 0.5)
            axes.set_title(f"{ranking.get('pair')}: {strategy}")
    return figure


def block_figure(strategy: str, scores: Mapping[str, Mapping[int, float]], ranking: Mapping[str, Any]) -> Figure:
    """A heat map of the raw scores, blocks by candidates; a star marks the blocks that counted."""
    import matplotlib
    from matplotlib.figure import Figure

    blocks = sorted({block for by_block in scores.values() for block in by_block})
    counted = (ranking.get("strategies") or {}).get(strategy, {}).get("blocks") or []
    values = [[by_block.get(block, math.nan) for block in blocks] for by_block in scores.values()]
    with matplotlib.rc_context({"text.parse_math": False}):
        figure = Figure(figsize=(3 + 0.35 * len(blocks), 1.5 + 0.35 * len(scores)), layout="constrained")
        axes = figure.subplots()
        drawn = axes.imshow(values, aspect="auto", cmap="viridis")
        axes.set_xticks(range(len(blocks)), [f"{block}*" if block in counted else str(block) for block in blocks])
        axes.set_yticks(range(len(scores)), list(scores))
        axes.set_xlabel("block (* counted)")
        axes.set_title(f"{ranking.get('pair')}: {strategy}, raw")
        figure.colorbar(drawn, ax=axes)
    return figure


def drift_figure(metrics: Mapping[str, Any]) -> Figure:
    """A heat map of drift, blocks by languages, those that moved most above."""
    import matplotlib
    from matplotlib.figure import Figure

    drift = {code: {int(b): value for b, value in found.items()} for code, found in metrics["drift"].items() if found}
    blocks = sorted({block for found in drift.values() for block in found})
    codes = sorted(drift, key=lambda code: -sum(drift[code].values()) / len(drift[code]))
    values = [[drift[code].get(block, math.nan) for block in blocks] for code in codes]
    with matplotlib.rc_context({"text.parse_math": False}):
        figure = Figure(figsize=(3 + 0.35 * len(blocks), 1.5 + 0.25 * len(codes)), layout="constrained")
        axes = figure.subplots()
        drawn = axes.imshow(values, aspect="auto", cmap="viridis")
        axes.set_xticks(range(len(blocks)), list(map(str, blocks)))
        axes.set_yticks(range(len(codes)), codes)
        axes.set_xlabel("block (0: embeddings)")
        axes.set_title(f"{_names(metrics)}: drift, {metrics.get('pooling')}")
        figure.colorbar(drawn, ax=axes)
    return figure


class Scatter(NamedTuple):
    """Languages as points: two of distance, drift and transfer."""

    relation: str
    kind: str
    block: int | None
    points: dict[str, tuple[float, float]]
    said: str


def relation_scatters(metrics: Mapping[str, Any]) -> list[Scatter]:
    """One scatter a relation and kind, of drift at the block whose recorded correlation is farthest from 0.

    Args:
        metrics: of a run of train.py; any others give none.
    """
    rows: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for row in metrics.get("relations") or []:
        if row.get("pooling") in (None, metrics.get("pooling")) and row.get("spearman") is not None:
            rows[row["relation"], row["kind"]].append(row)
    found = []
    for (relation, kind), candidates in rows.items():
        row = max(candidates, key=lambda one: abs(one["spearman"]))
        block = row.get("block")
        x, y = (_values(metrics, part.strip(), kind, block) for part in relation.split("~"))
        if relation == "drift ~ distance":
            x, y = y, x  # what is given before any training lies across
        points = {code: (x[code], y[code]) for code in _targets(metrics) if code in x and code in y}
        if len(points) >= _MIN_POINTS:
            found.append(Scatter(relation, kind, block, points, _said(row, len(candidates))))
    return found


def relation_figure(scatters: Sequence[Scatter], metrics: Mapping[str, Any]) -> Figure:
    """The scatters beside each other, each point a target language."""
    import matplotlib
    from matplotlib.figure import Figure

    num_columns = min(3, len(scatters))
    num_rows = math.ceil(len(scatters) / num_columns)
    with matplotlib.rc_context({"text.parse_math": False}):
        figure = Figure(figsize=(4 * num_columns, 3.4 * num_rows), layout="constrained")
        figure.suptitle(f"{_names(metrics)}: target languages")
        for place, scatter in enumerate(scatters, start=1):
            _draw(figure.add_subplot(num_rows, num_columns, place), scatter, str(metrics.get("metric")))
    return figure


def _draw(axes: Axes, scatter: Scatter, metric: str) -> None:
    names = {
        "distance": f"{scatter.kind} distance",
        "drift": "drift" if scatter.block is None else f"drift, block {scatter.block}",
        "transfer": metric,
    }
    sides = [part.strip() for part in scatter.relation.split("~")]
    x, y = reversed(sides) if scatter.relation == "drift ~ distance" else sides
    axes.plot(*zip(*scatter.points.values(), strict=True), "o", color="C0")
    if len(scatter.points) <= _MAX_NAMED:
        for place in dict.fromkeys(scatter.points.values()):
            codes = ", ".join(code for code, its in scatter.points.items() if its == place)
            axes.annotate(codes, place, xytext=(4, 3), textcoords="offset points", fontsize=8)
    axes.margins(0.12)
    axes.set_xlabel(names[x])
    axes.set_ylabel(names[y])
    axes.set_title(scatter.said, fontsize=9)


def _said(row: Mapping[str, Any], num_blocks: int) -> str:
    """The correlation as recorded: a chosen block's is told by its corrected p only."""
    text = f"Spearman {row['spearman']:+.2f}, n = {row.get('n')}"
    if row.get("p_corrected") is not None:
        text += f", corrected p = {row['p_corrected']:.3f}"
    return f"{text}\nthe largest of {num_blocks} blocks" if num_blocks > 1 else text


def _values(metrics: Mapping[str, Any], part: str, kind: str, block: int | None) -> dict[str, float]:
    if part == "distance":
        return dict((metrics.get("distances") or {}).get(kind) or {})
    if part == "drift":
        drift: Mapping[str, Mapping[str, float]] = metrics.get("drift") or {}
        return {code: found[str(block)] for code, found in drift.items() if str(block) in found}
    return {code: score["score"] for code, score in (metrics.get("transfer") or {}).items()}


def _targets(metrics: Mapping[str, Any]) -> list[str]:
    left_out = {*str(metrics.get("source")).split("+"), *(metrics.get("unreported") or [])}
    return [code for code in metrics.get("transfer") or {} if code not in left_out]


def _names(metrics: Mapping[str, Any]) -> str:
    return " ".join(str(metrics[key]) for key in ("model", "source") if metrics.get(key))
