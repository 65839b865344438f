"""Differences over seeds: a paired t test, and a bootstrap that draws seeds and groups of items at once."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from bridgex.stats.paired import Floats, Interval, difference_interval

MIN_SEEDS = 3
# Differences nearer than this differ by rounding.
_SAME = 1e-12
_NO_WIDTH = 1e-9
_AT_ONCE = 2**22


class SeedDifference(NamedTuple):
    """A mean difference over seeds.

    Attributes:
        mean: over the seeds.
        ci95: t interval, None where the differences do not vary.
        p: two-sided; 1 where all differences are 0, None where they do not vary and are not 0.
        n: seeds.
    """

    mean: float
    ci95: Interval | None
    p: float | None
    n: int


def seed_difference(differences: ArrayLike) -> SeedDifference:
    """Paired t test of differences, one a seed (Student 1908).

    `t = mean / (s / sqrt(n))` with `s^2 = sum (d - mean)^2 / (n - 1)`, against Student's t with `n - 1` degrees of
    freedom; interval `mean +- t_.975 s / sqrt(n)`. It takes the seeds for drawn at random and the items for fixed.

    Args:
        differences: `[seeds]`, at least 3.

    Returns:
        Mean, interval and p.

    Raises:
        ValueError: on fewer than 3 seeds, or values that are not finite.
    """
    values = np.asarray(differences, dtype=np.float64)
    if values.ndim != 1 or len(values) < MIN_SEEDS or not np.isfinite(values).all():
        raise ValueError(
            f"differences must be finite, one for each of at least {MIN_SEEDS} seeds, got shape {values.shape}"
        )
    n, mean = len(values), float(values.mean())
    if float(np.ptp(values)) <= _SAME:
        return SeedDifference(mean, None, 1.0 if abs(mean) <= _SAME else None, n)
    error = float(values.std(ddof=1)) / math.sqrt(n)
    half = float(stats.t.ppf(0.975, n - 1)) * error
    return SeedDifference(mean, (mean - half, mean + half), float(2 * stats.t.sf(abs(mean) / error, n - 1)), n)


def crossed_interval(
    differences: ArrayLike, groups: Sequence[object] | None = None, num_replicates: int = 2000, seed: int = 0
) -> Interval:
    """95 % percentile interval of a mean difference by bootstrap, seeds and groups of items drawn at once.

    Every seed answers the same items, so that the two are crossed: a replicate draws n seeds and, apart from them, as
    many groups as there are, both with replacement, and is `sum_k sum_g w_k v_g D_kg / (n sum_g v_g size_g)`, `D_kg`
    the sum of seed k's differences in group g, w and v how often each was drawn (the pigeonhole bootstrap, Owen 2007,
    which counts what seeds and items do to each other more than once and so errs on the wide side). With few seeds
    the part of the seeds comes out narrow, by about `sqrt((n - 1) / n)` and the t quantile: see `seed_difference`.
    Where it has no width, `difference_interval` of the seeds' mean.

    Args:
        differences: `[seeds, items]`, -1 to 1.
        groups: a label for each item; default: each item by itself.
        num_replicates: bootstrap replicates.
        seed: of the draws.

    Returns:
        2.5 and 97.5 percentiles.

    Raises:
        ValueError: on no seeds or items, values that are not finite, or labels that differ from the items in number.
    """
    table = np.asarray(differences, dtype=np.float64)
    if table.ndim != 2 or table.size == 0 or not np.isfinite(table).all():
        raise ValueError(f"differences must be finite, [seeds, items], not empty, got shape {table.shape}")
    labels = list(range(table.shape[1])) if groups is None else list(groups)
    if len(labels) != table.shape[1]:
        raise ValueError(f"{len(labels)} group labels for {table.shape[1]} items")
    numbers: dict[object, int] = {}
    members = np.array([numbers.setdefault(label, len(numbers)) for label in labels], dtype=np.intp)
    sums = np.stack([np.bincount(members, weights=row) for row in table])
    sizes = np.bincount(members)
    num_seeds, num_groups = sums.shape
    generator = np.random.default_rng(seed)
    means: list[Floats] = []
    rows = max(1, _AT_ONCE // num_groups)
    for start in range(0, num_replicates, rows):
        size = min(rows, num_replicates - start)
        of_seeds = generator.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), size=size)
        of_groups = generator.multinomial(num_groups, np.full(num_groups, 1 / num_groups), size=size)
        drawn = np.einsum("bg,bg->b", of_seeds @ sums, of_groups)
        means.append(drawn / (num_seeds * (of_groups @ sizes)))
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
    if high - low > _NO_WIDTH:
        return float(low), float(high)
    return difference_interval(table.mean(axis=0), labels, num_replicates, seed)
