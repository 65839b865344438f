"""Where text for neuron profiles comes from: parallel text, one's own files, else dictionary words."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bridgex.config.settings import ReadsData, Settings
from bridgex.data.evaluated import Evaluated
from bridgex.data.sources import data_root, has_list, known_words
from bridgex.errors import UserError
from bridgex.languages import Pair, candidates, language

# By folder of parallel text, the first choice first, the columns that may hold it: FLORES+ names it otherwise than the
# FLORES-200 before it.
_PARALLEL: Mapping[str, tuple[str, ...]] = {
    "ntrex": ("text",),
    "flores": ("text", "sentence"),
    "belebele": ("flores_passage",),
}
# In Unicode this sign stacks the consonant that follows it; Zawgyi, an older encoding, ends syllables with it.
_ZAWGYI = re.compile("\u1039(?![\u1000-\u1021])")
_ZAWGYI_SHARE = 0.1
# Fewer sentences than this make no profile where there is other text.
_MIN_SENTENCES = 50


@dataclass(frozen=True)
class Sentences:
    """Text in one language.

    Attributes:
        code: the language.
        texts: distinct, in the files' order.
        fingerprint: SHA-256 of all of it.
        origin: where it comes from, in words.
        notes: what a reader of results must know of it.
    """

    code: str
    texts: tuple[str, ...]
    fingerprint: str
    origin: str
    notes: tuple[str, ...] = ()


def profile_text(settings: Settings, code: str, barred: Collection[str] = ()) -> Sentences:
    """Text in a language for its neuron profile: one's own, NTREX, FLORES+, Belebele passages, else dictionary words.

    Args:
        settings: where the data lie.
        code: the language.
        barred: texts that are evaluated; what holds one, or stands in one, is left out.

    Raises:
        UserError: none of them is there, a file is damaged, or one's own is in no encoding that a model reads.
    """
    notes: list[str] = []
    found = running_text(settings, code, barred, notes)
    if found is not None:
        return found
    words = _training_words(settings, code)
    if not words:
        raise UserError(_no_text(code, notes))
    return _sentences(code, words, "dictionary words", notes)


def running_text(
    settings: ReadsData, code: str, barred: Collection[str] = (), notes: list[str] | None = None
) -> Sentences | None:
    """Text in a language: one's own, NTREX, FLORES+ or Belebele passages; None where none of them is there.

    Args:
        settings: where the data lie.
        code: the language.
        barred: texts that are evaluated; what holds one, or stands in one, is left out.
        notes: gets a sentence on every text that was left out.

    Raises:
        UserError: a file is damaged, or one's own is in no encoding that a model reads.
    """
    notes = [] if notes is None else notes
    evaluated = Evaluated(barred)
    own = settings.data.text.get(code)
    if own is not None:
        path = Path(own).expanduser().resolve()
        lines = [line.strip() for line in _text_of(path).split("\n")]
        left = [line for line in lines if line not in evaluated]
        told = [f"data.text.{code}: {len(lines) - len(left)} lines are evaluated and left out"] if left != lines else []
        found = _sentences(code, left, path.name, told)
        if is_zawgyi(found.texts):
            raise UserError(f"data.text.{code}={own}: is in Zawgyi, not in Unicode. Convert the file")
        return found
    root = data_root(settings)
    for path, columns in parallel_files(root, code) if root is not None else ():
        origin = f"{path.parent.parent.name}/{path.parent.name}"
        texts = column_of(path, columns)
        kept = [text for text in texts if text not in evaluated]
        if len(kept) < len(texts) and len(kept) < _MIN_SENTENCES:
            notes.append(f"{origin} was left out: all but {len(kept)} of its texts are evaluated")
            continue
        found = _sentences(code, kept, origin, notes)
        if not is_zawgyi(found.texts):
            return found
        notes.append(f"{found.origin} was left out: it is in Zawgyi, not in Unicode")
    return None


def problems(settings: Settings, codes: Iterable[str]) -> list[str]:
    """Which languages have no text for a profile, without reading any."""
    root = data_root(settings)
    return [
        _no_text(code, ())
        for code in codes
        if code not in settings.data.text
        and (root is None or next(parallel_files(root, code), None) is None)
        and not any(has_list(settings, pair, "train") for pair in _pairs_with(settings, code))
    ]


def _no_text(code: str, notes: Iterable[str]) -> str:
    return (
        f"no text in {language(code).english} ({code}) for neuron profiles{'; '.join(['', *notes])}. "
        f"Give data.text.{code}=FILE (one sentence a line), or a data.root with "
        f"{', '.join(f'{name}/' for name in _PARALLEL)} or muse/ files of it"
    )


def _pairs_with(settings: Settings, code: str) -> list[Pair]:
    """Pairs whose dictionaries have training words of a language."""
    pair = settings.pair.pair
    others = dict.fromkeys([*candidates(pair), pair.source, pair.target])
    return [Pair(code, other) for other in others if other != code]


def _training_words(settings: Settings, code: str) -> list[str]:
    """Training words of a language over the dictionaries at hand, sorted; none that this run evaluates."""
    words = {word for pair in _pairs_with(settings, code) for word in known_words(settings, pair, "train")}
    tested = known_words(settings, settings.pair.pair, "test")
    evaluated = {word.casefold() for source, gold in tested.items() for word in (source, *gold)}
    return sorted(word for word in words if word.casefold() not in evaluated)


def _sentences(code: str, texts: Iterable[object], origin: str, notes: Iterable[str] = ()) -> Sentences:
    kept = tuple(dict.fromkeys(text for text in texts if isinstance(text, str) and text.strip()))
    if not kept:
        raise UserError(f"{origin}: holds no text in {language(code).english} ({code})")
    digest = hashlib.sha256("\n".join(kept).encode()).hexdigest()
    return Sentences(code, kept, digest, origin, tuple(notes))


def parallel_files(root: Path, code: str) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """The first file of each data set that has the language, with the columns that may hold its text."""
    for name, columns in _PARALLEL.items():
        folder = root / name / (language(code).code_for(name) or "no such code")
        files = sorted(path for path in folder.glob("*") if path.suffix in (".jsonl", ".parquet"))
        if files:
            yield files[0], columns


def is_zawgyi(texts: Iterable[str]) -> bool:
    """Whether Burmese text is in Zawgyi: nearly all lines of such a file show its sign, no line of any other does."""
    found = [_ZAWGYI.search(text) is not None for text in texts]
    return sum(found) > _ZAWGYI_SHARE * len(found)


def column_of(path: Path, columns: tuple[str, ...]) -> list[object]:
    """The first of these columns that a jsonl or parquet file has."""
    wanted = " or ".join(map(repr, columns))
    try:
        if path.suffix == ".parquet":
            import pyarrow.parquet

            names = pyarrow.parquet.read_schema(path).names
            column = next(name for name in columns if name in names)
            return list(pyarrow.parquet.read_table(path, columns=[column])[column].to_pylist())
    except StopIteration:
        raise UserError(f"{path}: has no column {wanted}, only {', '.join(names)}") from None
    except (ValueError, KeyError, OSError) as error:
        raise UserError(f"{path}: cannot be read as a parquet file ({error})") from None
    values: list[object] = []
    # Only where a line ends: other signs that Python counts as line ends may stand within a sentence.
    for number, line in enumerate(_text_of(path).split("\n"), start=1):
        if line.strip():
            try:
                row = json.loads(line)
                values.append(row[next(name for name in columns if name in row)])
                str(values[-1]).encode()  # half a character, which JSON can name, is no text
            except (ValueError, TypeError, StopIteration):
                raise UserError(f"{path}:{number}: expected a JSON object with {wanted}, found {line[:60]!r}") from None
    return values


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at byte {error.start}. Save the file as UTF-8") from None
