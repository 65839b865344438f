"""Checksums inside records: no flipped bit goes unseen, and what has no checksum is read as before."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bridgex.records.files import as_lines, write_json
from bridgex.records.schema import Record
from bridgex.records.seal import sealed


class Score(Record):
    n: int
    score: float | None
    text: str
    misses: dict[str, int]


SCORE = Score(n=24, score=0.5416666666666666, text='"ŋ" }\n,"check":"0123456789abcdef"}', misses={"wrong": 11})


def flips(content: bytes) -> list[bytes]:
    """The content with each of its bits flipped once."""
    return [
        content[: bit // 8] + bytes([content[bit // 8] ^ 1 << bit % 8]) + content[bit // 8 + 1 :]
        for bit in range(8 * len(content))
    ]


def read_or_none(content: bytes) -> Score | None:
    try:
        return Score.model_validate_json(content)
    except ValidationError:
        return None


def test_the_checksum_is_sha256_of_what_stands_before_it(tmp_path: Path) -> None:
    write_json(tmp_path / "score.json", SCORE)
    for text in ((tmp_path / "score.json").read_text(encoding="utf-8"), as_lines([SCORE])):
        *_, (name, check) = json.loads(text).items()
        body = text[: text.rindex(",")]
        assert (name, check) == ("check", hashlib.sha256(body.encode()).hexdigest()[:16])
        assert Score.model_validate_json(text) == Score.model_validate_json(text.encode()) == SCORE


def test_no_flipped_bit_gives_another_record(tmp_path: Path) -> None:
    write_json(tmp_path / "score.json", SCORE)
    for content in ((tmp_path / "score.json").read_bytes(), as_lines([SCORE]).encode()):
        read = [read_or_none(changed) for changed in flips(content)]
        assert all(found in (None, SCORE) for found in read)  # a space may become another one
        assert read.count(None) > 0.95 * len(read)


def test_without_a_checksum_flipped_bits_do_give_other_records() -> None:
    """What the checksum is for."""
    read = [read_or_none(changed) for changed in flips(SCORE.model_dump_json().encode())]
    assert sum(found not in (None, SCORE) for found in read) > 50


@given(st.text(), st.floats(allow_nan=False), st.integers(-(2**53), 2**53))
def test_any_record_is_read_as_it_was_written(text: str, score: float, n: int) -> None:
    record = Score(n=n, score=score if abs(score) != float("inf") else None, text=text, misses={})
    (line,) = as_lines([record]).split("\n")[:-1]
    assert Score.model_validate_json(line) == record
    assert Score.model_validate_json(sealed(record.model_dump_json(indent=2))) == record


def test_a_record_without_a_checksum_is_read() -> None:
    assert Score.model_validate_json(SCORE.model_dump_json()) == SCORE
    with pytest.raises(ValidationError, match="does not agree with its field check"):
        Score.model_validate_json(sealed(SCORE.model_dump_json()).replace("24", "25"))
