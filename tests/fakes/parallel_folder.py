"""Folders of made-up parallel text in the hub's layouts: numbers as words of invented languages."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

_NTREX = {"de": "deu", "en": "eng", "fr": "fra"}
_SYLLABLES = {"de": "schwo", "en": "thri", "fr": "eaux"}
TEST_MARK = "Unseen"
"""Stands in every test row of XNLI and nowhere else."""


def sentence(code: str, numbers: Sequence[int]) -> str:
    """Every language has a word of its own for each number."""
    return " ".join(f"{_SYLLABLES[code][: 2 + number % 3]}{chr(97 + number)}" for number in numbers).capitalize() + "."


def write_ntrex(root: Path, codes: Sequence[str], count: int = 40) -> None:
    """`count` lines, the same in every language."""
    draw = random.Random(0)
    lines = [[draw.randrange(26) for _ in range(draw.randint(4, 9))] for _ in range(count)]
    for code in codes:
        folder = root / "ntrex" / _NTREX[code]
        folder.mkdir(parents=True)
        rows = [{"id": number, "text": sentence(code, line)} for number, line in enumerate(lines, start=1)]
        _write(folder / "test.jsonl", rows)


def write_xnli(root: Path, codes: Sequence[str], count: int = 12) -> None:
    """`count` validation rows, three to a premise, and as many test rows, the same in every language."""
    draw = random.Random(1)
    premises = [[draw.randrange(26) for _ in range(6)] for _ in range(count)]
    for code in codes:
        folder = root / "xnli" / code
        folder.mkdir(parents=True)
        rows = [
            {
                "premise": sentence(code, premises[number // 3]),
                "hypothesis": sentence(code, premises[number // 3][number % 3 : 4]),
                "label": number % 3,
            }
            for number in range(count)
        ]
        _write(folder / "validation.jsonl", rows)
        _write(folder / "test.jsonl", [{**row, "premise": f"{TEST_MARK} {row['premise']}"} for row in rows])


def _write(path: Path, rows: Sequence[object]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
