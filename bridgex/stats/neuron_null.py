"""Whether a candidate's neurons depend more on the common ones than random neurons that answer as often."""

from typing import NamedTuple

import torch
from torch import Tensor

from bridgex.stats.hsic import Transform, hsic_matrix
from bridgex.stats.kernels import zeros_double
from bridgex.stats.resampling import BlockTable

_MAX_BYTES = 64 << 20


class NeuronPool(NamedTuple):
    """Neurons of one block that may stand in for the candidates' neurons.

    Attributes:
        values: `[P, N]`, over the same samples as the block's own neurons.
        matches: for each candidate `[its columns, K]`, for each of its neurons the K neurons of the pool that may take
            its place; no neuron stands in two rows, so that a random set holds none twice. Without columns K: no match.
        is_own: `[I, J]` bool, a common neuron and a candidate's neuron that are the same one.
        is_own_in_pool: `[I, P]` bool, the same for the pool.
    """

    values: Tensor
    matches: tuple[Tensor, ...]
    is_own: Tensor
    is_own_in_pool: Tensor


class NullScores(NamedTuple):
    """Block scores without self-matches.

    Attributes:
        observed: `[candidates]` float64; nan where a candidate has no match for any of its neurons.
        draws: `[candidates, draws]` float64, of the random sets.
    """

    observed: Tensor
    draws: Tensor


def neuron_null_scores(
    table: BlockTable,
    x: Tensor,
    pool: NeuronPool,
    columns_of_candidate: list[Tensor],
    *,
    transform: Transform,
    num_draws: int,
    generator: torch.Generator,
) -> NullScores:
    """Scores of random sets of neurons, each as large as a candidate's own and matched with it neuron by neuron.

    A neuron in both sets matches itself perfectly, and fewer random neurons have that chance; so pairs of a neuron with
    itself are left out on both sides. Neurons that do not vary over the samples, and those left without a match that
    varies, count on neither side.

    Args:
        table: the block.
        x: `[I, N]`, the common neurons as given to `block_table`.
        pool: what may stand in.
        columns_of_candidate: for each candidate its columns, as given to `block_table`.
        transform: as in `hsic_matrix`.
        num_draws: random sets.
        generator: of the draws.

    Returns:
        Observed scores and those of the random sets, on the CPU.
    """
    found = hsic_matrix(x[table.rows.to(x.device)], pool.values, table.estimator, transform)
    device = found.values.device
    barred = pool.is_own_in_pool.to(device)[table.rows] | found.missing_rows[:, None]
    values = found.values.masked_fill(barred, -torch.inf).T.contiguous()
    own = table.values.masked_fill(pool.is_own.to(device)[table.rows][:, table.places], -torch.inf).T.contiguous()
    place = torch.full((pool.is_own.shape[1],), -1, dtype=torch.int64, device=device)
    place[table.places] = torch.arange(len(table.places), device=device)
    observed, draws = [], []
    for columns, matches in zip(columns_of_candidate, pool.matches, strict=True):
        rows = place[columns.to(device)]
        possible = matches.to(device)
        is_possible = ~found.missing_columns[possible]
        kept = (rows >= 0) & is_possible.any(dim=1)
        keys = torch.rand(num_draws, *possible.shape, generator=generator, device="cpu").to(device)
        keys = keys[:, kept].masked_fill(~is_possible[kept], 2.0)
        if not bool(kept.any()):
            observed.append(torch.full((), torch.nan, dtype=torch.float64, device="cpu"))
            draws.append(torch.full((num_draws,), torch.nan, dtype=torch.float64, device="cpu"))
            continue
        choice = keys.argmin(dim=2, keepdim=True)
        drawn = possible[kept].expand(num_draws, -1, -1).gather(2, choice)[:, :, 0]
        observed.append(_scores(own, rows[kept][None])[0].cpu())
        draws.append(_scores(values, drawn).cpu())
    return NullScores(torch.stack(observed), torch.stack(draws))


def _scores(values: Tensor, sets: Tensor) -> Tensor:
    """Block scores of sets of columns: `[P, I]` with barred pairs at minus infinity, `[B, J]` -> `[B]`.

    nan where no pair is left.
    """
    scores = zeros_double(values, len(sets))
    step = max(1, _MAX_BYTES // (8 * sets.shape[1] * values.shape[1]))
    for low in range(0, len(sets), step):
        tables = values[sets[low : low + step]]
        means = [_mean_of_finite(tables.amax(dim=side)) for side in (1, 2)]
        scores[low : low + step] = (means[0] + means[1]) / 2
    return scores


def _mean_of_finite(best: Tensor) -> Tensor:
    is_finite = best > -torch.inf
    return best.masked_fill(~is_finite, 0.0).sum(dim=1) / is_finite.sum(dim=1)
