from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bridgex.records.schema import AgainstDirect, StrategyRecord
from bridgex.report import league
from bridgex.report.league import Compared, LeagueRow
from bridgex.report.league_part import headline
from tests.report import made_up as made


def cell(pair: str, direct: float, via: dict[str, float], oracle: float, **scores: dict[str, float] | None) -> Compared:
    source, _, target = pair.partition("-")
    rankings = {
        name: StrategyRecord(scores={}, missing="no evidence") if found is None else made.strategy(found)
        for name, found in scores.items()
    }
    return Compared(source, target, direct, oracle, via, rankings)


def by_name(cells: list[Compared]) -> dict[str, LeagueRow]:
    return {row.strategy: row for row in league.standings(cells)}


TWO = [
    # a takes the best, b the worst.
    cell(
        "de-fr",
        0.3,
        {"en": 0.6, "it": 0.4, "es": 0.2},
        0.5,
        a={"en": 3, "it": 2, "es": 1},
        b={"en": 1, "it": 2, "es": 3},
    ),
    # Two are best; b is missing.
    cell("sw-zh", 0.5, {"en": 0.4, "it": 0.4, "es": 0.1}, 0.4, a={"en": 1, "it": 3, "es": 2}, b=None),
]


def test_a_case_worked_by_hand() -> None:
    rows = by_name(TWO)
    a, b = rows["a"], rows["b"]
    assert (a.num_pairs, b.num_pairs) == (2, 1)
    assert a.score.value == pytest.approx((0.6 + 0.4) / 2)
    assert a.gain.value == pytest.approx((0.3 - 0.1) / 2)
    assert a.regret.value == pytest.approx((-0.1 + 0.0) / 2), "the oracle is out of fold: regret is not clipped"
    assert a.top1 is not None
    assert a.top1.value == 1.0, "a tie of the best counts"
    assert a.chance_top1 == pytest.approx((1 / 3 + 2 / 3) / 2)
    # Second pair: ranks of a are 1, 3, 2, of the scores 2.5, 2.5, 1; Pearson of these ranks is 0.
    assert a.spearman is not None
    assert a.spearman.value == pytest.approx((1.0 + 0.0) / 2)
    assert b.score.value == pytest.approx(0.2)
    assert b.regret.value == pytest.approx(0.3)
    assert b.top1 is not None
    assert b.top1.value == 0.0
    assert b.chance_top1 == pytest.approx(1 / 3), "over the pairs that it ranked"
    assert [row.strategy for row in league.standings(TWO)] == ["a", "oracle", "direct", "random", "b"]


def test_direct_the_floor_and_the_ceiling() -> None:
    rows = by_name(TWO)
    assert rows["direct"].score.value == pytest.approx(0.4)
    assert rows["direct"].top1 is None
    assert rows["oracle"].score.value == pytest.approx(0.45)
    assert rows["oracle"].regret.value == 0.0
    floor = rows["random"]
    assert floor.score.value == pytest.approx((0.4 + 0.3) / 2), "expected over all candidates"
    assert floor.top1 is not None
    assert floor.top1.value == pytest.approx(floor.chance_top1)


def test_a_difference_is_over_the_pairs_that_both_ranked() -> None:
    found = league.difference(TWO, "a", "b")
    assert found is not None
    assert found.value == pytest.approx(0.4)
    assert found.num_pairs == 1
    assert league.difference(TWO, "a", "nobody") is None


def test_candidates_without_a_difference_have_no_rank_correlation() -> None:
    flat = [cell("de-fr", 0.1, {"en": 0.2, "it": 0.2}, 0.2, a={"en": 2, "it": 1})]
    row = by_name(flat)["a"]
    assert row.spearman is None
    assert row.top1 is not None
    assert row.top1.value == row.chance_top1 == 1.0


def or_direct(scores: dict[str, float], chose_direct: bool) -> StrategyRecord:
    best = max(scores, key=lambda code: scores[code])
    against = AgainstDirect(bridge=best, gain=0.1, ci95=(-0.1, 0.3), margin=0.0, chose_direct=chose_direct)
    return made.strategy(scores).model_copy(update={"against_direct": against})


def test_a_strategy_that_goes_directly_scores_as_direct() -> None:
    ranked = {"en": 3.0, "it": 2.0}
    cells = [
        Compared(
            "de", target, direct, oracle, via, {"d": or_direct(ranked, is_direct), "a": made.strategy(ranked)}, best
        )
        for target, direct, oracle, via, is_direct, best in (
            ("fr", 0.9, 0.6, {"en": 0.6, "it": 0.4}, True, 0.8),
            ("es", 0.1, 0.5, {"en": 0.5, "it": 0.7}, False, 0.5),
        )
    ]
    rows = by_name(cells)
    d, a = rows["d"], rows["a"]
    assert d.score.value == pytest.approx((0.9 + 0.5) / 2)
    assert a.score.value == pytest.approx((0.6 + 0.5) / 2)
    assert d.gain.value == pytest.approx((0.0 + 0.4) / 2)
    assert d.regret.value == pytest.approx((-0.3 + 0.0) / 2), "against the best bridge"
    assert d.regret_with_direct is not None
    assert d.regret_with_direct.value == pytest.approx((-0.1 + 0.0) / 2), "against the best of bridges and direct"
    assert a.regret_with_direct is not None
    assert a.regret_with_direct.value == pytest.approx((0.2 + 0.0) / 2)
    assert (d.top1, d.spearman) == (a.top1, a.spearman), "how it ranks is another matter"
    assert league.difference(cells, "d", "a") == league.Mean(pytest.approx(0.15), None, 2)


def test_records_without_the_oracles_score_with_direct_have_no_such_regret() -> None:
    assert by_name(TWO)["a"].regret_with_direct is None
    mixed = [replace(TWO[0], oracle_with_direct=0.65), TWO[1]]
    found = by_name(mixed)["a"].regret_with_direct
    assert found is not None
    assert (found.value, found.num_pairs) == (pytest.approx(0.05), 1)


def said(cells: list[Compared], primary: str) -> list[str]:
    return headline(league.standings(cells), cells, primary)


def many(num_languages: int, advantage: float, seed: int = 0) -> list[Compared]:
    """All pairs of so many languages; strategy a's first choice is better by the advantage, b's is by chance."""
    chance, codes = random.Random(seed), [f"l{place}" for place in range(num_languages)]
    cells = []
    for source in codes:
        for target in codes:
            if source != target:
                via = {code: chance.gauss(0.5, 0.1) for code in ("en", "it", "es")}
                via["en"] += advantage
                a = {"en": 1.0, "it": chance.random() * 0.9, "es": 0.0}
                b = {code: chance.random() for code in via}
                cells.append(cell(f"{source}-{target}", 0.5, via, max(via.values()), a=a, b=b))
    return cells


def test_intervals_resample_languages() -> None:
    cells = many(7, 0.0)
    row = by_name(cells)["a"]
    assert row.score.ci95 is not None
    low, high = row.score.ci95
    assert low < row.score.value < high
    # A level that belongs to a language moves many pairs at once, so it must widen the interval more than pairs alone.
    shifted = [
        Compared(
            one.source,
            one.target,
            one.direct,
            one.oracle,
            {k: v + 0.3 * (one.source == "l0") for k, v in one.via.items()},
            one.rankings,
        )
        for one in cells
    ]
    wide = by_name(shifted)["a"].score
    assert wide.ci95 is not None
    as_pairs = 1.96 * np.std([one.via["en"] for one in shifted], ddof=1) / np.sqrt(len(shifted))
    assert (wide.ci95[1] - wide.ci95[0]) / 2 > 1.3 * as_pairs
    assert by_name(cells) == by_name(cells), "seeded"


def test_few_languages_have_no_interval() -> None:
    assert by_name(many(4, 0.0))["a"].score.ci95 is None
    assert by_name(many(5, 0.0))["a"].score.ci95 is not None


def test_a_null_case_claims_nothing_and_a_clear_one_does() -> None:
    claims = [said(many(7, 0.0, seed), "a")[0] for seed in range(20)]
    assert sum("does not beat" in claim for claim in claims) >= 17
    assert said(many(7, 0.4), "a")[0].startswith("a beats b, the best of the others here: difference +.")
    worse = said(many(7, -0.4), "a")
    assert worse[0].startswith("a loses to b")
    assert worse[1].startswith("a loses to a random choice here")
    assert worse[2].startswith("a loses to going directly here")
    assert said(TWO, "a")[0].endswith("too few languages for an interval, so no claim.")
    assert said(TWO, "nobody") == ["nobody ranked no pair here."]


def test_cells_that_do_not_compare_are_left_out(tmp_path: Path) -> None:
    alone = {"hsic": made.hsic({"en": 1})}
    cells = [
        made.compare_run(tmp_path / "a", "de-fr"),
        made.compare_run(tmp_path / "b", "it-fr", state=made.status("interrupted")),
        made.write_run(tmp_path / "c", scores=made.metrics("de-es", 0.5, {"en": 0.4}, "en"), rankings=alone),
        made.write_run(tmp_path / "d", made.status("failed")),
        tmp_path / "missing",
    ]
    rows = {row.strategy: row for row in league.league(cells)}
    assert rows["hsic"].num_pairs == 1
    assert rows["hsic"].score.value == 0.7
    assert rows["overlap"].regret.value == pytest.approx(0.7 - 0.2)
    assert "lexical" not in rows, "it ranked nothing"
    assert league.league(cells[1:]) == []
