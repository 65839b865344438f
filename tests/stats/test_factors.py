import pytest
import torch

from bridgex.stats.factors import Factors, factored_products, fourier_factors, wide_factors
from bridgex.stats.hsic import scale_pair
from bridgex.stats.lags import Estimator, lag_kernels, products
from tests.stats.references import factors_data


def both_factors(x: torch.Tensor, y: torch.Tensor, estimator: Estimator) -> tuple[Factors, Factors]:
    pair = scale_pair(x, y, estimator)
    make = wide_factors if estimator == "paper" else fourier_factors
    left, right = make(pair.x), make(pair.y)
    assert left is not None
    assert right is not None
    return left, right


@pytest.mark.parametrize("estimator", ["normalised", "unbiased", "biased", "paper"])
def test_factors_give_the_same_as_flattened_kernels(estimator: Estimator) -> None:
    z = factors_data(14, 1200, 0)
    x, y = z[:8], z[8:]
    pair = scale_pair(x.double(), y.double(), estimator)
    expected = products(lag_kernels(pair.x, estimator), lag_kernels(pair.y, estimator))
    got = factored_products(*both_factors(x, y, estimator), estimator)
    assert float((got[0] - expected[0]).abs().max() / expected[0].abs().max()) < 1e-6
    if estimator != "paper":
        assert torch.allclose(got[1], expected[1], rtol=1e-6)
        assert torch.allclose(got[2], expected[2], rtol=1e-6)


def test_rank_is_small_where_factors_are_used_at_all() -> None:
    x = torch.randn(5, 1000, generator=torch.Generator().manual_seed(0))
    left, _ = both_factors(x, x, "unbiased")
    assert left.features.shape[1] < 20
    wide, _ = both_factors(x[:, :300], x[:, :300], "paper")
    assert wide.features.shape[1] < 10


def test_factors_are_refused_where_they_cost_more() -> None:
    heavy = factors_data(5, 1000, 0, heavy=True) ** 3
    assert fourier_factors(scale_pair(heavy, heavy, "unbiased").x) is None
    few = factors_data(5, 60, 0)
    assert fourier_factors(scale_pair(few, few, "unbiased").x) is None
    # One neuron a side: the width is 1e-6 and the kernel has full rank.
    single = scale_pair(few[:1], few[:1], "paper")
    assert wide_factors(single.x) is None
    assert wide_factors(torch.zeros(3, 500)) is None
    assert wide_factors(torch.zeros(0, 500)) is None
    assert fourier_factors(torch.zeros(0, 500)) is None


def test_constant_neurons_have_empty_factors() -> None:
    x = factors_data(3, 900, 0)
    x[1] = 2.0
    left, _ = both_factors(x, x, "unbiased")
    assert torch.count_nonzero(left.features[1].abs() > 1e-6) == 0
    assert float(left.squares[1]) < 1e-12
