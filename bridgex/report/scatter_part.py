"""The part of a fine-tuning run's page that shows languages as points: distance, drift and transfer in pairs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from bridgex.records.train_schema import RelationName, RelationRecord, TrainMetrics
from bridgex.report.markup import Html, Section, section, tag
from bridgex.report.plots import Axes, Point, scatter, small_scatter
from bridgex.report.run_files import described
from bridgex.report.tables import number, probability
from bridgex.report.train_run import TrainRun, blocks_of
from bridgex.report.train_words import correlation, families, kinds, strongest, targets_of

_MIN_POINTS = 3
# Points of all small charts together, so that the page stays small.
_MAX_SMALL = 800
_TRANSFER = "transfer"

Values = Mapping[str, float]


class _Charts(NamedTuple):
    """A chart of one block, and small ones of the others."""

    shown: Html
    others: Html | None


def scatters(run: TrainRun) -> Section | None:
    """Distance against drift, drift against transfer, distance against transfer; None: there are no points."""
    metrics = run.metrics
    if metrics is None:
        return None
    parts = [
        *_group("Distance against drift", [_distance_drift(metrics, kind) for kind in metrics.distances]),
        *_group("Drift against transfer", [_drift_transfer(metrics)]),
        *_group("Distance against transfer", [_distance_transfer(metrics, kind) for kind in metrics.distances]),
    ]
    if not parts:
        return None
    note = f"A point is a target language ({len(targets_of(metrics))}); what was fine-tuned on is not among them."
    if metrics.distances and metrics.distances_origin is not None:
        note += f" Distances from {metrics.source}: {metrics.distances_origin}."
    return section("points", "Distance, drift and transfer", tag("p", note, class_="small"), *parts)


def _group(title: str, charts: list[_Charts | None]) -> list[Html]:
    found = [chart for chart in charts if chart is not None]
    if not found:
        return []
    others = [chart.others for chart in found if chart.others is not None]
    return [tag("h3", title), tag("div", *(chart.shown for chart in found), class_="plots"), *others]


def _distance_drift(metrics: TrainMetrics, kind: str) -> _Charts | None:
    by_block = {
        block: _points(metrics, metrics.distances[kind], _drift_of(metrics, block))
        for block in blocks_of(metrics.drift)
    }
    return _of_blocks(metrics, "drift ~ distance", kind, by_block, Axes(f"{kind} distance", "drift"))


def _drift_transfer(metrics: TrainMetrics) -> _Charts | None:
    by_block = {
        block: _points(metrics, _drift_of(metrics, block), _scores(metrics)) for block in blocks_of(metrics.drift)
    }
    return _of_blocks(metrics, "drift ~ transfer", _TRANSFER, by_block, Axes("drift", metrics.metric))


def _distance_transfer(metrics: TrainMetrics, kind: str) -> _Charts | None:
    points = _points(metrics, metrics.distances[kind], _scores(metrics))
    if len(points) < _MIN_POINTS:
        return None
    rows = families(metrics, "distance ~ transfer").get(None, [])
    found = next((row for row in rows if row.kind == kind), None)
    said = _said(found, len(points))
    what = f"{kind} distance and {metrics.metric}"
    return _Charts(scatter(what, Axes(f"{kind} distance", metrics.metric), points, f"{_upper(what)}: {said}."), None)


def _of_blocks(
    metrics: TrainMetrics, relation: RelationName, kind: str, by_block: Mapping[int, list[Point]], axes: Axes
) -> _Charts | None:
    """The block with the strongest correlation, else the deepest, with names; the others small."""
    drawn = {block: points for block, points in by_block.items() if len(points) >= _MIN_POINTS}
    if not drawn:
        return None
    records = kinds(families(metrics, relation).get(metrics.pooling, [])).get(kind, [])
    rows = {row.block: row for row in records if row.block in drawn}
    best = strongest(list(rows.values())).block if rows else None
    block = max(drawn) if best is None else best
    what = f"{axes.x} and {axes.y}"
    said = _said(rows.get(block), len(drawn[block]))
    if block in rows and len(rows) > 1:
        said += f". Shown: the block with the largest |Spearman| of {len(rows)}"
    axes = Axes(*(f"{name}, block {block}" if name == "drift" else name for name in axes))
    shown = scatter(f"{what}, block {block}", axes, drawn[block], f"{_upper(what)}, block {block}: {said}.")
    others = {other: points for other, points in drawn.items() if other != block}
    if not others:
        return _Charts(shown, None)
    summary = tag("summary", f"{what}, other blocks")
    if sum(map(len, others.values())) > _MAX_SMALL:
        return _Charts(shown, tag("details", summary, tag("p", "Too many points to draw: see the tables below.")))
    small = [_small(other, points, rows.get(other)) for other, points in others.items()]
    return _Charts(shown, tag("details", summary, tag("div", *small, class_="plots small-plots")))


def _said(row: RelationRecord | None, num_points: int) -> str:
    if row is None:
        return "no correlation is on record"
    if row.n == num_points:
        return correlation(row)
    return f"{correlation(row)}: some of the {num_points} languages drawn are left out of it"


def _small(block: int, points: list[Point], row: RelationRecord | None) -> Html:
    caption = f"block {block}"
    if row is not None:
        caption += f": {number(row.spearman, is_signed=True)}, corrected p {_equals(row.p_corrected)}"
    return small_scatter(f"block {block}", points, caption)


def _equals(p: float) -> str:
    shown = probability(p)
    return shown if shown.startswith("<") else f"= {shown}"


def _points(metrics: TrainMetrics, x: Values, y: Values) -> list[Point]:
    return [Point(code, described(code), x[code], y[code]) for code in targets_of(metrics) if code in x and code in y]


def _drift_of(metrics: TrainMetrics, block: int) -> dict[str, float]:
    return {code: values[block] for code, values in metrics.drift.items() if block in values}


def _scores(metrics: TrainMetrics) -> dict[str, float]:
    return {code: found.score for code, found in metrics.transfer.items()}


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
