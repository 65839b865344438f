"""The doctor: each fault that is planted is found, with its count and its severity."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridgex.data.doctor import examine
from bridgex.errors import UserError
from bridgex.records.data_checks import Finding
from bridgex.report import data_table
from tests.data.test_task_rows import causes, mrc, nli, put, put_causes, put_nli


def findings(folder: Path) -> dict[str, str]:
    return {finding.text: finding.severity for finding in examine(folder)}


def test_a_sound_folder_has_nothing_but_what_is_fine(tmp_path: Path) -> None:
    for code in ("eng_Latn", "deu_Latn"):
        put(tmp_path, f"belebele/{code}/test.jsonl", mrc(code, 900))
    assert findings(tmp_path) == {"belebele test: 900 items, the same in de, en": "fine"}
    assert findings(tmp_path / "belebele") == findings(tmp_path)


def test_faults_are_found_with_their_counts(tmp_path: Path) -> None:
    german, english, french = nli("d", 300), nli("e", 300), nli("f", 300)
    german[0]["premise"] = ""
    german[5]["premise"] += "�"
    english[9]["label"] = 2
    put_nli(tmp_path, de=german, en=english, fr=[{**row, "label": 0} for row in french])
    assert findings(tmp_path) == {
        f"{tmp_path}/xnli/fr/test.jsonl: every label is 0, so it holds no answers (some copies carry dummies). Give "
        "the hub's own files": "error",
        "xnli test: 300 rows of 5010 (de, en)": "note",
        "xnli test: 1 item in de with a character lost upstream (U+FFFD), kept": "note",
        "xnli test: 1 item with an empty text left out (de 1)": "note",
        "xnli test: 1 item of 299 have not the same answer in all languages (9); the target's counts": "note",
        "xnli test: 299 items, the same in de, en": "fine",
        "xnli validation: not there (demonstrations)": "note",
    }


def test_xcopas_question_is_judged_by_a_right_language(tmp_path: Path) -> None:
    thai = [{**row, "question": "effect"} for row in causes("t", 500)]
    put_causes(tmp_path, th=thai, vi=causes("v", 500))
    found = findings(tmp_path)
    assert any(text.startswith("xcopa test: 250 of 500 rows of th ask for the wrong thing") for text in found)
    assert "error" not in found.values()


def test_unequal_lengths_doubles_and_zawgyi_are_errors(tmp_path: Path) -> None:
    put_nli(tmp_path, de=nli("d", 12), en=nli("e", 15))
    doubled = mrc("d")
    doubled[1]["question_number"] = 1
    put(tmp_path, "belebele/deu_Latn/test.jsonl", doubled)
    put(tmp_path, "ntrex/mya/test.jsonl", [{"text": f"ဆိပ္ကမ္း {n}"} for n in range(20)])
    errors = [text for text, severity in findings(tmp_path).items() if severity == "error"]
    assert [text.split(": ", 1)[1][:28] for text in errors] == [
        "different numbers of rows (d",
        "rows with the same id: https",
        "is in Zawgyi, not in Unicode",
    ]


def test_files_that_the_readme_names_must_be_there(tmp_path: Path) -> None:
    put_nli(tmp_path, de=nli("d"))
    (tmp_path / "xnli" / "README.md").write_text(
        "---\nconfigs:\n- config_name: en\n  data_files:\n  - split: test\n    path: en/gone.jsonl\n---\n"
    )
    found = findings(tmp_path)
    assert found[f"xnli test: {tmp_path}/xnli/README.md names files of en not there"] == "error"
    assert found["xnli test: 12 items, the same in de"] == "fine"
    (tmp_path / "xnli" / "README.md").write_text("---\nconfigs: {\n---\n")
    assert list(findings(tmp_path).values()) == ["error"]


def test_word_lists_are_read_line_by_line(tmp_path: Path) -> None:
    folder = tmp_path / "muse"
    folder.mkdir()
    (folder / "de-en.5000-6500.txt").write_text("".join(f"wort{n} word{n}\n" for n in range(1500)))
    (folder / "de-en.0-5000.txt").write_text("".join(f"wort{n} word{n}\n" for n in range(1499, 6499)))
    assert findings(tmp_path) == {
        "muse: 1 test words of de-en are probing words too": "note",
        "muse: 1 train lists, 1 test lists can be read": "fine",
    }
    (folder / "fr-en.5000-6500.txt").write_text("mot word\nmot trop de mots\n")
    (folder / "es-en.5000-6500.txt").write_text("")
    (folder / "it-en.5000-6500.txt").write_text("parola word�\n")
    found = findings(tmp_path)
    assert sum(severity == "error" for severity in found.values()) == 2
    assert found["muse: it-en.5000-6500.txt has 1 source words of 1500"] == "note"
    assert found["muse: 1 words of it-en.5000-6500.txt with a character lost upstream (U+FFFD)"] == "note"


def test_what_cannot_be_looked_at_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder. Give a folder of data sets"):
        findings(tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no data set that bridgex knows: muse/, freedict_sw/"):
        findings(tmp_path)
    (tmp_path / "mgsm").mkdir()
    (tmp_path / "muse").mkdir()
    assert list(findings(tmp_path).values()) == ["error", "error"]


def test_errors_are_counted_and_shown_one_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    long = "a" * 200
    shown = [Finding("error", long), Finding("note", "[b]two[/b]"), Finding("fine", "three")]
    assert data_table.show_findings(shown) == 1
    assert capsys.readouterr().out.splitlines() == [f"error {long}", "note  [b]two[/b]", "fine  three"]


def test_the_toy_world_is_fine(repository: Path) -> None:
    found = findings(repository / "bridgex" / "toy")
    assert [text for text, severity in found.items() if severity != "fine"] == [
        "flores dev: not there (demonstrations)"
    ]
    assert len(found) == 8


def test_the_real_folder_has_the_known_faults_and_no_error(test_data: Path) -> None:
    found = findings(test_data)
    assert "error" not in found.values()
    for text in (
        "xcopa test: 250 of 500 rows of th ask for the wrong thing",
        "xcopa test: 51 of 500 rows of tr ask for the wrong thing",
        "xcopa test: 37 of 500 rows of sw ask for the wrong thing",
        "xnli test: 3 items in ur with a character lost upstream",
        "xnli test: 999 items, the same in ar, bg",
        "belebele test: 2 items with two equal options left out (de 2",
        "mgsm test: 250 items, the same in de, en",
    ):
        assert any(line.startswith(text) for line in found), text
