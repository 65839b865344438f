"""What a run read from the user's own folders: whether any of it was touched since, told without reading it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_FILES = (("data", "dictionary"), ("drift", "distances"))
_FOLDERS = (("data", "root"), ("model", "path"), ("model", "adapter"))
_SHIPPED_WORLD = Path(__file__).resolve().parents[1] / "toy"


def signature(config: Mapping[str, Any]) -> str:
    """A hash of names, sizes and times of all files that a config names: the same, as long as nothing is touched.

    Args:
        config: the resolved config.
    """
    found = hashlib.sha256()
    places = [*_named_files(config).values(), *_values(config, _FOLDERS).values()]
    for place in [*(Path(place).expanduser() for place in places), *_beside_toy_model(config)]:
        for path, told in sorted(_told(place)):
            found.update(f"{path}\0{told.st_size}\0{told.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    return found.hexdigest()


def _beside_toy_model(config: Mapping[str, Any]) -> list[Path]:
    """Where the data of a user's own toy world lie: beside its model, in folders called as in the shipped one."""
    model = config.get("model")
    if not isinstance(model, Mapping) or model.get("kind") != "toy" or not isinstance(path := model.get("path"), str):
        return []
    world = Path(path).expanduser().resolve().parent
    return sorted(world / found.name for found in _SHIPPED_WORLD.iterdir() if found.is_dir() and found.name != "model")


def file_fingerprints(config: Mapping[str, Any]) -> dict[str, str]:
    """SHA-256 of each single file that a config names, by its key; what is not there is left out."""
    named = {key: Path(place).expanduser() for key, place in _named_files(config).items()}
    return {key: hashlib.sha256(path.read_bytes()).hexdigest() for key, path in named.items() if path.is_file()}


def _named_files(config: Mapping[str, Any]) -> dict[str, str]:
    data = config.get("data")
    texts = data.get("text") if isinstance(data, Mapping) else None
    own = {f"data.text.{code}": str(file) for code, file in texts.items()} if isinstance(texts, Mapping) else {}
    return own | _values(config, _FILES)


def _values(config: Mapping[str, Any], keys: tuple[tuple[str, str], ...]) -> dict[str, str]:
    nodes = {(group, key): config[group].get(key) for group, key in keys if isinstance(config.get(group), Mapping)}
    return {f"{group}.{key}": value for (group, key), value in nodes.items() if isinstance(value, str)}


def _told(place: Path) -> Iterator[tuple[str, os.stat_result]]:
    """What the file system tells of a file, or of all files below a folder; nothing of what is not there."""
    try:
        told = place.stat()
    except OSError:
        return
    if place.is_file():
        yield str(place), told
        return
    for folder, _, names in os.walk(place):
        for name in names:
            path = os.path.join(folder, name)
            try:
                yield path, os.stat(path)
            except OSError:
                continue
