"""What models answered, kept for all runs: append-only shards, one a writing process, read as a union."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bridgex.records.files import writing

_CHECK = 16


class AnswerCache:
    """Replies by key, in folders by what decides a model's answers.

    A shard is a file of lines, each a checksum and a JSON array `[key, reply]`; one process appends to it, whole lines
    at a time, and every process reads it. A line that is cut short or damaged does not count, so a process may be
    killed, and two may answer the same prompt, without harm.

    Args:
        folder: `cache.dir`; the shards lie in `answers` below it.
        model: what decides the answers beside the prompt: fingerprint, dtype, engine and version, decoding.

    Example:
        >>> cache = AnswerCache(Path("outputs/cache"), {"model": "6f1e", "engine": "hf"})  # doctest: +SKIP
        >>> cache.put({"9a0c": {"text": "chien"}})  # doctest: +SKIP
    """

    def __init__(self, folder: Path, model: Mapping[str, str]) -> None:
        name = hashlib.sha256(json.dumps(dict(model), sort_keys=True).encode()).hexdigest()[:32]
        self._folder = folder / "answers" / name
        self._known: dict[str, Any] = {}
        self._read: dict[Path, int] = {}
        self._shard: tuple[int, Path] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Where the answers lie: another process reads them there."""
        return {"_folder": self._folder}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _known={}, _read={}, _shard=None)
        self.look()

    def __len__(self) -> int:
        """Replies at hand, as of the last look."""
        return len(self._known)

    def look(self) -> None:
        """Reads what every process has added since the last look."""
        for path in sorted(self._folder.glob("*.jsonl")):
            start = self._read.get(path, 0)
            with path.open("rb") as file:
                file.seek(start)
                lines, _, _ = file.read().rpartition(b"\n")  # what follows the last line end is still being written
            if not lines:
                continue
            self._read[path] = start + len(lines) + 1
            for line in lines.split(b"\n"):
                found = _entry(line)
                if found is not None:
                    self._known.setdefault(*found)

    def get(self, key: str) -> Any:
        """The reply kept under a key, as JSON data; None: there is none at hand."""
        return self._known.get(key)

    def put(self, replies: Mapping[str, Any]) -> None:
        """Keeps replies, on the disk before this returns.

        Raises:
            UserError: the disk is full or the folder cannot be written; nothing of it counts then.
        """
        new = {key: reply for key, reply in replies.items() if key not in self._known}
        if not new:
            return
        with writing(self._folder, "cache.dir"):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._append(self._own_shard(), b"".join(_line(key, reply) for key, reply in new.items()))
        self._known.update(new)

    def _own_shard(self) -> Path:
        """This process's file; a process forked from one that has a file begins its own."""
        if self._shard is None or self._shard[0] != os.getpid():
            name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.jsonl"
            self._shard = os.getpid(), self._folder / name
        return self._shard[1]

    def _append(self, shard: Path, lines: bytes) -> None:
        """Adds whole lines; where the disk takes only a part of them, that part goes again."""
        with shard.open("ab") as file:
            whole = file.tell()
            try:
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())
            except BaseException:
                os.truncate(shard, whole)
                raise
        self._read[shard] = whole + len(lines)


def _line(key: str, reply: Any) -> bytes:
    content = json.dumps([key, reply], ensure_ascii=False, separators=(",", ":")).encode()
    return hashlib.sha256(content).hexdigest()[:_CHECK].encode() + b" " + content + b"\n"


def _entry(line: bytes) -> tuple[str, Any] | None:
    check, _, content = line.partition(b" ")
    if hashlib.sha256(content).hexdigest()[:_CHECK].encode() != check:
        return None
    key, reply = json.loads(content)
    return str(key), reply
