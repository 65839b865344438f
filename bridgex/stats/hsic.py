"""HSIC between all neurons of two sets, and the score of a block that is made from it."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

from bridgex.stats.factors import factored_products, fourier_factors, wide_factors
from bridgex.stats.kernels import checked_matrix, double, gaussian_scores, median_widths, zscore
from bridgex.stats.lags import MIN_SAMPLES, Estimator, lag_kernels, products, self_floor

Transform: TypeAlias = Literal["none", "rank"]
SelfValues: TypeAlias = tuple[Tensor, Tensor]


class HsicResult(NamedTuple):
    """HSIC of every pair of neurons.

    Attributes:
        values: `[I, J]` float64, never nan; 0 in missing rows and columns, which no mean may include.
        missing_rows: `[I]` bool, neurons of x without a value.
        missing_columns: `[J]` bool, neurons of y without a value.
    """

    values: Tensor
    missing_rows: Tensor
    missing_columns: Tensor


class ScaledPair(NamedTuple):
    """Two matrices divided by their kernel widths, so that every kernel is `exp(-(a - b)^2)`.

    Attributes:
        x: `[I, N]`.
        y: `[J, N]`.
        missing_rows: `[I]` bool.
        missing_columns: `[J]` bool.
    """

    x: Tensor
    y: Tensor
    missing_rows: Tensor
    missing_columns: Tensor


def hsic_matrix(x: Tensor, y: Tensor, estimator: Estimator = "normalised", transform: Transform = "none") -> HsicResult:
    """HSIC of every neuron of x with every neuron of y, Gaussian kernels.

    | estimator | value of a pair |
    | --- | --- |
    | `unbiased` | `[tr(KL) + 1'K1 1'L1 / ((n-1)(n-2)) - 2 / (n-2) 1'KL1] / (n(n-3))`, zero diagonals (Song 2012) |
    | `normalised` | `unbiased` over the geometric mean of both neurons' own; in [-1, 1], 1 for a neuron with itself |
    | `biased` | `tr(K H L H) / (n - 1)^2` (Gretton et al. 2005) |
    | `paper` | `tr(K H L)` of z-scores: centred once, one width from distances between neurons, nothing normalised |

    The kernel width of a neuron is the median of its non-zero absolute differences. In `paper` one width serves all:
    the lower median over both matrices' tables of Euclidean distances between rows (zero diagonals and both triangles
    included), plus 1e-6, as in `compute_hsic` of the scripts of Xu et al. (2025). It depends on both sets, so call
    `paper` once a candidate; the others may take the union of all candidates' neurons as y, which computes x's kernels
    once.

    One matrix product over flattened centred kernels, `I J N^2` operations, or over low-rank factors where that is less
    (`bridgex.stats.factors`, float32 input only). float32 input is computed in float32 with sums in float64 (error
    below 1e-6 of the largest value), float64 input in float64. No product per pair; memory beyond the result stays at
    some dozen MB, plus `(I + J) r N` floats for factors.

    Missing are constant neurons, and in `normalised` also neurons whose unbiased kernel is empty (a single sample that
    differs). In `paper` nothing is missing: constant neurons have the value 0 and count, as published.

    Args:
        x: `[I, N]`, float32 or float64.
        y: `[J, N]`.
        estimator: see the table.
        transform: `rank` takes Gaussian scores of each neuron first.

    Returns:
        Values `[I, J]` and the masks of what is missing.

    Raises:
        ValueError: on matrices that do not fit each other, fewer samples than the estimator needs (4 for `normalised`
            and `unbiased`, else 2), values that are not finite, unknown names.
    """
    pair = scale_pair(x, y, estimator, transform)
    values, (self_x, floor_x), (self_y, floor_y) = _pair_products(pair, estimator)
    missing_rows, missing_columns = pair.missing_rows, pair.missing_columns
    if estimator == "normalised":
        missing_rows, missing_columns = missing_rows | (self_x <= floor_x), missing_columns | (self_y <= floor_y)
        values = values * inverse_roots(self_x, floor_x)[:, None] * inverse_roots(self_y, floor_y)
    values[missing_rows] = 0.0
    values[:, missing_columns] = 0.0
    return HsicResult(values, missing_rows, missing_columns)


def _pair_products(pair: ScaledPair, estimator: Estimator) -> tuple[Tensor, SelfValues, SelfValues]:
    """Values of all pairs, and self-values with their floors, by the form that costs fewer operations."""
    if pair.x.dtype == torch.float32:
        factors = [(wide_factors if estimator == "paper" else fourier_factors)(points) for points in (pair.x, pair.y)]
        left, right = factors
        if left is not None and right is not None:
            n = pair.x.shape[1]
            values, self_x, self_y = factored_products(left, right, estimator)
            # Totals here count the constant 1 that expm1 leaves out.
            return values, (self_x, self_floor(left.totals - n * n, n)), (self_y, self_floor(right.totals - n * n, n))
    kernels_x, kernels_y = lag_kernels(pair.x, estimator), lag_kernels(pair.y, estimator)
    values, self_x, self_y = products(kernels_x, kernels_y)
    return values, (self_x, kernels_x.floor), (self_y, kernels_y.floor)


def scale_pair(x: Tensor, y: Tensor, estimator: Estimator, transform: Transform = "none") -> ScaledPair:
    """Check two matrices and divide them by their kernel widths; arguments and errors as in `hsic_matrix`."""
    if estimator not in MIN_SAMPLES:
        raise ValueError(f"estimator {estimator!r} is unknown, expected one of {', '.join(MIN_SAMPLES)}")
    if transform not in ("none", "rank"):
        raise ValueError(f"transform {transform!r} is unknown, expected none or rank")
    x, y = (checked_matrix(m, name, MIN_SAMPLES[estimator]) for m, name in ((x, "x"), (y, "y")))
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"x has {x.shape[1]} samples, y has {y.shape[1]}: they must be the same ones")
    if x.dtype != y.dtype:
        raise ValueError(f"x is {x.dtype}, y is {y.dtype}: they must agree")
    if transform == "rank":
        x, y = gaussian_scores(x), gaussian_scores(y)
    if estimator == "paper":
        scores = zscore(x), zscore(y)
        width = _shared_width(*scores)
        scaled = [(s / (width * 2**0.5)).to(x.dtype).to(x.device) for s in scores]
        present = [torch.zeros_like(s[:, 0], dtype=torch.bool) for s in scores]
        return ScaledPair(*scaled, *present)
    (x, missing_rows), (y, missing_columns) = _over_own_width(x), _over_own_width(y)
    return ScaledPair(x, y, missing_rows, missing_columns)


def _over_own_width(x: Tensor) -> tuple[Tensor, Tensor]:
    """Each neuron less its median, over `sqrt(2)` times its width, in x's dtype; and which neurons are missing."""
    widths, missing = median_widths(x)
    rows = double(x)
    scaled = (rows - rows.median(dim=1, keepdim=True).values) / (widths[:, None] * 2**0.5)
    scaled[missing] = 0.0
    return scaled.to(x.dtype).to(x.device), missing


def _shared_width(x: Tensor, y: Tensor) -> float:
    """The published width: lower median over `[I, I]` and `[J, J]` tables of distances between rows, plus 1e-6."""
    tables = [torch.cdist(m, m, compute_mode="donot_use_mm_for_euclid_dist").flatten() for m in (x, y)]
    distances = torch.cat(tables)
    return float(distances.median()) + 1e-6 if distances.numel() else 1.0


def inverse_roots(self_values: Tensor, floor: Tensor) -> Tensor:
    """`1 / sqrt(self-HSIC)` `[I]`, 0 where the self-HSIC is no more than rounding."""
    return torch.where(self_values > floor, self_values, torch.inf).rsqrt()


def block_score(
    values: Tensor, rows: Tensor | None = None, columns: Tensor | None = None, excluded: Tensor | None = None
) -> float:
    """Score of a block: how well the neurons of each set are matched by their best partner in the other.

    `s = (mean_i max_j H_ij + mean_j max_i H_ij) / 2`.

    Args:
        values: `[I, J]`.
        rows: neurons of x that count, as a mask `[I]` or as indices; default all. Leave missing ones out here.
        columns: the same for y.
        excluded: `[I, J]` bool, pairs that may not match (a neuron with itself). A neuron without any allowed partner
            does not enter its mean.

    Returns:
        The score.

    Raises:
        ValueError: if no pair is left.
    """
    kept_rows = torch.arange(values.shape[0], device=values.device) if rows is None else _as_indices(rows)
    kept_columns = torch.arange(values.shape[1], device=values.device) if columns is None else _as_indices(columns)
    allowed = None if excluded is None else excluded[kept_rows]
    return float(block_scores(values[kept_rows], [kept_columns], allowed)[0])


def block_scores(values: Tensor, columns_of_candidate: Sequence[Tensor], excluded: Tensor | None = None) -> Tensor:
    """`block_score` of every candidate at once, from the values of the union of their neurons.

    Args:
        values: `[I, J]`, present neurons only.
        columns_of_candidate: for each candidate the indices of its columns.
        excluded: `[I, J]` bool, pairs that may not match.

    Returns:
        `[candidates]` float64, on the CPU.

    Raises:
        ValueError: if a candidate has no pair left.
    """
    scores = torch.zeros(len(columns_of_candidate), dtype=torch.float64, device="cpu")
    for candidate, columns in enumerate(columns_of_candidate):
        table = double(values[:, columns])
        if table.numel() == 0:
            raise ValueError(f"candidate {candidate}: a table {list(table.shape)} has no pair of neurons to score")
        if excluded is not None:
            table = table.masked_fill(excluded[:, columns], -torch.inf)
        means = [best[best > -torch.inf].mean() for best in (table.amax(dim=1), table.amax(dim=0))]
        if bool(torch.stack(means).isnan().any()):
            raise ValueError(f"candidate {candidate}: all pairs of neurons are excluded")
        scores[candidate] = (means[0] + means[1]) / 2
    return scores


def _as_indices(chosen: Tensor) -> Tensor:
    return chosen.nonzero().flatten() if chosen.dtype == torch.bool else chosen
