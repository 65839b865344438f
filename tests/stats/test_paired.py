import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridgex.stats.paired import (
    cross_fit_oracle,
    difference_interval,
    group_interval,
    holm,
    mcnemar,
    paired_difference,
    randomisation_test,
    share_interval,
    verdict,
    wilson_interval,
)

BITS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=40)


def by_hand_wilson(correct: int, items: int) -> tuple[float, float]:
    z = 1.959963984540054
    share = correct / items
    centre = (share + z * z / (2 * items)) / (1 + z * z / items)
    half = z / (1 + z * z / items) * math.sqrt(share * (1 - share) / items + z * z / (4 * items * items))
    return centre - half, centre + half


# 81 of 263: Newcombe 1998 (Statistics in Medicine 17), table I, method 3.
@pytest.mark.parametrize(
    ("correct", "items", "expected"),
    [(81, 263, (0.2553, 0.3662)), (15, 148, (0.0624, 0.1605)), (0, 20, (0.0, 0.1611)), (1, 29, (0.0061, 0.1718))],
)
def test_wilson_equals_published_values(correct: int, items: int, expected: tuple[float, float]) -> None:
    assert wilson_interval(correct, items) == pytest.approx(expected, abs=5e-5)
    assert wilson_interval(correct, items) == pytest.approx(by_hand_wilson(correct, items), abs=1e-12)


def test_wilson_refuses_impossible_counts() -> None:
    with pytest.raises(ValueError, match="5 of 4 items"):
        wilson_interval(5, 4)
    with pytest.raises(ValueError, match="0 of 0 items"):
        wilson_interval(0, 0)


def pairs(only_first: int, only_second: int, both: int = 0, neither: int = 0) -> tuple[list[int], list[int]]:
    first = [1] * only_first + [0] * only_second + [1] * both + [0] * neither
    second = [0] * only_first + [1] * only_second + [1] * both + [0] * neither
    return first, second


# 6 against 16: two-sided binomial tail of 6 in 22 is 219,604 / 2^22.
@pytest.mark.parametrize(
    ("only_first", "only_second", "p"),
    [(6, 16, 0.0524790), (0, 5, 0.0625), (0, 6, 0.03125), (3, 3, 1.0), (0, 0, 1.0)],
)
def test_mcnemar_equals_the_binomial_tail(only_first: int, only_second: int, p: float) -> None:
    result = mcnemar(*pairs(only_first, only_second, both=9, neither=4))
    assert (result.only_first, result.only_second) == (only_first, only_second)
    assert result.p == pytest.approx(p, abs=1e-6)
    if only_first != only_second:
        n, k = only_first + only_second, min(only_first, only_second)
        assert result.p == pytest.approx(2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n, rel=1e-12)


@given(BITS)
def test_mcnemar_is_symmetric(items: list[tuple[int, int]]) -> None:
    first, second = zip(*items, strict=True)
    a, b = mcnemar(first, second), mcnemar(second, first)
    assert (a.only_first, a.only_second, a.p) == (b.only_second, b.only_first, b.p)
    assert 0 < a.p <= 1


def test_mcnemar_refuses_other_scores() -> None:
    with pytest.raises(ValueError, match="0 and 1 only"):
        mcnemar([0.5, 1], [0, 1])
    with pytest.raises(ValueError, match="got 2 and 3"):
        mcnemar([0, 1], [0, 1, 1])


def test_verdicts() -> None:
    helps = paired_difference(*pairs(0, 12, both=20, neither=20))
    assert (helps.verdict, helps.num_items, helps.num_groups) == ("bridge helps", 52, 52)
    assert helps.difference == pytest.approx(12 / 52)
    assert helps.ci95[0] > 0
    assert paired_difference(*pairs(12, 0, both=20)).verdict == "bridge hurts"
    assert paired_difference(*pairs(5, 0, both=20)).verdict == "no evidence"
    same = paired_difference([0.5, 0.2], [0.5, 0.2])
    assert (same.verdict, same.mcnemar_p, same.randomisation_p) == ("no evidence", None, 1.0)
    assert verdict(0.1, 0.05) == "bridge helps"
    assert verdict(0.1, 0.0501) == "no evidence"


def test_graded_scores_are_judged_by_randomisation() -> None:
    random = np.random.RandomState(0)
    direct = random.uniform(size=40)
    result = paired_difference(direct, direct + 0.1 + 0.05 * random.standard_normal(40))
    assert result.mcnemar_p is None
    assert result.randomisation_p == pytest.approx(1e-4)
    assert result.verdict == "bridge helps"


def test_randomisation_equals_all_sign_flips() -> None:
    differences = np.array([0.3, -0.1, 0.5, 0.2, 0.4, -0.05, 0.25])
    flips = np.array(np.meshgrid(*[[-1, 1]] * 7)).reshape(7, -1).T
    exact = np.mean(np.abs(flips @ differences) >= abs(differences.sum()) - 1e-12)
    assert randomisation_test(differences, num_replicates=40_000) == pytest.approx(exact, abs=0.005)


def test_groups_are_flipped_and_resampled_whole() -> None:
    # Ten groups of ten equal items carry the information of ten items.
    random = np.random.RandomState(0)
    single = random.choice([-1.0, 1.0, 1.0, 0.5], size=10)
    repeated, labels = np.repeat(single, 10), [f"passage {i}" for i in np.repeat(np.arange(10), 10)]
    assert group_interval(repeated, labels) == pytest.approx(group_interval(single), abs=1e-12)
    assert randomisation_test(repeated, labels) == randomisation_test(single)
    grouped, loose = group_interval(repeated, labels), group_interval(repeated)
    assert grouped[1] - grouped[0] > 2 * (loose[1] - loose[0])


def test_group_interval_is_seeded_and_covers() -> None:
    scores = np.random.RandomState(0).uniform(size=30)
    assert group_interval(scores, seed=1) == group_interval(scores, seed=1)
    assert group_interval(scores, seed=1) != group_interval(scores, seed=2)
    covered = 0
    for seed in range(150):
        low, high = group_interval(np.random.RandomState(seed).uniform(size=50), num_replicates=400)
        covered += low <= 0.5 <= high
    assert 0.88 <= covered / 150 <= 0.99


def test_mcnemar_keeps_its_level() -> None:
    random = np.random.RandomState(0)
    p_values = [mcnemar(*(random.uniform(size=(2, 60)) < 0.5)).p for _ in range(400)]
    assert np.mean(np.array(p_values) <= 0.05) <= 0.075


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.randoms(use_true_random=False))
@settings(max_examples=50)
def test_holm_does_not_hang_on_order_and_lies_between_p_and_bonferroni(p_values: list[float], random: object) -> None:
    adjusted = holm(p_values)
    order = list(range(len(p_values)))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert holm([p_values[i] for i in order]) == pytest.approx([adjusted[i] for i in order])
    for p, q in zip(p_values, adjusted, strict=True):
        assert p <= q <= min(1.0, p * len(p_values)) + 1e-12


def test_oracle_by_hand() -> None:
    # The first candidate is right on all of "a", the second on all of "b": what one half chooses fails on the other.
    scores, groups = [[1, 1, 0, 0], [0, 0, 1, 1]], ["a", "a", "b", "b"]
    worst = cross_fit_oracle(scores, chosen=[1, 1, 0, 0], groups=groups)
    assert sorted(worst.choices) == [0, 1]
    assert worst.score == 0.0
    assert worst.regret == -0.5
    assert worst.chosen_score == 0.5
    assert worst.regret_with_direct is None
    # A candidate that is best everywhere is chosen twice, and direct, if better still, in its place.
    clear = cross_fit_oracle([[0.2] * 6, [0.5] * 6], chosen=[0.2] * 6, direct=[0.9] * 6)
    assert clear.choices == (1, 1)
    assert clear.score == pytest.approx(0.5)
    assert clear.regret == pytest.approx(0.3)
    assert clear.regret_with_direct == pytest.approx(0.7)
    assert cross_fit_oracle([[1, 0], [1, 0]]).choices == (0, 0)
    assert cross_fit_oracle([[1, 0], [1, 0]]).regret is None


def test_oracle_over_noise_has_no_gain() -> None:
    regrets = []
    for seed in range(200):
        scores = np.random.RandomState(seed).uniform(size=(6, 40))
        regrets.append(cross_fit_oracle(scores, chosen=scores[0], seed=seed).regret)
    assert abs(np.mean(regrets)) < 3 * np.std(regrets) / math.sqrt(200)
    naive = [np.random.RandomState(seed).uniform(size=(6, 40)).mean(axis=1).max() - 0.5 for seed in range(200)]
    assert np.mean(naive) > 0.03


def test_oracle_is_seeded_and_counts_every_item_once() -> None:
    scores = np.random.RandomState(0).uniform(size=(3, 11))
    assert cross_fit_oracle(scores, seed=4) == cross_fit_oracle(scores, seed=4)
    assert cross_fit_oracle(scores[:1], seed=4).score == pytest.approx(scores[0].mean())


def test_oracle_misuse_is_refused() -> None:
    with pytest.raises(ValueError, match="at least two groups"):
        cross_fit_oracle([[1, 0]], groups=["a", "a"])
    with pytest.raises(ValueError, match="3 group labels for 2 items"):
        cross_fit_oracle([[1, 0]], groups=["a", "b", "c"])
    with pytest.raises(ValueError, match="must be finite"):
        cross_fit_oracle([[1.0, math.nan]])
    with pytest.raises(ValueError, match="got 3 and 2"):
        cross_fit_oracle([[1, 0]], chosen=[1, 1, 1])


def test_items_of_a_group_are_not_independent_evidence() -> None:
    """Nine items that flip together in three groups are three observations, which no exact test calls significant."""
    found = paired_difference(np.zeros(9), np.ones(9), [0] * 3 + [1] * 3 + [2] * 3)
    assert found.mcnemar_p is not None
    assert found.mcnemar_p < 0.01
    assert found.randomisation_p == pytest.approx(0.25, abs=0.02)
    assert found.verdict == "no evidence"
    assert paired_difference(np.zeros(9), np.ones(9)).verdict == "bridge helps"


def test_under_the_null_verdicts_on_groups_are_rarely_wrong() -> None:
    wrong = naive = 0
    for seed in range(300):
        dice = np.random.default_rng(seed)
        direct = np.repeat(dice.integers(0, 2, 60), 3).astype(float)
        flips = np.repeat(dice.random(60) < 0.3, 3)
        found = paired_difference(direct, np.where(flips, 1 - direct, direct), [i // 3 for i in range(180)], 50, seed)
        wrong += found.verdict != "no evidence"
        naive += found.mcnemar_p is not None and found.mcnemar_p <= 0.05
    assert wrong <= 0.08 * 300
    assert naive >= 0.15 * 300, "which is why exact McNemar does not decide here"


def test_scores_by_degree_are_never_tested_as_rights_and_wrongs() -> None:
    found = paired_difference(np.zeros(6), np.ones(6), is_by_degree=True)
    assert found.mcnemar_p is None
    assert found.verdict == "bridge helps"


def test_an_interval_has_a_width_where_nothing_varies() -> None:
    low, high = share_interval([1, 0, 0] * 10, [i // 3 for i in range(30)])
    assert (low, high) == pytest.approx(_wilson_by_hand(1 / 3, 10))
    assert share_interval([0.0] * 40, [i // 2 for i in range(40)]) == pytest.approx(_wilson_by_hand(0.0, 20))
    assert share_interval([0.0] * 40) == wilson_interval(0, 40)
    assert share_interval([0.25] * 8) == pytest.approx(_wilson_by_hand(0.25, 8))
    assert difference_interval([0.0] * 20) == pytest.approx((-_wilson_by_hand(0, 20)[1], _wilson_by_hand(0, 20)[1]))
    assert difference_interval([1.0] * 20)[1] == 1.0
    varied = [0, 1, 1, 1, 0, 0]
    assert share_interval(varied, [0, 0, 1, 1, 2, 2]) == group_interval(varied, [0, 0, 1, 1, 2, 2])


def _wilson_by_hand(share: float, n: int) -> tuple[float, float]:
    z = 1.959963984540054
    centre, half = share + z * z / (2 * n), z * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5
    return max(0.0, (centre - half) / (1 + z * z / n)), min(1.0, (centre + half) / (1 + z * z / n))
