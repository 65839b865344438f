"""Lines and scatters as inline SVG whose text keeps its size on every screen: across, places are percentages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from bridgex.report.charts import axis_ticks
from bridgex.report.label_places import LINE, Place, name_places, side_steps, spread, text_width
from bridgex.report.markup import Html, tag
from bridgex.report.tables import number

# Units across within a line's own drawing, which is stretched to the chart's width.
_ACROSS = 1000
_TOP, _TOP_SMALL = 20, 6
_BELOW, _BELOW_SMALL = 36, 20
_TO_NAME = 16
_MAX_NAMES = 40
_NUM_EXTREMES = 5
# Share of a scatter's width, and pixels of its height, left free on each side for names.
_FREE, _FREE_DOWN = 0.09, 14
_MARGIN = 10.0
_MAX_TICKS = 13
_MAX_DIGITS = 9
# Values nearer than this differ by rounding.
_SAME = 1e-7


class Line(NamedTuple):
    """One line.

    Attributes:
        name: at its right end.
        hint: shown on pointing.
        points: x and y, from the left; y None: missing, a gap.
        kind: thick and blue (chosen) or thin.
        colour: of a thin one; None: grey.
    """

    name: str
    hint: str
    points: Sequence[tuple[float, float | None]]
    kind: Literal["plain", "chosen"] = "plain"
    colour: str | None = None


class Point(NamedTuple):
    """One point of a scatter.

    Attributes:
        name: beside it.
        hint: shown on pointing, before the values.
        x: its place across.
        y: its place up.
    """

    name: str
    hint: str
    x: float
    y: float


class Axes(NamedTuple):
    """What the axes show.

    Attributes:
        x: name of the axis across.
        y: name of the axis up.
    """

    x: str
    y: str


def lines(title: str, axes: Axes, rows: Sequence[Line], is_counted: bool = True) -> Html:
    """One line a row on one pair of axes, their names at the right end.

    Args:
        title: what the chart shows, below it.
        axes: their names.
        rows: chosen ones are drawn over the others; a row without a single value is left out.
        is_counted: whether x is counted, as blocks are, so that each of them has a tick; else it is measured.
    """
    shown = [row for row in rows if any(y is not None for _, y in row.points)]
    rows = sorted(shown, key=lambda row: row.kind == "chosen")
    named = _named(rows)
    values = [y for row in rows for _, y in row.points if y is not None]
    xs = sorted({x for row in rows for x, _ in row.points})
    height = max(240, round((len(named) + 2) * LINE))
    y_ticks = axis_ticks(*_ends([0.0, *values]))
    x_ticks = _every(xs) if is_counted else [tick for tick in axis_ticks(0.0, xs[-1]) if tick <= xs[-1]]
    left, right = x_ticks[0], xs[-1]
    bottom = _TOP + height

    def across(x: float) -> float:
        return (x - left) / (right - left) if right > left else 0.5

    def up(y: float) -> float:
        return bottom - height * (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])

    ends = {place: up([y for _, y in rows[place].points if y is not None][-1]) for place in named}
    places = dict(zip(ends, spread(list(ends.values()), LINE, _TOP + 2, bottom - 2), strict=True))
    x_marks = list(zip(map(across, x_ticks), _texts(x_ticks), strict=True))
    parts = _grid(x_marks, list(zip(map(up, y_ticks), _texts(y_ticks), strict=True)), bottom, axes)
    for place, row in enumerate(rows):
        path = tag("path", d=_path([(across(x), None if y is None else up(y)) for x, y in row.points]))
        # A thin line is hard to point at; an unseen thick one is not.
        stretched = tag(
            "svg",
            tag("g", path, class_="reach"),
            tag("g", path, style=f"stroke:{row.colour}" if row.colour else None),
            viewBox=f"0 0 {_ACROSS} {bottom}",
            preserveAspectRatio="none",
            width="100%",
            height=bottom,
        )
        inner = [tag("title", row.hint), stretched]
        if place in places:
            end = _last_x(row)
            to_name = tag("line", x1=3, x2=_TO_NAME - 3, y1=f"{ends[place]:.1f}", y2=f"{places[place]:.1f}")
            name = tag("text", row.name, x=_TO_NAME, y=f"{places[place] + 4:.1f}")
            inner.append(tag("svg", to_name if end == right else "", name, x="100%", y=0))
        parts.append(tag("g", *inner, class_=f"line {row.kind}"))
    return _figure(title, parts, bottom, max((text_width(rows[place].name) for place in named), default=0) + _TO_NAME)


def scatter(title: str, axes: Axes, points: Sequence[Point], caption: str, height: int = 260) -> Html:
    """Named points. Those that would hide each other stand side by side; names that find no room are left out.

    Args:
        title: what a screen reader calls it.
        axes: their names.
        points: at least one.
        caption: below it.
        height: in pixels.
    """
    bottom = _TOP + height
    across, up = (_scale(values) for values in _values(points))
    placed = [(_share(across, point.x), _down(up, point.y, _TOP, bottom)) for point in points]
    parts = _grid(_placed(across), _placed(up, _TOP, bottom), bottom, axes)
    shifts = side_steps(placed)
    places = (
        name_places(placed, shifts, [point.name for point in points], bottom, _MARGIN)
        if len(points) <= _MAX_NAMES
        else [None] * len(points)
    )
    for point, (x, y), shift, place in zip(points, placed, shifts, places, strict=True):
        hint = f"{point.hint}: {number(point.x)}, {number(point.y)}"
        parts.append(tag("svg", *_dot(point.name, hint, shift, place), x=f"{100 * x:.2f}%", y=f"{y:.1f}"))
    remarks = ["Points that would hide each other stand side by side."] if any(shifts) else []
    if num_left_out := places.count(None):
        remarks.append(f"{num_left_out} names that found no room are shown on pointing.")
    return _figure(" ".join([caption, *remarks]), parts, bottom, _MARGIN, title)


def small_scatter(title: str, points: Sequence[Point], caption: str, height: int = 90) -> Html:
    """A scatter to be seen beside others like it: no names, the ends of the axes only.

    Args:
        title: what a screen reader calls it.
        points: at least one.
        caption: below it.
        height: in pixels.
    """
    bottom = _TOP_SMALL + height
    across, up = (_Scale(ends, list(map(number, ends))) for ends in map(_ends, _values(points)))
    parts = _grid(_placed(across), _placed(up, _TOP_SMALL, bottom), bottom, None, _TOP_SMALL)
    dots = [
        tag(
            "circle",
            tag("title", f"{point.name}: {number(point.x)}, {number(point.y)}"),
            cx=f"{100 * _share(across, point.x):.1f}%",
            cy=f"{_down(up, point.y, _TOP_SMALL, bottom):.0f}",
            r=3.5,
        )
        for point in points
    ]
    return _figure(caption, [*parts, tag("g", *dots, class_="point")], bottom, _MARGIN, title, _BELOW_SMALL)


class _Scale(NamedTuple):
    """The ticks of one axis of a scatter, from its least to its greatest, and how they are written."""

    ticks: Sequence[float]
    texts: Sequence[str]


def _scale(values: Sequence[float]) -> _Scale:
    ticks = axis_ticks(*_ends(values), wanted=4)
    return _Scale(ticks, _texts(ticks))


def _ends(values: Sequence[float]) -> tuple[float, float]:
    """Least and greatest value; apart where all are equal but for rounding, so that an axis has a length."""
    low, high = min(values), max(values)
    if high - low >= _SAME:
        return low, high
    pad = 0.1 * max(abs(low), 0.01)
    return low - pad, high + pad


def _values(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    return [point.x for point in points], [point.y for point in points]


def _share(scale: _Scale, value: float) -> float:
    """Where a value stands, as a share of the width."""
    return _FREE + (1 - 2 * _FREE) * (value - scale.ticks[0]) / (scale.ticks[-1] - scale.ticks[0])


def _down(scale: _Scale, value: float, top: float, bottom: float) -> float:
    """Where a value stands, in pixels from above."""
    share = (value - scale.ticks[0]) / (scale.ticks[-1] - scale.ticks[0])
    return bottom - _FREE_DOWN - (bottom - top - 2 * _FREE_DOWN) * share


def _placed(scale: _Scale, top: float | None = None, bottom: float = 0.0) -> list[tuple[float, str]]:
    """Ticks with their places: across, or down between two heights."""
    places = [_share(scale, tick) if top is None else _down(scale, tick, top, bottom) for tick in scale.ticks]
    return list(zip(places, scale.texts, strict=True))


def _dot(name: str, hint: str, shift: float, place: Place | None) -> list[Html]:
    parts = [tag("title", hint), tag("circle", cx=shift or None, r=4.5, class_="point")]
    if place is None:
        return parts
    if place.is_far:
        ends = {"x1": shift + place.dx * 0.17, "x2": shift + place.dx * 0.94, "y1": (place.dy - 4) * 0.17}
        written = {key: f"{value:.1f}" for key, value in ends.items()}
        parts.append(tag("line", **written, y2=f"{place.dy - 4:.1f}", class_="leader"))
    parts.append(
        tag("text", name, x=f"{shift + place.dx:g}", y=f"{place.dy:.1f}", text_anchor=place.anchor, class_="name")
    )
    return parts


def _grid(
    x_ticks: Sequence[tuple[float, str]],
    y_ticks: Sequence[tuple[float, str]],
    bottom: float,
    axes: Axes | None,
    top: float = _TOP,
) -> list[Html]:
    """Lines and numbers of both axes."""
    parts = []
    for y, label in y_ticks:
        parts.append(tag("line", x1="0%", x2="100%", y1=f"{y:.1f}", y2=f"{y:.1f}", class_="grid"))
        parts.append(tag("text", label, x=-6, y=f"{y + 4:.1f}", text_anchor="end"))
    for x, label in x_ticks:
        parts.append(tag("line", x1=f"{100 * x:.2f}%", x2=f"{100 * x:.2f}%", y1=top, y2=bottom, class_="grid"))
        parts.append(tag("text", label, x=f"{100 * x:.2f}%", y=bottom + 15, text_anchor="middle"))
    parts.append(tag("line", x1="0%", x2="100%", y1=bottom, y2=bottom, class_="axis"))
    if axes is not None:
        parts.append(tag("text", axes.y, x=-38, y=10))
        parts.append(tag("text", axes.x, x="100%", y=bottom + 31, text_anchor="end"))
    return parts


def _figure(
    caption: str, parts: Sequence[Html], bottom: float, right: float, title: str = "", below: int = _BELOW
) -> Html:
    drawing = tag("svg", *parts, height=round(bottom + below), role="img", aria_label=title or caption)
    plot = tag("div", drawing, class_="plot", style=f"padding-right:{round(right)}px")
    return tag("figure", plot, tag("figcaption", caption))


def _named(rows: Sequence[Line]) -> list[int]:
    """Which rows have room for their name: all, or where they are too many, chosen ones and those at the ends."""
    if len(rows) <= _MAX_NAMES:
        return list(range(len(rows)))
    plain = [place for place, row in enumerate(rows) if row.kind != "chosen"]
    plain.sort(key=lambda place: [y for _, y in rows[place].points if y is not None][-1])
    chosen = [place for place, row in enumerate(rows) if row.kind == "chosen"]
    return [*plain[:_NUM_EXTREMES], *plain[-_NUM_EXTREMES:], *chosen]


def _path(points: Sequence[tuple[float, float | None]]) -> str:
    """A path with gaps; a value between two gaps is a dot, as the line's ends are round."""
    parts: list[str] = []
    is_open = False
    for x, y in points:
        if y is not None:
            parts.append(f"{'L' if is_open else 'M'}{round(_ACROSS * x)} {y:.1f}" + ("" if is_open else "h0"))
        is_open = y is not None
    return "".join(parts)


def _last_x(row: Line) -> float:
    return [x for x, y in row.points if y is not None][-1]


def _every(xs: Sequence[float]) -> list[float]:
    """The places with a tick: all, or as many as have room."""
    return list(xs[:: -(-len(xs) // _MAX_TICKS)])


def _texts(ticks: Sequence[float]) -> list[str]:
    """Ticks with as many decimals as tell them apart, without a leading zero."""
    digits = next((count for count in range(_MAX_DIGITS) if all(round(x, count) == x for x in ticks)), _MAX_DIGITS)
    return [_text(x, digits) for x in ticks]


def _text(value: float, digits: int) -> str:
    whole, _, part = f"{abs(value):,.{digits}f}".partition(".")
    shown = f"{'' if whole == '0' and part else whole}.{part}" if part else whole
    return "0" if not value else f"{'−' if value < 0 else ''}{shown}"
