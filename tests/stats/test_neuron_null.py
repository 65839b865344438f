import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from bridgex.stats.candidates import CandidateScore, candidate_scores
from bridgex.stats.hsic import block_score, hsic_matrix
from bridgex.stats.lags import Estimator
from bridgex.stats.neuron_null import NeuronPool, neuron_null_scores
from bridgex.stats.paired import holm
from bridgex.stats.resampling import block_table
from tests.stats.references import factors_data, naive_matrix


def pool_of(values: Tensor, matches: list[Tensor], x: int, y: int) -> NeuronPool:
    return NeuronPool(
        values,
        tuple(matches),
        torch.zeros(x, y, dtype=torch.bool),
        torch.zeros(x, len(values), dtype=torch.bool),
    )


@pytest.mark.parametrize("estimator", ["normalised", "unbiased", "biased"])
def test_every_set_scores_as_the_plain_way(estimator: Estimator) -> None:
    x, y, z = factors_data(3, 30, 0).double(), factors_data(5, 30, 1).double(), factors_data(4, 30, 2).double()
    y[3], z[3] = x[1], x[0]
    columns = [torch.tensor([0, 3]), torch.tensor([1, 2, 4])]
    matches = [torch.tensor([[3], [1]]), torch.tensor([[0], [2], [-1]])]
    pool = pool_of(z, matches, 3, 5)
    pool.is_own[1, 3] = pool.is_own_in_pool[0, 3] = True
    table = block_table(x, y, columns, estimator=estimator)
    assert table is not None
    found = neuron_null_scores(
        table, x, pool, columns, transform="none", num_draws=80, generator=torch.Generator().manual_seed(0)
    )
    everything, same = torch.cat([y, z]), torch.cat([pool.is_own, pool.is_own_in_pool], dim=1)
    for candidate, (chosen, stand_ins) in enumerate(zip(columns, matches, strict=True)):
        kept = stand_ins[:, 0] >= 0
        choices = [(int(own), 5 + int(match)) for own, match in zip(chosen[kept], stand_ins[kept, 0], strict=True)]
        expected = []
        for drawn in itertools.product(*choices):
            rows = torch.tensor(drawn)
            expected.append(block_score(naive_matrix(x, everything[rows], estimator), excluded=same[:, rows]))
        # The first product takes every neuron's own.
        assert float(found.observed[candidate]) == pytest.approx(expected[0], rel=1e-9)
        drawn_scores = found.draws[candidate].tolist()
        shares = [np.mean([abs(score - one) < 1e-9 for score in drawn_scores]) for one in expected]
        assert sum(shares) == pytest.approx(1.0)
        assert all(share == pytest.approx(1 / len(expected), abs=0.15) for share in shares)
        assert float(found.log_sets[candidate]) == pytest.approx(np.log(len(expected)))
        assert int(found.num_matched[candidate]) == int(kept.sum())


def test_draws_take_a_neuron_and_each_of_its_matches_equally_often() -> None:
    x, y = factors_data(2, 40, 0), factors_data(1, 40, 1)
    z = factors_data(4, 40, 2)
    columns = [torch.tensor([0])]
    table = block_table(x, y, columns)
    assert table is not None
    pool = pool_of(z, [torch.tensor([[3, 0, -1, 2, 1]])], 2, 1)
    found = neuron_null_scores(
        table, x, pool, columns, transform="none", num_draws=2000, generator=torch.Generator().manual_seed(0)
    )
    values = torch.cat([hsic_matrix(x, y).values, hsic_matrix(x, z).values], dim=1)
    for neuron in range(5):
        score = block_score(values[:, [neuron]])
        share = float(((found.draws[0] - score).abs() < 1e-6).double().mean())
        assert share == pytest.approx(0.2, abs=0.04)


def test_neurons_that_do_not_vary_are_never_drawn_nor_counted() -> None:
    x, y, z = factors_data(2, 40, 0), factors_data(3, 40, 1), factors_data(6, 40, 2)
    y[1], z[0], z[2], z[3] = 1.0, 2.0, 3.0, 4.0
    columns = [torch.tensor([0, 1, 2]), torch.tensor([2])]
    # The first neuron has one match left, the second is itself constant, the third has none left.
    pool = pool_of(z, [torch.tensor([[0, 1], [4, 5], [2, 3]]), torch.tensor([[2, 3]])], 2, 3)
    table = block_table(x, y, columns)
    assert table is not None
    found = neuron_null_scores(
        table, x, pool, columns, transform="none", num_draws=50, generator=torch.Generator().manual_seed(0)
    )
    own, other = (block_score(hsic_matrix(x, one).values) for one in (y[:1], z[1:2]))
    assert float(found.observed[0]) == pytest.approx(own, rel=1e-5)
    assert {round(score, 5) for score in found.draws[0].tolist()} == {round(own, 5), round(other, 5)}
    assert found.num_matched.tolist() == [1, 0]
    assert bool(found.observed[1].isnan())
    assert bool(found.draws[1].isnan().all())


def in_blocks(x: Tensor, y: Tensor, pool: NeuronPool, columns: list[Tensor], num_blocks: int = 1) -> list:
    """The same block several times over."""
    return list(
        candidate_scores(
            [x] * num_blocks,
            [y] * num_blocks,
            [[c] * num_blocks for c in columns],
            pools=[pool] * num_blocks,
            num_orders=0,
            num_replicates=0,
        ).candidates
    )


def test_too_few_different_sets_have_no_p() -> None:
    x, y, z = factors_data(3, 40, 0), factors_data(4, 40, 1), factors_data(8, 40, 2)
    pool = pool_of(z, [torch.arange(8).view(4, 2)], 3, 4)
    # 3 ** 4 sets in one block, 3 ** 8 in two.
    few, enough = (in_blocks(x, y, pool, [torch.arange(4)], number)[0] for number in (1, 2))
    assert (few.p_neuron_null, few.p_neuron_null_corrected) == (None, None)
    assert few.random_neurons is not None
    assert enough.p_neuron_null is not None
    assert (few.matched, enough.matched) == (1.0, 1.0)


def test_a_candidate_of_self_matches_alone_has_no_null() -> None:
    x, z = factors_data(1, 40, 0), factors_data(2, 40, 2)
    pool = pool_of(z, [torch.tensor([[0, 1]])], 1, 1)
    pool.is_own[0, 0] = True
    (only,) = in_blocks(x, x.clone(), pool, [torch.arange(1)], 6)
    assert only.raw == pytest.approx(1.0)
    assert (only.without_self_matches, only.random_neurons, only.p_neuron_null) == (None, None, None)


def scored(seed: int, is_special: bool, num_matches: int = 7) -> CandidateScore:
    """Two blocks of neurons that follow a common cause to different degrees, 5 of which are the candidate's."""
    random = np.random.RandomState(seed)
    num_others = 5 * num_matches
    blocks: list[list[Tensor]] = [[], [], []]
    pools = []
    for _ in range(2):
        cause = random.standard_normal((1, 40))
        strengths = random.uniform(0, 1, (5 + num_others, 1))
        if is_special:
            strengths[:5] = 1.0
        others = torch.from_numpy(strengths * cause + random.standard_normal((5 + num_others, 40)))
        blocks[0].append(torch.from_numpy(cause + random.standard_normal((4, 40))))
        blocks[1].append(others[:5])
        pools.append(pool_of(others[5:], [torch.arange(num_others).view(5, num_matches)], 4, 5))
    return candidate_scores(
        blocks[0], blocks[1], [[torch.arange(5)] * 2], pools=pools, num_orders=0, num_replicates=0, seed=seed
    ).candidates[0]


@pytest.mark.slow
@pytest.mark.parametrize("num_matches", [1, 2, 4])
def test_neurons_drawn_like_all_others_are_called_special_in_five_percent(num_matches: int) -> None:
    p_values = [scored(seed, is_special=False, num_matches=num_matches).p_neuron_null or 0.0 for seed in range(1000)]
    # Binomial(1000, 0.05) lies there in more than 99.9 %.
    assert 0.027 <= np.mean([p <= 0.05 for p in p_values]) <= 0.073
    assert np.mean(p_values) == pytest.approx(0.5, abs=0.03)


def test_special_neurons_are_found() -> None:
    p_values = [scored(seed, is_special=True).p_neuron_null or 0.0 for seed in range(20)]
    assert sum(p <= 0.05 for p in p_values) >= 15


def test_both_p_values_are_corrected_for_the_number_of_candidates() -> None:
    x, y, z = factors_data(3, 40, 0), factors_data(9, 40, 1), factors_data(36, 40, 2)
    y[:3] = x + 0.5 * y[:3]
    columns = [torch.arange(3), torch.arange(3, 6), torch.arange(6, 9)]
    pool = pool_of(z, [torch.arange(12).view(3, 4) + 12 * c for c in range(3)], 3, 9)
    scores = candidate_scores(
        [x] * 2, [y] * 2, [[c] * 2 for c in columns], pools=[pool] * 2, num_replicates=0
    ).candidates
    for plain, corrected in (
        ("p_neuron_null", "p_neuron_null_corrected"),
        ("p_any_dependence", "p_any_dependence_corrected"),
    ):
        expected = holm([getattr(score, plain) for score in scores])
        assert [getattr(score, corrected) for score in scores] == expected
    assert scores[0].p_neuron_null is not None
    assert scores[0].p_neuron_null < 0.05


def test_the_null_changes_no_other_figure_and_is_left_out_for_the_published_quantity() -> None:
    x, y, z = factors_data(3, 40, 0), factors_data(3, 40, 1), factors_data(6, 40, 2)
    columns = [[torch.arange(3)]]
    pools = [pool_of(z, [torch.arange(6).view(3, 2)], 3, 3)]
    plain = candidate_scores([x], [y], columns, num_replicates=20).candidates[0]
    with_null = candidate_scores([x], [y], columns, num_replicates=20, pools=pools).candidates[0]
    assert (with_null.score, with_null.ci95, with_null.p_any_dependence) == (
        plain.score,
        plain.ci95,
        plain.p_any_dependence,
    )
    assert plain.p_neuron_null is None
    published = candidate_scores([x], [y], columns, estimator="paper", num_replicates=0, pools=pools).candidates[0]
    assert (published.p_neuron_null, published.influence_ci95) == (None, None)


def test_a_larger_set_has_no_easier_null() -> None:
    sizes = (4, 16)
    gaps = []
    for seed in range(30):
        x, others = factors_data(4, 40, 3 * seed), factors_data(60, 40, 3 * seed + 1)
        columns = [[torch.arange(size)] for size in sizes]
        pool = pool_of(others[20:], [torch.arange(40)[: 2 * size].view(size, 2) for size in sizes], 4, 20)
        scores = candidate_scores([x], [others[:20]], columns, pools=[pool], num_orders=0, num_replicates=0).candidates
        gaps.append([(c.without_self_matches or 0.0) - (c.random_neurons or 0.0) for c in scores])
    small, large = np.transpose(gaps)
    assert abs(np.mean(large - small)) < 3 * np.std(large - small) / len(gaps) ** 0.5
