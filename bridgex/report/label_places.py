"""Where names beside points and lines stand so that they can be read, on a chart whose width is not known yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

LINE = 13
"""Pixels from one line of text to the next."""

# Of 11.5 px text; a little more than the mean letter, so that a wide one fits too.
_LETTER = 6.6
_ASCENT, _DESCENT = 9.0, 3.0
_RADIUS = 5.0
_FAR = 16.0
# So many points over one another get a list of names.
_COLUMN = 4
# Names are placed for a phone, a column and a whole page at once: a browser stretches the chart between these.
_WIDTHS = (230.0, 320.0, 460.0)

Box = tuple[float, float, float, float]


class Place(NamedTuple):
    """Where a name stands from its point, in pixels.

    Attributes:
        anchor: which of its ends is there: start, middle, end.
        dx: to the right.
        dy: down, of its base line.
        is_far: whether a line must lead to it.
    """

    anchor: str
    dx: float
    dy: float
    is_far: bool = False


_NEAR_PLACES = [
    Place("start", 8, 4),
    Place("end", -8, 4),
    Place("middle", 0, -8),
    Place("middle", 0, 17),
    Place("start", 6, -4),
    Place("end", -6, -4),
    Place("start", 6, 13),
    Place("end", -6, 13),
]
_FAR_PLACES = [
    Place(anchor, side * _FAR * stretch, 4 + way * LINE * lines, True)
    for lines in (1, 2, 3, 4, 5, 6)
    for stretch in (1, 2)
    for anchor, side in (("start", 1), ("end", -1))
    for way in (-1, 1)
]


def text_width(text: str) -> float:
    """Pixels that a text takes at most, or a little more."""
    return _LETTER * len(text) + 2


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places as near as can be to those wanted, no two nearer than a gap, in the same order.

    Args:
        wanted: in any order.
        gap: between neighbours; less where there is no room for it.
        low: least place.
        high: greatest place.
    """
    if not wanted:
        return []
    gap = min(gap, (high - low) / max(1, len(wanted) - 1))
    order = sorted(range(len(wanted)), key=lambda place: (wanted[place], place))
    # Groups that touch share the mean of what their members want: sum and number of (wanted - offset within).
    groups: list[list[float]] = []
    for rank, place in enumerate(order):
        groups.append([wanted[place] - gap * rank, 1.0])
        while len(groups) > 1 and groups[-2][0] / groups[-2][1] >= groups[-1][0] / groups[-1][1]:
            total, count = groups.pop()
            groups[-1] = [groups[-1][0] + total, groups[-1][1] + count]
    bases = [total / count for total, count in groups for _ in range(round(count))]
    found = [0.0] * len(wanted)
    for rank, (place, base) in enumerate(zip(order, bases, strict=True)):
        found[place] = min(max(base, low), high - gap * (len(wanted) - 1)) + gap * rank
    return found


def side_steps(points: Sequence[tuple[float, float]], near: float = 4.0, step: float = 9.0) -> list[float]:
    """How far each point goes to the side, in pixels, so that none hides another.

    Args:
        points: x as a share of the width, y in pixels.
        near: pixels between centres below which one hides the other.
        step: pixels from one to the next.
    """
    shifts: list[float] = []
    for place, (x, y) in enumerate(points):
        taken = {
            shifts[other]
            for other in range(place)
            if abs(points[other][1] - y) < near and abs(points[other][0] - x) * _WIDTHS[0] < near
        }
        ways = (sign * step * count for count in range(len(points) + 1) for sign in (1, -1))
        shifts.append(next(shift for shift in ways if shift not in taken))
    return shifts


def name_places(
    points: Sequence[tuple[float, float]], shifts: Sequence[float], names: Sequence[str], height: float, margin: float
) -> list[Place | None]:
    """Where the names of points stand.

    Args:
        points: x as a share of the width, y in pixels.
        shifts: pixels that each goes to the side.
        names: of the points.
        height: of the chart.
        margin: pixels beside the chart that names may use.

    Returns:
        A place for each name; None where it would cover another.
    """
    centres = [[(x * width + shift, y) for width in _WIDTHS] for (x, y), shift in zip(points, shifts, strict=True)]
    dots = [[_around(centre, _RADIUS) for centre in at] for at in centres]
    crowd = [sum(_is_near(one[0], other[0]) for other in centres) for one in centres]
    found: list[Place | None] = [None] * len(points)
    taken: list[list[Box]] = [[] for _ in _WIDTHS]

    def is_free(place: int, offered: Place, at: int, others: Sequence[Box]) -> bool:
        centre, width = centres[place][at], _WIDTHS[at]
        mine = [_name(centre, offered, names[place]), *_way(centre, offered)]
        return _is_within(mine[0], width + margin, -margin, height) and not any(
            _overlap(one, other) for one in mine for other in others
        )

    def settle(place: int, offered: Place) -> None:
        found[place] = offered
        for at, centre in enumerate(centres[place]):
            taken[at] += [_name(centre, offered, names[place]), *_way(centre, offered)]

    for column in _columns(points):
        listed = _beside(column, points, shifts, height)
        rest = [[dot[at] for place, dot in enumerate(dots) if place not in column] for at in range(len(_WIDTHS))]
        if all(is_free(place, listed[place], at, rest[at]) for place in column for at in range(len(_WIDTHS))):
            for place in column:
                settle(place, listed[place])
    open_places = [place for place in range(len(points)) if found[place] is None]
    for place in sorted(open_places, key=lambda place: (-crowd[place], points[place][1])):
        others = [
            [*taken[at], *(dot[at] for number, dot in enumerate(dots) if number != place)] for at in range(len(_WIDTHS))
        ]
        for offered in (*_NEAR_PLACES, *_FAR_PLACES):
            if all(is_free(place, offered, at, others[at]) for at in range(len(_WIDTHS))):
                settle(place, offered)
                break
    return found


def _columns(points: Sequence[tuple[float, float]]) -> list[list[int]]:
    """Points that stand over one another, where they are many: places in `points`."""
    columns: dict[float, list[int]] = {}
    for place, (x, _) in enumerate(points):
        columns.setdefault(round(x, 3), []).append(place)
    return [column for column in columns.values() if len(column) >= _COLUMN]


def _beside(
    column: Sequence[int], points: Sequence[tuple[float, float]], shifts: Sequence[float], height: float
) -> dict[int, Place]:
    """A list of names beside a column, towards the middle of the chart, a line to each."""
    anchor, side = ("end", -1) if points[column[0]][0] > 0.5 else ("start", 1)
    bases = spread([points[place][1] + 4 for place in column], LINE, LINE, height - LINE)
    return {
        place: Place(anchor, side * 2 * _FAR - shifts[place], base - points[place][1], True)
        for place, base in zip(column, bases, strict=True)
    }


def _around(centre: tuple[float, float], radius: float) -> Box:
    x, y = centre
    return x - radius, y - radius, x + radius, y + radius


def _is_near(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return abs(one[0] - other[0]) < 4 * LINE and abs(one[1] - other[1]) < 2 * LINE


def _name(centre: tuple[float, float], place: Place, name: str) -> Box:
    width = text_width(name)
    left = centre[0] + place.dx - {"start": 0.0, "middle": width / 2, "end": width}[place.anchor]
    base = centre[1] + place.dy
    return left, base - _ASCENT, left + width, base + _DESCENT


def _way(centre: tuple[float, float], place: Place) -> list[Box]:
    """The line that leads to a far name, as small boxes."""
    if not place.is_far:
        return []
    x, y = centre
    return [_around((x + place.dx * share, y + (place.dy - 4) * share), 1.0) for share in (0.25, 0.5, 0.75, 0.9)]


def _is_within(box: Box, right: float, left: float, height: float) -> bool:
    return box[0] >= left and box[2] <= right and box[1] >= 0 and box[3] <= height


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
