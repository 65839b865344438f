"""Which texts a run evaluates, and therefore must not look at while bridges are ranked."""

from __future__ import annotations

from collections.abc import Collection

# Shorter texts stand within others by chance. Bytes, since a Chinese character says about as much as three letters.
_MIN_BYTES = 24


class Evaluated:
    """Evaluated texts, whole or as parts of others: FLORES sentences stand in Belebele's passages.

    White space does not count.

    Args:
        texts: all of them.
    """

    def __init__(self, texts: Collection[str] = ()) -> None:
        self._whole = frozenset(map(_one_line, texts))
        long = [text for text in self._whole if _is_long(text)]
        self._long = sorted(long, key=len)
        self._joined = "\n".join(long)

    def __contains__(self, text: object) -> bool:
        """Whether a text is evaluated, is a part of one that is, or has one as its part."""
        if not isinstance(text, str):
            return False
        line = _one_line(text)
        if line in self._whole:
            return True
        if not _is_long(line):
            return False
        if line in self._joined:
            return True
        for part in self._long:
            if len(part) >= len(line):
                return False
            if part in line:
                return True
        return False


def _is_long(text: str) -> bool:
    return len(text.encode()) >= _MIN_BYTES


def _one_line(text: str) -> str:
    return " ".join(text.split())
