from __future__ import annotations

import json
from pathlib import Path

import pytest

from bridgex.records.predictions import read_predictions
from bridgex.records.schema import Metrics
from bridgex.report import html, league
from bridgex.report.sweep_cost import duration, generated_tokens
from tests.report import made_up as made
from tests.report import made_up_sweep
from tests.report.test_sweep_page import cell, rows_of, written


def test_files_hold_the_recorded_numbers(tmp_path: Path) -> None:
    cells = made_up_sweep.write_sweep(tmp_path, ("a", "b"), ("bli", "belebele"), 4)
    html.write_sweep_page(tmp_path, cells)
    recorded = {}
    for one in cells:
        if (one / "metrics.json").is_file():
            found = Metrics.model_validate_json((one / "metrics.json").read_bytes())
            recorded[found.pair, found.model, found.task] = found
    rows = rows_of(tmp_path, "cells")
    assert len(rows) == len(cells) > len(recorded)
    for row in rows:
        found = recorded.get((row["pair"], row["model"], row["task"]))
        if found is None:
            assert {row[name] for name in ("direct", "fr", "gain", "gain low", "p", "gold")} == {""}
            continue
        assert float(row["direct"]) == found.routes["direct"].score
        assert [float(row[code]) for code in made_up_sweep.CANDIDATES] == [
            found.routes[f"via {code}"].score for code in made_up_sweep.CANDIDATES
        ]
        assert found.paired is not None
        assert (float(row["gain"]), float(row["p"])) == (found.paired.difference, found.paired.mcnemar_p)
        assert (float(row["gain low"]), float(row["gain high"])) == found.paired.ci95
        gold = found.routes.get(f"via {found.chosen} (gold)")
        assert row["gold"] == ("" if gold is None else repr(gold.score))


def test_the_league_is_the_same_on_the_page_and_in_its_file(tmp_path: Path) -> None:
    cells = made_up_sweep.write_sweep(tmp_path, ("a",), ("bli",), 6)
    page = written(tmp_path, cells)
    rows = {row["strategy"].split(" ")[0]: row for row in rows_of(tmp_path, "league")}
    standings = league.league(cells)
    for found in standings:
        row = rows[found.strategy]
        assert float(row["regret"]) == found.regret.value
        assert float(row["mean score"]) == found.score.value
        assert row["seconds"] == ("" if found.seconds is None else repr(found.seconds))
    rivals = [found for found in standings if found.strategy not in league.REFERENCES]
    best = max(rivals, key=lambda found: found.score.value)
    least = min(rivals, key=lambda found: found.regret.value)
    latex = (tmp_path / "tables" / "league.tex").read_text(encoding="utf-8")
    lines = {
        line.split(" & ")[0].split(" ")[0]: line.split(" & ") for line in latex.splitlines() if line.count("&") > 8
    }
    assert lines[best.strategy][2].startswith(r"\textbf{")
    assert lines[least.strategy][4].startswith(r"\textbf{")
    assert sum(r"\textbf" in line[2] for line in lines.values()) == 1
    assert "oracle (ceiling)$^{\\dagger}$ &" in latex
    assert page.table("league table")[0][-1] == "seconds"


def test_the_time_of_a_strategy_is_the_mean_over_the_pairs_that_it_ranked(tmp_path: Path) -> None:
    cells = made_up_sweep.write_sweep(tmp_path, ("a",), ("bli",), 3)
    seconds = [
        json.loads((one / "ranking.json").read_text(encoding="utf-8"))["strategies"]["overlap"]["seconds"]
        for one in cells
    ]
    found = {row.strategy: row.seconds for row in league.league(cells)}
    assert found["overlap"] == pytest.approx(sum(seconds) / 3)
    assert found["direct"] is None


def test_many_groups_have_an_overview_and_are_folded(tmp_path: Path) -> None:
    page = written(tmp_path, made_up_sweep.write_sweep(tmp_path, ("a", "b", "c"), ("bli",), 4))
    assert page.elements.count("details") == 3
    head, *rows = page.table("regret by strategy")
    assert [row[0] for row in rows] == ["model a", "model b", "model c", "mean of these"]
    table = rows_of(tmp_path, "regret")
    own = {row["strategy"]: row["regret"] for row in rows_of(tmp_path, "league-model-b")}
    assert {name: table[1][name] for name in head[1:]} == {name: own[name] for name in head[1:]}
    for name in head[1:]:
        assert float(table[3][name]) == pytest.approx(sum(float(row[name]) for row in table[:3]) / 3)


def test_a_strategy_that_left_pairs_out_has_no_place_in_the_overview(tmp_path: Path) -> None:
    cells = made_up_sweep.write_sweep(tmp_path, ("a", "b", "c"), ("bli",), 4)
    path = cells[0] / "ranking.json"  # of model a
    ranking = json.loads(path.read_text(encoding="utf-8"))
    del ranking["strategies"]["lexical"], ranking["check"]
    path.write_text(json.dumps(ranking), encoding="utf-8")
    written(tmp_path, cells)
    rows = {row["group"]: row for row in rows_of(tmp_path, "regret")}
    assert rows["model a"]["lexical"] == rows["mean of these"]["lexical"] == ""
    own = {row["strategy"]: row["regret"] for row in rows_of(tmp_path, "league-model-b")}
    assert rows["model b"]["lexical"] == own["lexical"]
    three = [float(rows[f"model {name}"]["overlap"]) for name in "abc"]
    assert float(rows["mean of these"]["overlap"]) == pytest.approx(sum(three) / 3)


def test_cost_counts_time_answers_and_generated_tokens(tmp_path: Path) -> None:
    answers = made.answers([True] * 10, {"en": [True] * 10})
    cells = [cell(tmp_path, "de-fr"), cell(tmp_path, "it-fr"), cell(tmp_path, "de-fr", "mt")]
    for one, count in zip(cells, (20, 7, 0), strict=True):
        text = "".join(answer.model_dump_json() + "\n" for answer in answers[:count])
        (one / "predictions.jsonl").write_text(text, encoding="utf-8")
    made.write_status(cells[0], made.status(seconds=7230.0))
    head, bli, mt, total = written(tmp_path, cells).table("cost")
    assert head == ["task", "cells", "time", "seconds a cell", "answers", "generated tokens"]
    tokens = [sum(step.num_tokens for found in read_predictions(one) for step in found.steps) for one in cells]
    assert bli == ["bli", "2", "2:01:30", "3,645.0", "40", f"{tokens[0] + tokens[1]}"]
    assert mt == ["mt", "1", "0:01:00", "60.0", "20", "–"]
    assert total[:5] == ["all", "3", "2:02:30", "2,450.0", "60"]


def test_tokens_are_those_of_steps_whatever_the_texts_say(tmp_path: Path) -> None:
    trap = '"num_tokens":9,"num_cut":null "num_tokens": 8'
    made.write_run(tmp_path, predictions=[made.prediction("w", "via en", False, trap, trap, True)])
    line = json.loads((tmp_path / "predictions.jsonl").read_text(encoding="utf-8"))
    line["options"] = [{"text": trap, "logprob": -1.0, "num_tokens": 700, "worth": -1.0}] * 2
    for text in (json.dumps(line), json.dumps(line, separators=(",", ":"))):
        (tmp_path / "predictions.jsonl").write_text(f"{text}\n{text}\n", encoding="utf-8")
        assert generated_tokens(tmp_path) == 2 * (2 + 3)
    (tmp_path / "predictions.jsonl").unlink()
    assert generated_tokens(tmp_path) is None
    assert [duration(seconds) for seconds in (0.4, 59.6, 3725, 360_000)] == [
        "0:00:00",
        "0:01:00",
        "1:02:05",
        "100:00:00",
    ]
