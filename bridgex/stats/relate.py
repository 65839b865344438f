"""Families of correlations over languages: permutation p, corrected over the family, intervals, partial ones."""

import itertools
import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from bridgex.stats.paired import Floats, Interval, holm

Vector: TypeAlias = ArrayLike
Permutations: TypeAlias = NDArray[np.intp]

MIN_LANGUAGES = 4
_MIN_BLOCKS = 3
_MIN_FOR_INTERVAL = 5
_DIGITS = 12
_TOLERANCE = 1e-9
_Z95 = NormalDist().inv_cdf(0.975)


class Relation(NamedTuple):
    """How two quantities go together over languages, as one test of a family.

    Attributes:
        spearman: correlation of mid-ranks.
        ci95: Bonett and Wright's interval of it, None with fewer than 5 languages or where it is 1 or -1.
        pearson: correlation of the values.
        pearson_ci95: Fisher's interval of it, None as above; it takes both quantities for normal.
        p: two-sided permutation p of the Spearman correlation, of this test by itself.
        p_corrected: the same corrected over the family by Westfall and Young's maximum.
        p_holm: p corrected over the family by Holm.
        n: languages with both quantities.
        range: smallest and largest Spearman correlation when one language is left out.
        partial: Spearman correlation given the control, over the languages that have it too; None without a control,
            with fewer than 4 such languages, or where a quantity or the control does not vary beside the other.
    """

    spearman: float
    ci95: Interval | None
    pearson: float
    pearson_ci95: Interval | None
    p: float
    p_corrected: float
    p_holm: float
    n: int
    range: Interval
    partial: float | None


def relate_family(
    pairs: Sequence[tuple[Vector, Vector]],
    *,
    num_permutations: int = 9999,
    seed: int = 0,
    control: Vector | None = None,
) -> list[Relation | None]:
    """Correlate pairs of quantities over the same languages, as one family of tests.

    Spearman: `rho = a.b / sqrt(a.a b.b)`, a and b the centred mid-ranks `a_i = sum_j sign(x_i - x_j) / 2` over the
    languages with both values. Interval: `tanh(atanh(rho) +- 1.96 sqrt((1 + rho^2 / 2) / (n - 3)))` (Bonett & Wright
    2000). Permutation test: `p = #{|rho_b| >= |rho|} / B`, where b runs over all orders of the languages if there are
    at most `num_permutations + 1`, else over the observed order and `num_permutations` random ones (Phipson & Smyth
    2010). An order moves the left values of all tests alike, so the tests' dependence is kept and
    `p_corrected = #{max over tests |rho_b| >= |rho|} / B` holds the family's error (Westfall & Young 1993, one step).
    Partial: correlation of the residuals of a and b on the control's ranks, `(r_ab - r_ac r_bc) / sqrt((1 - r_ac^2)
    (1 - r_bc^2))`.

    Missing: a language counts in a test that has both its values, and one that counts in no test leaves the family.
    An order moves a left vector over all languages of the family, its gaps too; where a gap meets a value both drop
    out and the rest is ranked anew, as in the observed order. An order that leaves less than a test needs has rho 0.
    The maximum weighs tests by |rho|, so tests with fewer languages, whose |rho| is larger by chance, rule it; as their
    |rho| takes few values and ties count, p_max is then conservative.

    Values that differ by less than 1e-12 of the largest in their vector are ties, so that rounding is not ranked.

    Args:
        pairs: the tests; left and right `[languages]`, NaN where missing, the same languages in the same order in
            all tests.
        num_permutations: random orders where not all are taken.
        seed: of the orders.
        control: `[languages]`, NaN where missing, for the partial correlations.

    Returns:
        A relation for each pair; None, and not of the family, where fewer than 4 languages have both values or one
        side is constant over them.

    Raises:
        ValueError: on vectors that are not one-dimensional, differ in length or hold infinity, or no permutations.
    """
    vectors = [
        _vector(side, f"{name} of test {index}")
        for index, pair in enumerate(pairs)
        for name, side in zip(("left", "right"), pair, strict=True)
    ]
    extra = None if control is None else _vector(control, "control")
    lengths = sorted({len(vector) for vector in [*vectors, *([] if extra is None else [extra])]})
    if len(lengths) > 1:
        raise ValueError(f"all vectors of a family need the same languages, got {lengths} values")
    tests = list(zip(vectors[::2], vectors[1::2], strict=True))
    both = [np.isfinite(left) & np.isfinite(right) for left, right in tests]
    tested = [
        index for index, (left, right) in enumerate(tests) if _varies(left[both[index]]) and _varies(right[both[index]])
    ]
    found: list[Relation | None] = [None] * len(tests)
    if not tested:
        return found

    languages = np.any([both[index] for index in tested], axis=0)
    orders = joint_permutations(int(languages.sum()), num_permutations, seed)
    largest = np.zeros(len(orders))
    reached, p_values = [], []
    for index in tested:
        left, right = tests[index]
        permuted = np.abs(_permuted_spearman(left[languages], right[languages], orders))
        reached.append(float(permuted[0]) - _TOLERANCE)
        p_values.append(float(np.mean(permuted >= reached[-1])))
        largest = np.maximum(largest, permuted)
    for index, floor, p, p_holm in zip(tested, reached, p_values, holm(p_values), strict=True):
        left, right = tests[index]
        x, y = left[both[index]], right[both[index]]
        spearman, spearman_range = _spearman_and_range(x, y)
        pearson = _pearson(x, y)
        found[index] = Relation(
            spearman=spearman,
            ci95=_interval(spearman, len(x), 1 + spearman**2 / 2),
            pearson=pearson,
            pearson_ci95=_interval(pearson, len(x), 1.0),
            p=p,
            p_corrected=float(np.mean(largest >= floor)),
            p_holm=p_holm,
            n=len(x),
            range=spearman_range,
            partial=None if extra is None else _partial_spearman(x, y, extra[both[index]]),
        )
    return found


def depth_correlation(curve: Mapping[int, float]) -> float | None:
    """Spearman of block and drift over blocks 1..L; None with fewer than three, or where drift does not vary.

    >>> depth_correlation({0: 0.9, 1: 0.1, 2: 0.2, 3: 0.4})
    1.0
    """
    blocks = sorted(block for block in curve if block)
    values = [curve[block] for block in blocks]
    if len(blocks) < _MIN_BLOCKS or len(set(values)) == 1:
        return None
    return round(float(stats.spearmanr(blocks, values).statistic), 12)


def joint_permutations(num_languages: int, num_permutations: int, seed: int) -> Permutations:
    """Orders of the languages for a permutation test, the observed one first and counted.

    Args:
        num_languages: languages to put into order.
        num_permutations: random orders where not all are taken.
        seed: of the random orders.

    Returns:
        `[orders, languages]`: all orders if there are at most `num_permutations + 1`, else the observed one and
        `num_permutations` random ones.

    Raises:
        ValueError: on no permutations.
    """
    if num_permutations < 1:
        raise ValueError(f"num_permutations is {num_permutations}, a permutation test needs at least 1")
    observed = np.arange(num_languages)
    if math.factorial(num_languages) <= num_permutations + 1:
        return np.array(list(itertools.permutations(range(num_languages))), dtype=np.intp)
    random = np.random.default_rng(seed).permuted(np.tile(observed, (num_permutations, 1)), axis=1)
    return np.concatenate([observed[None], random]).astype(np.intp)


def with_exact_ties(values: Floats) -> Floats:
    """Values over their largest magnitude, those that differ by rounding only made equal; NaN stays.

    Args:
        values: any shape, no infinity.

    Returns:
        The same shape, within [-1, 1], to 12 digits behind the point.
    """
    largest = float(np.max(np.abs(values), initial=0.0, where=np.isfinite(values)))
    scaled: Floats = np.round(values / largest, _DIGITS) if largest > 0 else values
    return scaled


def _vector(side: Vector, name: str) -> Floats:
    values = np.asarray(side, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"{name} must be one value a language, got shape {values.shape}")
    if np.isinf(values).any():
        raise ValueError(f"{name} holds {values[np.isinf(values)][0]}, expected finite values, NaN where missing")
    return with_exact_ties(values)


def _varies(values: Floats) -> bool:
    return len(values) >= MIN_LANGUAGES and bool(np.ptp(values) > 0)


def _signs(values: Floats) -> Floats:
    """`[languages, languages]`, sign of row less column; a gap, which is never kept, counts as 0."""
    filled = np.nan_to_num(values)
    signs: Floats = np.sign(filled[:, None] - filled)
    return signs


def _centred_ranks(signs: Floats, keep: Floats) -> Floats:
    """Mid-ranks less their mean among the languages that each row keeps (1 or 0), 0 for the others; exact."""
    ranks: Floats = keep * (keep @ signs.T) / 2
    return ranks


def _correlations(a: Floats, b: Floats) -> Floats:
    """Of each row, both sides centred; NaN where a side does not vary."""
    size = np.sqrt(np.square(a).sum(axis=-1) * np.square(b).sum(axis=-1))
    found: Floats = np.divide((a * b).sum(axis=-1), size, out=np.full(len(size), np.nan), where=size > 0)
    return found


def _permuted_spearman(left: Floats, right: Floats, orders: Permutations) -> Floats:
    """`[orders]`, left values moved; 0 where an order leaves less than a test needs."""
    has_left, has_right = np.isfinite(left), np.isfinite(right)
    left_signs, right_signs = _signs(left), _signs(right)
    if has_left.all() and has_right.all():
        everyone = np.ones((1, len(left)))
        a, b = _centred_ranks(left_signs, everyone)[0], _centred_ranks(right_signs, everyone)[0]
        whole: Floats = a[orders] @ b / np.sqrt((a @ a) * (b @ b))
        return whole
    keep = (has_left[orders] & has_right).astype(np.float64)
    # Ranks need to know which values are kept, not which places.
    kept_values = np.empty_like(keep)
    np.put_along_axis(kept_values, orders, keep, axis=1)
    a = np.take_along_axis(_centred_ranks(left_signs, kept_values), orders, axis=1)
    found = _correlations(a, _centred_ranks(right_signs, keep))
    found[keep.sum(axis=1) < MIN_LANGUAGES] = 0.0
    return np.nan_to_num(found)


def _spearman_and_range(x: Floats, y: Floats) -> tuple[float, Interval]:
    n = len(x)
    keep = np.concatenate([np.ones((1, n)), 1 - np.eye(n)])
    values = _correlations(_centred_ranks(_signs(x), keep), _centred_ranks(_signs(y), keep))
    # At most one language a side carries all its variation, and there are at least four.
    return float(values[0]), (float(np.nanmin(values[1:])), float(np.nanmax(values[1:])))


def _pearson(x: Floats, y: Floats) -> float:
    return float(np.clip(_correlations((x - x.mean())[None], (y - y.mean())[None])[0], -1.0, 1.0))


def _partial_spearman(x: Floats, y: Floats, control: Floats) -> float | None:
    has = np.isfinite(control)
    if not all(_varies(values[has]) for values in (x, y, control)):
        return None
    everyone = np.ones((1, int(has.sum())))
    a, b, c = (_centred_ranks(_signs(values[has]), everyone) for values in (x, y, control))
    both, left, right = (float(_correlations(*sides)[0]) for sides in ((a, b), (a, c), (b, c)))
    left_rest, right_rest = 1 - left**2, 1 - right**2
    if min(left_rest, right_rest) <= _TOLERANCE:
        return None
    return float(np.clip((both - left * right) / math.sqrt(left_rest * right_rest), -1.0, 1.0))


def _interval(correlation: float, n: int, variance: float) -> Interval | None:
    if n < _MIN_FOR_INTERVAL or abs(correlation) >= 1 - _TOLERANCE:
        return None
    centre, half = math.atanh(correlation), _Z95 * math.sqrt(variance / (n - 3))
    return math.tanh(centre - half), math.tanh(centre + half)
