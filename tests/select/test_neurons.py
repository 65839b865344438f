"""Which neurons stand for a language: exact counts, ties, overlap, and the three readings of the bridge's own."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from bridgex.select.evidence import LanguageProfile, Mask
from bridgex.select.neurons import bridge_neurons, language_neurons, middle_blocks, overlap_neurons

Chosen = set[tuple[int, int]]


def make_profile(share: Sequence[Sequence[float]], mean: Sequence[Sequence[float]] | None = None) -> LanguageProfile:
    means = [[0.0] * len(block) for block in share] if mean is None else mean
    return LanguageProfile(tuple(np.array(b) for b in share), tuple(np.array(b) for b in means))


def random_profile(seed: int, widths: Sequence[int] = (7, 11, 5), levels: int = 4) -> LanguageProfile:
    """Few levels, so that most neurons tie."""
    random = np.random.default_rng(seed)
    return LanguageProfile(
        tuple(random.integers(levels, size=width) / levels for width in widths),
        tuple(random.integers(3, size=width) / 3 for width in widths),
    )


def as_set(masks: Sequence[Mask]) -> Chosen:
    return {(block, int(index)) for block, mask in enumerate(masks) for index in np.flatnonzero(mask)}


def ranked(profile: LanguageProfile, of: Chosen | None = None) -> list[tuple[int, int]]:
    """Neurons by share, then mean, then index, one comparison key a neuron."""
    keys = {
        (block, index): (-float(profile.share[block][index]), -float(profile.mean[block][index]), block, index)
        for block in range(len(profile.share))
        for index in range(len(profile.share[block]))
    }
    return sorted(keys if of is None else of, key=keys.__getitem__)


def slow_bridge_neurons(bridge: Chosen, overlap: Chosen, profile: LanguageProfile, reading: str) -> Chosen:
    """The definitions of the three readings, as sets."""
    if reading == "all":
        return bridge
    specific = bridge - overlap
    if reading == "specific":
        return specific
    kept: Chosen = set()
    for block in range(len(profile.share)):
        own = {neuron for neuron in specific if neuron[0] == block}
        num = min(len(own), len({neuron for neuron in overlap if neuron[0] == block}))
        kept |= set(ranked(profile, own)[:num])
    return kept


@pytest.mark.parametrize("share", [0.01, 0.1, 0.2, 0.37, 0.5])
@pytest.mark.parametrize("seed", range(5))
def test_language_neurons_are_the_first_of_all_blocks(seed: int, share: float) -> None:
    profile = random_profile(seed)
    found = language_neurons(profile, share)
    assert [len(mask) for mask in found] == [7, 11, 5]
    assert as_set(found) == set(ranked(profile)[: round(share * 23)])


@pytest.mark.parametrize(("share", "count"), [(0.2, 256), (0.01, 13), (0.3333, 427), (1e-6, 0)])
def test_exactly_as_many_as_asked_for_even_if_all_tie(share: float, count: int) -> None:
    profile = make_profile([[0.5] * 256] * 5)
    found = language_neurons(profile, share)
    assert sum(int(mask.sum()) for mask in found) == count == round(share * 1280)
    assert as_set(found) == {(n // 256, n % 256) for n in range(count)}, "the first by index"


def test_ties_go_to_the_higher_mean_and_then_to_the_lower_index() -> None:
    profile = make_profile([[0.5, 0.5], [0.5, 0.9], [0.5, 0.5]], [[0.1, 0.3], [0.2, -1.0], [0.3, 0.0]])
    by_size = [as_set(language_neurons(profile, size / 6)) for size in range(1, 4)]
    assert by_size == [{(1, 1)}, {(1, 1), (0, 1)}, {(1, 1), (0, 1), (2, 0)}]


def test_a_block_may_have_none_of_them() -> None:
    found = language_neurons(make_profile([[0.1, 0.2], [0.8, 0.9]]), 0.5)
    assert [mask.tolist() for mask in found] == [[False, False], [True, True]]


def test_overlap_is_the_intersection() -> None:
    first, second = (language_neurons(random_profile(seed), 0.4) for seed in (0, 1))
    assert as_set(overlap_neurons(first, second)) == as_set(first) & as_set(second)
    assert as_set(overlap_neurons(first, first)) == as_set(first)


@pytest.mark.parametrize("reading", ["all", "specific", "specific_top_k"])
@pytest.mark.parametrize("seed", range(6))
def test_the_three_readings_equal_their_definitions(seed: int, reading: str) -> None:
    source, target, bridge = (random_profile(3 * seed + place) for place in range(3))
    of_source, of_target, of_bridge = (language_neurons(profile, 0.45) for profile in (source, target, bridge))
    overlap = overlap_neurons(of_source, of_target)
    found = bridge_neurons(of_bridge, overlap, bridge, reading)  # type: ignore[arg-type]
    assert as_set(found) == slow_bridge_neurons(as_set(of_bridge), as_set(overlap), bridge, reading)


def test_top_k_takes_the_most_active_and_no_more_than_there_are() -> None:
    profile = make_profile([[0.9, 0.7, 0.8, 0.6], [0.9, 0.8, 0.1, 0.1]])
    of_bridge = (np.array([True, True, True, True]), np.array([True, False, False, False]))
    overlap = (np.array([True, False, False, True]), np.array([False, True, True, True]))
    found = bridge_neurons(of_bridge, overlap, profile, "specific_top_k")
    assert [mask.tolist() for mask in found] == [[False, True, True, False], [True, False, False, False]]


def test_middle_blocks_are_the_published_ones() -> None:
    assert middle_blocks(32, (0.3125, 0.6875)) == tuple(range(11, 23)), "layers 10 to 21, counted from 0"
    assert middle_blocks(5, (0.25, 0.75)) == (2, 3, 4)
    assert middle_blocks(5, (0.3125, 0.6875)) == (3,)


@pytest.mark.parametrize("num_blocks", [1, 2, 8, 24, 28, 36, 40, 80])
def test_middle_blocks_keep_the_lower_end_and_not_the_upper(num_blocks: int) -> None:
    # Both ends times 16 are whole, so that no rounding decides.
    expected = [block for block in range(1, num_blocks + 1) if 5 * num_blocks <= 16 * block - 8 < 11 * num_blocks]
    assert list(middle_blocks(num_blocks, (0.3125, 0.6875))) == expected
    assert middle_blocks(num_blocks, (0.0, 1.0)) == tuple(range(1, num_blocks + 1))
    assert math.isclose(len(expected) / num_blocks, 0.375, abs_tol=1 / num_blocks)
