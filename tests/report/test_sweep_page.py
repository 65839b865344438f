from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import false_discovery_control

from bridgex.records.claim import Owner
from bridgex.records.files import write_json
from bridgex.records.plan import Plan, PlannedCell, write_plan
from bridgex.records.schema import Paired
from bridgex.report import html
from bridgex.report.run_files import read_run
from bridgex.report.sweep_cells import num_tests, sweep_cells
from bridgex.report.sweep_grid import MAX_FIELDS, grids
from tests.report import made_up as made
from tests.report.test_html import EVIL, Page, checked

NULL = Paired(difference=0.0, ci95=(-0.1, 0.1), mcnemar_p=1.0, verdict="no evidence")


def cell(folder: Path, pair: str, task: str = "bli", model: str = "m", bridge: str = "hsic", **more: Any) -> Path:
    """A finished cell; `scores`, `state` and settings may be given."""
    scores = more.pop("scores", made.metrics(pair, 0.3, {"en": 0.7}, "en", task=task, model=model))
    state = more.pop("state", None)
    settings = {**made.config(pair, bridge, model), "task": {"name": task}, **more}
    name = f"{model}_{pair}_{task}_{bridge}_{len(list(folder.glob('*'))):08x}".replace("/", "-")
    return made.write_run(folder / name, state, scores, settings=settings)


def written(folder: Path, cells: list[Path]) -> Page:
    """The page of a sweep, which has links to files that are there only."""
    page = checked(html.write_sweep_page(folder, cells))
    links = [value for tag, name, value in page.attributes if (tag, name) == ("a", "href") and value.startswith("./")]
    assert all((folder / link).is_file() for link in links), links
    return page


def rows_of(folder: Path, key: str) -> list[dict[str, str]]:
    """A table's CSV file."""
    with open(folder / "tables" / f"{key}.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def sweep(folder: Path) -> list[Path]:
    nothing = made.metrics("de-es", 0.5, {}, None)
    return [
        made.compare_run(folder / "a", "de-fr"),
        made.compare_run(folder / "b", "it-fr", via={"en": 0.4, "de": 0.2}, oracle=0.4),
        made.write_run(folder / "c", made.status("failed", error=f"no data {EVIL}"), settings=made.config("de-ru")),
        made.write_run(folder / "d", scores=nothing, rankings={}, settings=made.config("de-es", "none")),
    ]  # fmt: skip


def test_a_sweep_page_shows_cells_failures_and_league(tmp_path: Path) -> None:
    cells = sweep(tmp_path)
    html.write_run_page(cells[0])
    page = written(tmp_path, cells)
    head, first, second, failed, none = page.table("cells")
    assert head == [
        "pair", "verdict", "strategy", "direct", "en", "it", "de", "chosen", "gain", "p", "p, corrected",
    ]  # fmt: skip
    assert first[1:] == [
        "▲helps", "compare", ".300", ".700", ".200", "–", "en", "+.400 [+.150, +.625]", ".006", ".006",
    ]  # fmt: skip
    assert second[3:7] == [".300", ".400", "–", ".200"]
    assert failed[:2] == ["de-ru", "✗failed"]
    assert none[1] == "·no bridge"
    assert [row["cell"] for row in rows_of(tmp_path, "cells")] == ["a", "b", "c", "d"]
    assert "bli · m · 4 cells: 3 done, 1 failed" in page.text
    assert f"no data {EVIL}" in page.text
    links = [value for _, name, value in page.attributes if name == "href" and value.endswith("report.html")]
    assert set(links) == {"./a/report.html"}, "cells without a page are not linked"
    rows = {row[0]: row[1:4] for row in page.table("league table")[1:]}
    assert rows["hsic (chooses)"] == ["2", ".550", "+.250"]
    assert rows["random (floor)"][1] == ".375"
    assert "hsic against overlap, the best of the others: difference +.350; too few languages" in page.text


def test_sweep_verdicts_are_corrected_over_the_sweep(tmp_path: Path) -> None:
    open_cell = Paired(difference=0.1, ci95=(0, 0.2), mcnemar_p=0.04, verdict="bridge helps")
    cells = []
    for place, paired in enumerate([open_cell, NULL]):
        scores = made.metrics("de-fr", 0.3, {"en": 0.4}, "en", paired=paired)
        cells.append(made.write_run(tmp_path / str(place), scores=scores))
    page = written(tmp_path, cells)
    assert page.table("cells")[1][1:] == ["○no evidence", ".300", ".400", "en", "+.100 [.000, +.200]", ".040", ".080"]
    assert "$^{*}$ &" not in (tmp_path / "tables" / "cells.tex").read_text(encoding="utf-8")


def test_a_test_counts_once_and_labels_loosen_no_correction(tmp_path: Path) -> None:
    """Against SciPy on the tests that nobody chose by labels, each once."""

    def one(place: int, bridge: str, p: float, chosen: str = "en", labels: str = "") -> Path:
        paired = Paired(difference=0.1, ci95=(0, 0.2), mcnemar_p=p, verdict=f"bridge helps{labels}")
        scores = made.metrics(f"de-l{place}", 0.3, {"en": 0.4, "it": 0.4}, chosen, paired=paired)
        return cell(tmp_path, f"de-l{place}", bridge=bridge, scores=scores)

    values = [0.03, 0.4, 0.5, 0.6]
    alone = [one(place, "hsic", p) for place, p in enumerate(values)]
    same = [one(place, "overlap", p) for place, p in enumerate(values[:2])]  # the same bridges, so the same tests
    other = one(0, "cosine", 0.2, chosen="it")
    labelled = [one(place, "oracle", 1e-4, labels=" (uses labels)") for place in range(4)]
    cells = [*alone, *same, other, *labelled]
    found = sweep_cells([read_run(path, with_predictions=False) for path in cells])
    expected = false_discovery_control([*values, 0.2])
    assert [each.p_corrected for each in found[:4]] == pytest.approx(list(expected[:4]))
    assert [each.p_corrected for each in found[4:7]] == pytest.approx([expected[0], expected[1], expected[4]])
    assert [each.p_corrected for each in found[7:]] == pytest.approx([1e-4] * 4)
    assert num_tests(found) == (5, 4)
    page = written(tmp_path, cells)
    assert "hsic: the chosen bridge ○ no evidence in 4." in page.text
    assert "oracle: the chosen bridge ▲ helps in 4." in page.text
    assert "after Benjamini-Hochberg over 5 tests" in page.text
    assert "† The bridge was chosen with labels" in page.text


def test_a_done_cell_that_lost_its_metrics_or_answers_is_not_called_one_without_a_bridge(tmp_path: Path) -> None:
    answers = made.answers([True] * 10, {"en": [True] * 10})
    cells = [cell(tmp_path, pair) for pair in ("de-fr", "it-fr", "de-it")]
    for place in cells:
        (place / "predictions.jsonl").write_text("".join(f"{answer.model_dump_json()}\n" for answer in answers))
        metrics = made.metrics(place.name.split("_")[1], 0.3, {"en": 0.7}, "en")
        routes = {name: score.model_copy(update={"n": 10}) for name, score in metrics.routes.items()}
        write_json(place / "metrics.json", metrics.model_copy(update={"routes": routes}))
    assert "What is missing" not in written(tmp_path, cells).text
    (cells[0] / "metrics.json").unlink()
    path = cells[1] / "predictions.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:17]))
    page = written(tmp_path, cells)
    assert {row["pair"]: row["verdict"] for row in rows_of(tmp_path, "cells")}["de-fr"] == "damaged"
    assert "3 cells: 1 damaged, 2 done" in page.text
    assert "predictions.jsonl lacks 3 of the 20 answers that metrics.json counts" in page.text
    assert "no bridge in" not in page.text


def test_settings_are_named_and_in_their_order(tmp_path: Path) -> None:
    cells = [cell(tmp_path, pair, mrc={"limit": limit}) for pair in ("de-fr", "it-fr") for limit in (100, 20)]
    broken = made.status("failed", error="no words")
    cells.append(cell(tmp_path, "es-fr", mrc={"limit": 20}, state=broken, scores=None))
    page = written(tmp_path, cells)
    assert [row[0] for row in page.table("cells")[1:]] == ["de-fr", "de-fr", "es-fr", "it-fr", "it-fr"]
    assert [row["mrc.limit"] for row in rows_of(tmp_path, "cells")] == ["20", "100", "20", "20", "100"]
    assert "mrc.limit=20" in (tmp_path / "tables" / "grid.csv").read_text(encoding="utf-8").splitlines()[0]
    assert f"{cells[4].name} (mrc.limit=20)" in page.text
    assert "label{tab:test-settings" in (tmp_path / "tables" / "grid.tex").read_text(encoding="utf-8")


def test_an_empty_sweep_and_one_without_compare_have_a_page(tmp_path: Path) -> None:
    assert "No cell is done yet" in written(tmp_path, []).text
    found = made.write_run(tmp_path / "x", made.status("running", end=None))
    page = written(tmp_path, [found])
    assert "No league table: it needs finished cells of bridge=compare." in page.text
    assert page.table("cells")[1][1] == "…running"
    assert "1 cell still running Nothing to do: make this page again with bridgex report when they end." in page.text


def grid_sweep(folder: Path) -> list[Path]:
    """Two pairs by three tasks: with gold, chosen with labels, direct, failed, absent."""
    direct = made.metrics("it-fr", 0.5, {}, None, chose_direct=True, chosen_by="hsic_or_direct")
    gold = made.metrics("de-fr", 0.3, {"en": 0.7, "it": 0.8}, "en", task="mrc")
    gold = gold.model_copy(update={"routes": {**gold.routes, "via en (gold)": made.route_score(0.9)}})
    worse = Paired(difference=-0.2, ci95=(-0.3, -0.1), mcnemar_p=0.001, verdict="bridge hurts (uses labels)")
    return [
        cell(folder, "de-fr"),
        cell(folder, "de-fr", "mrc", scores=gold),
        cell(folder, "de-fr", "mt", scores=made.metrics("de-fr", 0.6, {"it": 0.5}, "it", paired=worse, task="mt")),
        cell(folder, "it-fr", scores=direct),
        cell(folder, "it-fr", "mrc", scores=None, state=made.status("failed", error="no data")),
    ]  # fmt: skip


def test_the_grid_has_pairs_down_and_tasks_across(tmp_path: Path) -> None:
    cells = grid_sweep(tmp_path)
    html.write_run_page(cells[1])
    page = written(tmp_path, cells)
    groups, heads, first, second = page.table("direct and through the chosen bridge")
    assert groups == ["pair", "bli", "mrc", "mt"]
    assert heads == [
        "verdict", "direct", "via", "bridge", "verdict", "direct", "via", "bridge", "gold",
        "verdict", "direct", "via", "bridge",
    ]  # fmt: skip
    assert first == [
        "de-fr", "▲helps", ".300", ".700", "en", "▲helps", ".300", ".700", "en", ".900",
        "▼hurts (uses labels)", ".600", ".400", "it†",
    ]  # fmt: skip
    assert second == [
        "it-fr", "·no bridge", ".500", "–", "direct", "✗failed", "–", "–", "failed", "–", "", "", "", "",
    ]  # fmt: skip
    assert f'<a href="./{cells[1].name}/report.html"><span title="helps">' in page.source
    assert '<td class="num strong helps" data-sort="0.7">.700</td>' in page.source
    latex = (tmp_path / "tables" / "grid.tex").read_text(encoding="utf-8")
    row = r"de-fr & .300 & \textbf{.700}$^{*}$ & en & .300 & \textbf{.700}$^{*}$ & en & .900 & \textbf{.600} & "
    assert f"{row}.400$^{{*}}$$^{{\\dagger}}$ & it\\dag{{}} \\\\" in latex
    assert "& verdict" not in latex
    assert r"$^{*}$ p \textless{} 0.05 after Benjamini-Hochberg" in latex


def test_where_labels_chose_the_grid_is_out_of_fold(tmp_path: Path) -> None:
    (row,) = [row for row in rows_of_grid(tmp_path) if row["pair"] == "de-fr"]
    assert float(row["mt via"]) == pytest.approx(0.6 - 0.2), "direct plus the recorded difference, not the score via it"
    assert float(row["mrc gold"]) == 0.9
    assert row["mt verdict"] == "hurts (uses labels)"


def rows_of_grid(folder: Path) -> list[dict[str, str]]:
    html.write_sweep_page(folder, grid_sweep(folder))
    return rows_of(folder, "grid")


def test_the_fair_opponent_stands_beside_the_bridge(tmp_path: Path) -> None:
    found = made.metrics("de-fr", 0.3, {"en": 0.7}, "en", against_translated=NULL)
    found = found.model_copy(update={"routes": {**found.routes, "translated": made.route_score(0.8)}})
    cells = [cell(tmp_path, "de-fr", scores=found), cell(tmp_path, "it-fr"), cell(tmp_path, "de-fr", "mt")]
    page = written(tmp_path, cells)
    _, heads, first, second = page.table("direct and through the chosen bridge")
    assert heads[:5] == ["verdict", "direct", "translated", "via", "bridge"]
    assert first[:6] == ["de-fr", "▲helps", ".300", ".800", ".700", "en"]
    assert second[:6] == ["it-fr", "▲helps", ".300", "–", ".700", "en"]
    (one,) = [row for row in rows_of(tmp_path, "cells") if row["translated"]]
    assert (one["over translated"], one["over translated low"], one["gain"]) == ("0.0", "-0.1", "0.4")
    latex = (tmp_path / "tables" / "grid.tex").read_text(encoding="utf-8")
    assert r"de-fr & .300 & \textbf{.800} & .700$^{*}$ & en &" in latex
    assert "Gold" not in latex


def test_there_is_no_grid_that_would_say_the_list_again(tmp_path: Path) -> None:
    one_task = [cell(tmp_path / "a", pair) for pair in ("de-fr", "it-fr", "es-fr")]
    one_pair = [cell(tmp_path / "b", "de-fr", task) for task in ("bli", "mt")]
    for folder, cells in ((tmp_path / "a", one_task), (tmp_path / "b", one_pair)):
        assert 'id="grid"' not in written(folder, cells).source
        assert not (folder / "tables" / "grid.csv").exists()


def split(cells: list[Path]) -> list[tuple[str, int, list[str]]]:
    found = grids(sweep_cells([read_run(one, with_predictions=False) for one in cells]))
    return [(heading, len(own), across) for heading, own, across in found]


def test_many_fields_become_several_grids(tmp_path: Path) -> None:
    pairs, tasks = ("de-fr", "it-fr"), ("bli", "mt", "mrc")
    few = [cell(tmp_path / "a", pair, task, model) for pair in pairs for task in tasks for model in ("m", "n")]
    assert split(few) == [("", 12, ["model", "task"])]
    models = [f"m{place}" for place in range(MAX_FIELDS // len(tasks) + 1)]
    many = [cell(tmp_path / "b", pair, task, model) for model in models for pair in pairs for task in tasks]
    assert split(many) == [(f"model {model}", 6, ["task"]) for model in models]
    strategies = [
        cell(tmp_path / "c", pair, task, bridge=bridge)
        for bridge in ("hsic", "overlap", "fixed")
        for pair in pairs
        for task in tasks
    ]
    assert [heading for heading, _, _ in split(strategies)] == ["strategy hsic", "strategy overlap", "strategy fixed"]


def test_other_settings_set_cells_apart_only_where_nothing_else_does(tmp_path: Path) -> None:
    seeds = [cell(tmp_path / "a", pair, seed=seed) for pair in ("de-fr", "it-fr") for seed in (0, 1)]
    page = written(tmp_path / "a", seeds)
    assert page.table("cells")[0][:3] == ["pair", "verdict", "seed"]
    assert [row[2] for row in page.table("cells")[1:]] == ["0", "1", "0", "1"]
    assert page.table("direct and through the chosen bridge")[0] == ["pair", "0", "1"]
    models = [
        cell(tmp_path / "b", "de-fr", model=model, probe={"share": share}) for model, share in (("m", 1), ("n", 2))
    ]
    assert written(tmp_path / "b", models).table("cells")[0][:4] == ["pair", "verdict", "model", "direct"]


def test_a_second_run_of_the_same_has_a_row_of_its_own(tmp_path: Path) -> None:
    cells = [cell(tmp_path, "de-fr"), cell(tmp_path, "de-fr"), cell(tmp_path, "de-fr", "mt"), cell(tmp_path, "it-fr")]
    assert [row[0] for row in written(tmp_path, cells).table("direct and through the chosen bridge")[2:]] == [
        "de-fr", "de-fr", "it-fr",
    ]  # fmt: skip


def test_a_sweep_with_broken_cells_shows_all_of_them(tmp_path: Path) -> None:
    pairs = [f"{source}-{target}" for source in ("de", "it", "es") for target in ("fr", "ru")]
    cells = [cell(tmp_path, pair, task) for pair in pairs for task in ("bli", "mt")]
    for broken, state in (
        (cells[0], made.status("failed", error="out of memory")),
        (cells[1], made.status("interrupted")),
    ):
        (broken / "metrics.json").unlink()
        made.write_status(broken, state)
    (cells[2] / "status.json").write_text("{", encoding="utf-8")
    page = written(tmp_path, cells)
    rows = page.table("cells")[1:]
    assert len(rows) == 12
    assert [row[1] for row in rows[:3]] == ["✗failed", "…interrupted", "✗damaged"]
    assert "12 cells: 1 damaged, 9 done, 1 failed, 1 interrupted" in page.text
    fields = page.table("direct and through the chosen bridge")[2:]
    assert len(fields) == 6
    assert all(len(row) == 9 and "" not in row for row in fields)
    assert "9 of 12 cells are done." in page.text
    for broken in cells[:3]:
        assert broken.name in page.text
    for said in (
        "1 cell failed Mend what the text says; then the same command again tries them anew.", "out of memory",
        "1 cell interrupted The same command again goes on from the last answer on record.",
        "1 cell unreadable", "status.json is missing or damaged.",
    ):  # fmt: skip
        assert said in page.text
    assert len(rows_of(tmp_path, "cells")) == 12


def test_a_cell_that_failed_before_its_config_was_written_is_shown(tmp_path: Path) -> None:
    cells = [cell(tmp_path, "de-fr"), cell(tmp_path, "it-fr", "mt")]
    early = tmp_path / "m_es-fr_bli_hsic_00000000"
    early.mkdir()
    made.write_status(early, made.status("failed", error="no such model"))
    page = written(tmp_path, [*cells, early])
    assert page.table("cells")[2][:3] == [early.name, "✗failed", "–"]
    assert "no such model" in page.text
    assert page.text.count("config.yaml is missing or damaged.") == 1


def test_one_reason_is_said_once_and_long_ones_are_cut(tmp_path: Path) -> None:
    failed = made.status("failed", error="the same trouble")
    cells = [cell(tmp_path, f"de-{code}", scores=None, state=failed) for code in ("fr", "ru", "es")]
    long = [
        cell(tmp_path, "it-fr", f"t{place}", scores=None, state=made.status("failed", error=f"{place} " + "<&" * 4000))
        for place in range(100)
    ]
    page = Page(html.write_sweep_page(tmp_path, [*cells, *long]))
    assert page.text.count("the same trouble") == 1
    assert "103 cells failed" in page.text
    assert page.text.count("characters left out, see status.json") == 100
    assert len(page.source.encode()) < 2_000_000


def test_cells_that_were_planned_and_never_begun_are_named(tmp_path: Path) -> None:
    done = cell(tmp_path, "de-fr")
    planned = [PlannedCell(cell=name, model="m", overrides=[], problems=[]) for name in (done.name, "m_it-fr_bli")]
    write_plan(tmp_path, Plan(entry="evaluate", owner=Owner.here(), cells=planned))
    page = written(tmp_path, [done])
    assert "2 cells: 1 done, 1 not begun" in page.text
    assert "1 of 2 cells are done." in page.text
    assert "1 cell not begun The same command again runs them. m_it-fr_bli" in page.text


def test_names_and_errors_are_text(tmp_path: Path) -> None:
    evil = '<script>alert("x")</script>&amp;{0}%s\\input{a}'
    cells = [
        cell(tmp_path, "de-fr", evil, evil, scores=None, state=made.status("failed", error=evil)),
        cell(tmp_path, "=1-fr", "bli", "m"),
    ]
    odd = cell(tmp_path, "x-y", scores=made.metrics(f"{evil[:8]}-fr", 0.3, {evil: 0.5}, evil, chosen_by=evil))
    others = [cell(tmp_path, f"{code}-fr") for code in ("it", "es", "pt", "ro", "ca")]
    page = Page(html.write_sweep_page(tmp_path, [*cells, odd, *others]))
    assert page.elements.count("script") == 1, "its own"
    assert page.elements.count("select") == 3, "names are choices, too"
    assert page.text.count(evil) > 8
    names = {row["pair"] for row in rows_of(tmp_path, "cells")}
    assert {"de-fr", "'=1-fr", f"{evil[:8]}-fr"} < names
    latex = (tmp_path / "tables" / "cells.tex").read_text(encoding="utf-8")
    assert "\\input" not in latex
    assert r"\textbackslash{}input\{a\}" in latex


def test_five_hundred_cells_stay_small(large_sweep: Path) -> None:
    page = Page(large_sweep)
    assert len(page.table("cells")) == 501
    assert len(page.source.encode()) < 2_000_000
