from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from bridgex.extract.profiles import ProbeColumns, Profile, ProfileSums, block_sums

WIDTHS = (5, 7)
Batch = tuple[dict[int, Tensor], Tensor]


def batches(count: int, seed: int = 0) -> list[Batch]:
    """Activations of 36 tokens by block, and the places of those that count."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(count):
        counted = (torch.rand(36, generator=generator) > 0.4).nonzero()[:, 0]
        first, second = (torch.randn(36, width, generator=generator) for width in WIDTHS)
        made.append(({1: first, 2: second.relu()}, counted))  # a zero is not active
    return made


def sums_of(given: list[Batch]) -> ProfileSums:
    sums = ProfileSums()
    for activations, counted in given:
        sums.add({block: block_sums(activation, counted) for block, activation in activations.items()})
    return sums


def assert_equal(found: Profile, expected: Profile, tolerance: float) -> None:
    assert found.num_tokens == expected.num_tokens
    for mine, theirs in zip((*found.share, *found.mean), (*expected.share, *expected.mean), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=tolerance)


def test_sums_equal_a_loop_over_tokens() -> None:
    given = batches(6)
    profile = sums_of(given).profile()
    for block, width in enumerate(WIDTHS, start=1):
        count, active, total = 0, np.zeros(width), np.zeros(width)
        for activations, counted in given:
            for place in counted.tolist():
                values = activations[block][place].numpy().astype(np.float64)
                count, active, total = count + 1, active + (values > 0), total + values
        assert profile.num_tokens == count
        np.testing.assert_array_equal(profile.share[block - 1], active / count)
        np.testing.assert_allclose(profile.mean[block - 1], total / count, rtol=0, atol=1e-13)
        assert profile.share[block - 1].dtype == profile.mean[block - 1].dtype == np.float64


def test_halves_add_up_to_the_whole() -> None:
    given = batches(9)
    whole = sums_of(given).profile()
    assert_equal((sums_of(given[:4]) + sums_of(given[4:])).profile(), whole, 1e-12)
    assert_equal((ProfileSums() + sums_of(given)).profile(), whole, 0.0)
    assert_equal(sums_of(given).cpu().profile(), whole, 0.0)


def test_sums_do_not_change_what_they_were_made_of() -> None:
    first, second = sums_of(batches(2)), sums_of(batches(3, seed=1))
    before = first.profile()
    assert_equal((first + second).profile(), (second + first).profile(), 1e-12)
    assert_equal(first.profile(), before, 0.0)


def test_what_does_not_count_does_not_matter() -> None:
    ((activations, counted),) = batches(1)
    expected = sums_of([(activations, counted)]).profile()
    mask = torch.zeros(36, 1, dtype=torch.bool).index_fill(0, counted, True)
    for poison in (float("nan"), float("inf"), 1e30):
        poisoned = {block: torch.where(mask, values, poison) for block, values in activations.items()}
        assert_equal(sums_of([(poisoned, counted)]).profile(), expected, 0.0)


def test_sums_in_half_precision_are_exact() -> None:
    activation = torch.full((20_000, 1), 0.1, dtype=torch.bfloat16)
    sums = ProfileSums()
    sums.add({1: block_sums(activation, torch.arange(20_000))})
    assert sums.profile().mean[0][0] == pytest.approx(float(activation[0, 0]), rel=1e-14)


def test_a_profile_survives_being_arrays() -> None:
    profile = sums_of(batches(2)).profile(num_truncated=3)
    again = Profile.from_arrays(profile.arrays())
    assert again.num_truncated == 3
    assert_equal(again, profile, 0.0)
    with pytest.raises(KeyError):
        Profile.from_arrays({})


def test_no_tokens_no_profile() -> None:
    with pytest.raises(ValueError, match="no tokens"):
        ProfileSums().profile()


LENGTHS = (4, 4, 2, 3)


def test_columns_are_means_over_counted_tokens() -> None:
    activation = torch.randn(sum(LENGTHS), 5, generator=torch.Generator().manual_seed(0))
    starts = np.cumsum((0, *LENGTHS[:-1]))
    poisoned = activation.clone()
    poisoned[starts] = float("nan")  # what stands in front does not count
    columns = ProbeColumns([np.array([3, 0]), np.array([], dtype=int)], 6)
    parts = {block: columns.means(block, poisoned, LENGTHS, num_prefix=1) for block in (1, 2)}
    assert columns.part() == ([], {}), "nothing is kept before a batch is whole"
    columns.add(parts, (4, 1, 5, 0))
    filled, means = columns.part()
    assert filled == [4, 1, 5, 0]
    assert means[2].shape == (4, 0)
    for place, (start, length) in enumerate(zip(starts, LENGTHS, strict=True)):
        expected = activation[start + 1 : start + length].mean(dim=0)[[3, 0]]
        np.testing.assert_allclose(means[1][place], expected, rtol=1e-5, atol=1e-6)


def test_a_prompt_that_is_not_finite_stays_by_itself() -> None:
    activation = torch.randn(sum(LENGTHS), 5)
    activation[5] = float("inf")
    columns = ProbeColumns([np.arange(5)], 4)
    finite = columns.means(1, activation, LENGTHS, num_prefix=0).isfinite().all(dim=1)
    assert finite.tolist() == [True, False, True, True]


def test_neurons_that_are_not_there_are_refused() -> None:
    columns = ProbeColumns([np.array([5])], 1)
    with pytest.raises(ValueError, match="block 1: neurons 5 to 5 of 5"):
        columns.means(1, torch.ones(2, 5), (2,), num_prefix=0)
