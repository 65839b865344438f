"""Tables of a page, and how numbers are written in them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from bridgex.report.markup import Html, join, scroll, tag

MISSING = "–"
# Light to middle blue: dark text stays legible on all of it.
_LIGHT, _DEEP = (247, 251, 255), (122, 178, 222)


class Column(NamedTuple):
    """One column.

    Attributes:
        title: its heading.
        is_number: aligned right.
        hint: what it holds, shown on pointing.
        can_sort: whether a sortable table can be sorted by it.
        group: heading over it and its neighbours of the same group.
        in_latex: whether a LaTeX table has it.
        in_page: whether the page has it; a CSV file has all.
    """

    title: str
    is_number: bool = True
    hint: str = ""
    can_sort: bool = True
    group: str = ""
    in_latex: bool = True
    in_page: bool = True


class Cell(NamedTuple):
    """One cell where text alone does not do.

    Attributes:
        text: what stands there.
        sort: what it is sorted by, where that is not its text; of a number, what a CSV file holds.
        tint: 0 to 1, the depth of its colour.
        is_strong: bold.
        plain: what stands there in a file, where that is not its text without markup.
        ci95: the interval behind its number, which a CSV file holds in columns of its own.
        mark: raised behind it in LaTeX: `*`, `†`.
        kind: class of its colour.
    """

    text: str
    sort: float | str | None = None
    tint: float | None = None
    is_strong: bool = False
    plain: str = ""
    ci95: tuple[float, float] | None = None
    mark: str = ""
    kind: str = ""


class Row(NamedTuple):
    """One row; the first cell is its heading."""

    cells: Sequence[str | Cell]
    is_strong: bool = False


class Table(NamedTuple):
    """A table of a page that is a CSV and a LaTeX file, too.

    Attributes:
        key: the name of its files.
        label: what a screen reader calls it, and the caption in LaTeX.
        columns: of every row.
        rows: of the body.
        footer: rows below the line, which sorting leaves there.
        note: below it.
        page_note: below it on the page only.
        marks: its cells' marks and what they mean, below it in LaTeX.
    """

    key: str
    label: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    footer: Sequence[Row] = ()
    note: str = ""
    page_note: str = ""
    marks: tuple[tuple[str, str], ...] = ()


def table(
    label: str,
    columns: Sequence[Column],
    rows: Sequence[Row],
    footer: Sequence[Row] = (),
    caption: str = "",
    is_sortable: bool = False,
) -> Html:
    """A table that scrolls by itself where the page is narrow.

    Args:
        label: what a screen reader calls it.
        columns: of every row.
        rows: of the body.
        footer: rows below the line.
        caption: above it.
        is_sortable: its headings are buttons.
    """

    is_heat = any(isinstance(cell, Cell) and cell.tint is not None for row in rows for cell in row.cells)
    parts = [
        tag("thead", *_headings(columns, is_sortable)),
        tag("tbody", *(_row(columns, row) for row in rows)),
        tag("tfoot", *(_row(columns, row) for row in footer)) if footer else "",
    ]
    # Not a <caption>: that is only as wide as the table, and small tables have long ones.
    above = tag("p", caption, class_="small") if caption else ""
    return join(above, scroll(label, tag("table", *parts, class_="heat" if is_heat else None)))


def tints(values: Sequence[float], low: float | None = None) -> list[float]:
    """Depths of colour for values, lightest at `low` or the smallest, deepest at the largest."""
    if not values:
        return []
    bottom = min(values) if low is None else low
    size = max(values) - bottom
    return [(value - bottom) / size if size > 0 else 0.0 for value in values]


def number(value: float | None, is_signed: bool = False) -> str:
    """A number as tables show it: three decimals without a leading zero, large ones with one.

    >>> number(0.75), number(-0.025), number(1), number(162), number(0.4, is_signed=True), number(None)
    ('.750', '−.025', '1.000', '162.0', '+.400', '–')
    """
    if value is None:
        return MISSING
    text = f"{value:+,.3f}" if abs(value) < 10 else f"{value:+,.1f}"
    sign, digits = text[0], text[1:]
    if not float(digits.replace(",", "")):
        sign = " "
    digits = digits.removeprefix("0") if abs(value) < 1 and digits.startswith("0.") else digits
    shown = {"-": "−", "+": "+" if is_signed else ""}.get(sign, "")
    return f"{shown}{digits}"


def interval(bounds: tuple[float, float] | None, is_signed: bool = False) -> str:
    """An interval.

    >>> interval((0.25, 0.5))
    '[.250, .500]'
    """
    return MISSING if bounds is None else f"[{number(bounds[0], is_signed)}, {number(bounds[1], is_signed)}]"


def probability(value: float | None) -> str:
    """A p value without its name.

    >>> probability(0.0063), probability(0.0001), probability(1.0)
    ('.006', '< .001', '1.000')
    """
    if value is None:
        return MISSING
    return "< .001" if value < 0.001 else number(value)


def p_equals(value: float) -> str:
    """A p value with its name: `p = .006`."""
    shown = probability(value)
    return f"p {shown}" if shown.startswith("<") else f"p = {shown}"


def _headings(columns: Sequence[Column], is_sortable: bool) -> list[Html]:
    """The head's rows: two where columns come in groups."""
    has_groups = any(column.group for column in columns)

    def heading(place: int, column: Column) -> Html:
        title: str = column.title
        if is_sortable and column.can_sort:
            # Below a group's heading its place in the row is not its column's.
            title = tag("button", title, type="button", data_column=place if has_groups else None)
        rows = 2 if has_groups and not column.group else None
        return tag("th", title, scope="col", rowspan=rows, class_=_alignment(column), title=column.hint or None)

    cells = [heading(place, column) for place, column in enumerate(columns)]
    if not has_groups:
        return [tag("tr", *cells)]
    above: list[Html] = []
    for group, found in groupby(zip(columns, cells, strict=True), key=lambda one: one[0].group):
        inner = [cell for _, cell in found]
        above += [tag("th", group, scope="colgroup", colspan=len(inner), class_="group")] if group else inner
    below = [cell for column, cell in zip(columns, cells, strict=True) if column.group]
    return [tag("tr", *above), tag("tr", *below)]


def _alignment(column: Column) -> str | None:
    return "num" if column.is_number else None


def _row(columns: Sequence[Column], row: Row) -> Html:
    cells = []
    for place, (column, given) in enumerate(zip(columns, row.cells, strict=True)):
        cell = given if isinstance(given, Cell) else Cell(given)
        attributes = {
            "class_": " ".join(filter(None, [_alignment(column), "strong" if cell.is_strong else "", cell.kind]))
            or None,
            # Nine digits tell any two numbers apart that a page shows, and keep it small.
            "data_sort": f"{cell.sort:.9g}" if isinstance(cell.sort, float) else cell.sort,
            "style": None if cell.tint is None else f"background:{_colour(cell.tint)}",
        }
        cells.append(tag("td", cell.text, **attributes) if place else tag("th", cell.text, scope="row", **attributes))
    return tag("tr", *cells, class_="strong" if row.is_strong else None)


def _colour(depth: float) -> str:
    kept = min(1.0, max(0.0, depth))
    mixed = [round(light + (deep - light) * kept) for light, deep in zip(_LIGHT, _DEEP, strict=True)]
    return "#" + "".join(f"{channel:02x}" for channel in mixed)
