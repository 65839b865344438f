"""Arrays that runs share: profiles of languages, representations before fine-tuning."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from bridgex.records.files import write_bytes, writing

_KEY = "__key__"
_DIGEST = hashlib.sha256().digest_size
_UNREMARKED = (0).to_bytes(2, "little")
_REMARKED = _DIGEST.to_bytes(2, "little")


class ArrayCache:
    """Arrays by key, one `.npz` file each, whole or not there.

    A file is an ordinary zip archive whose closing remark is the SHA-256 of all that stands before it, so that a
    damaged one is seen before any of it is read.

    Args:
        folder: `cache.dir`.
        kind: what is kept; the name of the folder below it.

    Example:
        >>> cache = ArrayCache(Path("outputs/cache"), "profiles")  # doctest: +SKIP
        >>> cache.put({"model": "6f1e", "language": "sw"}, {"share_1": np.ones(3)})  # doctest: +SKIP
    """

    def __init__(self, folder: Path, kind: str) -> None:
        self._folder = folder / kind

    def get(self, key: Mapping[str, str]) -> dict[str, npt.NDArray[Any]] | None:
        """The arrays kept under a key; None: none are, or the file is damaged, which removes it."""
        path = self.path(key)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        arrays = _unpacked(content, _canonical(key))
        if arrays is None:
            with contextlib.suppress(OSError):
                path.unlink()
        return arrays

    def has(self, key: Mapping[str, str]) -> bool:
        """Whether something is kept under a key; that it is whole shows when it is read."""
        return self.path(key).is_file()

    def put(self, key: Mapping[str, str], arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Keeps arrays under a key, in place of what was there.

        Raises:
            UserError: the disk is full or the folder cannot be written.
            ValueError: an array holds Python objects.
        """
        path = self.path(key)
        with writing(path, "cache.dir"):
            self._folder.mkdir(parents=True, exist_ok=True)
        write_bytes(path, _packed(_canonical(key), arrays), "cache.dir")

    def path(self, key: Mapping[str, str]) -> Path:
        """The file of a key, whether it is there or not."""
        return self._folder / f"{hashlib.sha256(_canonical(key).encode()).hexdigest()}.npz"


def _canonical(key: Mapping[str, str]) -> str:
    return json.dumps(dict(key), sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _packed(key: str, arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    assert _KEY not in arrays, f"{_KEY} is the key's own name"
    if objects := [name for name, array in arrays.items() if array.dtype.hasobject]:
        raise ValueError(f"{', '.join(objects)}: arrays of Python objects are not kept")
    buffer = io.BytesIO()
    named: dict[str, Any] = {_KEY: np.array(key), **arrays}
    np.savez(buffer, **named)
    content = buffer.getvalue()
    assert content.endswith(_UNREMARKED), "an archive without a remark ends in the remark's length"
    content = content[: -len(_UNREMARKED)] + _REMARKED
    return content + hashlib.sha256(content).digest()


def _unpacked(content: bytes, key: str) -> dict[str, npt.NDArray[Any]] | None:
    body, digest = content[:-_DIGEST], content[-_DIGEST:]
    if hashlib.sha256(body).digest() != digest:
        return None
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, BadZipFile):
        return None  # whole, and yet not of our making: another kind of file, or one that holds a pickle
    return arrays if str(arrays.pop(_KEY, "")) == key else None
