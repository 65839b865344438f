"""Where words come from: dictionaries in MUSE's format, one's own list, and the toy world's files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bridgex.config.settings import Settings
from bridgex.errors import UserError
from bridgex.languages import Pair, all_languages, candidates, language

Part = Literal["train", "test"]
_RANGES: Mapping[Part, str] = {"train": "0-5000", "test": "5000-6500"}
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


@dataclass(frozen=True)
class Sentences:
    """Text in one language.

    Attributes:
        code: the language.
        texts: distinct, in the files' order.
        fingerprint: SHA-256 of all of it.
        origin: where it comes from, in words.
    """

    code: str
    texts: tuple[str, ...]
    fingerprint: str
    origin: str


def data_root(settings: Settings) -> Path | None:
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


def problems(settings: Settings) -> list[str]:
    """What the run needs and does not find, without reading it."""
    if settings.data.dictionary is not None:
        return []
    try:
        _find(settings.pair.pair, "test", data_root(settings))
    except UserError as error:
        return list(error.problems)
    return []


def dictionary(settings: Settings, pair: Pair, part: Part) -> Dictionary:
    """The word list of a pair: its own MUSE file, the reverse one, or two joined through English.

    Args:
        settings: `data.root`, `data.dictionary` and the model's kind are read.
        pair: source and target.
        part: `train` (probing) or `test` (evaluation).

    Raises:
        UserError: no such files, a broken line, or nothing in them.
    """
    own = settings.data.dictionary
    if own is not None and pair == settings.pair.pair:
        path = Path(own).expanduser().resolve()
        return Dictionary(
            pair, _nonempty(read_word_pairs(path), path), (path,), f"words from {path.name}, all as {part}"
        )
    found = _find(pair, part, data_root(settings))
    if len(found) == 1:
        path, is_reversed = found[0]
        entries = read_word_pairs(path)
        note = f"the dictionary {pair} was read backwards from {path.name}" if is_reversed else ""
        return Dictionary(pair, _nonempty(_reversed(entries) if is_reversed else entries, path), (path,), note)
    (to_pivot, back), (from_pivot, front) = found
    left, right = read_word_pairs(to_pivot), read_word_pairs(from_pivot)
    entries = _joined(_reversed(left) if back else left, _reversed(right) if front else right)
    note = (
        f"the dictionary {pair} was joined through English ({to_pivot.name}, {from_pivot.name}): "
        f"it may favour English as a bridge, and words may be translated by another sense"
    )
    return Dictionary(pair, _nonempty(entries, from_pivot), (to_pivot, from_pivot), note)


def known_words(settings: Settings, pair: Pair, part: Part) -> Mapping[str, tuple[str, ...]]:
    """The word list of a pair from `data.root`; empty where there is none."""
    try:
        _find(pair, part, data_root(settings))
    except UserError:
        return {}
    return dictionary(settings, pair, part).entries


def sentences(settings: Settings, code: str) -> Sentences:
    """Text in a language for its neuron profile: one's own, NTREX, FLORES+, Belebele passages, else dictionary words.

    Raises:
        UserError: none of them is there, or a file is damaged.
    """
    own = settings.data.text.get(code)
    if own is not None:
        path = Path(own).expanduser().resolve()
        return _sentences(code, [line.strip() for line in _text_of(path).splitlines()], path.name)
    root = data_root(settings)
    if root is not None:
        for name, column in (("ntrex", "text"), ("flores", "text"), ("belebele", "flores_passage")):
            files = _rows_files(root / name / (language(code).code_for(name) or ""), name)
            if files:
                return _sentences(code, _column(files[0], column), f"{name}/{files[0].parent.name}")
    words = _training_words(settings, code)
    if not words:
        raise UserError(
            f"no text in {language(code).english} ({code}) for neuron profiles. "
            f"Give data.text.{code}=FILE (one sentence a line), or a data.root with ntrex/, flores/, belebele/ or muse/ "
            f"files of it"
        )
    return _sentences(code, words, "dictionary words")


def _training_words(settings: Settings, code: str) -> list[str]:
    """Training words of a language over the dictionaries at hand, sorted; none that this run evaluates."""
    pair = settings.pair.pair
    words: set[str] = set()
    for other in dict.fromkeys([*candidates(pair), pair.source, pair.target]):
        if other != code:
            words.update(known_words(settings, Pair(code, other), "train"))
    evaluated = dictionary(settings, pair, "test").entries
    return sorted(words - set(evaluated) - {word for gold in evaluated.values() for word in gold})


def _sentences(code: str, texts: Iterable[object], origin: str) -> Sentences:
    kept = tuple(dict.fromkeys(text for text in texts if isinstance(text, str) and text))
    if not kept:
        raise UserError(f"{origin}: holds no text in {language(code).english} ({code})")
    digest = hashlib.sha256("\n".join(kept).encode()).hexdigest()
    return Sentences(code, kept, digest, origin)


def _rows_files(folder: Path, dataset: str) -> list[Path]:
    if folder.name == dataset or not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix in (".jsonl", ".parquet"))


def _column(path: Path, column: str) -> list[object]:
    """One column of a jsonl or parquet file."""
    try:
        if path.suffix == ".parquet":
            import pyarrow.parquet

            return list(pyarrow.parquet.read_table(path, columns=[column])[column].to_pylist())
        return [json.loads(line)[column] for line in _text_of(path).splitlines() if line]
    except (ValueError, KeyError, OSError) as error:
        raise UserError(f"{path}: cannot be read as a data file with a column {column!r} ({error})") from None


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at byte {error.start}. Save the file as UTF-8") from None


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
            f"muse/{pair}.{_RANGES['test']}.txt (MUSE's files), or data.dictionary=<file>"
        )
    folder = root / "muse"
    direct = _file(folder, pair, part)
    if direct is not None:
        return [direct]
    is_toy = language(pair.source).is_toy
    if not is_toy and _PIVOT not in (pair.source, pair.target):
        legs = [_file(folder, Pair(pair.source, _PIVOT), part), _file(folder, Pair(_PIVOT, pair.target), part)]
        if legs[0] is not None and legs[1] is not None:
            return [legs[0], legs[1]]
    raise UserError(_no_dictionary(pair, part, folder))


def _file(folder: Path, pair: Pair, part: Part) -> tuple[Path, bool] | None:
    source, target = (language(code).code_for("muse") or code for code in (pair.source, pair.target))
    for a, b, is_reversed in ((source, target, False), (target, source, True)):
        path = folder / f"{a}-{b}.{_RANGES[part]}.txt"
        if path.is_file():
            return path, is_reversed
    return None


def _no_dictionary(pair: Pair, part: Part, folder: Path) -> str:
    by_code = {other.code_for("muse") or other.code: other.code for other in all_languages()}
    there: dict[str, set[str]] = {}
    for path in folder.glob(f"*-*.{_RANGES[part]}.txt"):
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
    everything = f"; languages there: {', '.join(sorted(there))}" if there else f"; {folder} holds no word lists"
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
