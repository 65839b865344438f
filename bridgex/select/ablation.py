"""Which neurons are held at their means, and which random ones like them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bridgex.select.evidence import Evidence, Floats, Mask
from bridgex.select.neurons import Reading, matched_neurons
from bridgex.select.probe_inputs import neuron_sets
from bridgex.select.strategies.base import MissingEvidence

Neurons = Mapping[int, npt.NDArray[np.int64]]
NUM_RANDOM_SETS = 99
_NUM_MATCHES = 4
# Of fewer different sets too few would be as extreme by chance to say anything at 0.05.
_MIN_SETS = 400


@dataclass(frozen=True, eq=False)
class AblationSets:
    """Neurons by block.

    Attributes:
        chosen: the neurons whose part is tested.
        matched: those of them for which there are others of their block that are like them in activation share and mean
            over source, target and bridge text.
        random: sets in which each matched neuron's place is taken by itself or by one of its matches, all with the same
            chance; none where fewer than 400 different ones exist.
        means: mean activation of every neuron over the three languages' text, by block `[I]`.
    """

    chosen: Neurons
    matched: Neurons
    random: tuple[Neurons, ...]
    means: Mapping[int, Floats]

    @property
    def num_neurons(self) -> int:
        """Neurons chosen."""
        return sum(map(len, self.chosen.values()))

    @property
    def num_matched(self) -> int:
        """Neurons in the matched and in each random set."""
        return sum(map(len, self.matched.values()))


def ablation_sets(evidence: Evidence, bridge: str, which: str, reading: Reading) -> AblationSets:
    """The neurons of all blocks that `task.ablate` names, and random ones to compare with.

    Args:
        evidence: gives profiles; its candidates hold the bridge.
        bridge: the chosen bridge.
        which: `overlap` (of source and target), `bridge` (the bridge's), `both` (either).
        reading: which neurons are the bridge's.

    Raises:
        MissingEvidence: there are no such neurons.
    """
    sets = neuron_sets(evidence, reading)
    masks = {
        "overlap": sets.overlap,
        "bridge": sets.of_bridge[bridge],
        "both": tuple(a | b for a, b in zip(sets.overlap, sets.of_bridge[bridge], strict=True)),
    }[which]
    if not any(mask.any() for mask in masks):
        raise MissingEvidence(
            f"task.ablate={which}: no such neuron at probe.neuron_share={evidence.probe_settings.neuron_share:g}. "
            f"Raise probe.neuron_share"
        )
    profiles = [evidence.profile(code) for code in (evidence.pair.source, evidence.pair.target, bridge)]
    shares, means = (
        {block: np.mean([part[block - 1] for part in parts], axis=0) for block in range(1, len(masks) + 1)}
        for parts in ([p.share for p in profiles], [p.mean for p in profiles])
    )
    places = {
        block: _places(mask, np.stack([shares[block], means[block]], axis=1))
        for block, mask in enumerate(masks, start=1)
        if mask.any()
    }
    log_sets = sum(float(np.log((rows >= 0).sum(axis=1)).sum()) for rows in places.values())
    generator = np.random.default_rng(evidence.seed)
    num_sets = NUM_RANDOM_SETS if log_sets >= np.log(_MIN_SETS) else 0
    return AblationSets(
        chosen={block: np.flatnonzero(mask) for block, mask in enumerate(masks, start=1) if mask.any()},
        matched={block: rows[:, 0] for block, rows in places.items() if len(rows)},
        random=tuple(
            {block: _drawn(rows, generator) for block, rows in places.items() if len(rows)} for _ in range(num_sets)
        ),
        means=means,
    )


def _places(mask: Mask, likeness: Floats) -> npt.NDArray[np.int64]:
    """For each matched neuron itself and its matches, -1 where there is none: `[matched, 1 + matches]`."""
    matches = matched_neurons(mask, ~mask, likeness, _NUM_MATCHES)
    rows = np.concatenate([np.flatnonzero(mask)[:, None], matches], axis=1)
    return rows[(matches >= 0).any(axis=1)]


def _drawn(rows: npt.NDArray[np.int64], generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """One neuron of each row, any of them with the same chance."""
    keys = np.where(rows >= 0, generator.random(rows.shape), 2.0)
    return np.sort(rows[np.arange(len(rows)), keys.argmin(axis=1)])
