from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from rich.console import Console

from bridgex import sweeping
from bridgex.records.files import write_text
from bridgex.records.relations import read_relations
from bridgex.records.train_sweep import write_train_summary
from bridgex.report import html, relate_terminal
from tests.report import made_up
from tests.report import made_up_relate as made
from tests.report.test_html import EVIL, checked


def sweep(folder: Path) -> list[Path]:
    cells = [made.run(folder, "en", seed, freeze) for freeze in ("bottom", "none") for seed in (0, 1)]
    failed = made.run(folder, "de", 0)
    write_text(failed / "status.json", made_up.status("failed", error=f"no data {EVIL}").model_dump_json())
    return sorted([*cells, failed])


def test_the_page_of_a_train_sweep_has_its_cells_and_their_relations(tmp_path: Path) -> None:
    cells = sweep(tmp_path)
    html.write_run_page(cells[1])
    page = checked(html.write_sweep_page(tmp_path, cells))
    head, *rows = page.table("cells")
    assert head == [
        "source", "seed", "freeze", "state", "source score", "mean target score", "mean gap", "depth", "seconds",
    ]  # fmt: skip
    assert [row[:4] for row in rows] == [
        ["de German", "0", "none", "✗failed"],
        ["en English", "0", "embeddings, blocks 1 2", "·done"],
        ["en English", "1", "embeddings, blocks 1 2", "·done"],
        ["en English", "0", "none", "·done"],
        ["en English", "1", "none", "·done"],
    ]
    assert rows[0][4:8] == ["–"] * 4
    assert rows[1][8] == "60"
    assert "xnli · mbert · 5 cells: 4 done, 1 failed" in page.text
    assert f"no data {EVIL}" in page.text
    links = [value for tag, name, value in page.attributes if (tag, name) == ("a", "href") and value.startswith("./")]
    assert links == [f"./{cells[1].name}/report.html", "./tables/cells.csv", "./tables/cells.tex"], (
        "cells without a page are not linked"
    )
    with open(tmp_path / "tables" / "cells.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["state"] for row in rows] == ["failed", "done", "done", "done", "done"]
    assert rows[0]["source score"] == ""
    scores = write_train_summary(tmp_path, cells).cells
    assert [float(row["mean target score"]) for row in rows[1:]] == [cell.target_score for cell in scores[1:]]
    (group,) = read_relations(tmp_path).groups
    assert group.survives in page.text
    assert len(group.runs) == 4
    assert "2 seeds" in page.text
    assert "Over seeds" in page.text


def test_a_train_sweep_without_a_finished_cell_has_a_page(tmp_path: Path) -> None:
    running = made.run(tmp_path)
    write_text(running / "status.json", made_up.status("interrupted").model_dump_json())
    page = checked(html.write_sweep_page(tmp_path, [running]))
    assert "No finished run, so nothing to relate." in page.text
    assert page.table("cells")[1][2] == "…interrupted"


def test_the_folder_tells_what_kind_of_sweep_it_holds(tmp_path: Path) -> None:
    sweep(tmp_path / "trained")
    made_up.compare_run(tmp_path / "evaluated" / "a")
    assert "Over seeds" in checked(html.write_page(tmp_path / "trained")).text
    assert "Which strategy chooses best" in checked(html.write_page(tmp_path / "evaluated")).text
    assert not (tmp_path / "evaluated" / "relations.json").exists()


def test_the_end_of_a_train_sweep_is_printed(tmp_path: Path) -> None:
    cells = sweep(tmp_path)
    page = html.write_sweep_page(tmp_path, cells)
    console = Console(width=200, record=True, file=io.StringIO())
    relate_terminal.show_train_sweep(write_train_summary(tmp_path, cells), read_relations(tmp_path), page, console)
    text = console.export_text()
    assert "5 cells: 4 done, 1 failed" in text
    (line,) = [line for line in text.splitlines() if cells[0].name in line]
    assert f"no data {EVIL}" in line
    assert "failed" in line
    assert read_relations(tmp_path).groups[0].survives in text


def test_a_sweep_is_summed_up_by_what_its_cells_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep(tmp_path / "trained")
    made_up.compare_run(tmp_path / "evaluated" / "a")
    sweeping.sum_up(tmp_path / "trained")
    assert '"target_score"' in (tmp_path / "trained" / "summary.json").read_text()
    assert "5 cells: 4 done, 1 failed" in capsys.readouterr().out
    sweeping.sum_up(tmp_path / "evaluated")
    assert '"verdict"' in (tmp_path / "evaluated" / "summary.json").read_text()
