"""Where words come from: dictionaries in MUSE's format, one's own list, the toy world."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bridgex.config.settings import ReadsData, Settings
from bridgex.errors import UserError
from bridgex.languages import Pair, all_languages, language

Part = Literal["train", "test"]
# By folder of word lists, the best first, how its files for each part end.
_LISTS: Mapping[str, Mapping[Part, str]] = {
    "muse": {"train": "0-5000", "test": "5000-6500"},
    "freedict_sw": {"train": "train", "test": "test"},
}
# The language through which a pair without a file of its own is joined: MUSE has every language with English.
_PIVOT = "en"


@dataclass(frozen=True)
class Dictionary:
    """A bilingual word list.

    Attributes:
        pair: source and target.
        entries: translations by source word, in the files' order.
        files: the files read.
        note: what a reader of results must know of the list; empty for a file of the very pair.
    """

    pair: Pair
    entries: Mapping[str, tuple[str, ...]]
    files: tuple[Path, ...]
    note: str = ""

    def fingerprint(self) -> str:
        """SHA-256 over the files' contents."""
        digest = hashlib.sha256()
        for file in self.files:
            digest.update(hashlib.sha256(file.read_bytes()).digest())
        return digest.hexdigest()


def data_root(settings: ReadsData) -> Path | None:
    """The folder that holds the data sets; a toy model's lie beside its own folder."""
    if settings.data.root is not None:
        return Path(settings.data.root).expanduser().resolve()
    if settings.model.kind == "toy":
        return toy_world(settings.model.path)
    return None


def toy_world(model_path: str | None) -> Path:
    """The folder of a toy world, which holds `model/` and its data; None: the shipped one."""
    if model_path is None:
        return Path(__file__).resolve().parents[1] / "toy"
    return Path(model_path).expanduser().resolve().parent


def problems(settings: Settings, parts: Sequence[Part]) -> list[str]:
    """Which word lists the run needs and cannot read."""
    for part in parts:
        try:
            dictionary(settings, settings.pair.pair, part)
        except UserError as error:
            return list(error.problems)
    return []


def dictionary(settings: Settings, pair: Pair, part: Part) -> Dictionary:
    """The word list of a pair: one's own, the pair's file, the reverse one, or two joined through English.

    One's own list has no parts and is cut: every fourth word is for probing, the others are for evaluation.

    Args:
        settings: `data.root`, `data.dictionary` and the model's kind are read.
        pair: source and target.
        part: `train` (probing) or `test` (evaluation).

    Raises:
        UserError: no such files, a broken line, or nothing in them.
    """
    own = settings.data.dictionary
    if own is not None and pair in (settings.pair.pair, settings.pair.pair.reversed()):
        path = Path(own).expanduser().resolve()
        entries = _part_of(_nonempty(read_word_pairs(path), path), part)
        note = f"words from {path.name}: every fourth one is for probing, the others are for evaluation"
        return Dictionary(pair, entries if pair == settings.pair.pair else _reversed(entries), (path,), note)
    found = _find(pair, part, data_root(settings))
    if len(found) == 1:
        path, is_reversed = found[0]
        entries = read_word_pairs(path)
        note = "" if path.parent.name == "muse" else f"words from {path.parent.name}/{path.name}"
        if is_reversed:
            note, entries = f"the dictionary {pair} was read backwards from {path.name}", _reversed(entries)
        return Dictionary(pair, _nonempty(entries, path), (path,), note)
    (to_pivot, back), (from_pivot, front) = found
    left, right = read_word_pairs(to_pivot), read_word_pairs(from_pivot)
    entries = _joined(_reversed(left) if back else left, _reversed(right) if front else right)
    note = (
        f"the dictionary {pair} was joined through English ({to_pivot.name}, {from_pivot.name}): "
        f"it may favour English as a bridge, and words may be translated by another sense"
    )
    return Dictionary(pair, _nonempty(entries, from_pivot), (to_pivot, from_pivot), note)


def known_dictionary(settings: Settings, pair: Pair, part: Part) -> Dictionary | None:
    """The word list of a pair; None where there is none.

    Raises:
        UserError: a broken line, or nothing in its files.
    """
    return dictionary(settings, pair, part) if has_list(settings, pair, part) else None


def has_list(settings: Settings, pair: Pair, part: Part) -> bool:
    """Whether a pair has a word list, which is not read."""
    if settings.data.dictionary is not None and pair in (settings.pair.pair, settings.pair.pair.reversed()):
        return True
    try:
        _find(pair, part, data_root(settings))
    except UserError:
        return False
    return True


def known_words(settings: Settings, pair: Pair, part: Part) -> Mapping[str, tuple[str, ...]]:
    """The entries of a pair's word list; empty where there is none."""
    found = known_dictionary(settings, pair, part)
    return {} if found is None else found.entries


def read_word_pairs(path: Path) -> dict[str, tuple[str, ...]]:
    """Reads a word list: one pair a line, separated by a tab or by one space; a word may stand on several lines.

    Raises:
        UserError: the file cannot be read, or a line has not two parts; it names file and line.
    """
    entries: dict[str, list[str]] = {}
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    for number, raw in enumerate(data.split(b"\n"), start=1):
        try:
            line = raw.decode("utf-8").strip("\r\n ﻿")
        except UnicodeDecodeError:
            raise UserError(f"{path}:{number}: not UTF-8. Save the file as UTF-8") from None
        if not line:
            continue
        parts = line.split("\t") if "\t" in line else line.split()
        if len(parts) != 2 or not all(parts):
            raise UserError(
                f"{path}:{number}: expected 'word translation', separated by a tab or one space, found {line[:60]!r}. "
                f"Use a tab where a word holds a space"
            )
        translations = entries.setdefault(parts[0].strip(), [])
        if parts[1].strip() not in translations:
            translations.append(parts[1].strip())
    return {word: tuple(translations) for word, translations in entries.items()}


def _part_of(entries: Mapping[str, tuple[str, ...]], part: Part) -> Mapping[str, tuple[str, ...]]:
    """A list without parts of its own, cut so that no word is both probed and evaluated."""
    return {word: gold for place, (word, gold) in enumerate(entries.items()) if (place % 4 == 3) == (part == "train")}


def _nonempty(entries: Mapping[str, tuple[str, ...]], path: Path) -> Mapping[str, tuple[str, ...]]:
    if not entries:
        raise UserError(f"{path}: holds no word pairs")
    return entries


def _find(pair: Pair, part: Part, root: Path | None) -> list[tuple[Path, bool]]:
    """One or two files that make the dictionary of a pair, each with whether it is read backwards."""
    if root is None:
        raise UserError(
            f"data.root: not set, and pair {pair} needs word lists. Set data.root=<folder> that holds "
            f"muse/{pair}.{_LISTS['muse']['test']}.txt (MUSE's files: bridgex data fetch muse), or "
            f"data.dictionary=<file>"
        )
    direct = _file(root, pair, part)
    if direct is not None:
        return [direct]
    is_toy = language(pair.source).is_toy
    if not is_toy and _PIVOT not in (pair.source, pair.target):
        legs = [_file(root, Pair(pair.source, _PIVOT), part), _file(root, Pair(_PIVOT, pair.target), part)]
        if legs[0] is not None and legs[1] is not None:
            return [legs[0], legs[1]]
    raise UserError(_no_dictionary(pair, part, root))


def _file(root: Path, pair: Pair, part: Part) -> tuple[Path, bool] | None:
    source, target = (language(code).code_for("muse") or code for code in (pair.source, pair.target))
    for folder, ends in _LISTS.items():
        for a, b, is_reversed in ((source, target, False), (target, source, True)):
            path = root / folder / f"{a}-{b}.{ends[part]}.txt"
            if path.is_file():
                return path, is_reversed
    return None


def _no_dictionary(pair: Pair, part: Part, root: Path) -> str:
    by_code = {other.code_for("muse") or other.code: other.code for other in all_languages()}
    there: dict[str, set[str]] = {}
    for path in (path for folder, ends in _LISTS.items() for path in (root / folder).glob(f"*-*.{ends[part]}.txt")):
        a, _, b = path.name.partition(".")[0].partition("-")
        there.setdefault(by_code.get(a, a), set()).add(by_code.get(b, b))
        there.setdefault(by_code.get(b, b), set()).add(by_code.get(a, a))
    parts = []
    for code in (pair.source, pair.target):
        name = language(code).english
        if code in there:
            parts.append(f"{name} ({code}) is there with {', '.join(sorted(there[code]))}")
        else:
            parts.append(f"no dictionary for {name} ({code})")
    everything = (
        f"; languages there: {', '.join(sorted(there))}"
        if there
        else f"; {root} holds no word lists in {' or '.join(f'{folder}/' for folder in _LISTS)}"
    )
    return (
        f"pair {pair}: {'; '.join(parts)}{everything}. Set data.root, or data.dictionary=<file>, or choose another pair"
    )


def _reversed(entries: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    turned: dict[str, list[str]] = {}
    for word, translations in entries.items():
        for translation in translations:
            turned.setdefault(translation, []).append(word)
    return {word: tuple(words) for word, words in turned.items()}


def _joined(left: Mapping[str, tuple[str, ...]], right: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    joined = {
        word: tuple(dict.fromkeys(target for middle in middles for target in right.get(middle, ())))
        for word, middles in left.items()
    }
    return {word: targets for word, targets in joined.items() if targets}
