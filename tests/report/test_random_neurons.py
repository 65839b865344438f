"""What pages and lines say of random neurons, and of intervals that nothing was resampled for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bridgex.records.schema import StrategyRecord
from bridgex.report import html, terminal
from tests.report import made_up as made
from tests.report.test_html import Page, checked

EN: dict[str, Any] = {
    "matched": 0.96, "without_self_matches": 0.605, "random_neurons": 0.402, "p_neuron_null": 0.005,
    "p_neuron_null_corrected": 0.01,
}  # fmt: skip
IT: dict[str, Any] = {
    "matched": 0.8, "without_self_matches": 0.505, "random_neurons": 0.501, "p_neuron_null": 0.43,
    "p_neuron_null_corrected": 0.43,
}  # fmt: skip


def hsic(en: dict[str, Any], it: dict[str, Any]) -> StrategyRecord:
    found = made.hsic({"en": 0.6, "it": 0.5})
    scores = {code: found.scores[code].model_copy(update=more) for code, more in (("en", en), ("it", it))}
    return found.model_copy(update={"scores": scores})


def written(folder: Path, en: dict[str, Any], it: dict[str, Any]) -> Page:
    rankings = {"hsic": hsic(en, it), "overlap": made.strategy({"en": 3.0, "it": 2.0})}
    return checked(html.write_run_page(made.compare_run(folder, rankings=rankings)))


def test_scores_of_random_neurons_stand_beside_the_observed_ones(tmp_path: Path) -> None:
    page = written(tmp_path, EN, IT)
    assert page.table("random neurons by hsic") == [
        ["candidate", "without self-matches", "random neurons", "p", "p, corrected", "matched"],
        ["en English", ".605", ".402", ".005", ".010", ".960"],
        ["it Italian", ".505", ".501", ".430", ".430", ".800"],
    ]
    head, first, second = page.table("ranking by hsic")
    place = head.index("p (random neurons)")
    assert (first[place], second[place]) == (".010", ".430")
    assert (
        "th",
        "title",
        "how often random neurons that answer as often score as high; corrected for the number of candidates",
    ) in page.attributes
    assert "It says nothing about which candidate is best, and never chooses." in page.text


def test_a_candidate_without_enough_matches_is_left_open(tmp_path: Path) -> None:
    few = {**dict.fromkeys(EN), "matched": 0.2}
    page = written(tmp_path, EN, few)
    assert page.table("random neurons by hsic")[2] == ["it Italian", "–", "–", "–", "–", ".200"]
    assert page.table("ranking by hsic")[2][-2] == "–"


def test_nothing_is_said_where_nothing_was_drawn(tmp_path: Path) -> None:
    page = written(tmp_path, dict.fromkeys(EN), dict.fromkeys(IT))
    assert "random neurons" not in page.text.lower()
    assert 'aria-label="random neurons' not in page.source


def test_the_terminal_has_the_first_choice_in_a_line(tmp_path: Path) -> None:
    written(tmp_path, EN, IT)
    console = Console(record=True, width=200)
    terminal.show(tmp_path, tmp_path / "report.html", console)
    line = (
        "hsic: neurons of en score 0.605, random ones that answer as often 0.402: p = 0.005, 0.01 corrected for 2 "
        "candidates"
    )
    assert line in console.export_text().splitlines()


def test_the_terminal_is_silent_where_nothing_was_drawn(tmp_path: Path) -> None:
    written(tmp_path, dict.fromkeys(EN), IT)
    console = Console(record=True, width=200)
    terminal.show(tmp_path, tmp_path / "report.html", console)
    assert "answer as often" not in console.export_text()


@pytest.mark.parametrize("is_resampled", [True, False])
def test_influence_intervals_stand_in_where_nothing_was_resampled(tmp_path: Path, is_resampled: bool) -> None:
    more: dict[str, Any] = {"influence_ci95": (0.1, 0.9)} | ({} if is_resampled else {"ci95": None, "p_rank1": None})
    page = written(tmp_path, more, more)
    head, first, _ = page.table("ranking by hsic")
    shown = "[.550, .650]" if is_resampled else "[.100, .900]"
    assert first[head.index("95 % interval")] == shown
    assert page.table("strategies side by side")[1][4] == shown
    hint = ("th", "title", "over source words, from influence functions: nothing was resampled")
    assert (hint in page.attributes) is (not is_resampled)
    assert "Diamond: chosen." in page.text
