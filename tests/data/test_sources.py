"""Word lists: formats, joins, and errors that name file and line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bridgex.config import command, settings
from bridgex.config.settings import Settings
from bridgex.data import sources
from bridgex.errors import UserError
from bridgex.languages import Pair


def settings_for(pair: str, root: Path | None = None, **data: Any) -> Settings:
    overrides = ["model=random", f"pair={pair}"]
    if root is not None:
        overrides.append(f"data.root={root}")
    overrides += [f"data.{key}={value}" for key, value in data.items()]
    (cell,) = command.check("evaluate", overrides, settings.validate)
    return settings.validate(cell.config)


def put(root: Path, name: str, *lines: str) -> Path:
    path = root / "muse" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_words_keep_their_order_and_all_their_translations(tmp_path: Path) -> None:
    put(tmp_path, "de-en.5000-6500.txt", "haus house", "baum tree", "haus home", "haus house")
    found = sources.dictionary(settings_for("de-en", tmp_path), Pair("de", "en"), "test")
    assert dict(found.entries) == {"haus": ("house", "home"), "baum": ("tree",)}
    assert list(found.entries) == ["haus", "baum"]
    assert found.note == ""


def test_a_tab_allows_spaces_within_words(tmp_path: Path) -> None:
    path = tmp_path / "own.txt"
    path.write_text("guten tag\tgood day\r\n\r\nja\tyes\r\n", encoding="utf-8-sig")
    assert sources.read_word_pairs(path) == {"guten tag": ("good day",), "ja": ("yes",)}


def test_the_reverse_file_is_read_backwards_and_says_so(tmp_path: Path) -> None:
    put(tmp_path, "en-sw.5000-6500.txt", "house nyumba", "home nyumba")
    found = sources.dictionary(settings_for("sw-en", tmp_path), Pair("sw", "en"), "test")
    assert dict(found.entries) == {"nyumba": ("house", "home")}
    assert found.note == "the dictionary sw-en was read backwards from en-sw.5000-6500.txt"


def test_two_files_are_joined_through_english_and_say_so(tmp_path: Path) -> None:
    put(tmp_path, "de-en.5000-6500.txt", "bank bank", "bank bench", "baum tree", "rest rest")
    put(tmp_path, "en-fr.5000-6500.txt", "bank banque", "bench banc", "tree arbre", "bench banque")
    found = sources.dictionary(settings_for("de-fr", tmp_path), Pair("de", "fr"), "test")
    assert dict(found.entries) == {"bank": ("banque", "banc"), "baum": ("arbre",)}
    assert "joined through English (de-en.5000-6500.txt, en-fr.5000-6500.txt): it may favour English" in found.note
    assert len(found.files) == 2


def test_ones_own_list_wins_over_the_folder(tmp_path: Path) -> None:
    put(tmp_path, "de-en.5000-6500.txt", "haus house")
    own = tmp_path / "own.txt"
    own.write_text("hund dog\n")
    found = sources.dictionary(settings_for("de-en", tmp_path, dictionary=own), Pair("de", "en"), "test")
    assert dict(found.entries) == {"hund": ("dog",)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"haus house\nbaum\n",
            r"own.txt:2: expected 'word translation', separated by a tab or one space, found 'baum'",
        ),
        (b"haus my house\n", r"own.txt:1: expected 'word translation'.*Use a tab where a word holds a space"),
        (b"haus house\nb\xe4r bear\n", r"own.txt:2: not UTF-8"),
        (b"", "own.txt: holds no word pairs"),
        (b"\n\n", "own.txt: holds no word pairs"),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path: Path, content: bytes, message: str) -> None:
    own = tmp_path / "own.txt"
    own.write_bytes(content)
    with pytest.raises(UserError, match=message):
        sources.dictionary(settings_for("de-en", dictionary=own), Pair("de", "en"), "test")


def test_a_missing_language_is_refused_with_what_there_is(tmp_path: Path) -> None:
    put(tmp_path, "en-de.5000-6500.txt", "house haus")
    put(tmp_path, "en-fr.5000-6500.txt", "house maison")
    (line,) = sources.problems(settings_for("en-sv", tmp_path), ("test",))
    assert line == (
        "pair en-sv: English (en) is there with de, fr; no dictionary for Swedish (sv); languages there: de, en, fr. "
        "Set data.root, or data.dictionary=<file>, or choose another pair"
    )
    assert sources.problems(settings_for("de-fr", tmp_path), ("test",)) == []
    (line,) = sources.problems(settings_for("de-fr"), ("test",))
    assert line.startswith("data.root: not set, and pair de-fr needs word lists.")


def test_the_fingerprint_follows_the_content(tmp_path: Path) -> None:
    made = settings_for("de-en", tmp_path)
    put(tmp_path, "de-en.5000-6500.txt", "haus house")
    first = sources.dictionary(made, Pair("de", "en"), "test").fingerprint()
    put(tmp_path, "de-en.5000-6500.txt", "haus home")
    assert sources.dictionary(made, Pair("de", "en"), "test").fingerprint() != first


def test_every_real_file_reads(test_data: Path) -> None:
    files = sorted((test_data / "muse").glob("*-*.txt"))
    assert len(files) > 50
    for path in files:
        assert len(sources.read_word_pairs(path)) > 1000


@pytest.mark.parametrize("pair", ["de-fr", "ar-he", "zh-ja", "en-fi", "id-tl"])
def test_real_pairs_have_words(test_data: Path, pair: str) -> None:
    found = sources.dictionary(settings_for(pair, test_data), Pair.parse(pair), "test")
    assert len(found.entries) > 200
