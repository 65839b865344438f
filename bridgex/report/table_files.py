"""A page's tables as files: CSV for counting on, LaTeX for a paper, both from what the page shows."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import count, groupby
from pathlib import Path
from unicodedata import category
from urllib.parse import quote

from bridgex.errors import UserError
from bridgex.records.files import write_text
from bridgex.report.markup import Html, join, tag
from bridgex.report.tables import MISSING, Cell, Column, Row, Table, table

FOLDER = "tables"
LONG = 40
"""Rows from which a LaTeX table may break over pages."""

_CONTROLS = ("Cc", "Cs", "Zl", "Zp")
WIDE = 66
"""Letters side by side from which it is set smaller."""
_REMARKS = (
    "% Letters beyond Latin need XeLaTeX or LuaLaTeX and a font that has them.",
    "% Wide: it needs a page on its side (package pdflscape).",
)

# Beginnings that a spreadsheet takes for a formula; the last four are the wide ones of East Asian keyboards.
_FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")
_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\char34{}",  # by itself it is a command of babel
    "`": r"\textasciigrave{}",
    "†": r"\dag{}",
    "−": "$-$",
    MISSING: r"\textendash{}",
    "…": r"\dots{}",
    "·": r"\textperiodcentered{}",
    "\N{NON-BREAKING HYPHEN}": "-",
    "\N{NO-BREAK SPACE}": "~",
}
_MARKS = {"*": "$^{*}$", "†": r"$^{\dagger}$"}


def with_files(found: Table) -> Html:
    """A table that can be sorted, its note, and links to its files."""
    links = [_link(found, title, ending) for title, ending in (("CSV", "csv"), ("LaTeX", "tex"))]
    files = tag("span", "This table as ", links[0], " and ", links[1], ".", class_="files")
    places = [place for place, column in enumerate(found.columns) if column.in_page]
    rows, footer = (
        [row._replace(cells=[row.cells[place] for place in places]) for row in part]
        for part in (found.rows, found.footer)
    )
    shown = table(found.label, [found.columns[place] for place in places], rows, footer, is_sortable=True)
    marks = [f"{mark} {meaning}" for mark, meaning in _marks_of(found, lambda cell: cell.text)]
    said = " ".join(filter(None, [found.note, found.page_note, *marks]))
    return join(shown, tag("p", said, " " if said else "", files, class_="small"))


def write_tables(folder: Path, tables: Sequence[Table]) -> None:
    """Writes every table as `tables/KEY.csv` and `tables/KEY.tex`.

    Args:
        folder: of the page.
        tables: whose keys differ.

    Raises:
        UserError: the folder cannot be written.
    """
    place = folder / FOLDER
    try:
        place.mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"{place}: cannot be made ({error.strerror}). Free that name or make the folder") from error
    for found in tables:
        write_text(place / f"{found.key}.csv", csv_text(found))
        write_text(place / f"{found.key}.tex", latex_text(found, folder.name))


def keys_of(kind: str, labels: Sequence[str]) -> list[str]:
    """Names of the files of one kind of table, from what sets the tables apart.

    >>> keys_of("league", ["model a/b", "model a b"])
    ['league-model-a-b', 'league-model-a-b-2']
    """
    keys: list[str] = []
    for label in labels:
        key = "-".join(filter(None, [kind, re.sub(r"[^\w.]+", "-", label).strip("-.")[:80]]))
        number = next(number for number in count(1) if (key if number == 1 else f"{key}-{number}") not in keys)
        keys.append(key if number == 1 else f"{key}-{number}")
    return keys


def csv_text(found: Table) -> str:
    """A table as RFC 4180 has it: numbers as recorded, nothing where one is missing, an interval in two columns."""
    rows = [*found.rows, *found.footer]
    with_interval = [_has_interval(rows, place) for place in range(len(found.columns))]
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\r\n")
    heads = [_plain_text(f"{column.group} {plain(column.title)}") for column in found.columns]
    writer.writerow(
        [
            _safe(text)
            for head, has_interval in zip(heads, with_interval, strict=True)
            for text in ([head, f"{head} low", f"{head} high"] if has_interval else [head])
        ]
    )
    for row in rows:
        values: list[float | str] = []
        for given, has_interval in zip(row.cells, with_interval, strict=True):
            cell = _cell(given)
            values.append(_value(cell))
            if has_interval:
                values += cell.ci95 or ("", "")
        writer.writerow(values)
    return file.getvalue()


def latex_text(found: Table, owner: str) -> str:
    """A table in LaTeX with booktabs, for `\\input`: set smaller where it is wide, over pages where it is long.

    Args:
        found: the table.
        owner: whose table it is, for its label: a paper may hold the grids of two sweeps.
    """
    is_long = len(found.rows) > LONG
    places = [place for place, column in enumerate(found.columns) if column.in_latex]
    columns = [found.columns[place] for place in places]
    body, footer = (
        [_line([_latex_cell(row.cells[place], row.is_strong) for place in places]) for row in rows]
        for rows in (found.rows, found.footer)
    )
    label = f"\\label{{tab:{_label(f'{owner}-{found.key}')}}}"
    caption = f"\\caption{{{latex(found.label[:1].upper() + found.label[1:])}}}{label}"
    letters = "".join("r" if column.is_number else "l" for column in columns)
    head = ["\\toprule", *_heads(columns), "\\midrule"]
    inner = [*body, *(["\\midrule", *footer] if footer else []), "\\bottomrule"]
    marks = (
        f"{_MARKS[mark]} {latex(meaning)}" for mark, meaning in _marks_of(found, lambda cell: cell.mark + cell.text)
    )
    below = f"\\par\\smallskip\\raggedright\\footnotesize {' '.join(filter(None, [latex(found.note), *marks]))}\\par"
    is_wide = _width(found, places) > WIDE
    if is_long:
        size = "\\scriptsize\\setlength{\\tabcolsep}{2.5pt}" if is_wide else "\\small"
        begin, end = f"\\begin{{longtable}}{{{letters}}}\n{caption} \\\\", "\\end{longtable}"
        lines = ["{", size, begin, *head, "\\endfirsthead", *head, "\\endhead", *inner, end, below, "}"]
    else:
        first, last = ("\\resizebox{\\linewidth}{!}{", "}") if is_wide else ("", "")
        begin, end = f"{first}\\begin{{tabular}}{{{letters}}}", f"\\end{{tabular}}{last}"
        lines = ["\\begin{table}", "\\centering", caption, begin, *head, *inner, end, below, "\\end{table}"]
    packages = ["booktabs", *(["longtable"] if is_long else ["graphicx"] if is_wide else [])]
    lines = [
        f"% Made by bridgex. Packages: {', '.join(packages)}.",
        *_REMARKS[: 2 if is_long and is_wide else 1],
        *lines,
    ]
    return "\n".join(lines) + "\n"


def _marks_of(found: Table, shown: Callable[[Cell], str]) -> list[tuple[str, str]]:
    """The marks that stand in a table, each with its meaning."""
    cells = [shown(_cell(given)) for row in (*found.rows, *found.footer) for given in row.cells]
    return [(mark, meaning) for mark, meaning in found.marks if any(mark in text for text in cells)]


def _width(found: Table, places: Sequence[int]) -> int:
    """Letters side by side in a table's widest cells."""
    rows = [*found.rows, *found.footer]
    return sum(
        max([len(plain(found.columns[place].title)), *(len(_shown(_cell(row.cells[place]))) for row in rows)]) + 2
        for place in places
    )


def latex(text: str) -> str:
    """Text that LaTeX sets as it is.

    >>> latex("100 % of a_b & {c}")
    '100 \\\\% of a\\\\_b \\\\& \\\\{c\\\\}'
    """
    # Two hyphens would become a dash.
    return re.sub("-(?=-)", "-{}", "".join(_LATEX.get(letter, letter) for letter in _plain_text(text)))


def plain(text: str) -> str:
    """A cell's text without markup."""
    return _plain_text(html.unescape(re.sub(r"<[^>]*>", "", text)) if isinstance(text, Html) else text)


def _plain_text(text: str) -> str:
    """On one line, and without control characters."""
    return "".join(" " if category(letter) in _CONTROLS else letter for letter in text).strip()


def _cell(given: str | Cell) -> Cell:
    return given if isinstance(given, Cell) else Cell(given)


def _shown(cell: Cell) -> str:
    return _plain_text(cell.plain) or plain(cell.text)


def _value(cell: Cell) -> float | str:
    """What a CSV file holds: the number itself, or text that no spreadsheet takes for a formula."""
    if isinstance(cell.sort, int | float):
        return cell.sort
    shown = _shown(cell)
    return "" if shown == MISSING else _safe(shown)


def _safe(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


def _has_interval(rows: Sequence[Row], place: int) -> bool:
    return any(_cell(row.cells[place]).ci95 is not None for row in rows)


def _heads(columns: Sequence[Column]) -> Iterator[str]:
    """The head's lines: groups over their columns with a rule, then the columns' titles."""
    if any(column.group for column in columns):
        parts, rules, place = [], [], 1
        for group, members in groupby(columns, key=lambda column: column.group):
            width = len(list(members))
            parts += [f"\\multicolumn{{{width}}}{{c}}{{{latex(group)}}}"] if group else [""] * width
            rules += [f"\\cmidrule(lr){{{place}-{place + width - 1}}}"] if group else []
            place += width
        yield _line(parts)
        yield " ".join(rules)
    yield _line([latex(plain(column.title)) for column in columns])


def _latex_cell(given: str | Cell, is_strong: bool) -> str:
    cell = _cell(given)
    text = latex(_shown(cell))
    bold = f"\\textbf{{{text}}}" if is_strong or cell.is_strong else text
    return bold + "".join(_MARKS[mark] for mark in cell.mark)


def _line(cells: Sequence[str]) -> str:
    line = f"{' & '.join(cells)} \\\\"
    # A bracket or a star behind the line break before it would be taken for its argument.
    return f"{{}}{line}" if line.startswith(("[", "*")) else line


def _label(key: str) -> str:
    return re.sub(r"[^A-Za-z0-9-]+", "-", key)


def _link(found: Table, title: str, ending: str) -> Html:
    address = f"./{FOLDER}/{quote(found.key)}.{ending}"
    return tag("a", title, href=address, aria_label=f"{found.label} as {title}")
