"""Means over seeds with every seed beside them, one quantity a row, as inline SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bridgex.report.charts import axis_ticks
from bridgex.report.markup import Html, join, tag
from bridgex.report.tables import interval, number

# The rows' heights are those that the style sheet gives to the labels beside them.
_ROW, _TOP = 26, 18
_SEEDS_UP, _MEAN_DOWN, _SECOND_DOWN = -6, 4, 10


class Strip(NamedTuple):
    """One row.

    Attributes:
        label: what stands left of it.
        mean: over the seeds.
        ci95: its whisker; None: it has none.
        second: another interval of it, dashed; None: it has none.
        seeds: value by seed, a small dot each.
        is_strong: whether it is drawn as what holds.
    """

    label: str
    mean: float
    ci95: tuple[float, float] | None
    second: tuple[float, float] | None
    seeds: Mapping[int, float]
    is_strong: bool = False


def strips(title: str, rows: Sequence[Strip]) -> Html:
    """Values around 0: above the seeds, below them their mean with its intervals.

    Args:
        title: what the chart shows, below it.
        rows: from the top, at least one.
    """
    values = [0.0]
    for row in rows:
        values += [row.mean, *(row.ci95 or ()), *(row.second or ()), *row.seeds.values()]
    ticks = axis_ticks(min(values), max(values), wanted=4)
    bottom = _TOP + _ROW * len(rows)

    def x(value: float) -> str:
        return f"{100 * (value - ticks[0]) / (ticks[-1] - ticks[0]):.2f}%"

    parts = [tag("line", x1=x(tick), x2=x(tick), y1=_TOP, y2=bottom, class_="grid") for tick in ticks]
    parts.append(tag("line", x1="0%", x2="100%", y1=bottom, y2=bottom, class_="axis"))
    parts += [tag("text", number(tick, True), x=x(tick), y=bottom + 15, text_anchor="middle") for tick in ticks]
    parts.append(tag("line", x1=x(0.0), x2=x(0.0), y1=_TOP - 3, y2=bottom, class_="mark"))
    for place, row in enumerate(rows):
        middle = _TOP + _ROW * place + _ROW / 2
        kind = "chosen" if row.is_strong else "plain"
        for bounds, down, style in ((row.ci95, _MEAN_DOWN, f"whisker {kind}"), (row.second, _SECOND_DOWN, "mark")):
            if bounds is not None:
                low, high = map(x, bounds)
                parts.append(tag("line", x1=low, x2=high, y1=middle + down, y2=middle + down, class_=style))
        for seed, value in row.seeds.items():
            dot = tag("circle", r=2.5, class_="direct")
            hint = tag("title", f"seed {seed}: {number(value, True)}")
            parts.append(tag("svg", hint, dot, x=x(value), y=middle + _SEEDS_UP))
        shape = tag("path", d="M0 -6 L6 0 L0 6 L-6 0 Z", class_=f"dot {kind}")
        hint = tag("title", f"{row.label} {number(row.mean, True)} {interval(row.ci95, True)}")
        parts.append(tag("svg", hint, shape, x=x(row.mean), y=middle + _MEAN_DOWN))
    drawing = tag("svg", *parts, height=bottom + 22, role="img", aria_label=title)
    labels = tag("ol", *(tag("li", row.label) for row in rows), style=f"padding-top:{_TOP}px")
    numbers = tag("ol", *map(_numbers, rows), style=f"padding-top:{_TOP}px", aria_hidden="true")
    return tag("figure", tag("div", labels, drawing, numbers, class_="dots"), tag("figcaption", title))


def _numbers(row: Strip) -> Html:
    bounds = tag("span", f" {interval(row.ci95, True)}" if row.ci95 else "", class_="interval")
    return tag("li", join(number(row.mean, True), bounds))
