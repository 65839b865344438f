import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from bridgex.stats.kernels import constant_rows, gaussian_scores, median_widths, residualise_length, zscore
from tests.stats.references import length_residuals, median_width

VALUES = st.floats(-100, 100, allow_nan=False, width=16, allow_subnormal=False)


@given(arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(2, 20)), elements=VALUES))
def test_width_is_the_lower_median_of_non_zero_differences(values: np.ndarray) -> None:
    x = torch.from_numpy(values)
    widths, missing = median_widths(x)
    for i, row in enumerate(x):
        if missing[i]:
            assert widths[i] == 1
        else:
            assert float(widths[i]) == pytest.approx(median_width(row), rel=2e-8)


def test_width_of_float64_is_exact() -> None:
    x = torch.from_numpy(np.random.RandomState(0).standard_normal((5, 101)))
    expected = [median_width(row) for row in x]
    assert median_widths(x)[0].tolist() == pytest.approx(expected, rel=1e-13)


def test_width_ignores_ties_and_keeps_digits_under_an_offset() -> None:
    mostly_zero = torch.zeros(1, 50, dtype=torch.float64)
    mostly_zero[0, :2] = torch.tensor([3.0, 5.0])
    assert float(median_widths(mostly_zero)[0]) == pytest.approx(3.0, rel=1e-13)
    x = torch.arange(10, dtype=torch.float64)[None]
    assert float(median_widths(x + 1e9)[0]) == pytest.approx(float(median_widths(x)[0]), rel=1e-12)


def test_constant_neurons_are_missing() -> None:
    x = torch.tensor([[1.0, 1.0, 1.0], [0.1, 0.1, 0.1 + 1e-8], [1.0, 1.0, 1.1], [0.0, 0.0, 0.0]])
    assert constant_rows(x).tolist() == [True, True, False, True]
    assert median_widths(x)[1].tolist() == [True, True, False, True]


def test_gaussian_scores_are_normal_quantiles_of_ranks() -> None:
    x = torch.tensor([[10.0, -3.0, 2.0, 2.0], [1.0, 1.0, 1.0, 1.0]])
    scores = gaussian_scores(x)
    expected = stats.norm.ppf((np.array([4, 1, 2.5, 2.5]) - 0.5) / 4)
    assert scores[0].tolist() == pytest.approx(expected.tolist(), abs=1e-6)
    assert bool(constant_rows(scores)[1])
    assert gaussian_scores(torch.zeros(0, 4)).shape == (0, 4)


def test_gaussian_scores_see_only_order() -> None:
    x = torch.from_numpy(np.random.RandomState(0).standard_normal((3, 30)))
    assert torch.equal(gaussian_scores(x), gaussian_scores(torch.exp(2 * x) - 5))


def test_residuals_equal_weighted_least_squares_and_another_scale_or_offset_changes_nothing() -> None:
    random = np.random.RandomState(0)
    lengths = random.randint(3, 12, 40).astype(float)
    x = random.standard_normal((5, 40)) / np.sqrt(lengths) + 0.7 * lengths + 3 / lengths
    residuals = residualise_length(torch.from_numpy(x), torch.from_numpy(lengths))
    np.testing.assert_allclose(residuals.numpy(), length_residuals(x, lengths), atol=1e-9)
    moved = residualise_length(torch.from_numpy(1000.0 + 5 * x), torch.from_numpy(lengths))
    assert torch.allclose(moved, residuals, atol=1e-8)


def test_few_lengths_take_out_the_means_of_their_groups() -> None:
    x = torch.randn(3, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([5, 9]).repeat(15)
    residuals = residualise_length(x, lengths)
    assert torch.allclose(residuals.unflatten(1, (15, 2)).sum(dim=1), torch.zeros(3, 2, dtype=torch.float64), atol=1e-9)


def test_residuals_where_length_explains_nothing_or_everything() -> None:
    x = torch.randn(2, 10, generator=torch.Generator().manual_seed(0))
    assert torch.equal(residualise_length(x, torch.full((10,), 7)), x)
    assert residualise_length(x[:0], torch.arange(1, 11)).shape == (0, 10)
    lengths = torch.arange(1, 11)
    explained = residualise_length((1000.3 + 0.1 * lengths.float())[None], lengths)
    assert torch.count_nonzero(explained) == 0
    with pytest.raises(ValueError, match=r"num_tokens has shape \(9,\), expected \(10,\)"):
        residualise_length(x, torch.ones(9))
    with pytest.raises(ValueError, match="not positive"):
        residualise_length(x, torch.arange(10))


def test_zscore_uses_n_minus_one_and_zeroes_constants() -> None:
    x = torch.tensor([[1.0, 2.0, 3.0], [0.1, 0.1, 0.1]])
    assert zscore(x)[0].tolist() == pytest.approx([-1.0, 0.0, 1.0], abs=2e-6)
    assert zscore(x)[1].tolist() == [0.0, 0.0, 0.0]
