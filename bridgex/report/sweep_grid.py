"""The grid of a sweep: pairs down, tasks (and what else varies) across; in each field a verdict and its scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bridgex.report.league import DIRECT
from bridgex.report.markup import Html, Section, join, section, tag
from bridgex.report.sweep_cells import HINTS, MARKS, TITLES, TRANSLATED, SweepCell, linked, natural, setting
from bridgex.report.table_files import keys_of, with_files
from bridgex.report.tables import MISSING, Cell, Column, Row, Table, number
from bridgex.report.words import ALPHA, SIGNS, Kind

MAX_FIELDS = 6
"""Fields side by side; what would have more becomes several grids."""

_NOTES = {
    TRANSLATED: " Translated: the context put straight into the target language.",
    "gold": " Gold, never bold: the data set's own text in the bridge, an upper bound.",
}

Key = tuple[str, ...]


def grids(cells: Sequence[SweepCell]) -> list[tuple[str, list[SweepCell], list[str]]]:
    """Cells by grid: its heading, its cells, and the axes across.

    None where a grid would say no more than the list of cells: one pair, or one field a pair.
    """
    placed = [cell for cell in cells if cell.run.pair]
    across = list(placed[0].axes) if placed else []
    down: list[str] = []
    if len({cell.run.pair for cell in placed}) < 2 or not across:
        return []
    while len(across) > 1 and max(len(_fields(found, across)) for found in _split(placed, down).values()) > MAX_FIELDS:
        down.append(across.pop(0))
    # The last axis, the tasks where they vary, stays, however long: pairs by tasks are what a grid is for.
    return [(_heading(down, key), found, across) for key, found in _split(placed, down).items()]


def grid(folder: Path, cells: Sequence[SweepCell]) -> tuple[Section, list[Table]] | None:
    """The grids of a sweep as a section, and their tables; None where the list of cells says it all."""
    split = grids(cells)
    keys = keys_of("grid", [heading for heading, _, _ in split])
    found = [
        (heading, _table(folder, key, heading, own, across))
        for key, (heading, own, across) in zip(keys, split, strict=True)
    ]
    if not found:
        return None
    parts: list[Html] = [tag("p", _legend(), class_="small")]
    for heading, one in found:
        parts += [tag("h3", heading)] if heading else []
        parts.append(tag("div", with_files(one), class_="fields"))
    return section("grid", "Grid", *parts), [one for _, one in found]


def _legend() -> Html:
    signs: dict[Kind, str] = {
        "helps": "the bridge helps",
        "hurts": "it hurts",
        "open": "no evidence",
        "none": "no bridge",
    }
    shown = [
        tag("span", tag("span", SIGNS[kind], class_="sign"), word, class_=f"legend {kind}")
        for kind, word in signs.items()
    ]
    text = f"at {number(ALPHA)} after Benjamini-Hochberg over this sweep. Signs lead to the cells' own pages."
    return join(*(piece for one in shown for piece in (one, " ")), text)


def _split(cells: Sequence[SweepCell], names: Sequence[str]) -> dict[Key, list[SweepCell]]:
    found: dict[Key, list[SweepCell]] = {}
    for cell in cells:
        found.setdefault(_key(cell, names), []).append(cell)
    return found


def _heading(names: Sequence[str], key: Key) -> str:
    return ", ".join(f"{TITLES.get(name, name)} {value}" for name, value in zip(names, key, strict=True))


def _fields(cells: Sequence[SweepCell], across: Sequence[str]) -> list[Key]:
    return sorted({_key(cell, across) for cell in cells}, key=lambda key: [natural(value) for value in key])


def _key(cell: SweepCell, names: Sequence[str]) -> Key:
    return tuple(cell.axes[name] for name in names)


def _table(folder: Path, key: str, heading: str, cells: Sequence[SweepCell], across: Sequence[str]) -> Table:
    fields = _fields(cells, across)
    # Columns that only some tasks have.
    more = {field: _recorded([cell for cell in cells if _key(cell, across) == field]) for field in fields}
    columns = [Column("pair", False)]
    for field in fields:
        named = " ".join(setting(*one) for one in zip(across, field, strict=True))
        columns += _columns(named.strip() or "not known", more[field])
    rows: dict[tuple[str, int], dict[Key, SweepCell]] = {}
    for cell in cells:
        field, again = _key(cell, across), 0
        while field in rows.setdefault((cell.run.pair, again), {}):  # a second run of the same: a row of its own
            again += 1
        rows[cell.run.pair, again][field] = cell
    body = [
        Row([pair, *(one for field in fields for one in _field(folder, found.get(field), more[field]))])
        for (pair, _), found in sorted(rows.items())
    ]
    label = f"direct and through the chosen bridge{f', {heading}' if heading else ''}"
    notes = [text for name, text in _NOTES.items() if any(name in names for names in more.values())]
    note = f"Bold: the best of the field. Verdict: via against direct.{''.join(notes)}"
    return Table(key, label, columns, body, note=note, marks=MARKS)


def _recorded(cells: Sequence[SweepCell]) -> set[str]:
    found = {"gold": [cell.gold for cell in cells], TRANSLATED: [cell.translated for cell in cells]}
    return {name for name, scores in found.items() if any(score is not None for score in scores)}


def _columns(title: str, more: set[str]) -> list[Column]:
    """The columns of one field; of translated and gold those that are recorded."""
    found = [
        Column(tag("span", "verdict", class_="unseen"), False, can_sort=False, group=title, in_latex=False),
        Column("direct", group=title),
        Column(TRANSLATED, hint=HINTS[TRANSLATED], group=title),
        Column("via", hint="through the chosen bridge; out of fold where labels were used", group=title),
        Column("bridge", False, "the chosen one", group=title),
        Column("gold", hint=HINTS["gold"], group=title),
    ]
    return [column for column in found if column.title not in HINTS or column.title in more]


def _field(folder: Path, cell: SweepCell | None, more: set[str]) -> list[str | Cell]:
    if cell is None:
        return [""] * (4 + len(more))
    direct, via = cell.scores.get(DIRECT), through(cell)
    measured = [score for score in (direct, cell.translated, via) if score is not None]
    best = max(measured) if len(measured) > 1 else None

    def score(value: float | None, mark: str = "") -> Cell:
        return Cell(number(value), value, is_strong=value is not None and value == best, mark=mark, kind=cell.kind)

    word = cell.plain_word
    hidden = tag("span", word, class_="unseen")
    sign = tag("span", tag("span", SIGNS[cell.kind], aria_hidden="true"), hidden, title=word)
    taken = f"{cell.taken or MISSING}{'†' if cell.uses_labels else ''}" if cell.run.is_done else cell.word
    return [
        Cell(linked(folder, cell.run, sign), word, plain=word, kind=f"verdict-word {cell.kind}"),
        score(direct),
        *([score(cell.translated)] if TRANSLATED in more else []),
        score(via, cell.mark),
        Cell(taken, kind=cell.kind),
        *([Cell(number(cell.gold), cell.gold, kind=cell.kind)] if "gold" in more else []),
    ]


def through(cell: SweepCell) -> float | None:
    """Score through the chosen bridge; where labels chose it, out of fold, as its gain is."""
    direct = cell.scores.get("direct")
    if cell.uses_labels and cell.paired is not None and direct is not None:
        return direct + cell.paired.difference
    return None if cell.chosen is None else cell.via.get(cell.chosen)
