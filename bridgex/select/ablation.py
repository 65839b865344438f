"""Which neurons are held at their means, and which random ones like them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bridgex.select.evidence import Evidence, Floats
from bridgex.select.neurons import Reading, matched_neurons
from bridgex.select.probe_inputs import neuron_sets
from bridgex.select.strategies.base import MissingEvidence

Neurons = Mapping[int, npt.NDArray[np.int64]]
NUM_RANDOM_SETS = 19
_NUM_MATCHES = 4


@dataclass(frozen=True, eq=False)
class AblationSets:
    """Neurons by block.

    Attributes:
        chosen: the neurons whose part is tested.
        random: sets of as many neurons of the same blocks that are none of them, matched one by one on activation share
            and mean in source, target and bridge.
        means: mean activation of every neuron over the three languages' text, by block `[I]`.
    """

    chosen: Neurons
    random: tuple[Neurons, ...]
    means: Mapping[int, Floats]

    @property
    def num_neurons(self) -> int:
        """Neurons in each set."""
        return sum(len(indices) for indices in self.chosen.values())


def ablation_sets(evidence: Evidence, bridge: str, which: str, reading: Reading) -> AblationSets:
    """The neurons of all blocks that `task.ablate` names, and random ones to compare with.

    Args:
        evidence: gives profiles; its candidates hold the bridge.
        bridge: the chosen bridge.
        which: `overlap` (of source and target), `bridge` (the bridge's), `both` (either).
        reading: which neurons are the bridge's.

    Raises:
        MissingEvidence: the set is empty, or so large that no two different random sets exist.
    """
    sets = neuron_sets(evidence, reading)
    masks = {
        "overlap": sets.overlap,
        "bridge": sets.of_bridge[bridge],
        "both": tuple(a | b for a, b in zip(sets.overlap, sets.of_bridge[bridge], strict=True)),
    }[which]
    profiles = [evidence.profile(code) for code in (evidence.pair.source, evidence.pair.target, bridge)]
    share = f"probe.neuron_share={evidence.probe_settings.neuron_share:g}"
    if not any(mask.any() for mask in masks):
        raise MissingEvidence(f"task.ablate={which}: no such neuron at {share}. Raise probe.neuron_share")
    generator = np.random.default_rng(evidence.seed)
    random: list[dict[int, npt.NDArray[np.int64]]] = [{} for _ in range(NUM_RANDOM_SETS)]
    for block, mask in enumerate(masks, start=1):
        if not mask.any():
            continue
        likeness = np.stack([part[block - 1] for p in profiles for part in (p.share, p.mean)], axis=1)
        matches = matched_neurons(mask, ~mask, likeness, _NUM_MATCHES)
        if matches.shape[1] < 2:
            raise MissingEvidence(
                f"task.ablate={which}: {int(mask.sum())} of {len(mask)} neurons of block {block} are held, so that no "
                f"two random sets of as many others exist, at {share}. Lower probe.neuron_share"
            )
        for drawn in random:
            taken = generator.integers(matches.shape[1], size=len(matches))
            drawn[block] = np.sort(matches[np.arange(len(matches)), taken])
    means = {block: np.mean([p.mean[block - 1] for p in profiles], axis=0) for block in range(1, len(masks) + 1)}
    chosen = {block: np.flatnonzero(mask) for block, mask in enumerate(masks, start=1) if mask.any()}
    return AblationSets(chosen, tuple(random), means)
