from __future__ import annotations

import io
import itertools
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from bridgex import commands
from bridgex.records.files import write_text
from bridgex.records.relations import read_relations
from bridgex.report import relate, relate_terminal
from bridgex.report.tables import number
from tests.report import made_up, made_up_train
from tests.report import made_up_relate as made
from tests.report.test_html import EVIL, Page, checked
from tests.report.test_relate import FAR, answers, frozen_sweep


def page_of(folder: Path, *paths: Path) -> Page:
    """The page of relations, held to what every page is held to."""
    written = relate.write_relations(folder / "out", relate.relate(paths))
    as_report = folder / "out" / "report.html"
    shutil.copy(written, as_report)
    return checked(as_report)


def many_sources(folder: Path) -> Path:
    for source, seed in itertools.product(made.CODES, (0, 1)):
        made.run(folder, source, seed)
    return folder


def test_few_sources_have_grids_seeds_and_measures(tmp_path: Path) -> None:
    for source, seed in itertools.product(("en", "de"), (0, 1)):
        made.run(tmp_path / "sweep", source, seed)
    page = page_of(tmp_path, tmp_path / "sweep")
    (group,) = read_relations(tmp_path / "out").groups
    assert group.survives in page.text
    assert page.text.index(group.survives) < page.text.index("Over seeds")
    head, genetic, syntactic = page.table("drift ~ distance over sources")
    assert head == ["", "0", "1", "2", "3", "4"]
    assert [genetic[0], syntactic[0]] == ["genetic", "syntactic"]
    mean = {(row.kind, row.block): row for row in group.over_sources if row.relation == "drift ~ distance"}
    low, high = (number(end, True) for end in mean["genetic", 2].range)
    assert genetic[3] == f"{number(mean['genetic', 2].spearman, True)}[{low}, {high}]"
    for source in group.sources:
        rows = page.table(f"all tests, source {source.source}")[1:]
        assert [row[3] for row in rows] == [number(one.spearman, True) for one in source.relations]
    languages = {row[0].split()[0]: row[1:] for row in page.table("transfer over seeds, none")[1:]}
    average = next(one for one in group.averages if one.source == "en")
    sd = average.transfer["fr"].sd
    assert languages["fr"][1] == f"{number(average.transfer['fr'].mean)} ± {number(sd)}"
    measured = page.table("measures, source en")
    assert measured[0][1:] == [row[0] for row in measured[1:]]
    assert all(measured[place][place] == "–" for place in range(1, len(measured)))
    assert all(measured[i][j] == measured[j][i] for i, j in itertools.combinations(range(1, len(measured)), 2))
    assert [row[:3] for row in page.table("runs")[1:]] == [
        [source, str(seed), "none"] for source in ("de", "en") for seed in (0, 1)
    ]  # fmt: skip


def test_many_sources_have_matrices_and_beside_them_the_published_way(tmp_path: Path) -> None:
    page = page_of(tmp_path, many_sources(tmp_path / "sweep"))
    (group,) = read_relations(tmp_path / "out").groups
    assert group.matrices is not None
    assert "8 languages that are both (ar, de, en, fr, sw, tr, vi, zh); the diagonal is left out" in page.text
    head, *rows = page.table("drift ~ distance + fertility")
    assert head == ["", "0", "1", "2", "3", "4", "mean"]
    assert [row[0] for row in rows] == ["genetic", "syntactic", "fertility"]
    tests = {(one.predictor, one.block): one for one in group.matrices.tests if "drift ~ distance" in one.relation}
    assert rows[0][3] == number(tests["genetic", 2].coefficient, True)
    assert rows[2][6] == number(tests["fertility", "mean"].coefficient, True)
    assert "drift ~ distance + fertility: coefficients, 18 tests over 8 languages, 56 cells." in page.text
    naive = page.table("the published way: pairs taken as independent")
    assert len(naive) == 1 + len(group.matrices.naive)
    assert "these p are too small" in page.text
    assert "Mantel's test over matrices of sources and targets" in page.text


def test_freezing_shows_every_seed_both_intervals_and_the_languages(tmp_path: Path) -> None:
    found = frozen_sweep(tmp_path / "sweep", {"sw": 12, "zh": 12})
    page = page_of(tmp_path, tmp_path / "sweep")
    assert f"{found.sentence[:1].upper()}{found.sentence[1:]}." in page.text
    head, *rows = page.table("freezing embeddings, blocks 1 2 against none")
    assert head[7:] == [f"seed {seed}" for seed in range(5)]
    for row, one in zip(rows, found.outcomes, strict=True):
        assert row[0] == one.outcome
        assert row[1] == number(one.difference, True)
        assert one.ci95 is not None
        assert row[2] == f"[{number(one.ci95[0], True)}, {number(one.ci95[1], True)}]"
        assert row[7:] == [number(value, True) for value in one.by_seed.values()]
    assert [row[6] for row in rows] == ["no evidence", "helps", "helps", "helps"]
    assert "Far (genetic distance above the median, or at it where none is above): from en sw, zh." in page.text
    assert page.source.count('class="direct"') == 4 * 5
    assert page.text.count("seed 3: ") == 4


def test_groups_stand_apart_under_their_headings(tmp_path: Path) -> None:
    made.run(tmp_path / "a")
    made.run(tmp_path / "b", pooling="mean")
    page = page_of(tmp_path, tmp_path / "a", tmp_path / "b")
    assert "xnli, mbert, cls pooling · xnli, mbert, mean pooling" in page.text
    assert "Relations (xnli, mbert, cls pooling)" in page.text
    assert "Relations (xnli, mbert, mean pooling)" in page.text
    keys = [value for tag, name, value in page.attributes if (tag, name) == ("section", "id")]
    assert len(keys) == len(set(keys)) == 7


def test_what_was_left_out_is_named_and_nothing_becomes_markup(tmp_path: Path) -> None:
    made.run(tmp_path / "sweep", distances_origin=EVIL)
    failed = made.run(tmp_path / "sweep", seed=1)
    write_text(failed / "status.json", made_up.status("failed", error=EVIL).model_dump_json())
    page = page_of(tmp_path, tmp_path / "sweep")
    assert page.table("left out")[1][0] == str(failed)
    assert f"failed: {EVIL}" in page.text
    assert f"Distances: {EVIL}." in page.text
    assert "Left out: 1, named below with the reason." in page.text


def test_a_run_with_two_languages_has_a_page(tmp_path: Path) -> None:
    made_up_train.small_run(tmp_path / "small")
    page = page_of(tmp_path, tmp_path / "small")
    assert "Not tested: drift ~ distance, drift ~ transfer, distance ~ transfer." in page.text


def test_the_page_of_fifteen_sources_stays_small(tmp_path: Path) -> None:
    codes = made_up_train.XNLI
    dice = np.random.default_rng(0)
    for source in codes:
        far = {
            kind: {code: float(dice.uniform()) for code in codes}
            for kind in ("genetic", "geographic", "syntactic", "inventory", "phonological")
        }
        kinds: dict[str, Any] = {kind: values.__getitem__ for kind, values in far.items()}
        for freeze in ("none", "bottom"):
            made.run(tmp_path / "sweep", source, 0, freeze, codes=codes, distances=kinds,
                     fertility=lambda code: 30.0 + codes.index(code))  # fmt: skip
    page = page_of(tmp_path, tmp_path / "sweep")
    assert "15 languages" in page.text


def printed(show: Any, *what: Any) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    show(*what, console)
    return console.export_text()


def test_the_terminal_shows_freezing_and_what_survives(tmp_path: Path) -> None:
    frozen_sweep(tmp_path, {"sw": 12, "zh": 12})
    write_text(made.run(tmp_path, seed=7) / "metrics.json", "{")
    found = relate.relate([tmp_path])
    text = printed(relate_terminal.show_relations, found, tmp_path / "relations.html")
    (group,) = found.groups
    for part in (
        group.survives,
        "metrics.json is damaged",
        "xnli, mbert, cls pooling: 10 runs, sources en, 5 seeds",
        "frozen embeddings, blocks 1 2 less none, 5 seeds",
        f"{group.freezing[0].outcomes[1].difference:+.3f}",
        f"page: {tmp_path / 'relations.html'}",
    ):
        assert part in text


def run_command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["bridgex", "relate", *arguments])
    with pytest.raises(SystemExit) as stopped:
        commands.main()
    return int(stopped.value.code or 0)


def test_the_command_writes_beside_a_sweep_and_else_where_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = made.run(tmp_path / "sweep")
    assert run_command(monkeypatch, "sweep") == 0
    assert (tmp_path / "sweep" / "relations.json").is_file()
    assert (tmp_path / "sweep" / "relations.html").is_file()
    assert run_command(monkeypatch, str(run)) == 0
    assert (tmp_path / "relations" / "relations.json").is_file()
    assert run_command(monkeypatch, str(run), "--out", "elsewhere") == 0
    assert read_relations(tmp_path / "elsewhere").groups[0].runs[0].source == "en"
    capsys.readouterr()
    made_up.compare_run(tmp_path / "evaluated")
    assert run_command(monkeypatch, str(run), "evaluated") == 1
    assert "error: evaluated: is a run of evaluate.py" in capsys.readouterr().err
    for name in ("a", "b"):
        made_up.compare_run(tmp_path / "grid" / name)
    assert run_command(monkeypatch, "grid") == 1
    assert capsys.readouterr().err.startswith("error: grid: a and 1 more are runs of evaluate.py")
    (tmp_path / "file").write_text("")
    assert run_command(monkeypatch, str(run), "--out", "file") == 1
    assert "give another --out" in capsys.readouterr().err


def test_answers_of_the_runs_are_made_with_the_scores_that_they_have(tmp_path: Path) -> None:
    right = answers(np.random.default_rng(0))
    made.answered(tmp_path, right, "en", 0, distances=FAR)
    (average,) = relate.relate([tmp_path]).groups[0].averages
    assert average.transfer["de"].mean == pytest.approx(sum(right["de"]) / 60)
