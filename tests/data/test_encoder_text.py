"""What an encoder is trained on: all there is of two data sets, and never what drift is measured on."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bridgex.config.settings import DataSettings
from bridgex.data.encoder_text import EncoderText, encoder_text, text_problems
from bridgex.errors import UserError
from tests.fakes.parallel_folder import TEST_MARK, write_ntrex, write_xnli


def read(root: Path, share: float = 0.1) -> EncoderText:
    return encoder_text(DataSettings(root=str(root)), share)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_ntrex(tmp_path, ["de", "en", "fr"])
    write_xnli(tmp_path, ["de", "en"])
    return tmp_path


def test_all_lines_and_all_validation_rows(root: Path) -> None:
    found = read(root)
    assert found.languages == ("de", "en", "fr")
    lines, pairs = found.items[:36], found.items[36:]
    assert all(list(item) == ["de", "en", "fr"] and all(len(parts) == 1 for parts in item.values()) for item in lines)
    assert len(pairs) == 12
    assert all(list(item) == ["de", "en"] and all(len(parts) == 2 for parts in item.values()) for item in pairs)
    assert "text: 40 ntrex test rows in 3 languages (de, en, fr)" in found.notes
    assert "text: 12 xnli validation rows in 2 languages (de, en)" in found.notes


def test_a_test_row_of_xnli_is_never_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    real: Callable[..., Any] = io.open

    def watched(self: Path, *arguments: Any, **options: Any) -> Any:
        opened.append(str(self.relative_to(root)) if self.is_relative_to(root) else "")
        return real(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", watched)
    found = read(root)
    assert "xnli/de/validation.jsonl" in opened
    assert not [path for path in opened if path.startswith("xnli") and "test" in path]
    assert not any(TEST_MARK in text for text in found.texts())
    for path in (root / "xnli").glob("*/test.jsonl"):
        path.write_text("no rows at all")
    assert read(root) == found


def test_held_out_lines_are_the_last_ones_and_in_no_item(root: Path) -> None:
    found = read(root)
    rows = [json.loads(line) for line in (root / "ntrex" / "deu" / "test.jsonl").read_text().splitlines()]
    assert found.held_out["de"] == tuple(row["text"] for row in rows[-4:])
    assert {len(texts) for texts in found.held_out.values()} == {4}
    assert not set(found.texts()) & {text for texts in found.held_out.values() for text in texts}


def test_a_repeated_line_is_held_out_once_and_trained_on_never(root: Path) -> None:
    path = root / "ntrex" / "eng" / "test.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in (rows[0], rows[38]):
        row["text"] = rows[39]["text"]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read(root)
    assert found.held_out["en"] == tuple(rows[place]["text"] for place in (35, 36, 37, 39))
    assert rows[39]["text"] not in found.texts()
    assert len(found.items) == 40 - 4 - 2 + 12


def test_nothing_is_held_out_if_nothing_is_to_be(root: Path) -> None:
    found = read(root, 0.0)
    assert found.held_out == {}
    assert len(found.items) == 52


@pytest.mark.parametrize(("there", "lacking", "count"), [("ntrex", "xnli validation", 36), ("xnli", "ntrex test", 12)])
def test_one_data_set_will_do_and_that_is_noted(tmp_path: Path, there: str, lacking: str, count: int) -> None:
    (write_ntrex if there == "ntrex" else write_xnli)(tmp_path, ["de", "en"])
    found = read(tmp_path)
    assert len(found.items) == count
    assert f"text: no {lacking} rows in data.root, so the other data set alone" in found.notes


def test_test_rows_alone_are_no_text(tmp_path: Path) -> None:
    write_xnli(tmp_path, ["de"])
    (tmp_path / "xnli" / "de" / "validation.jsonl").unlink()
    (line,) = text_problems(DataSettings(root=str(tmp_path)))
    assert line.startswith(f"data.root={tmp_path}: holds neither lines of ntrex/ nor validation rows of xnli/. Give ")
    with pytest.raises(UserError) as error:
        read(tmp_path)
    assert error.value.problems == (line,)


def test_another_text_has_another_fingerprint(root: Path) -> None:
    before = read(root).fingerprint
    assert read(root).fingerprint == before
    assert read(root, 0.2).fingerprint != before
    path = root / "xnli" / "de" / "validation.jsonl"
    path.write_text(path.read_text().replace("Sch", "Ch", 1))
    assert read(root).fingerprint != before


def test_burmese_in_zawgyi_is_left_out_and_noted(root: Path) -> None:
    rows = [{"id": number, "text": f"\u1031\u1019\u1039 {number}"} for number in range(1, 41)]
    folder = root / "ntrex" / "mya"
    folder.mkdir()
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read(root)
    assert found.languages == ("de", "en", "fr")
    assert "text: ntrex in my was left out: it is in Zawgyi, not in Unicode" in found.notes


def test_a_damaged_file_is_named(root: Path) -> None:
    path = root / "ntrex" / "eng" / "test.jsonl"
    path.write_text(path.read_text() + "{")
    with pytest.raises(UserError, match=r"eng/test\.jsonl:41: expected a JSON object"):
        read(root)
