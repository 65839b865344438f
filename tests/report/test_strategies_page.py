"""What pages and lines say of strategies that may go directly, and of what a strategy looked at."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from bridgex.records.schema import AgainstDirect, OracleScore, StrategyRecord
from bridgex.report import html, terminal
from bridgex.report.sweep_page import sweep_page
from tests.report import made_up as made
from tests.report.test_html import Page, checked


def or_direct(chose_direct: bool = True) -> StrategyRecord:
    against = AgainstDirect(bridge="en", gain=0.02, ci95=(-0.01, 0.05), margin=0.0, chose_direct=chose_direct)
    return made.hsic({"en": 0.6, "it": 0.5}).model_copy(update={"against_direct": against})


def went_directly(folder: Path, is_compared: bool = True) -> Path:
    """A run whose strategy chose to go directly, alone or in a comparison in which every candidate was evaluated."""
    via = {"en": 0.7, "it": 0.2} if is_compared else {}
    oracle = OracleScore(bridge="en", score=0.65, regret=-0.15, regret_with_direct=0.0, score_with_direct=0.8)
    scores = made.metrics(
        "de-fr", 0.8, via, None, chosen_by="hsic_or_direct", chose_direct=True, oracle=oracle if is_compared else None
    )
    rankings = {"hsic_or_direct": or_direct()}
    if is_compared:
        rankings = {"hsic": made.hsic({"en": 0.6, "it": 0.5}), **rankings}
    settings = made.config(bridge="compare" if is_compared else "hsic_or_direct")
    return made.write_run(folder, scores=scores, rankings=rankings, settings=settings, chosen_by="hsic_or_direct")


@pytest.mark.parametrize("is_compared", [True, False])
def test_the_verdict_says_that_direct_was_chosen_and_why(tmp_path: Path, is_compared: bool) -> None:
    page: Page = checked(html.write_run_page(went_directly(tmp_path, is_compared)))
    assert (
        "Directly: .800 [.600, 1.000], 10 items. No bridge: direct was chosen by hsic_or_direct, without labels. "
        "Through en, its first choice, the model is not clearly surer of its own words: +.020 [−.010, +.050] nats a "
        "token, and the lower end must exceed bridge.margin=0." in page.text
    )
    assert (
        "Via en, in its less sure step, less directly, nats a token of the model's own words: +.020 [−.010, +.050]; "
        "the lower end must exceed bridge.margin=0, so it goes directly." in page.text
    )


def test_side_by_side_it_has_the_direct_score(tmp_path: Path) -> None:
    page: Page = checked(html.write_run_page(went_directly(tmp_path)))
    _, hsic, either = page.table("strategies side by side")
    assert either[3:9] == ["direct (before en)", "[.550, .650]", ".900", ".800", "−.150", ".000"]
    assert hsic[3:9] == ["en", "[.550, .650]", ".900", ".700", "−.050", ".100"]


def test_lines_in_the_terminal_say_the_same(tmp_path: Path) -> None:
    console = Console(record=True, width=200)
    terminal.show(went_directly(tmp_path), tmp_path / "report.html", console)
    said = console.export_text()
    assert "direct 0.800; no bridge: direct was chosen (by hsic_or_direct)" in said
    (line,) = [line for line in said.splitlines() if "hsic_or_direct" in line and "│" in line]
    assert "direct (before en)" in line
    assert "0.800" in line


def test_a_sweeps_grid_shows_the_choice(tmp_path: Path) -> None:
    cells = [went_directly(tmp_path / "a"), made.compare_run(tmp_path / "b", "de-es")]
    target = tmp_path / "sweep.html"
    target.write_text(sweep_page(tmp_path, cells)[0], encoding="utf-8")
    page = Page(target)
    head, *rows = page.table("cells")
    chosen = {row[0]: row[head.index("chosen")] for row in rows}
    assert chosen == {"de-fr": "direct", "de-es": "en"}


def test_what_a_strategy_looked_at_is_said(tmp_path: Path) -> None:
    found = made.hsic({"en": 0.6, "it": 0.5}).model_copy(
        update={"origin": "hidden state after the final norm", "uses_dictionary": True}
    )
    scores = made.metrics("de-fr", 0.3, {"en": 0.7}, "en", chosen_by="convergence")
    folder = made.write_run(tmp_path, scores=scores, rankings={"convergence": found}, chosen_by="convergence")
    page: Page = checked(html.write_run_page(folder))
    assert "From: hidden state after the final norm." in page.text
    assert "It looks at translations of the probe words, and at no evaluated item." in page.text
    assert (
        "Chosen by convergence without these items' labels, but with dictionary labels of the probe words." in page.text
    )


def test_scores_without_a_chance_correction_are_not_called_raw(tmp_path: Path) -> None:
    found = made.strategy({"en": 0.6, "it": 0.5})
    blocks = {
        code: record.model_copy(update={"block_scores": {11: record.score}}) for code, record in found.scores.items()
    }
    rankings = {"alignment": found.model_copy(update={"scores": blocks})}
    scores = made.metrics("de-fr", 0.3, {"en": 0.7}, "en", chosen_by="alignment")
    folder = made.write_run(tmp_path, scores=scores, rankings=rankings, chosen_by="alignment")
    page: Page = checked(html.write_run_page(folder))
    assert page.table("alignment score by block")[1] == ["11", ".600", ".500"]
    assert "chance correction" not in page.text


def test_a_ranking_on_top_of_another_does_not_show_its_neurons_twice(tmp_path: Path) -> None:
    both: Page = checked(html.write_run_page(went_directly(tmp_path / "both")))
    assert both.text.count("raw hsic score by block and candidate") == 1
    assert "raw hsic_or_direct score by block" not in both.text
    assert both.text.count("Neurons by block") == 1
    alone: Page = checked(html.write_run_page(went_directly(tmp_path / "alone", is_compared=False)))
    assert "raw hsic_or_direct score by block" in alone.text
