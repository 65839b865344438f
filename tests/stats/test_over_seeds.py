from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from bridgex.stats.over_seeds import SeedDifference, crossed_interval, seed_difference
from bridgex.stats.paired import difference_interval

Floats = NDArray[np.float64]


GROUPS = [place // 3 for place in range(60)]


def frozen_for_nothing(
    dice: np.random.Generator, seed_noise: float, item_noise: float = 0.0, num_items: int = 60
) -> Floats:
    """Differences `[5 seeds, items]` of a freezing that does nothing, three items a group."""
    seeds = dice.normal(scale=seed_noise, size=(5, 1))
    items = np.repeat(dice.normal(scale=item_noise, size=num_items // 3), 3)
    with_frozen = dice.random((5, num_items)) < np.clip(0.7 + seeds + items, 0, 1)
    without = dice.random((5, num_items)) < 0.7
    return with_frozen.astype(np.float64) - without


@pytest.mark.parametrize("differences", [[0.1, 0.2, 0.4], [-0.03, 0.01, 0.02, -0.05, 0.04], [1e-4, 2e-4, 4e-4]])
def test_mean_interval_and_p_are_those_of_scipy(differences: list[float]) -> None:
    found = seed_difference(differences)
    reference = stats.ttest_rel(differences, np.zeros(len(differences)))
    interval = reference.confidence_interval(0.95)
    assert found.mean == pytest.approx(sum(differences) / len(differences))
    assert found.p == pytest.approx(reference.pvalue, rel=1e-9)
    assert found.ci95 == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert found.n == len(differences)


def test_the_sign_turns_with_the_sides_and_the_order_does_not_count() -> None:
    found, turned = seed_difference([0.1, 0.2, 0.4]), seed_difference([-0.4, -0.1, -0.2])
    assert turned.mean == pytest.approx(-found.mean)
    assert turned.p == pytest.approx(found.p)
    assert found.ci95 is not None
    assert turned.ci95 == pytest.approx((-found.ci95[1], -found.ci95[0]))


def test_differences_that_do_not_vary_are_no_evidence() -> None:
    assert seed_difference([0.0, 0.0, 0.0]) == SeedDifference(0.0, None, 1.0, 3)
    assert seed_difference([0.1, 0.1, 0.1 + 1e-16]).p is None
    assert seed_difference([0.1, 0.1, 0.1]).ci95 is None


@pytest.mark.parametrize("differences", [[0.1, 0.2], [], [0.1, 0.2, math.nan], [[0.1, 0.2, 0.3]]])
def test_too_few_seeds_are_refused(differences: list[float]) -> None:
    with pytest.raises(ValueError, match="at least 3 seeds"):
        seed_difference(differences)


def slow_crossed(differences: Floats, groups: list[int], num_replicates: int, seed: int) -> tuple[float, float]:
    """One replicate at a time, one drawn seed and one drawn group at a time."""
    dice = np.random.default_rng(seed)
    names = sorted(set(groups))
    means = []
    for _ in range(num_replicates):
        seeds = dice.integers(len(differences), size=len(differences))
        drawn = [names[place] for place in dice.integers(len(names), size=len(names))]
        values = [
            differences[k, item]
            for k in seeds
            for name in drawn
            for item, group in enumerate(groups)
            if group == name
        ]  # fmt: skip
        means.append(sum(values) / len(values))
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def test_the_bootstrap_is_that_of_the_slow_form() -> None:
    dice = np.random.default_rng(0)
    groups = [0, 0, 0, 1, 1, 2, 3, 3, 4, 5, 5, 5]
    table = np.round(dice.normal(0.1, 0.3, size=(4, 12)), 2)
    found = crossed_interval(table, groups, num_replicates=20_000, seed=1)
    assert found == pytest.approx(slow_crossed(table, groups, 4000, seed=2), abs=0.012)


def test_names_of_groups_do_not_count_and_items_may_stand_by_themselves() -> None:
    table = frozen_for_nothing(np.random.default_rng(3), 0.1)
    named = [f"premise {group}" for group in GROUPS]
    assert crossed_interval(table, GROUPS) == crossed_interval(table, named)
    assert crossed_interval(table) == crossed_interval(table, list(range(60)))


def test_one_seed_is_the_bootstrap_of_items_and_one_group_that_of_seeds() -> None:
    table = frozen_for_nothing(np.random.default_rng(4), 0.1)
    items = crossed_interval(table[:1], GROUPS, num_replicates=20_000)
    assert items == pytest.approx(difference_interval(table[0], GROUPS, num_replicates=20_000), abs=0.01)
    means = table.mean(axis=1)
    drawn = np.random.default_rng(5).choice(means, size=(20_000, 5)).mean(axis=1)
    assert crossed_interval(table, [0] * 60, 20_000) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.01)


def test_answers_that_never_differ_leave_room_for_other_items() -> None:
    low, high = crossed_interval(np.zeros((3, 60)), GROUPS)
    assert low == pytest.approx(-high)
    assert 0.05 < high < 0.3


@pytest.mark.parametrize("table", [np.zeros((0, 3)), np.zeros(3), np.full((3, 3), math.nan)])
def test_tables_that_are_none_are_refused(table: Floats) -> None:
    with pytest.raises(ValueError, match="seeds, items"):
        crossed_interval(table)
    with pytest.raises(ValueError, match="2 group labels for 60 items"):
        crossed_interval(np.zeros((3, 60)), [0, 1])


def rejections(seed_noise: float, item_noise: float, num_items: int, count: int) -> tuple[float, float, float]:
    """How often a freezing that does nothing is called an effect: t over seeds, both drawn, items alone."""
    dice = np.random.default_rng(11)
    groups = [place // 3 for place in range(num_items)]
    by_t = by_both = by_items = 0
    for _ in range(count):
        table = frozen_for_nothing(dice, seed_noise, item_noise, num_items)
        p = seed_difference(table.mean(axis=1)).p
        low, high = crossed_interval(table, groups, num_replicates=400)
        alone = difference_interval(table.mean(axis=0), groups, num_replicates=400)
        by_t += p is not None and p < 0.05
        by_both += not low <= 0 <= high
        by_items += not alone[0] <= 0 <= alone[1]
    return by_t / count, by_both / count, by_items / count


def test_under_the_null_the_t_test_holds_its_level_and_items_alone_do_not() -> None:
    by_t, by_both, by_items = rejections(seed_noise=0.1, item_noise=0.0, num_items=300, count=1000)
    assert 0.03 < by_t < 0.07, "three standard errors of 5 %"
    assert by_items > 0.4
    # With many items only the seeds are left, and five of them draw too narrow an interval: it does not judge alone.
    assert 0.05 < by_both < 0.2


def test_with_few_items_the_bootstrap_of_both_errs_on_the_wide_side() -> None:
    by_t, by_both, by_items = rejections(seed_noise=0.1, item_noise=0.0, num_items=60, count=500)
    assert 0.02 < by_t < 0.08
    assert by_both < 0.05
    assert by_items > 0.15


def test_items_that_freezing_touches_unevenly_need_the_bootstrap() -> None:
    by_t, by_both, _ = rejections(seed_noise=0.0, item_noise=0.25, num_items=60, count=500)
    assert by_t > 0.1, "the t test takes these items for all there are"
    assert by_both < 0.07
