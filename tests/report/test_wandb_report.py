"""A W&B report of a sweep: what it says, what its spec asks W&B to show, and what is said where it cannot be."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from bridgex.errors import UserError
from bridgex.records.files import write_json
from bridgex.records.mirror import identity_of, runs_of
from bridgex.records.store import read_metrics
from bridgex.report import html, wandb_report, wandb_sections
from bridgex.report.markup import tag
from bridgex.report.tables import Cell, Column, Row, Table
from bridgex.report.wandb_report import publish
from bridgex.report.wandb_sections import Part, markdown, parts_of
from tests.fakes.wandb_server import WandbServer
from tests.report import made_up as made
from tests.report import made_up_train

KEY = "0123456789" * 4
SLOW = float(os.environ.get("BRIDGEX_SLOW_MACHINE", "1"))
P_VALUES = {"de-fr": 0.0063, "en-sw": 0.04, "zh-ja": 0.9}


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A user whom W&B does not know."""
    for key in [key for key in os.environ if key.startswith("WANDB_")]:
        monkeypatch.delenv(key)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / ".netrc"))


def sweep(folder: Path) -> Path:
    """Three finished cells and a failed one; of the second, p is under .05 before the correction only."""
    for place, (pair, p) in enumerate(P_VALUES.items()):
        status = made.status(start=f"2026-01-01T00:00:0{place}.000+00:00")
        cell = made.compare_run(folder / f"m_{pair}_bli_compare_0123abcd", pair, state=status)
        paired = made.HELPS.model_copy(update={"mcnemar_p": p})
        write_json(cell / "metrics.json", read_metrics(cell).model_copy(update={"paired": paired}))
    failed = made.status("failed", error="out of memory", start="2026-01-01T00:00:09.000+00:00")
    made.write_run(folder / "m_x_0123abcd", failed, settings=made.config("ar-he"))
    (folder / "plan.0a1b2c3d.json").write_text("{}")
    return folder


def part(parts: list[Part], heading: str) -> Part:
    (found,) = [one for one in parts if one.heading == heading]
    return found


def rows_of(text: str) -> dict[str, list[str]]:
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return {line[0]: line[1:] for line in lines}


def test_the_parts_say_what_the_records_say(tmp_path: Path) -> None:
    folder = sweep(tmp_path / "grid")
    parts = parts_of(folder, runs_of(folder))
    headings = [one.heading for one in parts]
    assert headings == ["Verdicts", "Which strategy chooses best", "Scores", "Rankings", "Blocks"]
    verdicts = part(parts, "Verdicts")
    assert "Benjamini-Hochberg over 3 tests" in verdicts.text
    rows = rows_of(verdicts.text)
    place = rows["pair"].index("verdict")
    assert [rows[pair][place] for pair in (*P_VALUES, "ar-he")] == ["helps", "no evidence", "no evidence", "failed"]
    # By hand: .0063 * 3 / 1, .04 * 3 / 2, .9.
    corrected = [rows[pair][rows["pair"].index("p, corrected")] for pair in P_VALUES]
    assert corrected == [".019", ".060", ".900"]
    assert rows["de-fr"][rows["pair"].index("direct")] == ".300"
    assert rows["de-fr"][rows["pair"].index("en")] == "**.700**"
    league = part(parts, "Which strategy chooses best")
    assert "hsic against a random choice: difference +" in league.text or "hsic beats a random choice" in league.text
    assert "random (floor)" in league.text
    keys = {chart.title: chart.keys for one in parts for chart in one.charts}
    assert keys["Score by route"] == ["score/direct", "score/via en", "score/via it"]
    assert keys["Chosen bridge less direct"] == ["difference"]
    assert keys["Raw scores by block, hsic"] == ["figures/blocks_hsic"]
    assert ["figures/ranking"] in keys.values()


def test_a_sweep_in_which_nothing_was_done_has_its_list_only(tmp_path: Path) -> None:
    made.write_run(tmp_path / "one_0123abcd", made.status("failed", error="no such model"))
    (only,) = parts_of(tmp_path, runs_of(tmp_path))
    assert (only.heading, only.charts) == ("Verdicts", [])


def test_a_sweep_of_train_shows_transfer_and_drift(tmp_path: Path) -> None:
    for seed in (0, 1):
        made_up_train.small_run(tmp_path / f"seed{seed}", seed=seed)
    with pytest.raises(UserError, match="relations.json: not there"):
        parts_of(tmp_path, runs_of(tmp_path))
    html.write_page(tmp_path)
    parts = parts_of(tmp_path, runs_of(tmp_path))
    assert [one.heading for one in parts][:3] == ["Cells", "What holds over all cells", "Transfer"]
    rows = [line for line in part(parts, "Cells").text.splitlines() if line.startswith("| qaa")]
    assert len(rows) == 2
    assert all("| .900 | .575 |" in row for row in rows), "source .9; targets .75 and .4"
    transfer = part(parts, "Transfer")
    assert transfer.charts[0].keys == ["transfer/qaa", "transfer/qab", "transfer/qac"]
    assert part(parts, "Drift").charts[0].keys == ["figures/drift"]


def test_a_table_in_markdown_keeps_its_columns_and_says_where_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = [
        Cell(tag("span", "a | <b>"), kind="x"),
        Cell(tag("b", "!"), plain="said"),
        Cell("1.0", 1.0, is_strong=True),
    ]
    found = Table("t", "a table", [Column("one|two", False), Column("word", False), Column("n")], [Row(shown)] * 3)
    monkeypatch.setattr(wandb_sections, "MAX_ROWS", 2)
    assert markdown(found).splitlines() == [
        "| one\\|two | word | n |",
        "| --- | --- | ---: |",
        "| a \\| <b> | said | **1.0** |",
        "| a \\| <b> | said | **1.0** |",
        "",
        "2 of 3 rows; the sweep's page has all.",
    ]


def test_a_report_is_published_once_and_brought_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = sweep(tmp_path / "my grid")
    ids = [identity_of(cell).run_id for cell in runs_of(folder)]  # type: ignore[union-attr]
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    before = sorted(tmp_path.rglob("*"))
    with WandbServer() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        with pytest.raises(UserError) as error:
            list(publish([folder]))
        assert error.value.problems == (
            f"{folder}: no W&B report was published (none of its 4 runs is in someone/bridgex. "
            f"Send them first: bridgex sync {folder})",
        )
        assert server.reports == {}
        server.runs.update({run_id: {"project": "mine", "groupName": "my-grid"} for run_id in ids[:3]})
        server.runs["other"] = {"project": "mine", "groupName": "other"}
        (first,) = publish([folder], project="mine")
        (second,) = publish([folder], project="mine", entity="someone")
    url = f"{server.url}/someone/mine/reports/bridgex-sweep-my-grid--report-1"
    missing = f"; 1 of 4 runs are not in W&B, bridgex sync {folder} sends them"
    assert first == f"W&B: {url} (a new report){missing}"
    assert second == f"W&B: {url} (the report was there, and is up to date){missing}"
    (report,) = server.reports.values()
    assert (report["times"], report["displayName"], report["projectName"]) == (2, "bridgex sweep my-grid", "mine")
    assert_spec(report["spec"])
    assert sorted(tmp_path.rglob("*")) == before, "nothing is left behind"


def assert_spec(spec: dict[str, Any]) -> None:
    blocks = spec["blocks"]
    headings = [block["children"][0]["text"] for block in blocks if block["type"] == "heading"]
    assert headings == ["Verdicts", "Which strategy chooses best", "Scores", "Rankings", "Blocks", "Runs"]
    texts = [block["content"] for block in blocks if block["type"] == "markdown-block"]
    assert any("| de-fr | helps |" in text for text in texts)
    grids = [block["metadata"] for block in blocks if block["type"] == "panel-grid"]
    for grid in grids:
        (runs,) = grid["runSets"]
        (only,) = runs["filters"]["filters"]
        assert (only["key"], only["op"], only["value"]) == ({"section": "run", "name": "group"}, "=", "my-grid")
        assert (runs["project"]["name"], runs["project"]["entityName"]) == ("mine", "someone")
        assert runs["search"] == {"query": ""}
    assert [grid["hideRunSets"] for grid in grids] == [True, True, True, False]
    panels = [[panel["viewType"] for panel in grid["panelBankSectionConfig"]["panels"]] for grid in grids]
    assert panels == [["Bar Chart", "Bar Chart"], ["Media Browser"], ["Media Browser"], ["Run Comparer"]]


def test_a_server_that_does_not_answer_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = sweep(tmp_path / "grid")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert wandb_report._SECONDS <= 20
    monkeypatch.setattr(wandb_report, "_SECONDS", 4.0)
    with socket.create_server(("127.0.0.1", 0)) as hole:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{hole.getsockname()[1]}")
        start = time.perf_counter()
        with pytest.raises(UserError) as error:
            list(publish([folder]))
    assert time.perf_counter() - start < 10 * SLOW
    said = "no W&B report was published (no answer from W&B within 4 s). Give the command again"
    assert error.value.problems == (f"{folder}: {said}",)


def test_what_is_missing_is_named_before_anything_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = sweep(tmp_path / "grid")
    single = made.compare_run(tmp_path / "20260101")
    with pytest.raises(UserError) as error:
        publish([single, tmp_path / "nowhere", folder])
    first, second = error.value.problems
    assert first == f"{single}: is no sweep. --wandb makes a report of a sweep; a single run has its page in W&B"
    assert second.startswith(f"{tmp_path / 'nowhere'}: holds no run (status.json) and no sweep")
    with pytest.raises(UserError, match=r"no API key: give `wandb login`, or set WANDB_API_KEY"):
        list(publish([folder]))
    monkeypatch.setenv("WANDB_MODE", "offline")
    with pytest.raises(UserError, match="WANDB_MODE=offline: a W&B report can be published online only"):
        publish([folder])
    monkeypatch.setattr(wandb_report, "find_spec", lambda name: None)
    with pytest.raises(UserError) as missing:
        publish([folder])
    assert missing.value.problems == ("--wandb needs the package wandb-workspaces: pip install 'bridgex[reports]'",)
