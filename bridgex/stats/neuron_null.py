"""Whether a candidate's neurons depend more on the common ones than random neurons that answer as often."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bridgex.stats.hsic import Transform, hsic_matrix
from bridgex.stats.kernels import zeros_double
from bridgex.stats.resampling import BlockTable

_MAX_BYTES = 64 << 20
# Two scores closer than this, relative to the larger, differ by rounding.
_TIE = 1e-9
# Of fewer different sets of neurons no 20 would lie above a p of 0.05.
_MIN_SETS = 400


class NeuronPool(NamedTuple):
    """Neurons of one block that may stand in for the candidates' neurons.

    Attributes:
        values: `[P, N]`, over the same samples as the block's own neurons.
        matches: for each candidate `[its columns, K]`, for each of its neurons those of the pool that may take its
            place, -1: none; no neuron stands in two rows, so that a random set holds none twice.
        is_own: `[I, J]` bool, a common neuron and a candidate's neuron that are the same one.
        is_own_in_pool: `[I, P]` bool, the same for the pool.
    """

    values: Tensor
    matches: tuple[Tensor, ...]
    is_own: Tensor
    is_own_in_pool: Tensor


class NullScores(NamedTuple):
    """Block scores without self-matches, of the neurons that have a match.

    Attributes:
        observed: `[candidates]` float64; nan where a candidate has no such neuron, or none that may match another.
        draws: `[candidates, draws]` float64, of the random sets.
        log_sets: `[candidates]` float64, logarithm of how many different random sets there are.
        num_matched: `[candidates]` int64, neurons that have a match.
    """

    observed: Tensor
    draws: Tensor
    log_sets: Tensor
    num_matched: Tensor


class NeuronNull(NamedTuple):
    """What random sets say of a candidate; see `CandidateScore`."""

    matched: float | None
    without_self_matches: float | None
    random_neurons: float | None
    p: float | None


def neuron_null(
    tables: Sequence[BlockTable],
    x_blocks: Sequence[Tensor],
    pools: Sequence[NeuronPool],
    columns_of_block: Sequence[list[Tensor]],
    *,
    transform: Transform,
    num_draws: int,
    generator: torch.Generator,
) -> list[NeuronNull]:
    """What the random sets say of each candidate, over the blocks in which it and all of them have a score.

    Args:
        tables: the blocks.
        x_blocks: for each block `[I, N]`, the common neurons as given to `block_table`.
        pools: for each block what may stand in, over the same samples.
        columns_of_block: for each block, for each candidate its columns, as given to `block_table`.
        transform: as in `hsic_matrix`.
        num_draws: random sets.
        generator: of the draws.

    Returns:
        One entry a candidate.
    """
    parts = [
        neuron_null_scores(table, x, pool, columns, transform=transform, num_draws=num_draws, generator=generator)
        for table, x, pool, columns in zip(tables, x_blocks, pools, columns_of_block, strict=True)
    ]
    observed, draws, log_sets, num_matched = (torch.stack(column) for column in zip(*parts, strict=True))
    counts = ~(observed.isnan() | draws.isnan().any(dim=2))
    results = []
    for candidate, kept in enumerate(counts.T):
        size = sum(len(columns[candidate]) for columns in columns_of_block)
        share = float(num_matched[:, candidate].sum()) / max(1, size)
        if not bool(kept.any()):
            results.append(NeuronNull(share, None, None, None))
            continue
        score, random = observed[kept, candidate].mean(), draws[kept, candidate].mean(dim=0)
        # Equal sets are equal but for rounding.
        num_as_high = int((random >= score - _TIE * score.abs()).sum())
        is_enough = float(log_sets[kept, candidate].sum()) >= math.log(_MIN_SETS)
        p = (1 + num_as_high) / (1 + num_draws) if is_enough else None
        results.append(NeuronNull(share, float(score), float(random.mean()), p))
    return results


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
    """Scores of random sets of neurons, matched with a candidate's own neuron by neuron.

    In each place of a random set stands the candidate's own neuron or one of its matches, each with the same chance.
    That makes the candidate's own set one of those that are drawn, which is what p-values rest on: sets made of matches
    alone call ordinary neurons special (docs/decisions/007).

    A neuron in both sets matches itself perfectly, and fewer random neurons have that chance; so pairs of a neuron with
    itself are left out on both sides. Neurons that do not vary over the samples, and those without a match that varies,
    count on neither side.

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
    is_own = pool.is_own.to(device)[table.rows][:, table.places]
    # Rows: the candidates' present neurons, then the pool.
    values = torch.cat(
        [table.values.masked_fill(is_own, -torch.inf), found.values.masked_fill(barred, -torch.inf)], 1
    ).T
    values = values.contiguous()
    place = torch.full((pool.is_own.shape[1],), -1, dtype=torch.int64, device=device)
    place[table.places] = torch.arange(len(table.places), device=device)
    parts = [
        _null_of(
            values,
            place[columns.to(device)],
            matches.to(device),
            ~found.missing_columns,
            len(table.places),
            num_draws,
            generator,
        )
        for columns, matches in zip(columns_of_candidate, pool.matches, strict=True)
    ]
    return NullScores(*(torch.stack(column) for column in zip(*parts, strict=True)))


def _null_of(
    values: Tensor,
    own: Tensor,
    matches: Tensor,
    varies: Tensor,
    num_own: int,
    num_draws: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`NullScores` of one candidate: its neurons' rows `[J]` (-1: missing), their matches `[J, K]` in the pool."""
    is_match = matches >= 0
    if varies.numel():
        is_match = is_match & varies[matches.clamp_min(0)]
    kept = (own >= 0) & is_match.any(dim=1)
    rows = torch.cat([own[kept][:, None], matches[kept].clamp_min(0) + num_own], dim=1)
    possible = torch.cat([torch.ones_like(rows[:, :1], dtype=torch.bool), is_match[kept]], dim=1)
    log_sets = possible.sum(dim=1).double().log().sum().cpu()
    num_matched = kept.sum().cpu()
    # As many numbers for every candidate, so that one candidate's draws do not hang on another's neurons.
    keys = torch.rand(num_draws, len(own), matches.shape[1] + 1, generator=generator, device="cpu")
    if not bool(kept.any()):
        nothing = torch.full((num_draws,), torch.nan, dtype=torch.float64, device="cpu")
        return torch.full((), torch.nan, dtype=torch.float64, device="cpu"), nothing, log_sets, num_matched
    keys = keys.to(kept.device)[:, kept].masked_fill(~possible, 2.0)
    drawn = rows.expand(num_draws, -1, -1).gather(2, keys.argmin(dim=2, keepdim=True))[:, :, 0]
    return _scores(values, rows[:, 0][None])[0].cpu(), _scores(values, drawn).cpu(), log_sets, num_matched


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
