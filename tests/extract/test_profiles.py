from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from bridgex.extract.profiles import ProbeColumns, Profile, ProfileSums

WIDTHS = (5, 7)


def batches(count: int, seed: int = 0) -> list[tuple[dict[int, Tensor], Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(count):
        mask = torch.rand(4, 9, generator=generator) > 0.4
        mask[0, 0] = True
        first, second = (torch.randn(4, 9, width, generator=generator) for width in WIDTHS)
        made.append(({1: first, 2: second.relu()}, mask))  # a zero is not active
    return made


def sums_of(given: list[tuple[dict[int, Tensor], Tensor]]) -> ProfileSums:
    sums = ProfileSums()
    for activations, mask in given:
        for block, activation in activations.items():
            sums.update(block, activation, mask)
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
        for activations, mask in given:
            for row, column in mask.nonzero().tolist():
                values = activations[block][row, column].numpy().astype(np.float64)
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


def test_what_stands_in_padding_does_not_matter() -> None:
    ((activations, mask),) = batches(1)
    expected = sums_of([(activations, mask)]).profile()
    for poison in (float("nan"), float("inf"), 1e30):
        poisoned = {block: torch.where(mask[..., None], values, poison) for block, values in activations.items()}
        assert_equal(sums_of([(poisoned, mask)]).profile(), expected, 0.0)


def test_sums_in_half_precision_are_exact() -> None:
    activation = torch.full((1, 20_000, 1), 0.1, dtype=torch.bfloat16)
    sums = ProfileSums()
    sums.update(1, activation, torch.ones(1, 20_000, dtype=torch.bool))
    assert sums.profile().mean[0][0] == pytest.approx(float(activation[0, 0, 0]), rel=1e-14)


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


def test_columns_are_means_over_counted_tokens() -> None:
    ((activations, mask),) = batches(1)
    mask[:, 2] = True
    poisoned = torch.where(mask[..., None], activations[1], float("nan"))
    columns = ProbeColumns([np.array([3, 0]), np.array([], dtype=int)], 6)
    columns.update(1, poisoned, mask, (4, 1, 5, 0))
    columns.finish_batch((4, 1, 5, 0))
    filled, means = columns.part()
    assert filled == [4, 1, 5, 0]
    for place, row in enumerate(range(4)):
        expected = activations[1][row][mask[row]].mean(dim=0)[[3, 0]]
        np.testing.assert_allclose(means[1][place], expected, rtol=1e-5, atol=1e-6)


def test_neurons_that_are_not_there_are_refused() -> None:
    columns = ProbeColumns([np.array([5])], 1)
    with pytest.raises(ValueError, match="block 1: neurons 5 to 5 of 5"):
        columns.update(1, torch.ones(1, 2, 5), torch.ones(1, 2), (0,))
