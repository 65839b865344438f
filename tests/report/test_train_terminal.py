from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from bridgex.errors import UserError
from bridgex.report import train_terminal
from tests.report import made_up, made_up_train


def shown(folder: Path, width: int = 80) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    train_terminal.show_train(folder, folder / "report.html", console)
    return console.export_text()


def test_the_table_shows_what_every_language_scored_and_how_far_it_moved(tmp_path: Path) -> None:
    text = shown(made_up_train.small_run(tmp_path))
    rows = [line.split("│") for line in text.splitlines() if "│" in line]
    assert [cell.strip() for cell in rows[0]] == ["qaa", "0.900", "0.850 to 0.950", "", "0.500", "0.500", "11.0"]
    assert [cell.strip() for cell in rows[2]] == ["qac", "0.400", "0.300 to 0.500", "0.500", "0.400", "0.420", "21.2"]
    assert "nli, toy fine-tuned on qaa: 1200 steps" in text
    assert "chance: 0.333; majority: 0.350" in text
    assert "drift grows with depth, Spearman of block and mean drift +1.000 (mean pooling, unbiased CKA)" in text
    lines = text.splitlines()
    assert lines[-2] == "No relation survives the correction."
    assert lines[-1] == f"page: {tmp_path / 'report.html'}"


def test_a_table_of_fifteen_languages_fits_a_screen(tmp_path: Path) -> None:
    text = shown(made_up_train.xnli_run(tmp_path))
    table = text[: text.index("chance:")].splitlines()
    assert max(map(len, table)) <= 80
    assert len(table) == 4 + 15
    assert len(text.splitlines()) <= 27


def test_relations_say_their_strongest_test_and_how_many_there_are(tmp_path: Path) -> None:
    relations = [
        made_up_train.relation("drift ~ distance", "genealogical", 1, "mean", -0.4, 0.4),
        made_up_train.relation("drift ~ distance", "genealogical", 2, "mean", -0.9, 0.001),
        made_up_train.relation("drift ~ distance", "lexical", 2, "mean", -0.8, 0.002),
        made_up_train.relation("drift ~ distance", "lexical", 2, "last", -0.99, 0.0001),
        made_up_train.relation("drift ~ transfer", "transfer", 1, "mean", 0.2, 0.5, ci95=None),
        made_up_train.relation("drift ~ transfer", "transfer", 2, "mean", 0.3, 0.4),
    ]
    text = shown(made_up_train.small_run(tmp_path, relations=relations), width=200)
    found = [line for line in text.splitlines() if " ~ " in line]
    assert found == [
        "drift ~ distance, genealogical block 2: Spearman -0.900 [-1.000, -0.600], p = 0.001, 0.003 corrected over 3 "
        "tests, n = 11; lexical survives too",
        "drift ~ transfer, block 2: Spearman +0.300 [+0.000, +0.600], p = 0.4, 1 corrected over 2 tests, n = 11",
    ]


def test_words_from_data_are_not_markup_and_missing_values_are_empty(tmp_path: Path) -> None:
    metrics = made_up_train.small_metrics(
        survives="[red]none", task="[b]t", depth=None, drift={"qaa": {}, "qab": {}, "qac": {}}
    )
    metrics = metrics.model_copy(
        update={"controls": metrics.controls.model_copy(update={"hypothesis_only": None, "fertility": {}})}
    )
    state = made_up.status(notes=["joined through [red]English"])
    text = shown(made_up_train.write_run(tmp_path, metrics, state))
    for part in ("[red]none", "[b]t", "note: joined through [red]English", "too few blocks with drift"):
        assert part in text
    assert "None" not in text
    assert "hypothesis" not in text


def test_a_cell_is_one_line(tmp_path: Path) -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    train_terminal.show_train_cell(made_up_train.small_run(tmp_path, freeze="blocks 1 2"), console)
    assert console.export_text() == "nli qaa toy, seed 3, frozen: blocks 1 2: No relation survives the correction.\n"


def test_an_unfinished_run_is_a_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="metrics.json: not there"):
        shown(made_up_train.write_run(tmp_path))
