"""Text for neuron profiles: which source is taken, in which form, and what is said where one is not."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from bridgex.config import command, settings
from bridgex.config.settings import Settings
from bridgex.data import sentences, sources
from bridgex.errors import UserError
from bridgex.languages import Pair


@cache
def composed() -> dict[str, Any]:
    """A run's config; composing it takes longer than all that is tested here."""
    (cell,) = command.check("evaluate", ["model=random", "pair=de-en"], settings.validate)
    return dict(cell.config)


def settings_for(pair: str, root: Path | None = None, **data: Any) -> Settings:
    source, target = pair.split("-")
    named = {"name": pair, "source": source, "target": target}
    given = {**composed()["data"], "root": None if root is None else str(root), **data}
    return settings.validate({**composed(), "pair": named, "data": given})


def put_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def put_words(root: Path, name: str, *lines: str) -> None:
    (root / "muse").mkdir(exist_ok=True)
    (root / "muse" / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def everything(root: Path) -> None:
    put_rows(root / "ntrex" / "swa" / "test.jsonl", [{"id": 1, "text": "Habari."}, {"id": 2, "text": "Maji."}])
    put_rows(root / "flores" / "swh_Latn" / "devtest.jsonl", [{"id": 1, "text": "Moto."}])
    put_rows(root / "belebele" / "swh_Latn" / "test.parquet", [{"flores_passage": "Ndege.", "question": "?"}])
    put_words(root, "sw-en.0-5000.txt", "mti tree", "jua sun")
    put_words(root, "sw-en.5000-6500.txt", "nyumba house")


def test_sources_are_taken_in_order(tmp_path: Path) -> None:
    everything(tmp_path)
    found = []
    for gone in ("", "ntrex", "flores", "belebele"):
        if gone:
            (tmp_path / gone).rename(tmp_path / f"no_{gone}")
        text = sentences.profile_text(settings_for("sw-en", tmp_path), "sw")
        found.append((text.origin, text.texts))
    assert found == [
        ("ntrex/swa", ("Habari.", "Maji.")),
        ("flores/swh_Latn", ("Moto.",)),
        ("belebele/swh_Latn", ("Ndege.",)),
        ("dictionary words", ("jua", "mti")),
    ]


def test_ones_own_text_comes_first(tmp_path: Path) -> None:
    everything(tmp_path)
    own = tmp_path / "own.txt"
    own.write_text("\ufeffMimi.\r\n\r\n  Wewe. \r\nMimi.\n", encoding="utf-8")
    text = sentences.profile_text(settings_for("sw-en", tmp_path, text={"sw": str(own)}), "sw")
    assert (text.origin, text.texts, text.notes) == ("own.txt", ("Mimi.", "Wewe."), ())


@pytest.mark.parametrize("column", ["text", "sentence"])
@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_flores_names_its_column_in_two_ways(tmp_path: Path, column: str, ending: str) -> None:
    put_rows(tmp_path / "flores" / "swh_Latn" / f"devtest.{ending}", [{"id": 1, column: "Moto."}])
    assert sentences.profile_text(settings_for("sw-en", tmp_path), "sw").texts == ("Moto.",)


def test_a_sign_that_python_takes_for_a_line_end_stays_within_its_sentence(tmp_path: Path) -> None:
    put_rows(tmp_path / "ntrex" / "swa" / "test.jsonl", [{"text": "Habari\u2028yako."}, {"text": "Maji\x85."}])
    assert sentences.profile_text(settings_for("sw-en", tmp_path), "sw").texts == ("Habari\u2028yako.", "Maji\x85.")


def test_equal_passages_and_empty_rows_count_once_and_not_at_all(tmp_path: Path) -> None:
    rows = [{"flores_passage": text} for text in ("Ndege.", "Ndege.", "", "  ", None, "Samaki.")]
    put_rows(tmp_path / "belebele" / "swh_Latn" / "test.parquet", rows)
    assert sentences.profile_text(settings_for("sw-en", tmp_path), "sw").texts == ("Ndege.", "Samaki.")


def test_the_fingerprint_follows_the_text_and_nothing_else(tmp_path: Path) -> None:
    path = put_rows(tmp_path / "ntrex" / "swa" / "test.jsonl", [{"id": 1, "text": "Habari."}])
    made = settings_for("sw-en", tmp_path)
    first = sentences.profile_text(made, "sw").fingerprint
    put_rows(path, [{"id": 2, "text": "Habari."}])
    assert sentences.profile_text(made, "sw").fingerprint == first
    put_rows(path, [{"id": 1, "text": "Habari!"}])
    assert sentences.profile_text(made, "sw").fingerprint != first


def test_dictionary_words_leave_out_what_is_evaluated(tmp_path: Path) -> None:
    put_words(tmp_path, "de-en.0-5000.txt", "baum tree", "Haus home", "sonne sun")
    put_words(tmp_path, "de-en.5000-6500.txt", "haus house", "mond moon")
    put_words(tmp_path, "en-fr.0-5000.txt", "moon lune", "sun soleil", "Sun astre")
    made = settings_for("de-en", tmp_path)
    # "Haus" is the evaluated "haus", and "moon" is a right answer.
    assert sentences.profile_text(made, "de").texts == ("baum", "sonne")
    assert sentences.profile_text(made, "en").texts == ("Sun", "home", "sun", "tree")
    assert sentences.profile_text(made, "fr").texts == ("astre", "lune", "soleil")


def test_ones_own_list_lends_its_probed_part_only(tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    own.write_text("".join(f"s{n} t{n}\n" for n in range(8)))
    made = settings_for("sw-en", dictionary=str(own))
    assert sentences.profile_text(made, "sw").texts == ("s3", "s7")
    assert sentences.profile_text(made, "en").texts == ("t3", "t7")


def test_ones_own_list_is_split_without_overlap(tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    own.write_text("".join(f"s{n % 11} t{n}\n" for n in range(20)))
    made = settings_for("sw-en", dictionary=str(own))
    train, test = (sources.dictionary(made, Pair("sw", "en"), part) for part in ("train", "test"))  # type: ignore[arg-type]
    assert list(train.entries) == ["s3", "s7"]
    assert not train.entries.keys() & test.entries.keys()
    assert {**train.entries, **test.entries} == sources.read_word_pairs(own), "and nothing is lost"
    assert (
        train.note == test.note == "words from own.txt: every fourth one is for probing, the others are for evaluation"
    )
    short = tmp_path / "short.txt"
    short.write_text("a b\n")
    made = settings_for("sw-en", dictionary=str(short))
    assert dict(sources.dictionary(made, Pair("sw", "en"), "train").entries) == {}


def test_another_list_serves_a_language_that_muse_lacks_and_is_named(tmp_path: Path) -> None:
    put_words(tmp_path, "de-en.5000-6500.txt", "haus house")
    (tmp_path / "freedict_sw").mkdir()
    (tmp_path / "freedict_sw" / "en-sw.test.txt").write_text("house nyumba\n")
    found = sources.dictionary(settings_for("en-sw", tmp_path), Pair("en", "sw"), "test")
    assert (dict(found.entries), found.note) == ({"house": ("nyumba",)}, "words from freedict_sw/en-sw.test.txt")
    joined = sources.dictionary(settings_for("de-sw", tmp_path), Pair("de", "sw"), "test")
    assert dict(joined.entries) == {"haus": ("nyumba",)}
    assert "joined through English (de-en.5000-6500.txt, en-sw.test.txt)" in joined.note
    (line,) = sources.problems(settings_for("en-yo", tmp_path), ("test",))
    assert "languages there: de, en, sw" in line


def test_no_text_at_all_is_refused_with_what_would_help(tmp_path: Path) -> None:
    put_words(tmp_path, "de-en.5000-6500.txt", "haus house")
    with pytest.raises(UserError) as error:
        sentences.profile_text(settings_for("de-en", tmp_path), "sw")
    assert error.value.problems == (
        "no text in Swahili (sw) for neuron profiles. Give data.text.sw=FILE (one sentence a line), or a data.root "
        "with ntrex/, flores/, belebele/ or muse/ files of it",
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "ntrex/swa/test.jsonl",
            b'{"text": "a"}\n{"text"\n',
            r"test\.jsonl:2: expected a JSON object with 'text', found '\{\"te",
        ),
        ("ntrex/swa/test.jsonl", b'{"id": 1}\n', r"test\.jsonl:1: expected a JSON object with 'text', found "),
        ("flores/swh_Latn/dev.jsonl", b"[1]\n", r"dev\.jsonl:1: expected a JSON object with 'text' or 'sentence'"),
        ("ntrex/swa/test.jsonl", b"3\n", r"test\.jsonl:1: expected a JSON object"),
        ("ntrex/swa/test.jsonl", b'{"text": "\xe4"}\n', r"test\.jsonl: not UTF-8 at byte 10"),
        ("ntrex/swa/test.jsonl", b"\n", "ntrex/swa: holds no text in Swahili"),
        ("belebele/swh_Latn/test.parquet", b"PAR1 cut short", r"test\.parquet: cannot be read as a parquet file"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        sentences.profile_text(settings_for("sw-en", tmp_path), "sw")


def test_a_parquet_file_without_the_column_says_which_it_has(tmp_path: Path) -> None:
    put_rows(tmp_path / "belebele" / "swh_Latn" / "test.parquet", [{"passage": "a", "question": "b"}])
    with pytest.raises(UserError, match=r"test\.parquet: has no column 'flores_passage', only passage, question"):
        sentences.profile_text(settings_for("sw-en", tmp_path), "sw")


# "Burmese language" and "we learn Burmese" as Unicode and as Zawgyi have them.
UNICODE = ["မြန်မာဘာသာစကား", "သင်္ဘောက ဆိပ်ကမ်းမှာ", "ကျွန်တော်တို့ လေ့လာတယ်"]
ZAWGYI = ["ျမန္မာဘာသာစကား", "သေဘၤာက ဆိပ္ကမ္းမွာ", "ကြၽန္ေတာ္တို႔ ေလ့လာတယ္"]


def test_burmese_in_zawgyi_is_left_out_with_the_reason(tmp_path: Path) -> None:
    put_rows(tmp_path / "ntrex" / "mya" / "test.jsonl", [{"text": text} for text in ZAWGYI])
    put_rows(tmp_path / "belebele" / "mya_Mymr" / "test.parquet", [{"flores_passage": text} for text in UNICODE])
    text = sentences.profile_text(settings_for("en-my", tmp_path), "my")
    assert (text.origin, text.texts) == ("belebele/mya_Mymr", tuple(UNICODE))
    assert text.notes == ("ntrex/mya was left out: it is in Zawgyi, not in Unicode",)
    (tmp_path / "belebele" / "mya_Mymr" / "test.parquet").unlink()
    with pytest.raises(
        UserError, match=r"no text in Burmese \(my\) for neuron profiles; ntrex/mya was left out: .*Zawgyi"
    ):
        sentences.profile_text(settings_for("en-my", tmp_path), "my")
    own = tmp_path / "own.txt"
    own.write_text("\n".join(ZAWGYI), encoding="utf-8")
    with pytest.raises(UserError, match=r"data\.text\.my=.*own\.txt: is in Zawgyi, not in Unicode\. Convert the file"):
        sentences.profile_text(settings_for("en-my", tmp_path, text={"my": str(own)}), "my")


def test_a_slip_in_one_line_of_many_is_no_zawgyi(tmp_path: Path) -> None:
    rows = [{"text": f"{UNICODE[n % 3]} {n}"} for n in range(30)] + [{"text": "ကမ္"}]
    put_rows(tmp_path / "ntrex" / "mya" / "test.jsonl", rows)
    assert len(sentences.profile_text(settings_for("en-my", tmp_path), "my").texts) == 31


def test_the_toy_world_reads_as_any_other(repository: Path) -> None:
    (cell,) = command.check("evaluate", [], settings.validate)
    made = settings.validate(cell.config)
    for code in ("qaa", "qaf", "qal"):
        text = sentences.profile_text(made, code)
        assert text.origin == f"ntrex/{code}"
        assert len(text.texts) > 50


@pytest.mark.parametrize(
    ("code", "origin", "at_least", "word"),
    [
        ("de", "ntrex/deu", 590, "der"),
        ("sw", "ntrex/swa", 590, "kwa"),
        ("zh", "ntrex/zho-CN", 590, "的"),
        ("my", "belebele/mya_Mymr", 480, "သည်"),
    ],
)
def test_real_text_of_four_languages(test_data: Path, code: str, origin: str, at_least: int, word: str) -> None:
    text = sentences.profile_text(settings_for("en-fr", test_data), code)
    assert (text.origin, text.notes) == (origin, ())
    assert len(text.texts) >= at_least
    assert len(set(text.texts)) == len(text.texts)
    assert sum(word in line for line in text.texts) > 50


def test_real_flores_reads_too(test_data: Path, tmp_path: Path) -> None:
    (tmp_path / "flores").symlink_to(test_data / "flores")
    text = sentences.profile_text(settings_for("en-fr", tmp_path), "th")
    assert text.origin == "flores/tha_Thai"
    assert len(text.texts) == 600


def test_a_pair_with_swahili_has_words_to_probe_and_others_to_evaluate(test_data: Path) -> None:
    made = settings_for("en-sw", test_data)
    train, test = (sources.dictionary(made, Pair("en", "sw"), part) for part in ("train", "test"))  # type: ignore[arg-type]
    assert (len(train.entries) > 500, len(test.entries) > 200) == (True, True)
    assert not train.entries.keys() & test.entries.keys()
    assert test.note == "words from freedict_sw/en-sw.test.txt"
