import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bridgex.stats.hsic import block_score, block_scores, hsic_matrix
from tests.stats.references import (
    factors_data,
    gaussian_kernel,
    median_width,
    naive_matrix,
    naive_trace_khl,
    published_function,
    published_inputs,
)

ESTIMATORS = ["normalised", "unbiased", "biased", "paper"]
PUBLISHED = json.loads((Path(__file__).parent / "published_hsic.json").read_text(encoding="utf-8"))["cases"]


def reference(x: Tensor, y: Tensor, estimator: str) -> Tensor:
    return naive_trace_khl(x, y) if estimator == "paper" else naive_matrix(x, y, estimator)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("samples", [4, 5, 40, 41])
@pytest.mark.parametrize("heavy", [False, True])
def test_equals_the_definition_in_float64(estimator: str, samples: int, heavy: bool) -> None:
    x, y = factors_data(4, samples, 0, heavy).double(), factors_data(3, samples, 1, heavy).double()
    result = hsic_matrix(x, y, estimator)
    assert result.values.dtype == torch.float64
    assert torch.allclose(result.values, reference(x, y, estimator), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(("samples", "heavy"), [(60, False), (60, True), (600, False), (600, True)])
def test_float32_loses_less_than_a_millionth_of_the_maximum(estimator: str, samples: int, heavy: bool) -> None:
    x, y = factors_data(12, samples, 0, heavy), factors_data(9, samples, 1, heavy)
    exact = hsic_matrix(x.double(), y.double(), estimator).values
    assert float((hsic_matrix(x, y, estimator).values - exact).abs().max() / exact.abs().max()) < 1e-6


@pytest.mark.parametrize("case", PUBLISHED, ids=lambda case: f"{case['rows']}x{case['columns']}-{case['kind']}")
def test_paper_equals_the_published_function(case: dict[str, int | float | str]) -> None:
    x, y = published_inputs(**{name: value for name, value in case.items() if name != "score"})
    ours = block_score(hsic_matrix(x, y, "paper").values)
    # The loop takes long for many neurons; the float64 form is held to it elsewhere.
    exact = naive_trace_khl(x, y) if len(x) < 20 else hsic_matrix(x.double(), y.double(), "paper").values
    assert ours == pytest.approx(block_score(exact), rel=1e-6)
    assert ours == pytest.approx(case["score"], rel=1e-4)


def test_paper_equals_the_published_function_when_it_is_at_hand() -> None:
    theirs = published_function()
    for seed, kind in ((10, "gaussian"), (11, "heavy")):
        x, y = published_inputs(seed, 15, 30, 80, kind)
        assert block_score(hsic_matrix(x, y, "paper").values) == pytest.approx(theirs(x, y), rel=1e-4)


def test_paper_counts_constant_neurons_as_zero() -> None:
    x = factors_data(3, 30, 0)
    x[1] = 0.1
    result = hsic_matrix(x, factors_data(2, 30, 1), "paper")
    assert not bool(result.missing_rows.any() | result.missing_columns.any())
    assert result.values[1].tolist() == [0.0, 0.0]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_equals_hyppo_on_the_same_kernels() -> None:
    # Handed over as distances 1 - K, as hyppo itself forms them, because it takes the width of x for y as well.
    independence = pytest.importorskip("hyppo.independence")
    x, y = factors_data(2, 40, 0).double(), factors_data(2, 40, 1).double()
    kernels = [[1 - gaussian_kernel(row, median_width(row)).numpy() for row in m] for m in (x, y)]
    ours = {name: hsic_matrix(x, y, name).values for name in ("normalised", "biased")}
    own = [hsic_matrix(m, m, "biased").values.diag() for m in (x, y)]
    for i in range(2):
        for j in range(2):
            unbiased = independence.Hsic(compute_kernel=None, bias=False).statistic(kernels[0][i], kernels[1][j])
            biased = independence.Hsic(compute_kernel=None, bias=True).statistic(kernels[0][i], kernels[1][j])
            assert float(ours["normalised"][i, j]) == pytest.approx(unbiased, rel=1e-9)
            cka = float(ours["biased"][i, j]) / math.sqrt(float(own[0][i] * own[1][j]))
            assert math.sqrt(cka) == pytest.approx(biased, rel=1e-6)


def test_unbiased_has_mean_zero_under_independence() -> None:
    generator = torch.Generator().manual_seed(0)
    means = {"unbiased": [], "biased": []}
    for _ in range(60):
        x, y = torch.randn(8, 25, generator=generator), torch.randn(8, 25, generator=generator)
        for name, values in means.items():
            values.append(float(hsic_matrix(x, y, name).values.mean()))
    unbiased, biased = (torch.tensor(means[name]) for name in ("unbiased", "biased"))
    assert abs(float(unbiased.mean())) < 3 * float(unbiased.std()) / math.sqrt(60)
    assert float(biased.mean()) > 10 * float(biased.std()) / math.sqrt(60)


# Not paper: at its wide width the kernel sees little beyond correlation.
@pytest.mark.parametrize("estimator", ["normalised", "unbiased", "biased"])
def test_sees_a_dependence_without_correlation(estimator: str) -> None:
    x = torch.randn(1, 200, generator=torch.Generator().manual_seed(0)).double()
    noise = torch.randn(1, 200, generator=torch.Generator().manual_seed(1)).double()
    result = hsic_matrix(x, torch.cat([x**2, noise]), estimator).values[0]
    assert result[0] > 3 * result[1].abs()


@pytest.mark.parametrize("estimator", ["normalised", "unbiased", "biased"])
@given(seed=st.integers(0, 1000), scale=st.floats(1e-6, 1e6), shift=st.floats(-10, 10), samples=st.integers(4, 30))
@settings(max_examples=20, deadline=None)
def test_scale_shift_and_order_change_nothing(
    estimator: str, seed: int, scale: float, shift: float, samples: int
) -> None:
    x, y = factors_data(3, samples, seed).double(), factors_data(2, samples, seed + 1).double()
    before = hsic_matrix(x, y, estimator).values
    order = torch.from_numpy(np.random.RandomState(seed).permutation(samples))
    after = hsic_matrix((-scale * (x + shift))[:, order], y[:, order], estimator).values
    assert torch.allclose(before, after, rtol=1e-6, atol=1e-9)
    assert torch.allclose(hsic_matrix(y, x, estimator).values.T, before, rtol=1e-9, atol=1e-12)


def test_normalised_lies_between_minus_one_and_one() -> None:
    x = factors_data(10, 30, 0).double()
    values = hsic_matrix(x, x, "normalised").values
    assert torch.allclose(values.diag(), torch.ones(10, dtype=torch.float64), atol=1e-12)
    assert float(values.abs().max()) <= 1 + 1e-12


def test_rank_transform_sees_only_order() -> None:
    x, y = factors_data(3, 40, 0).double(), factors_data(2, 40, 1).double()
    before = hsic_matrix(x, y, transform="rank").values
    assert torch.equal(hsic_matrix(torch.exp(x), y**3, transform="rank").values, before)


@pytest.mark.parametrize("estimator", ["normalised", "unbiased", "biased"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("samples", [6, 700])
def test_constant_neurons_are_missing_not_nan(estimator: str, dtype: torch.dtype, samples: int) -> None:
    x, y = factors_data(3, samples, 0).to(dtype), factors_data(2, samples, 1).to(dtype)
    x[1], y[0] = 0.1, -3.0
    result = hsic_matrix(x, y, estimator)
    assert result.missing_rows.tolist() == [False, True, False]
    assert result.missing_columns.tolist() == [True, False]
    assert bool(torch.isfinite(result.values).all())
    assert torch.count_nonzero(result.values[1]) == 0
    assert torch.count_nonzero(result.values[:, 0]) == 0
    alone = hsic_matrix(x[[0, 2]], y[1:], estimator).values
    assert torch.allclose(result.values[[0, 2]][:, 1:], alone, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("samples", [8, 50, 800])
def test_a_single_deviating_sample_is_missing_when_normalised(dtype: torch.dtype, samples: int) -> None:
    x, y = torch.zeros(2, samples, dtype=dtype), factors_data(2, samples, 1).to(dtype)
    x[0, 3] = 1.0
    x[1, :2] = 1.0
    assert hsic_matrix(x, y).missing_rows.tolist() == [True, False]
    unbiased = hsic_matrix(x, y, "unbiased")
    assert unbiased.missing_rows.tolist() == [False, False]
    assert unbiased.values[0].abs().max() < 1e-7


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_extreme_values_and_duplicated_samples_stay_finite(estimator: str) -> None:
    x, y = factors_data(3, 20, 0), factors_data(3, 20, 1)
    x[0] *= 1e-20
    x[1] *= 1e20
    x[2, 0] = 1e12
    doubled = hsic_matrix(torch.cat([x, x], dim=1), torch.cat([y, y], dim=1), estimator)
    assert bool(torch.isfinite(doubled.values).all())
    assert bool(torch.isfinite(hsic_matrix(x, y, estimator).values).all())


def test_empty_sets_give_empty_tables() -> None:
    for estimator in ESTIMATORS:
        assert hsic_matrix(torch.zeros(0, 9), factors_data(2, 9, 0), estimator).values.shape == (0, 2)


def test_products_stay_in_float32_where_training_allowed_less() -> None:
    x, y = factors_data(20, 300, 0), factors_data(20, 300, 1)
    before = torch.get_float32_matmul_precision()
    expected = hsic_matrix(x, y).values
    torch.set_float32_matmul_precision("medium")
    try:
        assert torch.equal(hsic_matrix(x, y).values, expected)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize(
    ("x", "y", "options", "message"),
    [
        (torch.ones(2, 3), torch.ones(2, 3), {}, "x has 3 samples, this statistic needs at least 4"),
        (torch.ones(2, 5), torch.ones(2, 6), {}, "x has 5 samples, y has 6"),
        (torch.ones(5), torch.ones(2, 6), {}, r"x must be a matrix \[neurons, samples\], got shape \(5,\)"),
        (torch.ones(2, 5), torch.ones(2, 5).half(), {}, "y must be float32 or float64, got torch.float16"),
        (torch.ones(2, 5), torch.ones(2, 5).double(), {}, "they must agree"),
        (torch.full((2, 5), torch.nan), torch.ones(2, 5), {}, "x holds values that are not finite"),
        (torch.ones(2, 5), torch.ones(2, 5), {"estimator": "cka"}, "estimator 'cka' is unknown, expected one of norm"),
        (torch.ones(2, 5), torch.ones(2, 5), {"transform": "log"}, "transform 'log' is unknown, expected none or rank"),
    ],
)
def test_misuse_is_refused_with_the_value(x: Tensor, y: Tensor, options: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hsic_matrix(x, y, **options)


def test_block_score_by_hand() -> None:
    values = torch.tensor([[0.1, 0.5, 0.2], [0.4, 0.3, 0.9]], dtype=torch.float64)
    assert block_score(values) == pytest.approx(((0.5 + 0.9) / 2 + (0.4 + 0.5 + 0.9) / 3) / 2)
    assert block_score(values, columns=torch.tensor([True, True, False])) == pytest.approx((0.45 + 0.45) / 2)
    assert block_score(values, rows=torch.tensor([1])) == pytest.approx((0.9 + (0.4 + 0.3 + 0.9) / 3) / 2)
    several = block_scores(values, [torch.tensor([0, 1]), torch.tensor([2])])
    assert several.tolist() == pytest.approx([0.45, ((0.2 + 0.9) / 2 + 0.9) / 2])


def test_block_score_without_self_matches() -> None:
    values = torch.tensor([[1.0, 0.5], [0.2, 0.3]], dtype=torch.float64)
    excluded = torch.tensor([[True, False], [False, False]])
    assert block_score(values, excluded=excluded) == pytest.approx(((0.5 + 0.3) / 2 + (0.2 + 0.5) / 2) / 2)
    # With column 0 alone, row 0 has no partner and leaves the mean.
    assert block_score(values, columns=torch.tensor([0]), excluded=excluded) == pytest.approx(0.2)
    with pytest.raises(ValueError, match="all pairs of neurons are excluded"):
        block_score(values[:1, :1], excluded=excluded[:1, :1])
    with pytest.raises(ValueError, match="no pair of neurons"):
        block_score(values, rows=torch.tensor([False, False]))
