"""How a data set lies in a folder: as its README's `configs:` say, as on the hub, or by its files' names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bridgex.data.catalogue import DataSet
from bridgex.errors import UserError
from bridgex.languages import all_languages

SUFFIXES = (".jsonl", ".json", ".parquet", ".tsv", ".csv")
"""What files of rows end in."""

# The same split under the names that files give it.
_SAME_SPLIT: Mapping[str, tuple[str, ...]] = {
    "validation": ("validation", "dev", "valid", "val"),
    "dev": ("dev", "validation"),
}


@dataclass(frozen=True)
class Layout:
    """A data set's folder.

    Attributes:
        folder: the data set's own folder.
    """

    folder: Path

    @cached_property
    def readme(self) -> Mapping[str, Mapping[str, tuple[str, ...]]]:
        """Patterns of files, by config and split, as README.md names them; empty where it names none.

        Raises:
            UserError: the README's header is not YAML, or its `configs` have another form.
        """
        path = self.folder / "README.md"
        if not path.is_file():
            return {}
        return configs_of(path.read_text(encoding="utf-8", errors="replace"), str(path))

    def files(self, config: str, split: str) -> tuple[Path, ...]:
        """The files of a config's split, sorted; empty where there is none."""
        patterns = self.readme.get(config, {}).get(split)
        if patterns is not None:
            found = [path for pattern in patterns for path in self._matches(pattern)]
        else:
            found = list(self._by_name(config, split))
        return tuple(dict.fromkeys(sorted(path for path in found if path.is_file())))

    def is_in_readme(self, config: str, split: str) -> bool:
        """Whether README.md, and not a file's name, says where this split is."""
        return split in self.readme.get(config, {})

    def languages(self, data: DataSet, split: str) -> list[str]:
        """Our codes of the languages whose split is there, in the table's order."""
        codes = [entry.code for entry in all_languages()]
        return [code for code in codes if (config := data.code_for(code)) and self.files(config, split)]

    def _matches(self, pattern: str) -> Iterator[Path]:
        if not is_within(pattern):
            raise UserError(
                f"{self.folder / 'README.md'}: names {pattern!r}, and rows are read from files in that folder only. "
                f"Correct it, or fetch the data set again"
            )
        if any(sign in pattern for sign in "*?["):
            yield from self.folder.glob(pattern)
        else:
            yield self.folder / pattern

    def _by_name(self, config: str, split: str) -> Iterator[Path]:
        for place in (self.folder / config, self.folder / "data" / config):
            for name in _SAME_SPLIT.get(split, (split,)):
                found = [path for path in place.glob(f"{name}*") if _is_split(path, name)]
                if found:
                    yield from found
                    return
        # A data set of one split may be one file a language.
        if split in ("test", "devtest"):
            for place in (self.folder, self.folder / "data"):
                yield from (place / f"{config}{suffix}" for suffix in SUFFIXES)


def is_within(name: str) -> bool:
    """Whether a file's name, or a pattern of names, stays in the folder that it is of.

    >>> is_within("data/test-*.parquet"), is_within("../test.jsonl"), is_within("/etc/passwd")
    (True, False, False)
    """
    parts = name.replace("\\", "/").split("/")
    return "\0" not in name and parts[0] != "" and ".." not in parts and not parts[0].endswith(":")


def configs_of(text: str, where: str) -> dict[str, dict[str, tuple[str, ...]]]:
    """Patterns of files by config and split, from the header of a data set's README.

    Args:
        text: the README.
        where: its name, for the error.

    Raises:
        UserError: the header is not YAML, or its `configs` have another form.
    """
    import yaml

    _, marker, rest = text.partition("---\n")
    header, end, _ = rest.partition("\n---")
    if not marker or not end or not text.lstrip("﻿").startswith("---"):
        return {}
    try:
        # The one in C is ten times as fast, and a header may list a hundred languages.
        found: Any = yaml.load(header, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        configs = (found or {}).get("configs") or []
        return {str(entry["config_name"]): _splits(entry.get("data_files") or []) for entry in configs}
    except (yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(
            f"{where}: its header cannot be read ({reason}). Take it away to have files found by their names"
        ) from None


def _splits(data_files: str | Sequence[Any]) -> dict[str, tuple[str, ...]]:
    if isinstance(data_files, str):
        return {"train": (data_files,)}
    splits: dict[str, tuple[str, ...]] = {}
    for entry in data_files:
        if isinstance(entry, str):
            splits["train"] = (*splits.get("train", ()), entry)
        else:
            path = entry["path"]
            splits[str(entry["split"])] = (path,) if isinstance(path, str) else tuple(map(str, path))
    return splits


def _is_split(path: Path, name: str) -> bool:
    """Whether a file is of the split: `test.jsonl`, `test-00000-of-00001.parquet`, not `test_old.jsonl`."""
    rest = path.name[len(name) :]
    return path.suffix in SUFFIXES and (rest == path.suffix or rest[:1] in ("-", "."))
