"""Charts as inline SVG whose text keeps its size on every screen: places are percentages, nothing is scaled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from bridgex.report.markup import Html, join, tag
from bridgex.report.tables import interval, number

_ROW = 26
_TOP = 18


class Dot(NamedTuple):
    """One row of a dot-and-whisker chart.

    Attributes:
        label: what stands left of it.
        value: its place.
        ci95: its whisker.
        kind: its shape: circle, open circle (direct), diamond (chosen).
    """

    label: str
    value: float
    ci95: tuple[float, float] | None
    kind: Literal["plain", "direct", "chosen"] = "plain"


class Mark(NamedTuple):
    """A dashed line across a chart."""

    label: str
    value: float


def dots(title: str, rows: Sequence[Dot], marks: Sequence[Mark] = (), is_from_zero: bool = False) -> Html:
    """Values with their intervals, one under another on one axis.

    Args:
        title: what the chart shows, below it.
        rows: from the top.
        marks: lines across all rows.
        is_from_zero: whether the axis begins at 0.
    """
    values = [value for row in rows for value in (row.value, *(row.ci95 or ()))]
    values += [mark.value for mark in marks] + ([0.0] if is_from_zero else [])
    ticks = axis_ticks(min(values), max(values))
    bottom = _TOP + _ROW * len(rows)

    def x(value: float) -> str:
        return f"{100 * (value - ticks[0]) / (ticks[-1] - ticks[0]):.2f}%"

    parts = [tag("line", x1=x(tick), x2=x(tick), y1=_TOP, y2=bottom, class_="grid") for tick in ticks]
    parts.append(tag("line", x1="0%", x2="100%", y1=bottom, y2=bottom, class_="axis"))
    parts += [tag("text", number(tick), x=x(tick), y=bottom + 15, text_anchor="middle") for tick in ticks]
    for mark in marks:
        parts.append(tag("line", x1=x(mark.value), x2=x(mark.value), y1=_TOP - 3, y2=bottom, class_="mark"))
        anchor = "start" if mark.value < (ticks[0] + ticks[-1]) / 2 else "end"
        parts.append(tag("text", mark.label, x=x(mark.value), y=_TOP - 6, text_anchor=anchor))
    for place, row in enumerate(rows):
        y = _TOP + _ROW * place + _ROW / 2
        if row.ci95 is not None:
            low, high = map(x, row.ci95)
            parts.append(tag("line", x1=low, x2=high, y1=y, y2=y, class_=f"whisker {row.kind}"))
        parts.append(_shape(row, x(row.value), y))
    title += " The axis does not begin at 0." if ticks[0] > 0 else ""
    drawing = tag("svg", *parts, height=bottom + 22, role="img", aria_label=title)
    labels = tag("ol", *(tag("li", row.label) for row in rows), style=f"padding-top:{_TOP}px")
    numbers = tag("ol", *map(_numbers, rows), style=f"padding-top:{_TOP}px", aria_hidden="true")
    return tag("figure", tag("div", labels, drawing, numbers, class_="dots"), tag("figcaption", title))


def axis_ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers from at or below `low` to at or above `high`.

    >>> axis_ticks(0, 0.88)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    size = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(size / wanted))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if size / (power * factor) <= wanted)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(place * step, 10) for place in range(first, max(last, first + 1) + 1)]


def _numbers(row: Dot) -> Html:
    return tag("li", number(row.value), tag("span", f" {interval(row.ci95)}" if row.ci95 else "", class_="interval"))


def _shape(row: Dot, x: str, y: float) -> Html:
    shape = (
        tag("path", d="M0 -7 L7 0 L0 7 L-7 0 Z", class_="dot chosen")
        if row.kind == "chosen"
        else tag("circle", r=5, class_=f"dot {row.kind}")
    )
    hint = join(row.label, f" {number(row.value)} {interval(row.ci95)}" if row.ci95 else f" {number(row.value)}")
    return tag("svg", tag("title", hint), shape, x=x, y=y)
