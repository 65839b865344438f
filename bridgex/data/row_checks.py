"""What may be wrong with rows: read, joined and judged in one place, for runs and for `bridgex data doctor`.

An error stops a run; a note is what a reader of its results must know.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from bridgex.data.sentences import is_zawgyi
from bridgex.records.data_checks import Finding

if TYPE_CHECKING:
    from bridgex.data.raw_rows import RawRows

Row = TypeVar("Row")

# Fewer rows may well have one label.
_LABELS_AT_LEAST = 10
_LABELS_MAY_DIFFER = 0.01
_NAMED = 3


class BadCell(ValueError):
    """A row cannot be read: one of its columns holds something else."""


@dataclass(frozen=True)
class Parsed(Generic[Row]):
    """Rows of one language, typed.

    Attributes:
        code: the language.
        raw: what they were.
        rows: by id, in the files' order.
        findings: what is wrong with them.
    """

    code: str
    raw: RawRows
    rows: Mapping[str, Row]
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Joined(Generic[Row]):
    """Rows of several languages, made parallel.

    Attributes:
        ids: items that all languages have, whole.
        rows: by language, one an id.
        findings: what is wrong with them together.
    """

    ids: tuple[str, ...]
    rows: Mapping[str, tuple[Row, ...]]
    findings: tuple[Finding, ...]


def parse_rows(
    name: str,
    code: str,
    raw: RawRows,
    columns: Sequence[str],
    parse: Callable[[Mapping[str, Any]], Row],
    key: Callable[[Mapping[str, Any], int], str],
) -> Parsed[Row]:
    """Types the rows of one language, and judges them on their own.

    Args:
        name: data set and split, for notes.
        code: the language.
        raw: its rows.
        columns: that a row must have.
        parse: types one row; it raises `BadCell` where a column holds something else.
        key: the id of a row, from it and its number from 0.
    """
    findings: list[Finding] = []
    rows: dict[str, Row] = {}
    bad: list[str] = []
    doubled: Counter[str] = Counter()
    lacking = [name for name in columns if raw.rows and name not in raw.rows[0]]
    if not raw.rows:
        findings.append(Finding("error", f"{raw.where}: holds no rows. Fetch it again"))
    if lacking:
        there = ", ".join(map(str, raw.rows[0]))
        findings.append(
            Finding("error", f"{raw.where}: has no column {', '.join(lacking)}, only {there}. Give the hub's own files")
        )
        return Parsed(code, raw, {}, tuple(findings))
    for number, cells in enumerate(raw.rows):
        try:
            row, item = parse(cells), key(cells, number)
        except BadCell as error:
            bad.append(f"row {number + 1}: {error}")
            continue
        except KeyError as error:
            bad.append(f"row {number + 1}: has no {error.args[0]}")
            continue
        if item in rows:
            doubled[item] += 1
        else:
            rows[item] = row
    if bad:
        more = f" (and {len(bad) - _NAMED} rows more)" if len(bad) > _NAMED else ""
        findings.append(Finding("error", f"{raw.where}: {'; '.join(bad[:_NAMED])}{more}. Give the hub's own files"))
    if doubled:
        findings.append(
            Finding("error", f"{raw.where}: rows with the same id: {_some(doubled)}. Take the doubled rows out")
        )
    findings += _of_labels(raw.where, list(rows.values()))
    findings += _of_signs(name, code, raw.where, list(rows.values()))
    return Parsed(code, raw, rows, tuple(findings))


def join_rows(name: str, parsed: Sequence[Parsed[Row]], has_ids: bool) -> Joined[Row]:
    """Makes rows parallel: items that a language lacks, or has broken, are left out in all.

    Args:
        name: data set and split, for messages.
        parsed: each language's rows.
        has_ids: whether the data tell which rows are the same item; else it is the row's number, and all languages
            must have as many.
    """
    findings: list[Finding] = []
    sizes = {one.code: len(one.rows) for one in parsed}
    if not has_ids and len(set(sizes.values())) > 1:
        counted = ", ".join(f"{code} {size}" for code, size in sizes.items())
        line = (
            f"{name}: different numbers of rows ({counted}), and nothing but their number says which belong together. "
            f"Fetch them again"
        )
        return Joined((), {}, (Finding("error", line),))
    # The order of one language, the same whatever the order of the pair.
    first = min(parsed, key=lambda one: one.code)
    everywhere = [item for item in first.rows if all(item in one.rows for one in parsed)]
    known = {item for one in parsed for item in one.rows}
    if len(known) > len(everywhere):
        few = {one.code: len(known) - len(one.rows) for one in parsed if len(one.rows) < len(known)}
        counted = ", ".join(f"{code} lacks {count}" for code, count in few.items())
        left_out = _items(len(known) - len(everywhere))
        findings.append(Finding("note", f"{name}: {left_out} not in all languages left out ({counted})"))
    blemished: dict[str, str] = {}
    for text, is_so in (("empty", _is_empty), ("two equal options", _has_equal_options)):
        found = {one.code: [item for item in everywhere if is_so(one.rows[item])] for one in parsed}
        items = {item for some in found.values() for item in some}
        blemished.update(dict.fromkeys(items, text))
        if items:
            counted = ", ".join(f"{code} {len(some)}" for code, some in found.items() if some)
            what = "an empty text" if text == "empty" else text
            findings.append(Finding("note", f"{name}: {_items(len(items))} with {what} left out ({counted})"))
    ids = tuple(item for item in everywhere if item not in blemished)
    if not ids:
        findings.append(
            Finding("error", f"{name}: no item is whole in all of {', '.join(sizes)}. Choose other languages")
        )
    rows = {one.code: tuple(one.rows[item] for item in ids) for one in parsed}
    findings += _of_differing_labels(name, ids, rows)
    return Joined(ids, rows, tuple(findings))


def whole_number(value: object, column: str, allowed: range, names: Sequence[str] = ()) -> int:
    """A label: an integer, digits, or one of its names.

    Raises:
        BadCell: anything else, or out of range.
    """
    if isinstance(value, str) and value.strip().casefold() in names:
        return allowed[list(names).index(value.strip().casefold())]
    digits = str(value).strip() if isinstance(value, (int, str)) and not isinstance(value, bool) else ""
    if digits.isdecimal() and int(digits) in allowed:
        return int(digits)
    raise BadCell(f"{column} is {value!r}, expected {allowed.start} to {allowed.stop - 1}")


def text_of(value: object, column: str) -> str:
    """A text without white space at its ends; what is missing is empty, and the item left out later.

    Raises:
        BadCell: neither a text nor missing.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadCell(f"{column} is {value!r}, expected a text")
    try:
        value.encode()  # JSON can name half a character, which no tokenizer and no file takes
    except UnicodeEncodeError:
        raise BadCell(f"{column} holds half a character (a lone surrogate), expected a text") from None
    return value.strip()


def texts_of(row: object) -> list[str]:
    """All texts of a typed row."""
    found: list[str] = []
    for entry in dataclasses.fields(row):  # type: ignore[arg-type]
        value = getattr(row, entry.name)
        found += [value] if isinstance(value, str) else value if isinstance(value, tuple) else []
    return found


def _is_empty(row: object) -> bool:
    return not all(texts_of(row))


def _has_equal_options(row: object) -> bool:
    options = getattr(row, "options", ())
    return len(set(options)) < len(options)


def _of_labels(where: str, rows: Sequence[object]) -> Iterable[Finding]:
    labels = {getattr(row, "label", None) for row in rows}
    if len(rows) >= _LABELS_AT_LEAST and len(labels) == 1 and None not in labels:
        yield Finding(
            "error",
            f"{where}: every label is {labels.pop()}, so it holds no answers (some copies carry dummies). Give the "
            f"hub's own files",
        )


def _of_signs(name: str, code: str, where: str, rows: Sequence[object]) -> Iterable[Finding]:
    texts = [texts_of(row) for row in rows]
    if code == "my" and is_zawgyi(text for row in texts for text in row):
        yield Finding("error", f"{where}: is in Zawgyi, not in Unicode, and models read Unicode. Convert the file")
    lost = sum(any("\ufffd" in text for text in row) for row in texts)
    if lost:
        yield Finding("note", f"{name}: {_items(lost)} in {code} with a character lost upstream (U+FFFD), kept")


def _of_differing_labels(name: str, ids: Sequence[str], rows: Mapping[str, Sequence[object]]) -> Iterable[Finding]:
    labels = {
        code: [getattr(row, "label", getattr(row, "number", None)) for row in some] for code, some in rows.items()
    }
    differ = [item for item, *found in zip(ids, *labels.values(), strict=True) if len(set(found)) > 1]
    if not differ:
        return
    line = f"{name}: {_items(len(differ))} of {len(ids)} have not the same answer in all languages ({_some(differ)})"
    if len(differ) > _LABELS_MAY_DIFFER * len(ids):
        yield Finding("error", f"{line}, so their rows are not the same items. Give the hub's own files")
    else:
        yield Finding("note", f"{line}; the target's counts")


def _items(count: int) -> str:
    return f"{count} item{'' if count == 1 else 's'}"


def _some(names: Iterable[Hashable]) -> str:
    found = list(map(str, names))
    return f"{', '.join(found[:_NAMED])}{f' and {len(found) - _NAMED} more' if len(found) > _NAMED else ''}"
