"""The same sentences in several languages, line by line."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from bridgex.config.settings import Settings
from bridgex.data.evaluated import Evaluated
from bridgex.data.sentences import column_of, is_zawgyi, parallel_files
from bridgex.data.sources import data_root
from bridgex.errors import UserError


@dataclass(frozen=True)
class ParallelText:
    """Sentences that say the same in each language.

    Attributes:
        origin: the data set.
        texts: by language, as many for each; one number is one sentence.
    """

    origin: str
    texts: dict[str, tuple[str, ...]]


def common_data_sets(settings: Settings, codes: Sequence[str]) -> list[str]:
    """Data sets of parallel text that have all of these languages, none of it read."""
    root = data_root(settings)
    if root is None:
        return []
    first, *others = [_by_data_set(root, code) for code in codes]
    return [name for name in first if all(name in other for other in others)]


def parallel_text(
    settings: Settings, codes: Sequence[str], limit: int, seed: int, barred: Collection[str] = ()
) -> ParallelText:
    """Sentences of the first data set that has every language: NTREX, FLORES+, Belebele passages.

    A line counts where it is filled in every language and no earlier line says the same in any of them: a repeated
    sentence would be its own double, and could not be told from it. `data.text` is not used: nothing says that one's
    own files are the same line by line.

    Args:
        settings: where the data lie.
        codes: the languages.
        limit: sentences at most, drawn evenly.
        seed: of the draw, the same for all languages.
        barred: texts that are evaluated; no line that holds one, or stands in one, in any language is used.

    Raises:
        UserError: no data set has all of them, with what each lacks; or a file is damaged.
    """
    root = data_root(settings)
    evaluated = Evaluated(barred)
    by_language = {code: _by_data_set(root, code) if root is not None else {} for code in codes}
    reasons = []
    for name in dict.fromkeys(name for files in by_language.values() for name in files):
        lacking = [code for code, files in by_language.items() if name not in files]
        if lacking:
            reasons.append(f"{name} lacks {', '.join(lacking)}")
            continue
        lines = {code: column_of(*files[name]) for code, files in by_language.items()}
        sizes = {code: len(found) for code, found in lines.items()}
        if len(set(sizes.values())) > 1:
            counted = ", ".join(f"{code} {size}" for code, size in sizes.items())
            reasons.append(f"{name} has different numbers of lines ({counted})")
            continue
        kept = _usable(lines, evaluated)
        if not kept and _usable(lines, Evaluated()):
            reasons.append(f"{name} has no line that is not evaluated")
            continue
        garbled = [code for code in codes if is_zawgyi(str(lines[code][line]) for line in kept)]
        if garbled:
            reasons.append(f"{name} is in Zawgyi for {', '.join(garbled)}")
            continue
        chosen = sorted(random.Random(seed).sample(kept, min(limit, len(kept))))
        return ParallelText(name, {code: tuple(str(lines[code][line]) for line in chosen) for code in codes})
    told = "; ".join(reasons) or "there is none"
    raise UserError(
        f"no parallel sentences of {', '.join(codes)}: {told}. Give a data.root with ntrex/ or flores/ in all of them"
    )


def _by_data_set(root: Path, code: str) -> dict[str, tuple[Path, tuple[str, ...]]]:
    return {path.parent.parent.name: (path, columns) for path, columns in parallel_files(root, code)}


def _usable(lines: dict[str, list[object]], evaluated: Evaluated) -> list[int]:
    seen: dict[str, set[object]] = {code: set() for code in lines}
    kept = []
    for number in range(len(next(iter(lines.values())))):
        row = {code: found[number] for code, found in lines.items()}
        if all(
            isinstance(text, str) and text.strip() and text not in seen[code] and text not in evaluated
            for code, text in row.items()
        ):
            kept.append(number)
        for code, text in row.items():
            seen[code].add(text)
    return kept
