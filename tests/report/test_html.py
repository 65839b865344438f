from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from bridgex.errors import UserError
from bridgex.records.schema import Option, OracleScore, Paired, Status, StrategyRecord
from bridgex.report import html
from tests.report import made_up as made

EVIL = '<script>alert("x")</script>&{0}%s'
VOID = {"meta"}


class Page(HTMLParser):
    """Reads a page: its text, its attributes, and whether every element that opens also closes."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.open: list[str] = []
        self.words: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.elements: list[str] = []
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def table(self, label: str) -> list[list[str]]:
        """A table's cells as text."""
        (found,) = re.findall(rf'aria-label="{re.escape(label)}"[^>]*><table[^>]*>(.*?)</table>', self.source, re.S)
        rows = re.findall(r"<tr[^>]*>(.*?)</tr>", found, re.S)
        return [
            [re.sub(r"<[^>]*>", "", cell) for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.S)]
            for row in rows
        ]


def checked(path: Path) -> Page:
    """A page that fetches nothing, balances its tags and is not large."""
    page = Page(path)
    assert path.name == "report.html"
    assert len(page.source.encode()) < 300_000
    for tag, name, value in page.attributes:
        if name in ("src", "href", "srcset", "action", "data"):
            assert tag == "a", f"<{tag} {name}={value}> fetches something"
            assert not re.match(r"(?i)\s*([a-z][a-z0-9+.-]*:|//)", value), value
        assert not name.startswith("on")
    assert "url(" not in page.source
    assert "@import" not in page.source
    assert "http://" not in page.source
    assert "https://" not in page.source
    return page


@pytest.fixture
def page(tmp_path: Path) -> Page:
    right = [True] * 3 + [False] * 7
    answers = made.answers(right, {"en": [True] * 7 + [False] * 3, "it": [False] * 8 + [True] * 2})
    return checked(html.write_run_page(made.compare_run(tmp_path, predictions=answers)))


def test_the_verdict_comes_first_in_words(page: Page) -> None:
    verdict = (
        "Through en: .700 against .300 directly, +.400 [+.150, +.625], exact McNemar p = .006: bridge helps. "
        "Chosen by hsic without labels."
    )
    assert verdict in page.text
    assert page.text.index(verdict) < page.text.index("Routes")
    assert "In hindsight en is best; the oracle scores .700 out of fold. Regret of the choice: .000" in page.text
    assert "Chance: none, the answers are open. Always giving the most frequent right answer: .100." in page.text


def test_the_route_table_holds_the_recorded_numbers(page: Page) -> None:
    head, direct, via_en, via_it = page.table("routes")
    assert head[:5] == ["route", "accuracy", "95 % interval", "n", "gain"]
    assert direct[:4] == ["direct", ".300", "[.100, .500]", "10"]
    assert via_en == ["via en English", ".700", "[.500, .900]", "10", "+.400", "4", "0", ".006", ".600 of 10"]
    # p and gain of the planned test are those on record; the other route is alone, so that Holm corrects nothing.
    assert via_it == ["via it Italian", ".200", "[.000, .400]", "10", "−.100", "2", "3", "1.000", ".600 of 10"]


def test_the_ranking_holds_the_recorded_numbers(page: Page) -> None:
    head, first, second = page.table("ranking by hsic")
    assert head == [
        "candidate", "rank", "score", "95 % interval", "raw", "P(rank 1)", "p (any dependence)", "score via it",
    ]  # fmt: skip
    assert first == ["en English", "1", ".600", "[.550, .650]", ".610", ".900", ".002", ".700"]
    assert second == ["it Italian", "2", ".500", "[.450, .550]", ".510", ".100", ".002", ".200"]
    assert "By hsic (normalised). Blocks that count: 11, 12. Best less runner-up: +.100 [+.050, +.150]." in page.text
    assert "does not compare candidates, and never chooses" in page.text


def test_strategies_stand_side_by_side_with_their_regret_and_what_is_missing(page: Page) -> None:
    head, hsic, overlap, lexical = page.table("strategies side by side")
    assert head[1:] == [
        "en", "it", "first choice", "95 % interval", "P(rank 1)", "score via it", "regret", "regret with direct",
        "Spearman", "seconds",
    ]  # fmt: skip
    assert hsic == [
        "hsic (chooses)", ".600 (1)", ".500 (2)", "en", "[.550, .650]", ".900", ".700", ".000", "–", "1.000", "1.5",
    ]  # fmt: skip
    assert overlap == [
        "overlap", "100.0 (2)", "120.5 (1)", "it", "–", "–", ".200", ".500", "–", "−1.000", "0.0",
    ]  # fmt: skip
    assert lexical == ["lexical", "–", "–", "missing", *["–"] * 6, "0.0"]
    assert "lexical is missing: no dictionary de-it" in page.text


def test_blocks_and_neurons_are_those_on_record(page: Page) -> None:
    assert page.table("raw hsic score by block") == [
        ["block", "en", "it"],
        ["11", ".600", ".500"],
        ["12", ".620", ".520"],
        ["mean", ".610", ".510"],
    ]
    assert page.table("neurons by block") == [
        ["block", "de ∩ fr", "en", "it"],
        ["11", "20", "41", "41"],
        ["12", "30", "52", "52"],
        ["all", "50", "93", "93"],
        ["shared", "–", ".750", ".750"],
    ]


def test_errors_are_split_by_reason_and_by_the_bridge_step(page: Page) -> None:
    assert page.table("misses by reason and route")[1:] == [
        ["direct", "3", "7"],
        ["via en English", "7", "3"],
        ["via it Italian", "2", "8"],
    ]
    assert page.table("bridge text and answer")[1] == ["via en English", "7", "0", "0", "3", "0", "1.000", ".000"]
    assert "via it Italian: 8 of 10 miss, 5 shown" in page.text


def test_what_a_model_or_a_data_set_says_is_text(tmp_path: Path) -> None:
    answers = [
        made.prediction(EVIL, "direct", False, output=EVIL),
        made.prediction(EVIL, "via en", False, output=EVIL, bridge_text=EVIL, bridge_correct=False),
    ]
    answers[0] = answers[0].model_copy(update={"options": [Option(text=EVIL, logprob=-1.5, num_tokens=2, worth=-1.5)]})
    run = made.compare_run(
        tmp_path,
        predictions=answers,
        rankings={"hsic": made.hsic({"en": 0.6, "it": 0.5}), EVIL: StrategyRecord(scores={}, missing=EVIL)},
        state=made.status("done", notes=[EVIL], details=[EVIL], error=EVIL, device=EVIL, versions={EVIL: EVIL}),
    )
    (run / "config.yaml").write_text(f"model: {{name: m}}\n# {EVIL}\n", encoding="utf-8")
    page = checked(html.write_run_page(run))
    assert "script" not in page.elements
    assert page.text.count(EVIL) > 15


def test_a_prompt_is_shown_as_it_is(tmp_path: Path) -> None:
    text = "\nقال  \tשלום\n\n  end \r\x00"
    page = checked(
        html.write_run_page(made.compare_run(tmp_path, predictions=[made.prediction("w", "direct", False, text)]))
    )
    assert '<pre dir="auto">\n\nقال  \tשלום\n\n  end ␍␀</pre>' in page.source


def test_long_prompts_are_cut_and_the_page_says_so(tmp_path: Path) -> None:
    codes = [f"c{place}" for place in range(30)]
    long = "<&" * 40_000
    answers = [
        made.prediction(f"w{place}", route, False, long, bridge_text=long, bridge_correct=False)
        for route in ["direct", *(f"via {code}" for code in codes)]
        for place in range(8)
    ]
    scores = made.metrics("de-fr", 0.0, dict.fromkeys(codes, 0.0), "c0")
    run = made.write_run(
        tmp_path, scores=scores, predictions=answers, rankings={"hsic": made.hsic(dict.fromkeys(codes, 0.5))}
    )
    page = checked(html.write_run_page(run))
    assert "characters left out, see predictions.jsonl" in page.text


@pytest.mark.parametrize(
    ("verdict", "kind", "words"),
    [
        ("bridge hurts", "hurts", ": bridge hurts."),
        ("no evidence", "open", ": no evidence that the bridge helps or hurts."),
    ],
)
def test_other_verdicts_are_said_as_they_are(tmp_path: Path, verdict: str, kind: str, words: str) -> None:
    paired = Paired(difference=-0.1, ci95=(-0.2, 0.0001), mcnemar_p=0.0001, verdict=verdict)
    scores = made.metrics("de-fr", 0.3, {"en": 0.2}, "en", paired=paired)
    page = checked(html.write_run_page(made.write_run(tmp_path, scores=scores)))
    assert f"−.100 [−.200, .000], exact McNemar p < .001{words}" in page.text
    assert f'class="verdict {kind}"' in page.source


def test_a_choice_that_used_labels_is_marked_and_out_of_fold(tmp_path: Path) -> None:
    paired = Paired(difference=0.3, ci95=(0.1, 0.5), mcnemar_p=None, verdict="bridge helps (uses labels)")
    scores = made.metrics("de-fr", 0.3, {"en": 0.7}, "en", paired=paired, chosen_by="oracle")
    page = checked(html.write_run_page(made.write_run(tmp_path, scores=scores)))
    assert (
        "Through the best bridge in hindsight, out of fold: .600 against .300 directly, +.300 [+.100, +.500]: bridge "
        "helps. Chosen by oracle, which uses labels: an upper bound" in page.text
    )


@pytest.mark.parametrize(
    ("chosen_by", "more", "words"),
    [
        ("fixed", {}, "The bridge was given, not chosen (bridge=fixed)."),
        ("random", {}, "Chosen at random."),
        ("hsic", {"probe": {"filter": "correct"}}, "but with dictionary labels of the probe words."),
    ],
)
def test_who_chose_is_said(tmp_path: Path, chosen_by: str, more: dict[str, Any], words: str) -> None:
    scores = made.metrics("de-fr", 0.3, {"en": 0.7}, "en", chosen_by=chosen_by)
    page = checked(html.write_run_page(made.write_run(tmp_path, scores=scores, settings=made.config(**more))))
    assert words in page.text


def test_a_run_without_a_bridge_says_so(tmp_path: Path) -> None:
    scores = made.metrics("de-fr", 0.3, {}, None, chance=0.25)
    page = checked(html.write_run_page(made.write_run(tmp_path, scores=scores, rankings={}, chosen_by=None)))
    assert "Directly: .300 [.100, .500], 10 items. No bridge was asked for" in page.text
    assert "Chance: .250." in page.text
    assert "Ranking" not in page.text


def test_a_missing_primary_strategy_is_named_with_its_reason(tmp_path: Path) -> None:
    scores = made.metrics("de-fr", 0.3, {"en": 0.2, "it": 0.4}, None, chosen_by="hsic")
    rankings = {
        "hsic": StrategyRecord(scores={}, missing="raise the share"),
        "overlap": made.strategy({"en": 3, "it": 2}),
    }
    page = checked(html.write_run_page(made.write_run(tmp_path, scores=scores, rankings=rankings)))
    assert "No bridge was chosen, because hsic could not rank: raise the share" in page.text


def test_another_candidate_that_helps_is_named_beside_a_poor_choice(tmp_path: Path) -> None:
    paired = Paired(difference=0.0, ci95=(-0.1, 0.1), mcnemar_p=1.0, verdict="no evidence")
    oracle = OracleScore(bridge="it", score=0.9, regret=0.9, regret_with_direct=0.85)
    scores = made.metrics("de-fr", 0.0, {"en": 0.0, "it": 0.9}, "en", paired=paired, oracle=oracle)
    answers = made.answers([False] * 10, {"en": [False] * 10, "it": [True] * 9 + [False]})
    page = checked(html.write_run_page(made.write_run(tmp_path, scores=scores, predictions=answers)))
    assert "Regret of the choice: .900, and .850 where the oracle may also go directly." in page.text
    assert "Other routes that differ from direct (exact McNemar, Holm): via it +.900, p = .004." in page.text


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (made.status("running", end=None), "This run is still running"),
        (made.status("interrupted"), "This run was interrupted. The same command with the same hydra.run.dir goes on"),
        (made.status("failed", error="pair 'xx': no dictionary"), "This run failed. pair 'xx': no dictionary"),
    ],
)
def test_a_run_that_is_not_done_says_so_and_shows_what_there_is(tmp_path: Path, state: Status, words: str) -> None:
    answers = made.answers([True, False], {})
    page = checked(html.write_run_page(made.write_run(tmp_path, state, predictions=answers)))
    assert words in page.text
    assert "2 answers are on record." in page.text
    assert page.table("routes so far")[1] == ["direct", "2", "1"]
    assert "against" not in page.text


def test_a_run_whose_process_is_gone_counts_as_interrupted(tmp_path: Path) -> None:
    import socket

    gone = made.status("running", end=None, host=socket.gethostname(), pid=2**22 + 1, pid_start=1.0)
    page = checked(html.write_run_page(made.write_run(tmp_path, gone)))
    assert "This run was interrupted." in page.text
    assert "No answer is on record yet." in page.text


@pytest.mark.parametrize("name", ["config.yaml", "ranking.json", "metrics.json", "predictions.jsonl", "measures.jsonl"])
@pytest.mark.parametrize("damage", [None, "{broken\n"])
def test_a_missing_or_damaged_file_is_named_at_most(tmp_path: Path, name: str, damage: str | None) -> None:
    run = made.compare_run(tmp_path, predictions=made.answers([True] * 10, {"en": [True] * 10, "it": [False] * 10}))
    if damage is None:
        (run / name).unlink()
    else:
        (run / name).write_text(damage, encoding="utf-8")
    page = checked(html.write_run_page(run))
    assert "de-fr" in page.text
    if damage is not None:
        assert re.search(rf"Attention: {re.escape(name)}.*(damaged|not a record)", page.text)


def test_a_damaged_status_is_said(tmp_path: Path) -> None:
    run = made.compare_run(tmp_path)
    (run / "status.json").write_text("{", encoding="utf-8")
    page = checked(html.write_run_page(run))
    assert "What became of this run is not known" in page.text


def test_a_page_is_made_for_what_the_folder_holds(tmp_path: Path) -> None:
    cells = [made.compare_run(tmp_path / "a", "de-fr"), made.compare_run(tmp_path / "b", "it-fr", via={"en": 0.4})]
    assert html.write_page(cells[0]) == cells[0] / "report.html"
    assert html.write_page(tmp_path) == tmp_path / "report.html"
    assert all((cell / "report.html").is_file() for cell in cells)
    assert "Sweep" in checked(tmp_path / "report.html").text
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no run \\(status.json\\) and no sweep"):
        html.write_page(tmp_path / "empty")


def test_pages_need_no_torch() -> None:
    heavy = {"torch", "lightning", "transformers", "matplotlib"}
    code = f"import sys, bridgex.report.html; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"
