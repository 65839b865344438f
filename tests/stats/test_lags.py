import pytest
import torch

from bridgex.stats.hsic import scale_pair
from bridgex.stats.lags import Estimator, lag_kernels, products, shifted_products
from tests.stats.references import factors_data

ESTIMATORS = ["normalised", "unbiased", "biased", "paper"]


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("samples", [4, 9, 30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_shift_equals_a_roll_of_the_samples(estimator: Estimator, samples: int, dtype: torch.dtype) -> None:
    pair = scale_pair(factors_data(3, samples, 0).to(dtype), factors_data(4, samples, 1).to(dtype), estimator)
    x, y = lag_kernels(pair.x, estimator), lag_kernels(pair.y, estimator)
    shifted = shifted_products(x, y)
    rolled = [products(x, lag_kernels(pair.y.roll(-shift, dims=1), estimator))[0] for shift in range(samples)]
    expected = torch.stack(rolled, dim=2)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    assert float((shifted - expected).abs().max() / expected.abs().max()) < tolerance


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_reordering_kernels_equals_reordering_samples(estimator: Estimator) -> None:
    pair = scale_pair(factors_data(3, 20, 0).double(), factors_data(4, 20, 1).double(), estimator)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    x, y = lag_kernels(pair.x, estimator), lag_kernels(pair.y, estimator)
    moved = lag_kernels(pair.x[:, order], estimator)
    assert torch.allclose(products(x.reorder(order), y)[0], products(moved, y)[0], rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_some_neurons_equal_some_rows(estimator: Estimator) -> None:
    pair = scale_pair(factors_data(5, 20, 0).double(), factors_data(4, 20, 1).double(), estimator)
    x, y = lag_kernels(pair.x, estimator), lag_kernels(pair.y, estimator)
    whole = products(x, y)
    for chosen in (slice(1, 3), torch.tensor([1, 2])):
        part = products(x.take(chosen), y)
        assert torch.allclose(part[0], whole[0][1:3], rtol=1e-12, atol=1e-15)
        assert torch.allclose(part[1], whole[1][1:3], rtol=1e-12)
