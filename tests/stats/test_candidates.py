import math

import numpy as np
import pytest
import torch
from torch import Tensor

from bridgex.stats.candidates import CandidateScores, NoUsableBlockError, candidate_scores
from bridgex.stats.hsic import block_score, hsic_matrix
from bridgex.stats.lags import Estimator
from bridgex.stats.resampling import block_table, observed_scores, shift_scores, subsample_scores
from tests.stats.references import factors_data

ESTIMATORS = ["normalised", "unbiased", "biased", "paper"]


def noise(rows: int, samples: int, seed: int) -> Tensor:
    return torch.randn(rows, samples, generator=torch.Generator().manual_seed(seed))


def two_blocks(samples: int = 40) -> tuple[list[Tensor], list[Tensor], list[list[Tensor]]]:
    """Candidate 0 follows x, candidate 1 is noise in a larger set, candidate 2 shares a neuron with both."""
    x = [noise(4, samples, seed) for seed in (0, 1)]
    y = [torch.cat([b[:3] + 0.5 * noise(3, samples, 5), noise(9, samples, 6)]) for b in x]
    columns = [[torch.arange(3)] * 2, [torch.arange(3, 12)] * 2, [torch.tensor([2, 3])] * 2]
    return x, y, columns


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_scores_equal_the_plain_way(estimator: Estimator) -> None:
    x, y, columns = ([m.double() for m in part] if i < 2 else part for i, part in enumerate(two_blocks(20)))
    result = candidate_scores(x, y, columns, estimator=estimator, num_orders=1, num_replicates=0, seed=3)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(3))
    for c, candidate in enumerate(result.candidates):
        shifted = []
        for shift in range(20):
            blocks = []
            for a, b, chosen in zip(x, y, columns[c], strict=True):
                moved = b[chosen][:, order].roll(-shift, dims=1)
                blocks.append(block_score(hsic_matrix(a[:, order], moved, estimator).values))
            shifted.append(blocks)
        means = np.mean(shifted, axis=1)
        assert candidate.block_scores == pytest.approx(shifted[0], rel=1e-8)
        assert candidate.raw == pytest.approx(means[0], rel=1e-8)
        assert candidate.chance == pytest.approx(means[1:].mean(), rel=1e-6)
        assert candidate.score == pytest.approx(means[0] - means[1:].mean(), rel=1e-6)
        assert candidate.p_any_dependence == pytest.approx(np.mean(means >= means[0] * (1 - 1e-9)))
        assert (candidate.ci95, candidate.p_rank1) == (None, None)
    assert result.num_arrangements == 20


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_finds_the_candidate_that_follows(estimator: Estimator) -> None:
    result = candidate_scores(*two_blocks(), estimator=estimator, num_replicates=60)
    assert [c.rank for c in result.candidates] == [1, 3, 2]
    best, worst, _ = result.candidates
    assert best.ci95 is not None
    assert best.ci95[0] > 0
    assert best.ci95[0] < best.score < best.ci95[1]
    assert best.p_any_dependence == 1 / result.num_arrangements
    assert worst.p_any_dependence is not None
    assert worst.p_any_dependence > 0.05
    assert sum(c.p_rank1 or 0.0 for c in result.candidates) == pytest.approx(1.0)
    assert result.margin == pytest.approx(best.score - result.candidates[2].score)
    assert result.margin_ci95 is not None
    assert result.margin_ci95[0] < (result.margin or 0.0) < result.margin_ci95[1]


def test_same_seed_same_result_and_other_order_of_samples_same_raw_score() -> None:
    x, y, columns = two_blocks()
    first = candidate_scores(x, y, columns, num_replicates=30, seed=1)
    assert candidate_scores(x, y, columns, num_replicates=30, seed=1) == first
    other = candidate_scores(x, y, columns, num_replicates=30, seed=2)
    for a, b in zip(first.candidates, other.candidates, strict=True):
        assert a.raw == pytest.approx(b.raw, rel=1e-5)
        assert a.ci95 != b.ci95


def test_order_of_candidates_only_moves_them() -> None:
    x, y, columns = two_blocks()
    first = candidate_scores(x, y, columns, num_replicates=30).candidates
    moved = candidate_scores(x, y, columns[::-1], num_replicates=30).candidates
    for a, b in zip(first, moved[::-1], strict=True):
        assert (a.rank, a.p_rank1) == (b.rank, b.p_rank1)
        assert a.score == pytest.approx(b.score, abs=1e-7)


def test_a_small_memory_bound_changes_nothing() -> None:
    x, y, columns = two_blocks()
    whole = candidate_scores(x, y, columns, num_replicates=0)
    cut = candidate_scores(x, y, columns, num_replicates=0, max_bytes=1)
    for a, b in zip(whole.candidates, cut.candidates, strict=True):
        assert a.chance == pytest.approx(b.chance, rel=1e-5)


def test_chance_takes_out_the_growth_with_set_size() -> None:
    raw, corrected = [], []
    for seed in range(40):
        x, y = noise(6, 30, 2 * seed), noise(44, 30, 2 * seed + 1)
        columns = [[torch.arange(4)], [torch.arange(4, 44)]]
        small, large = candidate_scores([x], [y], columns, num_orders=1, num_replicates=0).candidates
        raw.append(large.raw - small.raw)
        corrected.append(large.score - small.score)
    spread = np.std(corrected) / math.sqrt(len(corrected))
    assert np.mean(raw) > 6 * spread
    assert abs(np.mean(corrected)) < 3 * spread


def test_shifts_reject_independence_in_about_five_percent() -> None:
    rejected = 0
    for seed in range(300):
        x, y = noise(4, 20, 2 * seed) ** 3, noise(5, 20, 2 * seed + 1)
        scores = candidate_scores([x], [y], [[torch.arange(5)]], num_orders=1, num_replicates=0)
        rejected += (scores.candidates[0].p_any_dependence or 0.0) <= 0.05
    # Binomial(300, 0.05): 4 to 28 has more than 99.9 %.
    assert 4 <= rejected <= 28


def test_intervals_cover_the_mean_score() -> None:
    results: list[CandidateScores] = []
    for seed in range(80):
        hidden = noise(3, 40, 1000 + seed)
        x, y = hidden + noise(3, 40, 2000 + seed), hidden + noise(3, 40, 3000 + seed)
        results.append(candidate_scores([x], [y], [[torch.arange(3)]], num_orders=1, num_replicates=60, seed=seed))
    mean = np.mean([r.candidates[0].score for r in results])
    intervals = [r.candidates[0].ci95 or (0.0, 0.0) for r in results]
    assert np.mean([low <= mean <= high for low, high in intervals]) >= 0.85


def test_equal_candidates_are_ties_broken_by_order() -> None:
    x, y, columns = two_blocks()
    result = candidate_scores(x, y, [columns[1], columns[0], columns[0]], num_replicates=20)
    assert [c.rank for c in result.candidates] == [3, 1, 2]
    assert result.ties == ((1, 2),)
    assert result.margin == pytest.approx(0.0, abs=1e-12)
    assert [c.p_rank1 for c in result.candidates] == pytest.approx([0.0, 0.5, 0.5], abs=0.05)


def test_blocks_without_neurons_for_some_candidate_are_dropped() -> None:
    x, y, columns = two_blocks()
    constant = y[0].clone()
    constant[:3] = 1.0
    result = candidate_scores([x[0], x[1]], [constant, y[1]], columns, num_replicates=0)
    assert (result.blocks_kept, result.blocks_dropped) == ((1,), (0,))
    empty = torch.zeros(0, dtype=torch.int64)
    for estimator in ESTIMATORS:
        without = [[columns[0][0], columns[0][1]], [columns[1][0], empty]]
        assert candidate_scores(x, y, without, estimator=estimator, num_replicates=0).blocks_dropped == (1,)
    with pytest.raises(NoUsableBlockError, match="none of 2 blocks has varying neurons"):
        candidate_scores([m[:0] for m in x], y, columns)


def test_self_matches_can_be_left_out() -> None:
    x = noise(4, 30, 0)
    y = torch.cat([x[:2], noise(3, 30, 1)])
    same = torch.zeros(4, 5, dtype=torch.bool)
    same[0, 0] = same[1, 1] = True
    columns = [[torch.tensor([0, 2])], [torch.tensor([1, 3, 4])]]
    with_self = candidate_scores([x], [y], columns, num_replicates=10).candidates
    for estimator in ESTIMATORS:
        without = candidate_scores([x], [y], columns, estimator=estimator, excluded_blocks=[same], num_replicates=10)
        for c, candidate in enumerate(without.candidates):
            chosen = columns[c][0]
            values = hsic_matrix(x, y[chosen], estimator).values
            assert candidate.raw == pytest.approx(block_score(values, excluded=same[:, chosen]), rel=1e-5)
            if estimator == "normalised":
                assert candidate.raw < with_self[c].raw
                assert candidate.chance == pytest.approx(with_self[c].chance, abs=0.05)
    everything = torch.ones(4, 5, dtype=torch.bool)
    with pytest.raises(NoUsableBlockError):
        candidate_scores([x], [y], columns, excluded_blocks=[everything])


def test_few_samples_have_no_intervals_and_no_orders_no_chance() -> None:
    x, y, columns = two_blocks(7)
    few = candidate_scores(x, y, columns)
    assert few.num_replicates == 0
    assert all(c.ci95 is None and c.p_rank1 is None for c in few.candidates)
    assert few.margin_ci95 is None
    bare = candidate_scores(x, y, columns[:1], num_orders=0).candidates[0]
    assert (bare.chance, bare.p_any_dependence) == (0.0, None)
    assert bare.score == bare.raw
    assert candidate_scores(x, y, columns[:1], num_orders=0).margin is None


def test_misuse_is_refused() -> None:
    x, y, columns = two_blocks()
    with pytest.raises(ValueError, match="2 blocks of x, 1 of y, 2 masks"):
        candidate_scores(x, y[:1], columns)
    with pytest.raises(ValueError, match="must give 2 blocks for each of at least one candidate"):
        candidate_scores(x, y, [])
    with pytest.raises(ValueError, match=r"numbers of samples \[39, 40\]"):
        candidate_scores(x, [y[0], y[1][:, 1:]], columns)


@pytest.mark.parametrize("estimator", ["normalised", "unbiased", "biased"])
def test_subsample_equals_a_fresh_table_at_the_old_widths(estimator: Estimator) -> None:
    x, y = factors_data(3, 30, 0).double(), factors_data(4, 30, 1).double()
    table = block_table(x, y, [torch.arange(4)], estimator=estimator)
    assert table is not None
    assert torch.allclose(subsample_scores(table, torch.arange(30)), observed_scores(table), rtol=1e-9)
    # Every value twice keeps the median of the non-zero differences, so the widths of half of them are the same.
    doubled = block_table(x.repeat(1, 2), y.repeat(1, 2), [torch.arange(4)], estimator=estimator)
    assert doubled is not None
    assert torch.allclose(subsample_scores(doubled, torch.arange(30)), observed_scores(table), rtol=1e-9)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_first_shift_is_the_observed_arrangement(estimator: Estimator) -> None:
    table = block_table(factors_data(3, 30, 0), factors_data(4, 30, 1), [torch.arange(4)], estimator=estimator)
    assert table is not None
    shifted = shift_scores(table, torch.arange(30))
    assert shifted.shape == (1, 30)
    assert float(shifted[0, 0]) == pytest.approx(float(observed_scores(table)[0]), rel=1e-5)
