import math

import numpy as np
import pytest
import torch
from torch import Tensor

from bridgex.stats.cka import cka
from bridgex.stats.cka_subsets import cka_deviations, half_samples, subset_cka
from tests.stats.references import song

CAUSES, WIDTH = 20, 32


def normal(samples: int, width: int, seed: int) -> Tensor:
    return torch.from_numpy(np.random.RandomState(seed).standard_normal((samples, width)))


VIEWS = np.random.RandomState(7).standard_normal((2, CAUSES, WIDTH)) / np.arange(1, CAUSES + 1)[None, :, None]
NOISE = 0.3


def two_views(samples: int, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Two sets of features of the same hidden causes, the same two views for every seed, with noise of their own."""
    random = np.random.RandomState(seed)
    causes = random.standard_normal((samples, CAUSES))
    sides = [share * causes @ view + NOISE * random.standard_normal((samples, WIDTH)) for view in VIEWS]
    return torch.from_numpy(sides[0]), torch.from_numpy(sides[1])


def population_cka(share: float) -> float:
    """`||Cov(x, y)||^2 / (||Cov(x)|| ||Cov(y)||)` of the two views, in Frobenius norms."""
    a, b = share * VIEWS
    noise = NOISE**2 * np.eye(WIDTH)
    return float(np.sum((a.T @ b) ** 2) / (np.linalg.norm(a.T @ a + noise) * np.linalg.norm(b.T @ b + noise)))


@pytest.mark.parametrize(("samples", "widths"), [(30, (5, 3)), (9, (20, 40)), (25, (5, 40))])
def test_each_subset_has_the_cka_of_its_rows(samples: int, widths: tuple[int, int]) -> None:
    x, y = normal(samples, widths[0], 0), normal(samples, widths[1], 1)
    y[:, 0] += 2 * x[:, 0]
    masks = torch.from_numpy(np.random.RandomState(2).random((samples, 6)) < 0.6)
    masks[:4] = True
    masks[:, 0] = True
    found = subset_cka(x + 3.0, 5.0 * y - 7.0, masks)
    for value, mask in zip(found.tolist(), masks.T, strict=True):
        rows, others = x[mask], y[mask]
        k, l = rows @ rows.T, others @ others.T  # noqa: E741
        assert value == pytest.approx(song(k, l) / math.sqrt(song(k, k) * song(l, l)), abs=1e-9)
        assert value == pytest.approx(cka(rows, others), abs=1e-9)


def test_float32_with_an_offset_is_as_good() -> None:
    x = normal(60, 8, 0)
    y = x + 0.5 * normal(60, 8, 1)
    masks = half_samples(60, 20, 0)
    shifted = subset_cka((x + 100).float(), (y - 100).float(), masks)
    torch.testing.assert_close(shifted, subset_cka(x, y, masks), atol=1e-4, rtol=0)


def test_order_rotation_and_scale_change_nothing() -> None:
    x, y = two_views(40, 1.0, 0)
    masks, order = half_samples(40, 10, 0), torch.from_numpy(np.random.RandomState(1).permutation(40))
    rotation = torch.linalg.qr(normal(WIDTH, WIDTH, 2)).Q
    expected = subset_cka(x, y, masks)
    torch.testing.assert_close(subset_cka(1e-3 * x @ rotation, y * 1e3, masks), expected, atol=1e-9, rtol=0)
    torch.testing.assert_close(subset_cka(x[order], y[order], masks[order]), expected, atol=1e-9, rtol=0)
    torch.testing.assert_close(subset_cka(y, x, masks), expected, atol=1e-12, rtol=0)


def test_a_side_that_does_not_vary_in_a_subset_shows_nothing() -> None:
    x, y = normal(12, 3, 0), normal(12, 3, 1)
    x[:6] = x[0].clone()
    masks = torch.zeros(12, 2, dtype=torch.bool)
    masks[:6, 0] = True
    masks[4:, 1] = True
    first, second = subset_cka(x, y, masks).tolist()
    assert first == 0.0
    assert second == pytest.approx(cka(x[4:], y[4:]))
    assert cka_deviations(torch.ones(12, 3), y, half_samples(12, 5, 0))[0] is None


@pytest.mark.parametrize("samples", [8, 9, 101])
def test_halves_are_halves_drawn_evenly(samples: int) -> None:
    halves = half_samples(samples, 4000, 3)
    assert (halves.sum(dim=0) == samples // 2).all()
    share = samples // 2 / samples
    error = math.sqrt(share * (1 - share) / 4000)
    assert ((halves.double().mean(dim=1) - share).abs() < 5 * error).all()
    assert torch.equal(halves, half_samples(samples, 4000, 3))
    assert not torch.equal(halves, half_samples(samples, 4000, 4))


def test_bad_shapes_are_named() -> None:
    x = normal(10, 2, 0)
    with pytest.raises(ValueError, match=r"\(10, 2\), \(9, 2\), \(10, 5\)"):
        subset_cka(x, x[:9], half_samples(10, 5, 0))
    with pytest.raises(ValueError, match="at least 4 samples, got 3"):
        subset_cka(x[:7], x[:7], half_samples(7, 5, 0))


def coverage(share: float, samples: int, num: int = 300) -> tuple[float, float]:
    """How often the interval holds the population's CKA, and the interval's width over that of the estimates."""
    truth = population_cka(share)
    inside, widths, estimates = 0, [], []
    for seed in range(num):
        observed, deviations = cka_deviations(*two_views(samples, share, seed), half_samples(samples, 200, seed))
        assert observed is not None
        low, high = np.percentile(observed + deviations.numpy(), [2.5, 97.5])
        inside += low <= truth <= high
        widths.append(high - low)
        estimates.append(observed)
    return inside / num, float(np.mean(widths)) / (2 * 1.96 * float(np.std(estimates)))


@pytest.mark.parametrize("share", [0.1, 0.3, 1.0])
@pytest.mark.parametrize("samples", [60, 150])
def test_intervals_cover_the_population(share: float, samples: int) -> None:
    covered, width = coverage(share, samples)
    # 93 to 96 % over 1,000 draws; of 300 at 93 % there are fewer than 88 % once in a thousand times.
    assert 0.88 <= covered <= 0.985
    assert 0.85 < width < 1.3


def test_where_nothing_is_similar_the_estimate_is_zero_and_the_interval_wide() -> None:
    covered, width = coverage(0.0, 60, 100)
    assert covered >= 0.95
    assert 1.3 < width < 2.2
    values = [cka_deviations(*two_views(60, 0.0, seed), half_samples(60, 0, 0))[0] or 0.0 for seed in range(100)]
    assert abs(np.mean(values)) < 3.5 * np.std(values) / 10


def test_a_bootstrap_with_replacement_would_not_do() -> None:
    """Why half-samples: words drawn twice make two unrelated sides look alike."""
    x, y = two_views(60, 0.0, 0)
    random = np.random.RandomState(0)
    drawn = [cka(x[rows], y[rows]) or 0.0 for rows in random.randint(0, 60, (50, 60))]
    observed, deviations = cka_deviations(x, y, half_samples(60, 50, 0))
    assert observed is not None
    assert min(drawn) > observed + 0.1
    assert float(deviations.mean()) == pytest.approx(0.0, abs=1e-12)
