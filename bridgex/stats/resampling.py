"""The score of a block again and again: under every cyclic shift of one side, and on half of the samples."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bridgex.stats.hsic import Transform, block_scores, inverse_roots, scale_pair
from bridgex.stats.kernels import double, zeros_double
from bridgex.stats.lags import Estimator, LagKernels, lag_kernels, products, shifted_products


class BlockTable(NamedTuple):
    """Two sets of neurons of one block, present ones only, and which columns belong to which candidate.

    Attributes:
        x: kernels of the I present neurons that all candidates share.
        y: kernels of the J present neurons of the candidates' union.
        rows: indices of the I among the neurons given.
        places: indices of the J among the neurons given.
        values: `[I, J]` float64, HSIC as observed.
        columns: for each candidate its columns among the J.
        excluded: `[I, J]` bool, pairs that may not match, or None.
        estimator: what the values are.
        roots: `1 / sqrt(self-HSIC)` of the I and of the J, float64, if the estimator is `normalised`; else None.
    """

    x: LagKernels
    y: LagKernels
    rows: Tensor
    places: Tensor
    values: Tensor
    columns: list[Tensor]
    excluded: Tensor | None
    estimator: Estimator
    roots: tuple[Tensor, Tensor] | None


def block_table(
    x: Tensor,
    y: Tensor,
    columns_of_candidate: Sequence[Tensor],
    excluded: Tensor | None = None,
    estimator: Estimator = "normalised",
    transform: Transform = "none",
) -> BlockTable | None:
    """Compute kernels and HSIC of a block once, and leave missing neurons out.

    Args:
        x: `[I, N]`.
        y: `[J, N]`, the union of all candidates' neurons.
        columns_of_candidate: for each candidate the indices of its columns in y.
        excluded: `[I, J]` bool, pairs that may not match, or None.
        estimator: as in `hsic_matrix`.
        transform: as in `hsic_matrix`.

    Returns:
        The table, or None where some candidate has no pair of present neurons that may match.
    """
    pair = scale_pair(x, y, estimator, transform)
    kernels_x, kernels_y = lag_kernels(pair.x, estimator), lag_kernels(pair.y, estimator)
    values, self_x, self_y = products(kernels_x, kernels_y)
    present_x, present_y = ~pair.missing_rows, ~pair.missing_columns
    roots: tuple[Tensor, Tensor] | None = None
    if estimator == "normalised":
        roots_x, roots_y = inverse_roots(self_x, kernels_x.floor), inverse_roots(self_y, kernels_y.floor)
        values = values * roots_x[:, None] * roots_y
        present_x, present_y = present_x & (self_x > kernels_x.floor), present_y & (self_y > kernels_y.floor)
        roots = roots_x[present_x], roots_y[present_y]
    place = present_y.cumsum(0) - 1
    given = [c.to(place.device) for c in columns_of_candidate]
    columns = [place[c[present_y[c]]] for c in given]
    allowed = None if excluded is None else excluded.to(place.device)[present_x][:, present_y]
    if not bool(present_x.any()) or any(len(c) == 0 for c in columns):
        return None
    if allowed is not None and any(bool(allowed[:, c].all()) for c in columns):
        return None
    rows, places = present_x.nonzero().flatten(), present_y.nonzero().flatten()
    return BlockTable(
        x=kernels_x.take(rows),
        y=kernels_y.take(places),
        rows=rows,
        places=places,
        values=values[rows][:, places],
        columns=columns,
        excluded=allowed,
        estimator=estimator,
        roots=roots,
    )


def observed_scores(table: BlockTable) -> Tensor:
    """Block score of every candidate, `[candidates]` float64 on the CPU."""
    return block_scores(table.values, table.columns, table.excluded)


def shift_scores(table: BlockTable, order: Tensor, max_bytes: int = 256 << 20) -> Tensor:
    """Block score of every candidate after each cyclic shift of y against x, x put into another order first.

    Args:
        table: a block.
        order: `[N]`, a permutation; the identity makes shift 0 the observed score.
        max_bytes: bound on the table `[rows, J, N]` that is held at a time.

    Returns:
        `[candidates, N]` float64 on the CPU.
    """
    points = table.x.points
    n = points.shape[1]
    num_columns = table.values.shape[1]
    reordered = table.x.reorder(order.to(points.device))
    roots = None if table.roots is None else [r.to(points.dtype).to(points.device) for r in table.roots]
    excluded = None if table.excluded is None else table.excluded.to(points.device)
    columns_of_candidate = [columns.to(points.device) for columns in table.columns]
    # Held together: the spectrum, its transposed copy and the table itself, 8, 8 and 4 bytes an entry (half for
    # float64).
    per_row = 6 * num_columns * n * points.element_size()
    step = max(1, max_bytes // per_row)
    row_sums = zeros_double(points, len(table.columns), n)
    num_rows = zeros_double(points, len(table.columns), 1)
    best_of_column = torch.full((num_columns, n), -torch.inf, dtype=points.dtype, device=points.device)
    for low in range(0, len(table.values), step):
        rows = slice(low, low + step)
        shifted = shifted_products(reordered.take(rows), table.y)
        if roots is not None:
            shifted *= (roots[0][rows, None] * roots[1])[:, :, None]
        if excluded is not None:
            shifted = shifted.masked_fill(excluded[rows, :, None], -torch.inf)
        best_of_column = torch.maximum(best_of_column, shifted.amax(dim=0))
        for candidate, columns in enumerate(columns_of_candidate):
            best_of_row = double(shifted[:, columns].amax(dim=1))
            allowed = best_of_row[:, 0] > -torch.inf
            row_sums[candidate] += best_of_row[allowed].sum(dim=0)
            num_rows[candidate] += allowed.sum()
    best = [double(best_of_column[columns]) for columns in columns_of_candidate]
    column_means = torch.stack([b[b[:, 0] > -torch.inf].mean(dim=0) for b in best])
    return ((row_sums / num_rows + column_means) / 2).cpu()


def subsample_scores(table: BlockTable, samples: Tensor) -> Tensor:
    """Block score of every candidate on some of the samples; widths and z-scores stay those of all samples.

    Args:
        table: a block.
        samples: indices of distinct samples.

    Returns:
        `[candidates]` float64 on the CPU. A neuron that does not vary among these samples shows no dependence: its
        values are 0.
    """
    chosen = samples.to(table.x.points.device)
    x, y = (lag_kernels(k.points[:, chosen], table.estimator) for k in (table.x, table.y))
    values, self_x, self_y = products(x, y)
    if table.estimator == "normalised":
        values = values * inverse_roots(self_x, x.floor)[:, None] * inverse_roots(self_y, y.floor)
    if table.estimator == "paper":
        # A plain trace over n x n entries, both of whose terms grow with n^2.
        values = values * (table.x.points.shape[1] / len(samples)) ** 2
    return block_scores(values, table.columns, table.excluded)
