import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bridgex.stats.cka import cka
from tests.stats.references import song, trace_khlh


def normal(samples: int, width: int, seed: int) -> Tensor:
    return torch.from_numpy(np.random.RandomState(seed).standard_normal((samples, width)))


def naive(x: Tensor, y: Tensor, estimator: str) -> float:
    statistic = song if estimator == "unbiased" else trace_khlh
    k, l = x @ x.T, y @ y.T  # noqa: E741
    return statistic(k, l) / math.sqrt(statistic(k, k) * statistic(l, l))


@pytest.mark.parametrize("estimator", ["unbiased", "biased"])
@pytest.mark.parametrize(("samples", "widths"), [(30, (5, 3)), (8, (20, 40)), (4, (2, 2)), (12, (5, 40))])
def test_equals_the_definition(estimator: str, samples: int, widths: tuple[int, int]) -> None:
    x, y = normal(samples, widths[0], 0), normal(samples, widths[1], 1)
    y[:, 0] += x[:, 0]
    assert cka(x, y, estimator) == pytest.approx(naive(x, y, estimator), rel=1e-9)
    assert cka(x, x, estimator) == pytest.approx(1.0, rel=1e-12)


@given(seed=st.integers(0, 500), scale=st.floats(1e-4, 1e4), offset=st.floats(-100, 100))
@settings(max_examples=25, deadline=None)
def test_rotation_scale_offset_and_order_change_nothing(seed: int, scale: float, offset: float) -> None:
    x, y = normal(15, 4, seed), normal(15, 6, seed + 1)
    rotation = torch.linalg.qr(normal(4, 4, seed + 2)).Q
    order = torch.from_numpy(np.random.RandomState(seed).permutation(15))
    for estimator in ("unbiased", "biased"):
        before = cka(x, y, estimator)
        assert cka((scale * x @ rotation + offset)[order], y[order], estimator) == pytest.approx(before, abs=1e-6)
        assert cka(y, x, estimator) == pytest.approx(before, rel=1e-9)


def test_unbiased_is_zero_and_biased_is_not_for_unrelated_wide_representations() -> None:
    values = {
        name: [cka(normal(60, 100, 2 * s), normal(60, 100, 2 * s + 1), name) or 0.0 for s in range(20)]
        for name in ("unbiased", "biased")
    }
    assert abs(np.mean(values["unbiased"])) < 3 * np.std(values["unbiased"]) / math.sqrt(20)
    assert np.mean(values["biased"]) > 0.5


@pytest.mark.parametrize("offset", [0.0, 100.0, 1000.0])
def test_an_offset_in_float32_does_not_matter(offset: float) -> None:
    x = normal(50, 8, 0)
    y = x + 0.5 * normal(50, 8, 1)
    expected = cka(x, y)
    assert cka((x + offset).float(), (y + offset).float()) == pytest.approx(expected, abs=1e-4)


def test_degenerate_sides_are_missing() -> None:
    x, constant = normal(20, 5, 0).float(), torch.full((20, 7), 0.1)
    one_row = torch.zeros(20, 3)
    one_row[4] = 1.0
    for estimator in ("unbiased", "biased"):
        assert cka(x, constant, estimator) is None
        assert cka(x, torch.zeros(20, 3), estimator) is None
        assert cka(constant + 1e-8 * x[:, :1], x, estimator) is None
    assert cka(x, one_row, "unbiased") is None
    assert cka(x, one_row, "biased") is not None
    assert cka(x, torch.zeros(20, 0)) is None


def test_misuse_is_refused() -> None:
    with pytest.raises(ValueError, match=r"got \(5, 2\) and \(4, 2\)"):
        cka(torch.ones(5, 2), torch.ones(4, 2))
    with pytest.raises(ValueError, match="unbiased CKA needs at least 4 samples, got 3"):
        cka(torch.ones(3, 2), torch.ones(3, 2))
    with pytest.raises(ValueError, match="not finite"):
        cka(torch.full((5, 2), torch.inf), torch.ones(5, 2))
    with pytest.raises(ValueError, match="estimator 'paper' is unknown, expected unbiased or biased"):
        cka(torch.ones(5, 2), torch.ones(5, 2), "paper")
