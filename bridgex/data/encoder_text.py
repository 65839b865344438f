"""Text to train an encoder on: NTREX lines, and XNLI's validation rows; never a row that drift is measured on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bridgex.config.settings import DataSettings
from bridgex.data.catalogue import DataSet, data_set
from bridgex.data.layout import Layout
from bridgex.data.raw_rows import RawRows, rows_of_folder
from bridgex.data.row_checks import Joined, texts_of
from bridgex.data.sentences import is_zawgyi
from bridgex.data.task_rows import judge
from bridgex.errors import UserError
from bridgex.languages import all_languages

_LINES, _PAIRS = "ntrex", "xnli"
# NTREX calls its only part `test`; nothing that drift is measured on is in it. Of XNLI, `test` is what is measured.
_SPLITS: Mapping[str, str] = {_LINES: "test", _PAIRS: "validation"}

Item = Mapping[str, tuple[str, ...]]
"""The same text by language: one line, or premise and hypothesis."""


@dataclass(frozen=True)
class EncoderText:
    """What an encoder is trained and measured on.

    Attributes:
        items: to train on, each in all languages of its data set.
        held_out: NTREX lines by language, as many for each, that no item has; one number is one line.
        fingerprint: SHA-256 of all of it.
        notes: what a reader of results must know.
    """

    items: tuple[Item, ...]
    held_out: Mapping[str, tuple[str, ...]]
    fingerprint: str
    notes: tuple[str, ...]

    @property
    def languages(self) -> tuple[str, ...]:
        """Those of all items, in the table's order."""
        found = {code for item in self.items for code in item}
        return tuple(entry.code for entry in all_languages() if entry.code in found)

    def texts(self) -> list[str]:
        """Every distinct text to train on, in a fixed order."""
        return list(dict.fromkeys(text for item in self.items for parts in item.values() for text in parts))


def text_problems(data: DataSettings) -> list[str]:
    """Why there is no text to train on, in one line, found without reading a row; empty where there is some."""
    remedy = "Give data.root=FOLDER that holds ntrex/ or xnli/ (bridgex data fetch ntrex xnli makes one in ./data)"
    if data.root is None:
        return [f"data.root=null: an encoder is trained on your own text. {remedy}"]
    root = _root(data.root)
    if not root.is_dir():
        return [f"data.root={data.root}: no such folder. {remedy}"]
    try:
        if any(_codes(root, name) for name in _SPLITS):
            return []
    except UserError as error:
        return list(error.problems)
    return [f"data.root={data.root}: holds neither lines of ntrex/ nor validation rows of xnli/. {remedy}"]


def encoder_text(data: DataSettings, held_out_share: float) -> EncoderText:
    """Reads all lines of NTREX and all validation rows of XNLI that a folder has.

    Args:
        data: `root` is read, a folder of data sets, each in its hub's layout.
        held_out_share: share of NTREX's lines, the last ones, to hold out. Neighbouring lines are of one article, so
            that the last ones are farther from the others than any drawn at random.

    Raises:
        UserError: neither data set is there, or a file is damaged; one line for each mistake.
    """
    problems = text_problems(data)
    if problems or data.root is None:
        raise UserError(*problems)
    notes: list[str] = []
    lines, pairs = (_items(_root(data.root), name, notes) for name in _SPLITS)
    kept, held_out = _hold_out(lines, held_out_share)
    items = (*kept, *pairs)
    if not items:
        raise UserError(f"data.root={data.root}: no line is left to train on. Lower finetune.text.held_out_share")
    text = json.dumps([[list(item.items()) for item in items], list(held_out.items())], ensure_ascii=False)
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return EncoderText(items, held_out, digest, tuple(notes))


def _root(given: str) -> Path:
    return Path(given).expanduser().resolve()


def _codes(root: Path, name: str) -> list[str]:
    folder = root / name
    return Layout(folder).languages(data_set(name), _SPLITS[name]) if folder.is_dir() else []


def _items(root: Path, name: str, notes: list[str]) -> list[Item]:
    """What a data set has, parallel; what a reader must know is added to the notes."""
    data, split = data_set(name), _SPLITS[name]
    codes = _codes(root, name)
    if not codes:
        notes.append(f"text: no {name} {split} rows in data.root, so the other data set alone")
        return []
    raws = {code: rows_of_folder(root / name, data, code, split) for code in codes}
    if name == _LINES:
        _leave_out_zawgyi(raws, notes)
    if not raws:
        return []
    joined = _judged(data, split, raws, notes)
    found: list[Item] = []
    for number in range(len(joined.ids)):
        found.append({code: tuple(texts_of(rows[number])) for code, rows in joined.rows.items()})
    notes.append(f"text: {len(found)} {name} {split} rows in {len(joined.rows)} languages ({', '.join(joined.rows)})")
    return found


def _leave_out_zawgyi(raws: dict[str, RawRows], notes: list[str]) -> None:
    """NTREX's own Burmese file is in Zawgyi, and no reason to do without the other languages."""
    if "my" in raws and is_zawgyi(str(text) for row in raws["my"].rows for text in row.values()):
        del raws["my"]
        notes.append("text: ntrex in my was left out: it is in Zawgyi, not in Unicode")


def _judged(data: DataSet, split: str, raws: Mapping[str, RawRows], notes: list[str]) -> Joined[object]:
    joined, findings = judge(data, split, raws, {})
    errors = [finding.text for finding in findings if finding.severity == "error"]
    if errors:
        raise UserError(*errors)
    notes += [finding.text for finding in findings]
    return joined


def _hold_out(lines: Sequence[Item], share: float) -> tuple[list[Item], dict[str, tuple[str, ...]]]:
    """The lines to train on, and the last ones: distinct in every language, and in no text that is trained on."""
    wanted = round(share * len(lines))
    seen: set[tuple[str, str]] = set()
    held_out: list[Item] = []
    kept: list[Item] = []
    for item in reversed(lines):
        texts = {(code, text) for code, parts in item.items() for text in parts}
        if len(held_out) < wanted and not texts & seen:
            held_out.append(item)
            seen |= texts
        else:
            kept.append(item)
    kept = [item for item in reversed(kept) if not any((code, text) in seen for code in item for text in item[code])]
    held_out.reverse()
    codes = list(held_out[0]) if held_out else []
    return kept, {code: tuple(item[code][0] for item in held_out) for code in codes}
