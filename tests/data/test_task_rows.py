"""Task rows: every check is shown to find what it is for, on rows with that fault planted."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from bridgex.config import command, settings
from bridgex.config.settings import Settings
from bridgex.data import copa, task_rows
from bridgex.data.raw_rows import local_folder
from bridgex.data.row_types import number_of
from bridgex.data.task_rows import CausalRow, InferenceRow, ProblemRow, ReadingRow, SentenceRow
from bridgex.errors import UserError

Rows = list[dict[str, Any]]


def settings_for(root: Path | None, pair: str = "de-en", model: str = "random") -> Settings:
    (cell,) = command.check("evaluate", [f"model={model}", f"pair={pair}"], settings.validate)
    config: dict[str, Any] = dict(cell.config)
    return settings.validate({**config, "data": {**config["data"], "root": None if root is None else str(root)}})


def put(root: Path, name: str, rows: Iterable[Mapping[str, Any]]) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def nli(letter: str, count: int = 12) -> Rows:
    return [
        {"premise": f"{letter} premise {n // 3}", "hypothesis": f"{letter} hypothesis {n}", "label": n % 3}
        for n in range(count)
    ]


def put_nli(root: Path, **by_code: Rows) -> Settings:
    for code, rows in by_code.items():
        put(root, f"xnli/{code}/test.jsonl", rows)
    return settings_for(root)


def mrc(letter: str, count: int = 12) -> Rows:
    return [
        {
            "link": f"https://{n // 2}.invalid/",
            "question_number": n % 2 + 1,
            "flores_passage": f"{letter} passage {n // 2}",
            "question": f"{letter} question {n}",
            **{f"mc_answer{k}": f"{letter} answer {n} {k}" for k in range(1, 5)},
            "correct_answer_num": str(n % 4 + 1),
        }
        for n in range(count)
    ]


def causes(letter: str, count: int = 12) -> Rows:
    return [
        {
            "premise": f"{letter} premise {n}",
            "choice1": f"{letter} one {n}",
            "choice2": f"{letter} two {n}",
            "question": ("cause", "effect")[n % 2],
            "label": n % 2,
            "idx": n,
            "changed": False,
        }
        for n in range(count)
    ]


def put_causes(root: Path, **by_code: Rows) -> Settings:
    for code, rows in by_code.items():
        put(root, f"xcopa/{code}/test.jsonl", rows)
    return settings_for(root)


def lines_of(run: Any, *arguments: Any, **keywords: Any) -> list[str]:
    with pytest.raises(UserError) as error:
        run(*arguments, **keywords)
    return list(error.value.problems)


def test_rows_are_typed_stripped_and_parallel(tmp_path: Path) -> None:
    german = nli("d")
    german[0]["premise"] = "  d premise 0\n"
    found = task_rows.inference_rows(put_nli(tmp_path, de=german, en=nli("e")), ["de", "en"], "test")
    assert found.rows["de"][0] == InferenceRow("d premise 0", "d hypothesis 0", 0)
    assert found.rows["en"][11] == InferenceRow("e premise 3", "e hypothesis 11", 2)
    assert found.ids == tuple(map(str, range(12)))
    assert found.groups == tuple("000111222333")
    assert found.origins == {"de": "xnli/de", "en": "xnli/en"}
    assert found.notes == ()


def test_the_fingerprint_is_of_every_text_and_of_the_languages_order(tmp_path: Path) -> None:
    made = put_nli(tmp_path, de=nli("d"), en=nli("e"))
    first = task_rows.inference_rows(made, ["de", "en"], "test").fingerprint
    assert task_rows.inference_rows(made, ["de", "en"], "test").fingerprint == first
    assert task_rows.inference_rows(made, ["en", "de"], "test").fingerprint != first
    changed = nli("e")
    changed[7]["hypothesis"] += "!"
    put_nli(tmp_path, en=changed)
    assert task_rows.inference_rows(made, ["de", "en"], "test").fingerprint != first


def test_ids_do_not_hang_on_the_other_languages(tmp_path: Path) -> None:
    """An item that one language lacks is left out, and the others keep their names."""
    made = put_causes(tmp_path, en=causes("e"), zh=causes("z"), it=causes("i")[:3] + causes("i")[4:])
    both = task_rows.causal_rows(made, ["en", "zh"], "test")
    three = task_rows.causal_rows(made, ["en", "it"], "test")
    assert both.ids == tuple(map(str, range(12)))
    assert three.ids == tuple(str(n) for n in range(12) if n != 3)
    assert three.rows["en"][3].premise == "e premise 4"
    assert three.notes == ("xcopa test: 1 item not in all languages left out (it lacks 1)",)


def test_rows_without_ids_must_be_as_many(tmp_path: Path) -> None:
    made = put_nli(tmp_path, de=nli("d", 12), en=nli("e", 15))
    assert lines_of(task_rows.inference_rows, made, ["de", "en"], "test") == [
        "xnli test: different numbers of rows (de 12, en 15), and nothing but their number says which belong together. "
        "Fetch them again"
    ]


def test_groups_are_premises_where_the_rows_are_no_triples(tmp_path: Path) -> None:
    rows = nli("d")
    for n, row in enumerate(rows):
        row["premise"] = f"premise {n % 4}"
    found = task_rows.inference_rows(put_nli(tmp_path, de=rows, en=rows), ["de", "en"], "test")
    assert found.groups == tuple("012301230123")


def test_a_triple_stays_one_where_a_translation_differs(tmp_path: Path) -> None:
    loose = nli("d")
    loose[1]["premise"] = "said otherwise"
    for codes in (["de", "en"], ["en", "de"]):
        found = task_rows.inference_rows(put_nli(tmp_path, de=loose, en=nli("e")), codes, "test")
        assert found.groups == tuple("000111222333")


def test_labels_out_of_range_or_no_integers_are_named_with_file_and_row(tmp_path: Path) -> None:
    rows = nli("d")
    for place, label in ((1, 3), (4, "maybe"), (6, None), (8, 1.5)):
        rows[place]["label"] = label
    made = put_nli(tmp_path, de=rows, en=nli("e"))
    assert lines_of(task_rows.inference_rows, made, ["de", "en"], "test") == [
        f"{tmp_path}/xnli/de/test.jsonl: row 2: label is 3, expected 0 to 2; row 5: label is 'maybe', expected 0 to 2; "
        f"row 7: label is None, expected 0 to 2 (and 1 rows more). Give the hub's own files"
    ]


def test_labels_may_be_digits_or_names(tmp_path: Path) -> None:
    rows = nli("d")
    for n, row in enumerate(rows):
        row["label"] = [str(n % 3), ("entailment", "Neutral", "contradiction")[n % 3]][n % 2]
    found = task_rows.inference_rows(put_nli(tmp_path, de=rows, en=nli("e")), ["de", "en"], "test")
    assert [row.label for row in found.rows["de"]] == [0, 1, 2] * 4


def test_dummy_labels_are_refused(tmp_path: Path) -> None:
    dummies = [{**row, "label": 0} for row in nli("d")]
    made = put_nli(tmp_path, de=dummies, en=nli("e"))
    (line,) = lines_of(task_rows.inference_rows, made, ["de", "en"], "test")
    assert line.startswith(f"{tmp_path}/xnli/de/test.jsonl: every label is 0, so it holds no answers")
    few = put_nli(tmp_path, de=dummies[:3], en=dummies[:3])
    assert len(task_rows.inference_rows(few, ["de", "en"], "test").ids) == 3


def test_labels_that_differ_are_counted_or_refused(tmp_path: Path) -> None:
    english = nli("e", 300)
    english[5]["label"] = 0
    made = put_nli(tmp_path, de=nli("d", 300), en=english)
    found = task_rows.inference_rows(made, ["de", "en"], "test")
    assert found.notes == (
        "xnli test: 1 item of 300 have not the same answer in all languages (5); the target's counts",
    )
    assert (found.rows["de"][5].label, found.rows["en"][5].label) == (2, 0)
    made = put_nli(tmp_path, en=[english[-1], *english[:-1]])
    (line,) = lines_of(task_rows.inference_rows, made, ["de", "en"], "test")
    assert "have not the same answer in all languages (0, 1, 2 and " in line
    assert line.endswith("so their rows are not the same items. Give the hub's own files")


@pytest.mark.parametrize("empty", ["", "  \n", None])
def test_an_empty_text_is_left_out_of_all_languages(tmp_path: Path, empty: str | None) -> None:
    german, english = nli("d"), nli("e")
    german[2]["hypothesis"] = english[2]["premise"] = english[9]["premise"] = empty
    found = task_rows.inference_rows(put_nli(tmp_path, de=german, en=english), ["de", "en"], "test")
    assert found.notes == ("xnli test: 2 items with an empty text left out (de 1, en 2)",)
    assert found.ids == tuple(str(n) for n in range(12) if n not in (2, 9))
    assert found.groups == tuple("0011122233")
    assert [len(rows) for rows in found.rows.values()] == [10, 10]


def test_nothing_whole_is_an_error(tmp_path: Path) -> None:
    rows = [{**row, "premise": ""} for row in nli("d")]
    made = put_nli(tmp_path, de=rows, en=nli("e"))
    assert lines_of(task_rows.inference_rows, made, ["de", "en"], "test") == [
        "xnli test: no item is whole in all of de, en. Choose other languages"
    ]


def test_two_equal_options_are_left_out(tmp_path: Path) -> None:
    rows = mrc("d")
    rows[3]["mc_answer4"] = rows[3]["mc_answer1"] + " "
    put(tmp_path, "belebele/deu_Latn/test.jsonl", rows)
    put(tmp_path, "belebele/eng_Latn/test.jsonl", mrc("e"))
    found = task_rows.reading_rows(settings_for(tmp_path), ["de", "en"])
    assert found.notes == ("belebele test: 1 item with two equal options left out (de 1)",)
    assert "https://1.invalid/ 2" not in found.ids
    assert len(found.ids) == 11


def test_reading_rows_count_answers_from_zero_and_group_by_passage(tmp_path: Path) -> None:
    put(tmp_path, "belebele/deu_Latn/test.jsonl", mrc("d"))
    put(tmp_path, "belebele/eng_Latn/test.jsonl", list(reversed(mrc("e"))))
    found = task_rows.reading_rows(settings_for(tmp_path), ["de", "en"])
    options = tuple(f"e answer 1 {k}" for k in range(1, 5))
    assert found.rows["en"][1] == ReadingRow("e passage 0", "e question 1", options, 1)
    assert found.ids[:2] == ("https://0.invalid/ 1", "https://0.invalid/ 2")
    assert found.groups[:3] == ("https://0.invalid/", "https://0.invalid/", "https://1.invalid/")


def test_doubled_ids_are_named(tmp_path: Path) -> None:
    rows = mrc("d")
    rows[5]["question_number"] = 1
    put(tmp_path, "belebele/deu_Latn/test.jsonl", rows)
    put(tmp_path, "belebele/eng_Latn/test.jsonl", mrc("e"))
    assert lines_of(task_rows.reading_rows, settings_for(tmp_path), ["de", "en"]) == [
        f"{tmp_path}/belebele/deu_Latn/test.jsonl: rows with the same id: https://2.invalid/ 1. Take the doubled rows "
        f"out"
    ]


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    rows = [{"premise": row["premise"], "hypo": row["hypothesis"], "label": row["label"]} for row in nli("d")]
    made = put_nli(tmp_path, de=rows, en=nli("e"))
    assert lines_of(task_rows.inference_rows, made, ["de", "en"], "test") == [
        f"{tmp_path}/xnli/de/test.jsonl: has no column hypothesis, only premise, hypo, label. Give the hub's own files"
    ]


def test_a_row_without_a_column_is_named(tmp_path: Path) -> None:
    rows = nli("d")
    del rows[3]["label"]
    (line,) = lines_of(task_rows.inference_rows, put_nli(tmp_path, de=rows, en=nli("e")), ["de", "en"], "test")
    assert line == f"{tmp_path}/xnli/de/test.jsonl: row 4: has no label. Give the hub's own files"
    put(tmp_path, "flores/deu_Latn/devtest.jsonl", [{"id": 1, "words": "d"}])
    put(tmp_path, "flores/eng_Latn/devtest.jsonl", [{"id": 1, "sentence": "e"}])
    (line,) = lines_of(task_rows.sentence_rows, settings_for(tmp_path), ["de", "en"], dataset="flores")
    assert "devtest.jsonl: has no column text, only id, words" in line


def test_lost_characters_are_counted_and_kept(tmp_path: Path) -> None:
    rows = nli("d")
    rows[4]["premise"] += "attach�"
    found = task_rows.inference_rows(put_nli(tmp_path, de=rows, en=nli("e")), ["de", "en"], "test")
    assert found.notes == ("xnli test: 1 item in de with a character lost upstream (U+FFFD), kept",)
    assert len(found.ids) == 12


def test_zawgyi_is_refused(tmp_path: Path) -> None:
    rows = [{"id": n, "text": f"ဆိပ္ကမ္း {n}"} for n in range(12)]
    put(tmp_path, "ntrex/mya/test.jsonl", rows)
    put(tmp_path, "ntrex/eng/test.jsonl", [{"id": n, "text": f"port {n}"} for n in range(12)])
    (line,) = lines_of(task_rows.sentence_rows, settings_for(tmp_path), ["en", "my"], dataset="ntrex")
    assert line == (
        f"{tmp_path}/ntrex/mya/test.jsonl: is in Zawgyi, not in Unicode, and models read Unicode. Convert the file"
    )


def test_the_wrong_question_of_xcopa_is_taken_from_a_language_that_is_right(tmp_path: Path) -> None:
    thai = [{**row, "question": "effect"} for row in causes("t")]
    made = put_causes(tmp_path, th=thai, tr=causes("r"), vi=list(reversed(causes("v"))))
    found = task_rows.causal_rows(made, ["th", "tr"], "test")
    assert [row.asks_for for row in found.rows["th"]] == ["cause", "effect"] * 6
    assert found.rows["th"][0] == CausalRow("t premise 0", ("t one 0", "t two 0"), "cause", 0)
    assert found.notes == (
        "xcopa test: 6 of 12 rows of th ask for the wrong thing upstream (cause, effect), and take it by idx from a "
        "language that is right",
    )
    assert set(found.rows) == {"th", "tr"}


def test_without_a_right_language_the_question_is_doubtful(tmp_path: Path) -> None:
    thai = [{**row, "question": "effect"} for row in causes("t")]
    found = task_rows.causal_rows(put_causes(tmp_path, th=thai, tr=causes("r")), ["th", "tr"], "test")
    assert {row.asks_for for row in found.rows["th"]} == {"effect"}
    assert found.notes == (
        "xcopa test: the question column of th, tr could not be checked, and upstream it is wrong in several "
        "languages: put en, vi or zh beside them",
    )


def test_a_question_must_be_a_cause_or_an_effect(tmp_path: Path) -> None:
    rows = causes("z")
    rows[0]["question"] = "why"
    (line,) = lines_of(task_rows.causal_rows, put_causes(tmp_path, zh=rows, en=causes("e")), ["zh", "en"], "test")
    assert "row 1: question is 'why', expected cause or effect" in line


def test_copa_takes_answers_by_idx_and_only_of_the_same_items() -> None:
    bare = [{**row, "label": -1} for row in reversed(causes("e"))]
    joined = copa.with_answers(bare, causes("z"), "copa test")
    assert [(row["idx"], row["label"], row["premise"]) for row in joined][:2] == [
        (11, 1, "e premise 11"),
        (10, 0, "e premise 10"),
    ]
    with pytest.raises(UserError, match=r"copa test: its rows are not those of XCOPA \(12 of 12 idx found, 12 of them"):
        copa.with_answers([{**row, "idx": (row["idx"] + 1) % 12} for row in bare], causes("z"), "copa test")
    with pytest.raises(UserError, match=r"\(11 of 12 idx found, 0 of them"):
        copa.with_answers(bare[1:], causes("z"), "copa test")


def test_problems_of_mgsm_have_numbers(tmp_path: Path) -> None:
    rows = [{"question": f"d {n}", "answer": None, "answer_number": n, "equation_solution": None} for n in range(9)]
    rows[0]["answer_number"], rows[1]["answer_number"] = "1,000", 2.5
    put(tmp_path, "mgsm/de/test.jsonl", rows)
    found = task_rows.problem_rows(settings_for(tmp_path), ["de"], "test")
    assert found.rows["de"][0] == ProblemRow("d 0", None, 1000, None)
    assert found.rows["de"][1].number == 2.5
    rows[2]["answer_number"] = "two"
    put(tmp_path, "mgsm/de/test.jsonl", rows)
    (line,) = lines_of(task_rows.problem_rows, settings_for(tmp_path), ["de"], "test")
    assert "row 3: answer_number is 'two', expected a number" in line


@pytest.mark.parametrize(("given", "number"), [("1,234.5", 1234.5), (7.0, 7), (" 12 ", 12), (-3, -3), ("1e3", 1000)])
def test_numbers_are_read_as_written(given: object, number: float) -> None:
    found = number_of(given, "answer_number")
    assert found == number
    assert isinstance(found, int) == (number == int(number))


def test_sentences_have_either_column_and_their_own_ids(tmp_path: Path) -> None:
    put(tmp_path, "flores/deu_Latn/devtest.jsonl", [{"id": n, "sentence": f"d {n}"} for n in (7, 8, 9)])
    put(tmp_path, "flores/eng_Latn/devtest.jsonl", [{"id": n, "text": f"e {n}"} for n in (9, 8, 7)])
    found = task_rows.sentence_rows(settings_for(tmp_path), ["de", "en"], dataset="flores")
    assert found.ids == ("7", "8", "9")
    assert found.rows["en"] == (SentenceRow("e 7"), SentenceRow("e 8"), SentenceRow("e 9"))
    assert found.split == "devtest"


def test_files_are_found_as_the_readme_says(tmp_path: Path) -> None:
    """Where a README lists configs, `datasets` reads them; other files of the folder do not matter."""
    put(tmp_path, "xnli/data/german-rows.jsonl", nli("d"))
    put(tmp_path, "xnli/en/part-0.jsonl", nli("e")[:6])
    put(tmp_path, "xnli/en/part-1.jsonl", nli("e")[6:])
    put(tmp_path, "xnli/de/test.jsonl", nli("wrong"))
    (tmp_path / "xnli" / "README.md").write_text(
        "---\nlicense: other\nconfigs:\n- config_name: de\n  data_files:\n  - split: test\n"
        "    path: data/german-rows.jsonl\n- config_name: en\n  data_files:\n  - split: test\n    path: en/part-*\n"
        "---\n# XNLI\n"
    )
    found = task_rows.inference_rows(settings_for(tmp_path), ["de", "en"], "test")
    assert found.rows["de"][0].premise == "d premise 0"
    assert [row.hypothesis for row in found.rows["en"]] == [f"e hypothesis {n}" for n in range(12)]
    assert not list(tmp_path.rglob("*.arrow"))


def test_a_readme_may_name_more_languages_than_are_there(tmp_path: Path) -> None:
    """As where a few files of the hub's folder were downloaded, its README with them."""
    configs = "".join(
        f"- config_name: {code}\n  data_files:\n  - split: test\n    path: data/{code}.jsonl\n"
        for code in ("acm_Arab", "deu_Latn", "eng_Latn", "zul_Latn")
    )
    for code in ("deu_Latn", "eng_Latn"):
        put(tmp_path, f"belebele/data/{code}.jsonl", mrc(code))
    (tmp_path / "belebele" / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    made = settings_for(tmp_path)
    assert len(task_rows.reading_rows(made, ["de", "en"]).ids) == 12
    assert not task_rows.has_language(made, "belebele", "zu")
    path = tmp_path / "belebele" / "data" / "deu_Latn.jsonl"
    path.write_text(path.read_text() + "{\n")
    (line,) = lines_of(task_rows.reading_rows, made, ["de", "en"])
    assert line.startswith(f"{path}:13: expected a JSON object, found '{{'")


def test_a_broken_readme_is_one_line(tmp_path: Path) -> None:
    made = put_nli(tmp_path, de=nli("d"), en=nli("e"))
    (tmp_path / "xnli" / "README.md").write_text("---\nconfigs: [unclosed\n---\n")
    (line,) = task_rows.problems(made, "xnli", ["de", "en"])
    assert line.startswith(f"{tmp_path}/xnli/README.md: its header cannot be read (")
    (tmp_path / "xnli" / "README.md").write_text("# just words\n")
    assert task_rows.problems(made, "xnli", ["de", "en"]) == []


@pytest.mark.parametrize("kind", ["tsv", "csv", "parquet", "json", "one file", "data folder"])
def test_other_kinds_and_places_of_files(tmp_path: Path, kind: str) -> None:
    for code in ("de", "en"):
        rows, folder = nli(code), tmp_path / "xnli" / code
        folder.mkdir(parents=True)
        if kind in ("tsv", "csv"):
            tab = "\t" if kind == "tsv" else ","
            text = "".join(f"{tab.join(map(str, row.values()))}\n" for row in rows)
            (folder / f"test.{kind}").write_text(f"{tab.join(rows[0])}\n{text}")
        elif kind == "parquet":
            import pyarrow
            import pyarrow.parquet

            table = pyarrow.Table.from_pylist(rows)
            pyarrow.parquet.write_table(table.slice(0, 6), folder / "test-00000-of-00002.parquet")
            pyarrow.parquet.write_table(table.slice(6), folder / "test-00001-of-00002.parquet")
        else:
            name = {"json": f"{code}/test.json", "one file": f"{code}.jsonl", "data folder": f"data/{code}/test.jsonl"}
            put(tmp_path, f"xnli/{name[kind]}", rows)
    found = task_rows.inference_rows(settings_for(tmp_path), ["de", "en"], "test")
    assert found.rows["de"][11] == InferenceRow("de premise 3", "de hypothesis 11", 2)
    assert len(found.ids) == 12


def test_dev_files_are_the_validation_split(tmp_path: Path) -> None:
    put(tmp_path, "afrixnli/data/hau/dev.jsonl", nli("h"))
    put(tmp_path, "afrixnli/data/eng/dev.jsonl", nli("e"))
    found = task_rows.inference_rows(settings_for(tmp_path), ["ha", "en"], "validation", dataset="afrixnli")
    assert found.origins == {"ha": "afrixnli/hau", "en": "afrixnli/eng"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"premise": "a"}\nnot json\n', ":2: expected a JSON object, found 'not json'"),
        (b"[1, 2]\n", ":1: expected a JSON object, found '[1, 2]'"),
        (b"\xff\xfe\n", ": not UTF-8 at byte 0"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", ": is a Git LFS pointer, not the file"),
        (b"", ": holds no rows"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, content: bytes, reason: str) -> None:
    made = put_nli(tmp_path, de=nli("d"), en=nli("e"))
    path = tmp_path / "xnli" / "de" / "test.jsonl"
    path.write_bytes(content)
    (line,) = lines_of(task_rows.inference_rows, made, ["de", "en"], "test")
    assert line.startswith(f"{path}{reason}")


def test_a_broken_parquet_file_is_named(tmp_path: Path) -> None:
    made = put_nli(tmp_path, de=nli("d"), en=nli("e"))
    (tmp_path / "xnli" / "de" / "test.jsonl").unlink()
    path = tmp_path / "xnli" / "de" / "test.parquet"
    path.write_bytes(b"PAR1 and nothing more")
    (line,) = lines_of(task_rows.inference_rows, made, ["de", "en"], "test")
    assert line.startswith(f"{path}: cannot be read as a parquet file (")


def test_a_language_that_the_data_set_lacks_is_refused_with_what_has_it(tmp_path: Path) -> None:
    assert task_rows.problems(settings_for(None), "xnli", ["en", "xh"]) == [
        "xnli: no Xhosa (xh); it has ar, bg, de, el, en, es, fr, hi, my, ru, sw, th, tr, ur, vi, zh. Xhosa is in "
        "afrixnli (task=xnli task.variant=afrixnli), belebele (task=belebele), ntrex (task=mt), flores (task=mt)"
    ]
    made = put_nli(tmp_path, de=nli("d"), en=nli("e"))
    (line,) = task_rows.problems(made, "xnli", ["de", "xh"])
    assert line.startswith(f"xnli: no Xhosa (xh) test rows in {tmp_path}/xnli; it has de, en. Xhosa is in afrixnli")
    assert task_rows.problems(made, "xnli", ["de", "sw"], ["test"]) == [
        f"xnli: no Swahili (sw) test rows in {tmp_path}/xnli; it has de, en. Run bridgex data fetch xnli --language "
        f"sw, or give another data.root"
    ]
    (line,) = task_rows.problems(made, "xnli", ["de"], ["test", "validation"])
    assert line.startswith(f"xnli: no German (de) validation rows in {tmp_path}/xnli; it has none at all")
    assert lines_of(task_rows.inference_rows, made, ["de"], "validation") == [line]


def test_a_folder_keeps_from_the_hub_and_other_sets_may_come_from_there(tmp_path: Path) -> None:
    made = put_nli(tmp_path, de=nli("d"))
    assert local_folder(made, task_rows.data_set("xnli")) == tmp_path / "xnli"
    assert not task_rows.has_language(made, "xnli", "en")
    assert task_rows.has_language(made, "mgsm", "en")
    assert not task_rows.has_language(made, "mgsm", "xh")
    assert task_rows.problems(made, "ntrex", ["de", "en"]) == [
        "ntrex: not on the hub. Run bridgex data fetch ntrex --language de --language en, then data.root=<folder>"
    ]


def test_toy_languages_go_by_their_own_code() -> None:
    made = settings_for(None, "qaa-qaf", "toy")
    assert task_rows.problems(made, "belebele", ["qaa", "qaf"]) == []
    (line,) = task_rows.problems(made, "mgsm", ["qaa"])
    assert line.startswith("mgsm: no Toy A hub (qaa). The toy world has")
    for found in (
        task_rows.inference_rows(made, ["qaa", "qaf"], "test"),
        task_rows.reading_rows(made, ["qaa", "qaf", "qad"]),
        task_rows.sentence_rows(made, ["qaa", "qaf"], dataset="ntrex"),
    ):
        assert found.notes == ()
        assert len(found.ids) >= 120


def test_problems_are_found_without_heavy_imports(repository: Path) -> None:
    code = (
        "import sys; from bridgex.data import task_rows, catalogue, listing, doctor; "
        "from bridgex.data.fetch import command; "
        "heavy = {'datasets', 'torch', 'pyarrow', 'huggingface_hub', 'httpx', 'numpy'} & set(sys.modules); "
        "print(sorted(heavy))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=repository, check=True)
    assert run.stdout == "[]\n"


def test_problems_take_no_time(tmp_path: Path) -> None:
    codes: Sequence[str] = ("de", "en", "sw", "zh")
    made = put_nli(tmp_path, **{code: nli(code) for code in codes})
    config = "".join(
        f"- config_name: {code}\n  data_files:\n  - split: test\n    path: {code}/test.jsonl\n"
        for code in (*codes, *(f"x{n}" for n in range(120)))
    )
    (tmp_path / "xnli" / "README.md").write_text(f"---\nconfigs:\n{config}---\n")
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        assert task_rows.problems(made, "xnli", codes, ["test"]) == []
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.05


def test_real_inference_rows(test_data: Path) -> None:
    made = settings_for(test_data)
    codes = ["en", "hi", "ur", "my", "sw"]
    found = task_rows.inference_rows(made, codes, "test")
    assert (len(found.ids), len(set(found.groups))) == (999, 333)
    lost = {code: {row.premise for row in found.rows[code] if "�" in row.premise} for code in codes}
    assert {code: len(premises) for code, premises in lost.items()} == {"en": 1, "hi": 1, "ur": 1, "my": 0, "sw": 0}
    assert found.notes == tuple(
        f"xnli test: 3 items in {code} with a character lost upstream (U+FFFD), kept" for code in ("en", "hi", "ur")
    )
    assert found.origins["my"] == "xnli/my (myXNLI)"
    assert {sum(row.label == label for row in found.rows["en"]) for label in range(3)} == {333}
    pair = task_rows.inference_rows(made, ["my", "sw"], "test")
    assert (pair.ids, pair.groups) == (found.ids, found.groups)
    assert len(task_rows.inference_rows(made, ["en", "sw"], "validation").ids) == 498


def test_real_reading_rows(test_data: Path) -> None:
    """Two of Belebele's 900 items offer the same answer twice, in every language."""
    found = task_rows.reading_rows(settings_for(test_data), ["en", "th", "my"])
    assert (len(found.ids), len(set(found.groups))) == (898, 488)
    assert found.notes == ("belebele test: 2 items with two equal options left out (en 2, th 2, my 2)",)


@pytest.mark.parametrize(("code", "repaired"), [("th", 250), ("tr", 51), ("sw", 37), ("id", 4), ("it", 4), ("vi", 0)])
def test_real_causal_rows_are_repaired(test_data: Path, code: str, repaired: int) -> None:
    """Whichever right language is at hand, the rows ask for the same."""
    made = settings_for(test_data)
    asked = set()
    for other in ("en", "vi", "zh", None):
        codes = list(dict.fromkeys([code, other])) if other is not None else [code]
        found = task_rows.causal_rows(made, codes, "test")
        asked.add(tuple(row.asks_for for row in found.rows[code]))
        notes = [note for note in found.notes if f"rows of {code} " in note]
        assert [note.split(":")[1].split(" rows")[0] for note in notes] == ([f" {repaired} of 500"] if repaired else [])
        assert len(found.ids) == 500
    assert len(asked) == 1


def test_real_problems_and_sentences(test_data: Path) -> None:
    made = settings_for(test_data)
    train, test = (task_rows.problem_rows(made, ["de", "sw", "zh"], split) for split in ("train", "test"))
    assert (len(train.ids), len(test.ids)) == (8, 250)
    assert all(row.answer for row in train.rows["sw"])
    assert not any(row.answer for row in test.rows["sw"])
    assert [row.number for row in test.rows["de"]] == [row.number for row in test.rows["zh"]]
    assert len(task_rows.sentence_rows(made, ["en", "sw"], dataset="ntrex").ids) == 600
    assert len(task_rows.sentence_rows(made, ["en", "th"], dataset="flores").ids) == 600
