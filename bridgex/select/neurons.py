"""Which neurons stand for a language, which ones two languages share, and which ones are the bridge's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from bridgex.select.evidence import Floats, LanguageProfile, Mask

# Largest difference between a neuron and its match, in standard deviations.
_CALIPER = 0.25
Reading = Literal["all", "specific", "specific_top_k"]


def language_neurons(profile: LanguageProfile, neuron_share: float) -> tuple[Mask, ...]:
    """The neurons that answer most often to a language, over all blocks at once.

    Exactly `round(neuron_share * total)` of them: highest share first, ties by mean activation, then by index.

    Args:
        profile: of the language.
        neuron_share: how many of all neurons.

    Returns:
        Per block, a mask `[I_l]`.
    """
    share, mean = np.concatenate(profile.share), np.concatenate(profile.mean)
    order = np.lexsort((np.arange(len(share)), -mean, -share))
    chosen = np.zeros(len(share), dtype=bool)
    chosen[order[: round(neuron_share * len(share))]] = True
    return tuple(np.split(chosen, np.cumsum([len(block) for block in profile.share])[:-1]))


def overlap_neurons(first: Sequence[Mask], second: Sequence[Mask]) -> tuple[Mask, ...]:
    """Neurons of both sets, per block."""
    return tuple(a & b for a, b in zip(first, second, strict=True))


def bridge_neurons(
    of_bridge: Sequence[Mask], overlap: Sequence[Mask], profile: LanguageProfile, reading: Reading
) -> tuple[Mask, ...]:
    """The bridge's neurons; the published scripts leave open which those are.

    Args:
        of_bridge: the bridge's language neurons, per block.
        overlap: neurons that source and target share, per block.
        profile: of the bridge.
        reading: `all` of its neurons; `specific`: without the overlap; `specific_top_k`: of those, in each block as
            many of the most active as the overlap has.

    Returns:
        Per block, a mask.
    """
    if reading == "all":
        return tuple(of_bridge)
    specific = [mine & ~shared for mine, shared in zip(of_bridge, overlap, strict=True)]
    if reading == "specific":
        return tuple(specific)
    kept = []
    for mine, shared, share, mean in zip(specific, overlap, profile.share, profile.mean, strict=True):
        order = np.lexsort((np.arange(len(share)), -mean, -share))
        best = [index for index in order if mine[index]][: int(shared.sum())]
        chosen = np.zeros(len(mine), dtype=bool)
        chosen[best] = True
        kept.append(chosen)
    return tuple(kept)


def matched_neurons(members: Mask, allowed: Mask, covariates: Floats, num_matches: int) -> npt.NDArray[np.int64]:
    """For each member of a set, other neurons of its block that are like it; none is given to two members.

    Like it: within a quarter of a standard deviation, over the block, in every covariate (the usual caliper, Rosenbaum
    and Rubin 1985). Members are the most active neurons by definition, so without a caliper their nearest neighbours
    would all be less active than they are. Of the like ones the nearest first, and every member gets its first match
    before any gets its second.

    Args:
        members: `[I]`, the set.
        allowed: `[I]`, neurons that may stand in; members are never given.
        covariates: `[I, D]`, what the neurons must agree in.
        num_matches: matches of each member at most.

    Returns:
        `[members, num_matches]`, the neurons' indices, -1 where there is none; members in the order of their own
        indices.
    """
    own, others = np.flatnonzero(members), np.flatnonzero(allowed & ~members)
    scaled = covariates / np.maximum(covariates.std(axis=0), np.finfo(np.float64).tiny)
    gaps = np.abs(scaled[own, None] - scaled[None, others])
    distances = np.where((gaps <= _CALIPER).all(axis=2), np.linalg.norm(gaps, axis=2), np.inf)
    found = np.full((len(own), num_matches), -1, dtype=np.int64)
    for turn in range(num_matches):
        for row in range(len(own)):
            nearest = int(distances[row].argmin()) if len(others) else 0
            if len(others) and distances[row, nearest] < np.inf:
                found[row, turn] = others[nearest]
                distances[:, nearest] = np.inf
    return found


def middle_blocks(num_blocks: int, depth: tuple[float, float]) -> tuple[int, ...]:
    """Blocks l (1..L) with `low <= (l - 0.5) / L < high`.

    >>> middle_blocks(32, (0.3125, 0.6875)) == tuple(range(11, 23))
    True
    >>> middle_blocks(5, (0.25, 0.75))
    (2, 3, 4)
    """
    low, high = depth
    return tuple(block for block in range(1, num_blocks + 1) if low <= (block - 0.5) / num_blocks < high)
