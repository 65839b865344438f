"""Scores of routes on the same items: intervals, paired tests, verdicts, and what the best choice would have given."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Interval: TypeAlias = tuple[float, float]
Verdict: TypeAlias = Literal["bridge helps", "bridge hurts", "no evidence"]
Floats: TypeAlias = NDArray[np.float64]

ALPHA = 0.05
_NO_WIDTH = 1e-9


@dataclass(frozen=True)
class McNemar:
    """Two-sided exact McNemar test.

    Attributes:
        only_first: items that only the first route has right.
        only_second: items that only the second route has right.
        p: two-sided p; 1 without discordant items.
    """

    only_first: int
    only_second: int
    p: float


@dataclass(frozen=True)
class PairedDifference:
    """Bridge less direct on the same items.

    Attributes:
        difference: mean of bridge - direct.
        ci95: bootstrap interval, groups resampled whole.
        mcnemar_p: exact McNemar, None unless all scores are 0 or 1.
        randomisation_p: two-sided sign-flip test, groups flipped whole.
        verdict: at 0.05, by McNemar where items are right or wrong and stand by themselves, else by randomisation.
        num_items: items compared.
        num_groups: groups resampled.
    """

    difference: float
    ci95: Interval
    mcnemar_p: float | None
    randomisation_p: float
    verdict: Verdict
    num_items: int
    num_groups: int


@dataclass(frozen=True)
class Oracle:
    """What choosing by labels would have given, out of fold.

    Attributes:
        choices: the candidate chosen on each half (position), used on the other.
        item_scores: of each item, the score of the candidate chosen without that item's half.
        score: mean over all items of the score of the candidate chosen without that item's half.
        chosen_score: mean over the same items of the label-free choice, None without one.
        regret: `score - chosen_score`, never clipped: below 0 where choosing by labels did worse.
        regret_with_direct: the same with direct among the choices of the oracle, None without direct.
    """

    choices: tuple[int, int]
    item_scores: tuple[float, ...]
    score: float
    chosen_score: float | None
    regret: float | None
    regret_with_direct: float | None


def wilson_interval(num_correct: int, num_items: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a share (Wilson 1927), by SciPy.

    Args:
        num_correct: successes.
        num_items: trials, at least 1.
        confidence: level.

    Returns:
        Lower and upper bound.

    Raises:
        ValueError: if the counts are impossible.
    """
    if num_items < 1 or not 0 <= num_correct <= num_items:
        raise ValueError(f"{num_correct} of {num_items} items: need 0 <= correct <= items and at least one item")
    interval = stats.binomtest(num_correct, num_items).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def mcnemar(first: ArrayLike, second: ArrayLike) -> McNemar:
    """Exact McNemar test (McNemar 1947): discordant items against a fair coin, two-sided.

    Args:
        first: `[items]`, 0 or 1.
        second: `[items]`, 0 or 1, the same items.

    Returns:
        Counts of discordant items and p.

    Raises:
        ValueError: on other values, unequal lengths or no items.
    """
    a, b = _same_items(first, second)
    if not (_is_binary(a) and _is_binary(b)):
        raise ValueError("McNemar's test needs scores of 0 and 1 only")
    only_first, only_second = int(np.sum(a > b)), int(np.sum(b > a))
    discordant = only_first + only_second
    p = float(stats.binomtest(only_first, discordant).pvalue) if discordant else 1.0
    return McNemar(only_first, only_second, p)


def group_interval(
    scores: ArrayLike, groups: Sequence[object] | None = None, num_replicates: int = 2000, seed: int = 0
) -> Interval:
    """95 % percentile interval of a mean by bootstrap, groups (premise triples, passages) resampled whole.

    The replicate is `sum of scores / number of items` over the drawn groups, so groups may differ in size.

    Args:
        scores: `[items]`.
        groups: a label for each item; default: each item by itself.
        num_replicates: bootstrap replicates.
        seed: of the draws.

    Returns:
        2.5 and 97.5 percentiles.

    Raises:
        ValueError: on no items, or where labels and items differ in number.
    """
    values = _items(scores)
    members = _group_indices(groups, len(values))
    sums = np.bincount(members, weights=values)
    sizes = np.bincount(members)
    generator = np.random.default_rng(seed)
    means = []
    rows = max(1, 2**22 // len(sums))
    for start in range(0, num_replicates, rows):
        size = min(rows, num_replicates - start)
        counts = generator.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=size)
        means.append((counts @ sums) / (counts @ sizes))
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
    return float(low), float(high)


def share_interval(scores: ArrayLike, groups: Sequence[object] | None = None, seed: int = 0) -> Interval:
    """95 % interval of a mean of scores from 0 to 1.

    Wilson's for items that are right or wrong and stand by themselves, else a bootstrap of whole groups. Where that
    has no width, because all groups score the same, Wilson's with as many trials as there are groups: what has not
    varied in a few groups may vary in others.

    Args:
        scores: `[items]`, 0 to 1.
        groups: a label for each item; default: each item by itself.
        seed: of the bootstrap.

    Returns:
        Lower and upper bound.

    Raises:
        ValueError: as in `group_interval`.
    """
    values = _items(scores)
    num_groups = int(_group_indices(groups, len(values)).max()) + 1
    if _is_binary(values) and num_groups == len(values):
        return wilson_interval(int(values.sum()), len(values))
    low, high = group_interval(values, groups, seed=seed)
    if high - low > _NO_WIDTH:
        return low, high
    return _wilson(float(values.mean()), num_groups)


def difference_interval(
    differences: ArrayLike, groups: Sequence[object] | None = None, num_replicates: int = 2000, seed: int = 0
) -> Interval:
    """95 % interval of a mean difference of scores from 0 to 1, by bootstrap of whole groups.

    Where that has no width, because all groups differ by the same, as far to both sides as Wilson's upper bound for
    none of as many trials as there are groups.

    Args:
        differences: `[items]`, -1 to 1.
        groups: a label for each item; default: each item by itself.
        num_replicates: bootstrap replicates.
        seed: of the draws.

    Returns:
        Lower and upper bound, within [-1, 1].

    Raises:
        ValueError: as in `group_interval`.
    """
    values = _items(differences)
    low, high = group_interval(values, groups, num_replicates, seed)
    if high - low > _NO_WIDTH:
        return low, high
    slack = _wilson(0.0, int(_group_indices(groups, len(values)).max()) + 1)[1]
    return max(-1.0, low - slack), min(1.0, high + slack)


def _wilson(share: float, num_trials: int) -> Interval:
    """Wilson's 95 % interval of a share that need not be a whole number of trials."""
    z2 = float(stats.norm.ppf(0.975)) ** 2
    centre = (share + z2 / (2 * num_trials)) / (1 + z2 / num_trials)
    half = np.sqrt(z2 * (share * (1 - share) + z2 / (4 * num_trials)) / num_trials) / (1 + z2 / num_trials)
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def randomisation_test(
    differences: ArrayLike, groups: Sequence[object] | None = None, num_replicates: int = 9999, seed: int = 0
) -> float:
    """Paired approximate randomisation (Noreen 1989): signs of whole groups flipped, two-sided.

    `p = (1 + #{|T| >= |T_0|}) / (1 + replicates)`, T the sum of the differences.

    Args:
        differences: `[items]`.
        groups: a label for each item; default: each item by itself.
        num_replicates: random flips.
        seed: of the flips.

    Returns:
        p.

    Raises:
        ValueError: as in `group_interval`.
    """
    values = _items(differences)
    sums = np.bincount(_group_indices(groups, len(values)), weights=values)
    sums = sums[sums != 0]
    if len(sums) == 0:
        return 1.0
    generator = np.random.default_rng(seed)
    threshold = abs(sums.sum()) - 1e-9 * np.abs(sums).sum()
    num_extreme = 0
    rows = max(1, 2**22 // len(sums))
    for start in range(0, num_replicates, rows):
        signs = generator.integers(0, 2, size=(min(rows, num_replicates - start), len(sums)), dtype=np.int8)
        num_extreme += int(np.sum(np.abs((2.0 * signs - 1.0) @ sums) >= threshold))
    return (1 + num_extreme) / (1 + num_replicates)


def paired_difference(
    direct: ArrayLike,
    bridge: ArrayLike,
    groups: Sequence[object] | None = None,
    num_replicates: int = 2000,
    seed: int = 0,
    is_by_degree: bool = False,
) -> PairedDifference:
    """Does the bridge help? Difference, interval, tests and verdict on the same items.

    Args:
        direct: `[items]` scores of the direct route.
        bridge: `[items]` scores of the route via the bridge.
        groups: a label for each item; default: each item by itself.
        num_replicates: bootstrap replicates of the interval.
        seed: of bootstrap and randomisation.
        is_by_degree: whether scores are no rights and wrongs, also where all happen to be 0 or 1.

    Returns:
        The comparison. The verdict uses a two-sided test at 0.05: exact McNemar of items that stand by themselves, else
        randomisation with whole groups, since McNemar takes the items of a group for independent ones.

    Raises:
        ValueError: on unequal lengths, no items, values that are not finite.
    """
    a, b = _same_items(direct, bridge)
    differences = b - a
    is_binary = not is_by_degree and _is_binary(a) and _is_binary(b)
    mcnemar_p = mcnemar(a, b).p if is_binary else None
    randomisation_p = randomisation_test(differences, groups, seed=seed)
    difference = float(differences.mean())
    is_grouped = groups is not None and len(set(groups)) < len(a)
    return PairedDifference(
        difference=difference,
        ci95=difference_interval(differences, groups, num_replicates, seed),
        mcnemar_p=mcnemar_p,
        randomisation_p=randomisation_p,
        verdict=verdict(difference, randomisation_p if mcnemar_p is None or is_grouped else mcnemar_p),
        num_items=len(a),
        num_groups=int(_group_indices(groups, len(a)).max()) + 1,
    )


def verdict(difference: float, p: float, alpha: float = ALPHA) -> Verdict:
    """Put a difference (bridge less direct) and its p into words."""
    if p > alpha or difference == 0:
        return "no evidence"
    return "bridge helps" if difference > 0 else "bridge hurts"


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (Holm 1979): `max over k <= rank of (m - k + 1) p_(k)`, at most 1.

    Args:
        p_values: p of each test of a family.

    Returns:
        Adjusted p in the same order.
    """
    order = np.argsort(p_values, kind="stable")
    scaled = np.asarray(p_values, dtype=np.float64)[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return [float(p) for p in adjusted]


def cross_fit_oracle(
    scores: ArrayLike,
    chosen: ArrayLike | None = None,
    direct: ArrayLike | None = None,
    groups: Sequence[object] | None = None,
    seed: int = 0,
) -> Oracle:
    """Best candidate by labels, without scoring it on the items that chose it.

    The groups are put into a random order and cut in two halves; the candidate with the highest mean on one half is
    scored on the other, both ways, and every item counts once. Ties go to the earlier candidate (direct last).

    Args:
        scores: `[candidates, items]`.
        chosen: `[items]`, scores of the route that was chosen without labels, for the regret.
        direct: `[items]`, scores of the direct route on the same items.
        groups: a label for each item; default: each item by itself. At least two groups.
        seed: of the halves.

    Returns:
        Score of the oracle and regrets.

    Raises:
        ValueError: on shapes that do not fit, fewer than two groups, values that are not finite.
    """
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2 or table.size == 0 or not np.isfinite(table).all():
        raise ValueError(f"scores must be finite, [candidates, items], not empty, got shape {table.shape}")
    members = _group_indices(groups, table.shape[1])
    num_groups = int(members.max()) + 1
    if num_groups < 2:
        raise ValueError("cross-fitting needs at least two groups of items")
    shuffled = np.random.default_rng(seed).permutation(num_groups)
    in_first = np.isin(members, shuffled[: num_groups // 2])
    item_scores, choices = _out_of_fold(table, in_first)
    score = float(item_scores.mean())
    chosen_score = None if chosen is None else float(_same_items(chosen, table[0])[0].mean())
    regret_with_direct = None
    if direct is not None and chosen_score is not None:
        with_direct = np.vstack([table, _same_items(direct, table[0])[0]])
        regret_with_direct = float(_out_of_fold(with_direct, in_first)[0].mean()) - chosen_score
    return Oracle(
        choices=choices,
        item_scores=tuple(item_scores.tolist()),
        score=score,
        chosen_score=chosen_score,
        regret=None if chosen_score is None else score - chosen_score,
        regret_with_direct=regret_with_direct,
    )


def _out_of_fold(table: Floats, in_first: NDArray[np.bool_]) -> tuple[Floats, tuple[int, int]]:
    """Out-of-fold score of each item, and the candidates chosen on the first and the second half."""
    first, second = int(table[:, in_first].mean(axis=1).argmax()), int(table[:, ~in_first].mean(axis=1).argmax())
    return np.where(in_first, table[second], table[first]), (first, second)


def _items(scores: ArrayLike) -> Floats:
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or len(values) == 0 or not np.isfinite(values).all():
        raise ValueError(f"scores must be finite, one for each of at least one item, got shape {values.shape}")
    return values


def _same_items(first: ArrayLike, second: ArrayLike) -> tuple[Floats, Floats]:
    a, b = _items(first), _items(second)
    if len(a) != len(b):
        raise ValueError(f"routes must be scored on the same items, got {len(a)} and {len(b)}")
    return a, b


def _is_binary(values: Floats) -> bool:
    return bool(np.isin(values, (0.0, 1.0)).all())


def _group_indices(groups: Sequence[object] | None, num_items: int) -> NDArray[np.intp]:
    """Number the groups 0, 1, .. in order of first appearance, so that results do not hang on how labels sort."""
    if groups is None:
        return np.arange(num_items)
    if len(groups) != num_items:
        raise ValueError(f"{len(groups)} group labels for {num_items} items")
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(label, len(numbers)) for label in groups], dtype=np.intp)
