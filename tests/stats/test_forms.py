"""Both forms of HSIC, flattened kernels and low-rank factors, on the inputs that are hard for them."""

import pytest
import torch
from torch import Tensor

from bridgex.stats.factors import fourier_factors, wide_factors
from bridgex.stats.hsic import block_score, hsic_matrix, scale_pair
from bridgex.stats.lags import Estimator
from bridgex.stats.resampling import block_table, observed_scores
from tests.stats.references import factors_data, naive_matrix, naive_trace_khl

ESTIMATORS = ["normalised", "unbiased", "biased", "paper"]


def with_constant(x: Tensor) -> Tensor:
    x = x.clone()
    x[1] = 0.3
    return x


def shared(rows: int, columns: int, samples: int, heavy: bool = False) -> tuple[Tensor, Tensor]:
    """Two sets that share their hidden causes."""
    whole = factors_data(rows + columns, samples, 0, heavy)
    return whole[:rows], whole[rows:]


def hard_inputs(name: str) -> tuple[Tensor, Tensor]:
    """A pair of matrices, of many samples where that is what decides the form."""
    if name == "gaussian":
        return shared(3, 3, 900)
    if name == "heavy tails":
        return shared(3, 3, 900, heavy=True)
    if name == "duplicated samples":
        return tuple(m.repeat(1, 2) for m in shared(3, 3, 450))  # type: ignore[return-value]
    if name == "constant neurons":
        return tuple(with_constant(m) for m in shared(3, 3, 900))  # type: ignore[return-value]
    if name == "four samples":
        return shared(6, 5, 4)
    if name == "one neuron":
        return shared(1, 1, 60)
    return shared(2000, 3, 30)


def textbook(x: Tensor, y: Tensor, estimator: str) -> tuple[Tensor, Tensor, Tensor]:
    """Values of the definitions in float64, and which rows and columns have one."""
    if estimator == "paper":
        return naive_trace_khl(x, y), *(torch.ones(len(m), dtype=torch.bool) for m in (x, y))
    present = [torch.tensor([len(set(row.tolist())) > 1 for row in m]) for m in (x, y)]
    values = torch.zeros(len(x), len(y), dtype=torch.float64)
    values[present[0][:, None] & present[1]] = naive_matrix(x[present[0]], y[present[1]], estimator).flatten()
    return values, present[0], present[1]


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(
    "name",
    [
        "gaussian",
        "heavy tails",
        "duplicated samples",
        "constant neurons",
        "four samples",
        "one neuron",
        "two thousand neurons",
    ],
)
def test_both_forms_equal_the_textbook_loop(name: str, estimator: Estimator) -> None:
    x, y = hard_inputs(name)
    if estimator == "paper" and name == "two thousand neurons":
        x = x[:200]  # the textbook's table of distances between all rows takes minutes for more
    expected, rows, columns = textbook(x, y, estimator)
    largest = float(expected.abs().max())
    found = hsic_matrix(x, y, estimator)
    table = block_table(x, y, [torch.arange(len(y))], estimator=estimator)
    assert table is not None
    score = block_score(expected, rows, columns)
    for values, own_rows, own_columns in (
        (found.values, (~found.missing_rows).nonzero().flatten(), (~found.missing_columns).nonzero().flatten()),
        (table.values, table.rows, table.places),
    ):
        assert own_rows.tolist() == rows.nonzero().flatten().tolist()
        assert own_columns.tolist() == columns.nonzero().flatten().tolist()
        ours = values[own_rows][:, own_columns] if values.shape == expected.shape else values
        assert float((ours - expected[rows][:, columns]).abs().max()) <= 2e-6 * largest
        assert block_score(ours) == pytest.approx(score, rel=1e-6)
    assert float(observed_scores(table)[0]) == pytest.approx(score, rel=1e-6)


@pytest.mark.parametrize("name", ["gaussian", "duplicated samples", "constant neurons"])
def test_these_inputs_take_the_low_rank_form(name: str) -> None:
    for estimator, factors in (("normalised", fourier_factors), ("paper", wide_factors)):
        pair = scale_pair(*hard_inputs(name), estimator)
        assert all(factors(points) is not None for points in (pair.x, pair.y))
