import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from bridgex.stats.paired import holm
from bridgex.stats.relate import (
    Relation,
    depth_correlation,
    joint_permutations,
    relate_family,
    with_exact_ties,
)

Floats = NDArray[np.float64]
Pair = tuple[Floats, Floats]
GAP = math.nan


def only(pair: tuple[object, object], **options: object) -> Relation:
    (found,) = relate_family([pair], **options)  # type: ignore[list-item, arg-type]
    assert found is not None
    return found


def without_pearson(relation: Relation) -> Relation:
    """What ranks alone say, which is exact."""
    return relation._replace(pearson=0, pearson_ci95=None)


def textbook_spearman(x: Floats, y: Floats) -> float | None:
    """Over what both sides have, at least 4 and not constant."""
    both = ~np.isnan(x) & ~np.isnan(y)
    a, b = stats.rankdata(x[both]), stats.rankdata(y[both])
    if len(a) < 4 or a.std() == 0 or b.std() == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def textbook_family(pairs: list[Pair]) -> tuple[list[float], list[float]]:
    """Both p by all orders of the left sides, one order and one test at a time; every pair must be a test."""
    observed = [abs(textbook_spearman(x, y) or 0.0) for x, y in pairs]
    alone, largest, orders = np.zeros(len(pairs)), np.zeros(len(pairs)), 0
    for order in itertools.permutations(range(len(pairs[0][0]))):
        sizes = [abs(textbook_spearman(x[list(order)], y) or 0.0) for x, y in pairs]
        alone += [size >= seen - 1e-9 for size, seen in zip(sizes, observed, strict=True)]
        largest += [max(sizes) >= seen - 1e-9 for seen in observed]
        orders += 1
    return list(alone / orders), list(largest / orders)


def family(seed: int, num_languages: int, blocks: int = 3, kinds: int = 2, levels: int | None = None) -> list[Pair]:
    """Blocks x kinds, both sides correlated among themselves and unrelated to each other."""
    dice = np.random.default_rng(seed)
    left = dice.normal(size=num_languages) + dice.normal(size=(blocks, num_languages))
    right = dice.normal(size=num_languages) + dice.normal(size=(kinds, num_languages))
    if levels:
        right = np.round(right * levels) / levels
    return [(x, y) for x in left for y in right]


@pytest.mark.parametrize("levels", [None, 1])
@pytest.mark.parametrize("num_languages", [5, 9, 22])
def test_correlations_equal_scipy(num_languages: int, levels: int | None) -> None:
    for (x, y), found in zip(
        (pairs := family(0, num_languages, levels=levels)), relate_family(pairs, num_permutations=9), strict=True
    ):
        assert found is not None
        assert found.n == num_languages
        assert found.spearman == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
        pearson = stats.pearsonr(x, y)
        assert found.pearson == pytest.approx(pearson.statistic, abs=1e-12)
        assert found.pearson_ci95 == pytest.approx(tuple(pearson.confidence_interval()), abs=1e-9)
        left_out = [stats.spearmanr(np.delete(x, i), np.delete(y, i)).statistic for i in range(num_languages)]
        assert found.range == pytest.approx((min(left_out), max(left_out)), abs=1e-12)


def test_interval_by_hand() -> None:
    # rho = 0.5, n = 8: atanh 0.549306, standard error sqrt(1.125 / 5) = 0.474342, times 1.959964 is 0.929693.
    x, y = np.arange(8.0), np.array([1.0, 5, 0, 2, 4, 7, 6, 3])
    found = only((x, y))
    assert found.spearman == pytest.approx(0.5, abs=1e-12)
    assert found.ci95 == pytest.approx((math.tanh(-0.380387), math.tanh(1.478999)), abs=1e-6)


def test_interval_covers() -> None:
    """Bivariate normal with r = 0.6, where Spearman's rho is 6 / pi asin(r / 2); 600 runs, three standard errors."""
    truth, dice, covered = 6 / math.pi * math.asin(0.3), np.random.default_rng(0), 0
    for _ in range(600):
        x, noise = dice.normal(size=(2, 20))
        low, high = only((x, 0.6 * x + 0.8 * noise), num_permutations=1).ci95 or (0.0, 0.0)
        covered += low <= truth <= high
    assert abs(covered / 600 - 0.95) < 3 * math.sqrt(0.05 * 0.95 / 600)


def test_no_interval_where_it_has_none() -> None:
    perfect = only((np.arange(7.0), np.arange(7.0) ** 3))
    assert (perfect.spearman, perfect.ci95, perfect.range) == (1.0, None, (1.0, 1.0))
    assert perfect.pearson_ci95 is not None
    assert only((np.arange(7.0), -2 * np.arange(7.0))).pearson_ci95 is None
    four = only(([1, 2, 3, 4], [2, 1, 3, 4]))
    assert (four.n, four.ci95, four.pearson_ci95) == (4, None, None)
    assert only(([1, 2, 3, 4, 5], [2, 1, 3, 4, 5])).ci95 is not None


@pytest.mark.parametrize("levels", [None, 1])
def test_p_of_all_orders_equals_the_textbook(levels: int | None) -> None:
    pairs = family(1, 6, levels=levels)
    found = [relation for relation in relate_family(pairs) if relation is not None]
    alone, largest = textbook_family(pairs)
    assert [relation.p for relation in found] == pytest.approx(alone, abs=1e-12)
    assert [relation.p_corrected for relation in found] == pytest.approx(largest, abs=1e-12)
    assert [relation.p_holm for relation in found] == pytest.approx(holm(alone), abs=1e-12)


def test_p_of_all_orders_equals_scipy() -> None:
    x, y = family(2, 6)[0]
    reference = stats.permutation_test(
        (x,),
        lambda moved: abs(stats.spearmanr(moved, y).statistic),
        permutation_type="pairings",
        n_resamples=math.inf,
        alternative="greater",
    )
    assert only((x, y)).p == pytest.approx(reference.pvalue, abs=1e-12)


def test_exact_p_by_hand() -> None:
    # Of the 24 orders of four, only the two that are monotone reach |rho| = 1.
    assert only(([1, 2, 3, 4], [10, 20, 30, 40])).p == pytest.approx(2 / 24)
    # With 23 random orders allowed the 24 are all taken, with 22 they are drawn.
    assert len(np.unique(joint_permutations(4, 23, 0), axis=0)) == 24
    assert len(joint_permutations(4, 22, 0)) == 23
    assert joint_permutations(4, 22, 0)[0].tolist() == [0, 1, 2, 3]
    # A random p counts the observed order.
    assert only((np.arange(12.0), np.arange(12.0)), num_permutations=99).p == pytest.approx(1 / 100)


def test_random_orders_estimate_the_p_of_all_orders() -> None:
    pairs = family(3, 8)
    exact, drawn = relate_family(pairs, num_permutations=40_319), relate_family(pairs, num_permutations=9999)
    for whole, part in zip(exact, drawn, strict=True):
        assert whole is not None
        assert part is not None
        for name in ("p", "p_corrected"):
            p = getattr(whole, name)
            assert abs(getattr(part, name) - p) < 4 * math.sqrt(p * (1 - p) / 9999) + 1e-4
        assert part.p <= part.p_corrected <= 1
        assert part.p <= part.p_holm <= 1


def with_gaps(seed: int) -> list[Pair]:
    """Two blocks x two kinds over six languages; one kind and one block each lack a language."""
    pairs = [(x.copy(), y.copy()) for x, y in family(seed, 6, 2, 2)]
    pairs[2][0][1] = pairs[3][0][1] = GAP
    pairs[1][1][4] = pairs[3][1][4] = GAP
    return pairs


@pytest.mark.parametrize("seed", range(3))
def test_gaps_equal_the_textbook(seed: int) -> None:
    pairs = with_gaps(seed)
    found = [relation for relation in relate_family(pairs) if relation is not None]
    alone, largest = textbook_family(pairs)
    assert [relation.n for relation in found] == [6, 5, 5, 4]
    assert [relation.spearman for relation in found] == pytest.approx([textbook_spearman(*pair) for pair in pairs])
    assert [relation.p for relation in found] == pytest.approx(alone, abs=1e-12)
    assert [relation.p_corrected for relation in found] == pytest.approx(largest, abs=1e-12)


def test_orders_that_leave_too_few_languages_count_as_no_correlation() -> None:
    """Three languages are often in perfect order, which would make every p large."""
    whole = family(10, 6, 2, 2)
    x, y = whole[0][0].copy(), whole[0][1].copy()
    x[0] = y[0] = y[1] = GAP
    pairs = [(x, y), whole[3]]
    found = [relation for relation in relate_family(pairs) if relation is not None]
    alone, largest = textbook_family(pairs)
    assert [relation.n for relation in found] == [4, 6]
    assert [relation.p for relation in found] == pytest.approx(alone, abs=1e-12)
    assert [relation.p_corrected for relation in found] == pytest.approx(largest, abs=1e-12)


def test_a_language_that_counts_in_no_test_leaves_the_family() -> None:
    pairs = family(4, 11)
    extended = [(np.insert(x, 3, GAP), np.insert(y, 3, 0.5)) for x, y in pairs]
    assert relate_family(extended, num_permutations=99) == relate_family(pairs, num_permutations=99)
    control = np.linspace(0, 1, 11) ** 2
    assert only(extended[0], control=np.insert(control, 3, 7.0)).partial == only(pairs[0], control=control).partial


def test_what_cannot_be_tested_is_none_and_not_of_the_family() -> None:
    x, y = family(5, 8)[0]
    constant, short = np.full(8, 0.3), np.where(np.arange(8) < 3, x, GAP)
    almost = np.array([0.1 + 0.2, 0.3] * 4)
    found = relate_family([(x, constant), (x, y), (constant, y), (short, y), (almost, y)], seed=1)
    assert [relation is None for relation in found] == [True, False, True, True, True]
    assert found[1] == only((x, y), seed=1)
    assert relate_family([]) == []
    assert relate_family([(x[:3], y[:3])]) == [None]
    assert relate_family([(np.full(5, GAP), np.arange(5.0))]) == [None]
    # Constant only where the other side has values too.
    assert relate_family([([1, 1, 1, 1, 2], [1, 2, 3, 4, GAP])]) == [None]


def test_rounding_makes_no_order() -> None:
    x = np.array([0.1 + 0.2, 0.3, 0.5, 0.9, 0.7])
    assert only((x, [1, 2, 3, 4, 5])).spearman == pytest.approx(
        stats.spearmanr([0.3, 0.3, 0.5, 0.9, 0.7], [1, 2, 3, 4, 5]).statistic
    )
    assert np.isnan(with_exact_ties(np.array([GAP, 0.0]))).tolist() == [True, False]
    assert with_exact_ties(np.array([-4.0, 2.0])).tolist() == [-1.0, 0.5]


def test_partial_equals_residuals_of_ranks() -> None:
    dice = np.random.default_rng(6)
    control = np.round(dice.normal(size=14), 1)
    x, y = control + dice.normal(size=14), control + dice.normal(size=14)
    design = np.column_stack([np.ones(14), stats.rankdata(control)])
    rests = [side - design @ np.linalg.lstsq(design, side, rcond=None)[0] for side in map(stats.rankdata, (x, y))]
    found = only((x, y), control=control, num_permutations=9)
    assert found.partial == pytest.approx(stats.pearsonr(*rests).statistic, abs=1e-12)
    assert found.spearman - found.partial > 0.1, "the control explains part of it"
    # Languages without the control drop out of the partial correlation only.
    gaps = control.copy()
    gaps[[2, 9]] = GAP
    keep = ~np.isnan(gaps)
    part = only((x, y), control=gaps, num_permutations=9)
    assert part.partial == only((x[keep], y[keep]), control=control[keep]).partial
    assert part[:8] == found[:8]


def test_partial_is_none_where_the_control_says_nothing_or_all() -> None:
    x, y = family(7, 8)[0]
    assert only((x, y)).partial is None
    assert only((x, y), control=np.ones(8)).partial is None
    assert only((x, y), control=np.exp(x)).partial is None
    assert only((x, y), control=-y).partial is None
    assert only((x, y), control=np.where(np.arange(8) < 3, x**2, GAP)).partial is None


@given(seed=st.integers(0, 500), scale=st.floats(1e-3, 1e3), offset=st.floats(-10, 10))
@settings(max_examples=25, deadline=None)
def test_monotone_maps_change_no_ranks_and_lines_change_nothing(seed: int, scale: float, offset: float) -> None:
    pairs = with_gaps(seed)
    before = relate_family(pairs)
    bent = relate_family([(np.exp(x), y**3) for x, y in pairs])
    straight = relate_family([(scale * x + offset, scale * y + offset) for x, y in pairs])
    for old, monotone, linear in zip(before, bent, straight, strict=True):
        assert old is not None
        assert monotone is not None
        assert linear is not None
        assert without_pearson(monotone) == without_pearson(linear) == without_pearson(old)
        assert linear.pearson == pytest.approx(old.pearson, abs=1e-6)


@given(seed=st.integers(0, 500))
@settings(max_examples=25, deadline=None)
def test_signs_sides_and_order_of_languages_and_tests(seed: int) -> None:
    pairs = with_gaps(seed)
    control = np.random.default_rng(seed).normal(size=6)
    before = relate_family(pairs, control=control)
    order = np.random.default_rng(seed + 1).permutation(6)
    for old, new in zip(
        before, relate_family([(x[order], y[order]) for x, y in pairs], control=control[order]), strict=True
    ):
        assert old is not None
        assert new is not None
        assert without_pearson(new) == without_pearson(old)
        assert new.pearson == pytest.approx(old.pearson, abs=1e-12)
    assert relate_family(pairs[::-1], control=control) == before[::-1]
    for old, flipped, swapped in zip(
        before, relate_family([(-x, y) for x, y in pairs]), relate_family([(y, x) for x, y in pairs]), strict=True
    ):
        assert old is not None
        assert flipped is not None
        assert swapped is not None
        assert (flipped.spearman, flipped.pearson) == (-old.spearman, -old.pearson)
        assert flipped.range == (-old.range[1], -old.range[0])
        assert (flipped.p, flipped.p_corrected, flipped.p_holm) == (old.p, old.p_corrected, old.p_holm)
        # All orders of the left are all orders of the right.
        assert (swapped.spearman, swapped.p, swapped.p_corrected) == (old.spearman, old.p, old.p_corrected)


def test_same_seed_same_numbers() -> None:
    pairs = family(8, 14)
    assert relate_family(pairs, seed=3) == relate_family(pairs, seed=3)
    assert relate_family(pairs, seed=3) != relate_family(pairs, seed=4)
    # Another test in the family leaves the others' own p alone.
    alone, among = relate_family(pairs[:1], seed=3)[0], relate_family(pairs, seed=3)[0]
    assert alone is not None
    assert among is not None
    assert alone.p == alone.p_corrected == alone.p_holm == among.p < among.p_corrected


@pytest.mark.parametrize("has_gaps", [False, True])
def test_under_the_null_p_keeps_its_level_and_p_corrected_that_of_the_family(has_gaps: bool) -> None:
    """5 blocks x 4 kinds, correlated within each side; 500 families, bounds of three standard errors.

    With gaps the level of p_corrected is a little below, since |rho| of few languages takes few values, and ties count.
    """
    runs, alone, any_alone, any_max, any_holm = 500, 0, 0, 0, 0
    for seed in range(runs):
        pairs = family(seed, 10, 5, 4, levels=2)
        if has_gaps:
            gaps = np.random.default_rng(seed + 10_000).random((9, 10)) < 0.1
            pairs = [
                (np.where(gaps[index // 4], GAP, x), np.where(gaps[5 + index % 4], GAP, y))
                for index, (x, y) in enumerate(pairs)
            ]
        found = [relation for relation in relate_family(pairs, num_permutations=199, seed=seed + 20_000) if relation]
        alone += found[0].p <= 0.05
        any_alone += min(relation.p for relation in found) <= 0.05
        any_max += min(relation.p_corrected for relation in found) <= 0.05
        any_holm += min(relation.p_holm for relation in found) <= 0.05
    slack = 3 * math.sqrt(0.05 * 0.95 / runs)
    assert abs(alone / runs - 0.05) < slack
    assert abs(any_max / runs - 0.05) < slack
    assert any_holm <= any_max, "Holm does not know that the tests are correlated"
    assert any_alone / runs > 0.25, "which is why the family is corrected"


def test_a_planted_relation_is_found_among_others() -> None:
    dice = np.random.default_rng(9)
    pairs = family(9, 14, 6, 4)
    distance = pairs[0][1]
    pairs[0] = (-distance + 0.3 * dice.normal(size=14), distance)
    found = [relation for relation in relate_family(pairs) if relation]
    assert found[0].spearman < -0.8
    assert found[0].p_corrected < 0.01
    assert min(relation.p_corrected for relation in found[1:]) > 0.05


def test_misuse_is_refused() -> None:
    x = np.arange(6.0)
    with pytest.raises(ValueError, match=r"same languages, got \[5, 6\] values"):
        relate_family([(x, x), (x, x[:5])])
    with pytest.raises(ValueError, match=r"same languages, got \[4, 6\] values"):
        relate_family([(x, x)], control=x[:4])
    with pytest.raises(ValueError, match=r"right of test 1 must be one value a language, got shape \(6, 1\)"):
        relate_family([(x, x), (x, x[:, None])])
    with pytest.raises(ValueError, match="left of test 0 holds -inf, expected finite values, NaN where missing"):
        relate_family([(np.where(x < 1, -np.inf, x), x)])
    with pytest.raises(ValueError, match="control holds inf"):
        relate_family([(x, x)], control=np.where(x < 1, np.inf, x))
    with pytest.raises(ValueError, match="num_permutations is 0, a permutation test needs at least 1"):
        relate_family([(x, x)], num_permutations=0)


def test_depth_is_the_rank_correlation_of_block_and_drift() -> None:
    curve = {0: 0.9, 1: 0.1, 2: 0.25, 3: 0.35, 4: 0.2}
    assert depth_correlation(curve) == pytest.approx(stats.spearmanr([1, 2, 3, 4], [0.1, 0.25, 0.35, 0.2]).statistic)
    assert depth_correlation({1: 0.1, 2: 0.3}) is None
    assert depth_correlation({1: 0.0, 2: 0.0, 3: 0.0}) is None
