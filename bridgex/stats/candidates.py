"""Scores of candidates over several blocks, corrected for chance, with the uncertainty that matters for choosing.

**Chance.** A maximum over noise grows with the number of neurons. The samples are put into one random order, and y is
shifted cyclically against x by every tau = 0..N-1; this for B relative orders, the first of which is the observed one.
Orders and shifts are shared by all blocks and candidates. With T over all B N arrangements and T_0 the observed one:
`chance = mean of T without T_0`, `score = T_0 - chance`, `p = #{T >= T_0} / (B N)`.

**Uncertainty.** Replicates take m = floor(N / 2) of the samples at random without replacement, the same in x and y.
Their deviations from their own mean, times `sqrt(m / (N - m))`, are laid around the observed score; intervals are the
2.5 and 97.5 percentiles. A bootstrap with replacement is not used: repeated samples are perfectly dependent pairs,
which inflates every maximum, and the more the larger the set. Half of the samples has no repeats, each replicate is the
estimator itself, and its variance around the mean is that of N samples (delete-half jackknife, Shao and Wu 1989;
subsampling, Politis and Romano 1994). Laying the deviations around the observed score takes out the rest of the upward
bias that fewer samples give a maximum. In simulations (three hidden causes, 8 neurons against 8 and against 20;
100 to 200 data sets a case) the intervals covered the mean score in 93 to 98 % for `normalised` (N = 60 and
200) and 97 to 99 % for `biased` and `paper` (N = 60), and in nearly 100 % where nothing depends on anything: at chance
level they are too wide. With 100 replicates and 3 neurons against 3 and against 12 they covered 90 to 94 % (N = 60 to
256, `python -m bench.calibration`). Kernel widths are those of all samples, and `chance` is not computed again in a
replicate.
Beside them stands the interval by influence functions (`bridgex.stats.influence`), `score +- 1.96 sd / sqrt(N)`, which
costs about one pass instead of one a replicate.

**Neuron null.** Random sets of neurons, matched with a candidate's neuron by neuron, say whether the candidate's
neurons are special or whether any as active would do: `p = (1 + #{random >= observed}) / (1 + draws)`, raw scores
without self-matches on both sides, neurons without a match left out of both (`bridgex.stats.neuron_null`). Both
p-values are also given corrected for the number of candidates (Holm 1979).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bridgex.stats.hsic import Transform
from bridgex.stats.influence import influences
from bridgex.stats.lags import MIN_SAMPLES, Estimator
from bridgex.stats.neuron_null import NeuronNull, NeuronPool, neuron_null
from bridgex.stats.paired import holm
from bridgex.stats.resampling import BlockTable, block_table, observed_scores, shift_scores, subsample_scores

Interval = tuple[float, float]
_NORMAL_975 = 1.959964
# Two scores closer than this, relative to the larger, differ by rounding.
_TIE = 1e-9


class NoUsableBlockError(ValueError):
    """No block has neurons of both sets for every candidate.

    Attributes:
        num_blocks: how many blocks were given.
    """

    def __init__(self, num_blocks: int) -> None:
        self.num_blocks = num_blocks
        super().__init__(f"none of {num_blocks} blocks has varying neurons in both sets for every candidate")


@dataclass(frozen=True)
class CandidateScore:
    """One candidate.

    Attributes:
        score: `raw - chance`, what is ranked.
        raw: mean of the block scores.
        chance: mean of `raw` over the shifts, what a maximum over noise gives at these set sizes; 0 without shifts.
        ci95: 95 % interval of `score` over source words, None where there are too few.
        influence_ci95: the same from influence functions; None under `paper` and below 4 samples.
        rank: 1 is best; ties are broken by the order of the candidates.
        p_rank1: share of replicates in which it is best (shared evenly where several are), None without replicates.
        p_any_dependence: share of shifts, the observed arrangement included, that score at least as high. It tests "any
            dependence at all" and says nothing about which candidate is better. None without shifts.
        p_any_dependence_corrected: the same, corrected for the number of candidates.
        matched: share of its neurons, over the blocks kept, that have a match; None without a pool, or under `paper`.
        without_self_matches: mean block score of those neurons, without matches of a neuron with itself; None where
            there are none, or no pair is left.
        random_neurons: the same of the random sets, mean over draws.
        p_neuron_null: share of sets, its own included, that score at least as high; None where fewer than 400 different
            sets exist, of which too few would be as high by chance to say anything at 0.05.
        p_neuron_null_corrected: the same, corrected for the number of candidates.
        block_scores: raw score of each block kept.
    """

    score: float
    raw: float
    chance: float
    ci95: Interval | None
    influence_ci95: Interval | None
    rank: int
    p_rank1: float | None
    p_any_dependence: float | None
    p_any_dependence_corrected: float | None
    matched: float | None
    without_self_matches: float | None
    random_neurons: float | None
    p_neuron_null: float | None
    p_neuron_null_corrected: float | None
    block_scores: tuple[float, ...]


@dataclass(frozen=True)
class CandidateScores:
    """All candidates, in the order in which they were given.

    Attributes:
        candidates: one entry a candidate.
        ties: groups of candidates (positions) with equal scores.
        blocks_kept: positions of the blocks that count.
        blocks_dropped: positions of the blocks where some candidate has no neurons.
        margin: score of the best minus the runner-up, None for a single candidate.
        margin_ci95: its interval over source words.
        num_arrangements: orders times shifts behind `chance` and `p_any_dependence`, the observed one included; 0:
            none.
        num_replicates: half-samples behind the intervals; 0: none.
    """

    candidates: tuple[CandidateScore, ...]
    ties: tuple[tuple[int, ...], ...]
    blocks_kept: tuple[int, ...]
    blocks_dropped: tuple[int, ...]
    margin: float | None
    margin_ci95: Interval | None
    num_arrangements: int
    num_replicates: int


def candidate_scores(
    x_blocks: Sequence[Tensor],
    y_blocks: Sequence[Tensor],
    columns_of_candidate: Sequence[Sequence[Tensor]],
    *,
    estimator: Estimator = "normalised",
    transform: Transform = "none",
    excluded_blocks: Sequence[Tensor | None] | None = None,
    pools: Sequence[NeuronPool] | None = None,
    num_orders: int = 4,
    num_replicates: int = 200,
    num_draws: int = 199,
    seed: int = 0,
    max_bytes: int = 256 << 20,
) -> CandidateScores:
    """Score candidates by the HSIC of their neurons with a common set of neurons.

    `raw(C) = mean over blocks of (mean_i max_j H_ij + mean_j max_i H_ij) / 2`, i over x's neurons, j over C's columns.

    Chance and uncertainty are explained at the head of this module.

    Args:
        x_blocks: for each block `[I_l, N]`, the neurons common to all candidates.
        y_blocks: for each block `[J_l, N]`, the union of all candidates' neurons.
        columns_of_candidate: for each candidate, for each block, the indices of its columns in y (int64, may be empty).
        estimator: as in `hsic_matrix`; `paper` computes each candidate by itself, since its width depends on both sets.
        transform: as in `hsic_matrix`.
        excluded_blocks: for each block a mask `[I_l, J_l]` of pairs that may not match (a neuron with itself), or None.
        pools: for each block the neurons from which random sets are drawn; None: no neuron null.
        num_orders: relative orders, each with all N shifts; 0 leaves chance out.
        num_replicates: half-samples; 0 leaves intervals out, as do fewer than 8 samples.
        num_draws: random sets of neurons; 0: no neuron null.
        seed: of orders, half-samples and random sets.
        max_bytes: bound on the largest table in memory.

    Returns:
        Scores of all candidates.

    Raises:
        NoUsableBlockError: if every block lacks neurons for some candidate.
        ValueError: on lists of unequal length, and as in `hsic_matrix`.
    """
    num_blocks = len(x_blocks)
    masks = [None] * num_blocks if excluded_blocks is None else excluded_blocks
    num_samples = _checked_samples(x_blocks, y_blocks, columns_of_candidate, masks)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(num_samples, generator=generator, device="cpu")
    tables = [
        _tables(
            _reorder(x, order), _reorder(y, order), [c[block] for c in columns_of_candidate], mask, estimator, transform
        )
        for block, (x, y, mask) in enumerate(zip(x_blocks, y_blocks, masks, strict=True))
    ]
    kept = [t for t in tables if t is not None]
    if not kept:
        raise NoUsableBlockError(num_blocks)
    per_block = torch.stack([torch.cat([observed_scores(t) for t in ts]) for ts in kept])
    arrangements = _arrangements(kept, len(order), num_orders, generator, max_bytes)
    replicates = _deviations(kept, len(order), num_replicates, MIN_SAMPLES[estimator], generator)
    null = None
    if pools is not None and num_draws and estimator != "paper":
        used = [block for block, found in enumerate(tables) if found is not None]
        null = neuron_null(
            [table for (table,) in kept],
            [_reorder(x_blocks[block], order) for block in used],
            [pools[block]._replace(values=_reorder(pools[block].values, order)) for block in used],
            [[columns[block] for columns in columns_of_candidate] for block in used],
            transform=transform,
            num_draws=num_draws,
            # Its own stream, so that orders and half-samples are the same with and without it.
            generator=torch.Generator().manual_seed(seed),
        )
    dropped = tuple(i for i, t in enumerate(tables) if t is None)
    return _summary(per_block, arrangements, replicates, _standard_errors(kept), null, dropped, num_blocks)


def _checked_samples(
    x_blocks: Sequence[Tensor],
    y_blocks: Sequence[Tensor],
    columns_of_candidate: Sequence[Sequence[Tensor]],
    masks: Sequence[Tensor | None],
) -> int:
    """Number of samples, after checking that all lists agree."""
    num_blocks = len(x_blocks)
    if len(y_blocks) != num_blocks or len(masks) != num_blocks:
        raise ValueError(f"{num_blocks} blocks of x, {len(y_blocks)} of y, {len(masks)} masks: they must agree")
    if len(columns_of_candidate) == 0 or any(len(c) != num_blocks for c in columns_of_candidate):
        raise ValueError(f"columns_of_candidate must give {num_blocks} blocks for each of at least one candidate")
    if num_blocks == 0:
        raise NoUsableBlockError(0)
    sizes = {m.shape[1] for m in (*x_blocks, *y_blocks)}
    if len(sizes) != 1:
        raise ValueError(f"all blocks must hold the same samples, got numbers of samples {sorted(sizes)}")
    return sizes.pop()


def _tables(
    x: Tensor,
    y: Tensor,
    columns: list[Tensor],
    excluded: Tensor | None,
    estimator: Estimator,
    transform: Transform,
) -> list[BlockTable] | None:
    """Tables of a block, which together list all candidates in order; None if some candidate has nothing there."""
    if estimator != "paper":
        whole = block_table(x, y, columns, excluded, estimator, transform)
        return None if whole is None else [whole]
    tables = []
    for chosen in columns:
        mask = None if excluded is None else excluded[:, chosen]
        of_candidate = torch.arange(len(chosen), device=x.device)
        table = block_table(x, y[chosen.to(y.device)], [of_candidate], mask, estimator, transform)
        if table is None:
            return None
        tables.append(table)
    return tables


def _reorder(x: Tensor, order: Tensor) -> Tensor:
    return x[:, order.to(x.device)]


def _standard_errors(blocks: list[list[BlockTable]]) -> Tensor | None:
    """Standard error of every candidate's raw score from the samples' influences, `[candidates]`."""
    per_block: list[Tensor] = []
    for tables in blocks:
        parts = [influences(table) for table in tables]
        if any(part is None for part in parts):
            return None
        per_block.append(torch.cat([part for part in parts if part is not None]))
    of_samples = torch.stack(per_block).mean(dim=0)
    errors: Tensor = of_samples.std(dim=1) / of_samples.shape[1] ** 0.5
    return errors


def _arrangements(
    blocks: list[list[BlockTable]], n: int, num_orders: int, generator: torch.Generator, max_bytes: int
) -> Tensor:
    """Scores `[candidates, orders * N]` under all orders and shifts, the observed arrangement first."""
    scores = []
    for index in range(num_orders):
        order = torch.arange(n, device="cpu")
        if index:
            order = torch.randperm(n, generator=generator, device="cpu")
        per_block = [torch.cat([shift_scores(table, order, max_bytes) for table in tables]) for tables in blocks]
        scores.append(torch.stack(per_block).mean(dim=0))
    if not scores:
        return torch.zeros(sum(len(t.columns) for t in blocks[0]), 0, dtype=torch.float64, device="cpu")
    return torch.cat(scores, dim=1)


def _deviations(
    blocks: list[list[BlockTable]], n: int, num_replicates: int, min_samples: int, generator: torch.Generator
) -> Tensor:
    """Deviations `[candidates, replicates]` of half-sample scores from their mean, at the scale of N samples."""
    half = n // 2
    if num_replicates == 0 or half < max(4, min_samples):
        return torch.zeros(sum(len(t.columns) for t in blocks[0]), 0, dtype=torch.float64, device="cpu")
    scores = []
    for _ in range(num_replicates):
        samples = torch.randperm(n, generator=generator, device="cpu")[:half].sort().values
        per_block = [torch.cat([subsample_scores(table, samples) for table in tables]) for tables in blocks]
        scores.append(torch.stack(per_block).mean(dim=0))
    stacked = torch.stack(scores, dim=1)
    scale: float = (half / (n - half)) ** 0.5
    return (stacked - stacked.mean(dim=1, keepdim=True)) * scale


def _summary(
    per_block: Tensor,
    arrangements: Tensor,
    deviations: Tensor,
    errors: Tensor | None,
    null: list[NeuronNull] | None,
    dropped: tuple[int, ...],
    num_blocks: int,
) -> CandidateScores:
    """Put observed scores `[blocks, C]`, arrangements `[C, A]`, deviations `[C, R]`, errors `[C]` and null together."""
    raw = per_block.mean(dim=0)
    chance, p_any = torch.zeros_like(raw), None
    if arrangements.shape[1] > 1:
        # The first arrangement is computed like all others, so that an equal one is found equal.
        observed = arrangements[:, :1]
        chance = arrangements[:, 1:].mean(dim=1)
        p_any = (arrangements >= observed - 1e-6 * observed.abs()).double().mean(dim=1)
    score = raw - chance
    ranks, ties = _ranks(score)
    replicates = score[:, None] + deviations
    intervals, p_rank1 = [_interval(r) for r in replicates], _shares_of_best(replicates)
    any_dependence = _values(p_any, len(score))
    nulls = [NeuronNull(None, None, None, None)] * len(score) if null is None else null
    neuron_null = [found.p for found in nulls]
    margin, margin_ci95 = None, None
    if len(score) > 1:
        best, runner_up = ranks.index(1), ranks.index(2)
        margin = float(score[best] - score[runner_up])
        margin_ci95 = _interval(replicates[best] - replicates[runner_up])
    return CandidateScores(
        candidates=tuple(
            CandidateScore(
                score=float(score[c]),
                raw=float(raw[c]),
                chance=float(chance[c]),
                ci95=intervals[c],
                influence_ci95=None if errors is None else _normal_interval(float(score[c]), float(errors[c])),
                rank=ranks[c],
                p_rank1=None if p_rank1 is None else float(p_rank1[c]),
                p_any_dependence=any_dependence[c],
                p_any_dependence_corrected=_corrected(any_dependence)[c],
                matched=nulls[c].matched,
                without_self_matches=nulls[c].without_self_matches,
                random_neurons=nulls[c].random_neurons,
                p_neuron_null=neuron_null[c],
                p_neuron_null_corrected=_corrected(neuron_null)[c],
                block_scores=tuple(per_block[:, c].tolist()),
            )
            for c in range(len(score))
        ),
        ties=ties,
        blocks_kept=tuple(b for b in range(num_blocks) if b not in dropped),
        blocks_dropped=dropped,
        margin=margin,
        margin_ci95=margin_ci95,
        num_arrangements=arrangements.shape[1],
        num_replicates=deviations.shape[1],
    )


def _ranks(score: Tensor) -> tuple[list[int], tuple[tuple[int, ...], ...]]:
    """Rank 1 for the highest; scores equal but for rounding share a group and are ranked by position."""
    groups: list[list[int]] = []
    for candidate in sorted(range(len(score)), key=lambda c: (-float(score[c]), c)):
        value = float(score[candidate])
        if groups and abs(float(score[groups[-1][0]]) - value) <= _TIE * max(abs(value), 1e-300):
            groups[-1].append(candidate)
        else:
            groups.append([candidate])
    ranks = [0] * len(score)
    for place, candidate in enumerate(c for group in groups for c in sorted(group)):
        ranks[candidate] = place + 1
    return ranks, tuple(tuple(sorted(group)) for group in groups if len(group) > 1)


def _values(found: Tensor | None, size: int) -> list[float | None]:
    """Plain numbers, None for what was not computed."""
    return [None] * size if found is None else list(found.tolist())


def _corrected(p_values: list[float | None]) -> list[float | None]:
    """Holm's correction over the candidates that have a p."""
    adjusted = iter(holm([p for p in p_values if p is not None]))
    return [None if p is None else next(adjusted) for p in p_values]


def _normal_interval(centre: float, error: float) -> Interval:
    return centre - _NORMAL_975 * error, centre + _NORMAL_975 * error


def _interval(replicates: Tensor) -> Interval | None:
    """2.5 and 97.5 percentiles of `[R]`."""
    if len(replicates) == 0:
        return None
    low, high = (float(replicates.quantile(share)) for share in (0.025, 0.975))
    return low, high


def _shares_of_best(replicates: Tensor) -> Tensor | None:
    """Share of columns of `[C, R]` in which a candidate is highest, `[C]`, sums to 1."""
    if replicates.shape[1] == 0:
        return None
    best = replicates >= replicates.amax(dim=0, keepdim=True) - _TIE * replicates.abs().amax(dim=0, keepdim=True)
    return (best.double() / best.sum(dim=0)).mean(dim=1)
