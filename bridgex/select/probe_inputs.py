"""From sets of neurons to the matrices that the HSIC statistics take, block by block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bridgex.select.evidence import Evidence, Mask
from bridgex.select.neurons import Reading, bridge_neurons, language_neurons, matched_neurons, overlap_neurons
from bridgex.select.strategies.base import MissingEvidence

if TYPE_CHECKING:
    from torch import Tensor

    from bridgex.stats.neuron_null import NeuronPool

# Neurons that may stand in for one of a candidate's, at up to four times the matrix.
_NUM_MATCHES = 4
# The length correction takes five numbers from each neuron: of fewer words it leaves next to nothing.
_MIN_WORDS_BY_LENGTH = 20


@dataclass(frozen=True, eq=False)
class NeuronSets:
    """Per block, which neurons are meant.

    Attributes:
        overlap: neurons of both source and target.
        of_language: by candidate, its language neurons.
        of_bridge: by candidate, those of them that count as the bridge's.
    """

    overlap: tuple[Mask, ...]
    of_language: Mapping[str, tuple[Mask, ...]]
    of_bridge: Mapping[str, tuple[Mask, ...]]

    def is_usable(self, block: int) -> bool:
        """Whether every set that is compared has a neuron in the block."""
        return all(bool(masks[block - 1].any()) for masks in (self.overlap, *self.of_bridge.values()))

    def share_of_self_matches(self, code: str, blocks: Sequence[int]) -> float:
        """Share of the overlap neurons that are the candidate's own too, and so may match themselves."""
        both = sum(int((self.overlap[block - 1] & self.of_bridge[code][block - 1]).sum()) for block in blocks)
        return both / max(1, sum(int(self.overlap[block - 1].sum()) for block in blocks))

    def sizes(self, blocks: Sequence[int]) -> dict[str, dict[int, int]]:
        """Neurons by set and block."""
        sets = {"overlap": self.overlap, **self.of_bridge}
        return {name: {block: int(masks[block - 1].sum()) for block in blocks} for name, masks in sets.items()}


@dataclass(frozen=True, eq=False)
class BlockInputs:
    """What `stats.candidates.candidate_scores` takes, by block.

    Attributes:
        x: the overlap neurons over the prompts, `[neurons, prompts]`.
        y: all candidates' neurons, each once.
        columns: by candidate and block, its rows of y.
        excluded: pairs that may not match because they are one neuron; None: all may.
        pools: what may stand in for the candidates' neurons; None: no neuron null is wanted.
    """

    x: list[Tensor]
    y: list[Tensor]
    columns: list[list[Tensor]]
    excluded: list[Tensor | None]
    pools: list[NeuronPool] | None


def neuron_sets(evidence: Evidence, reading: Reading) -> NeuronSets:
    """The sets at the evidence's `probe.neuron_share`, the bridge's neurons by one reading of the paper."""
    share = evidence.probe_settings.neuron_share
    source, target = (
        language_neurons(evidence.profile(code), share) for code in (evidence.pair.source, evidence.pair.target)
    )
    overlap = overlap_neurons(source, target)
    of_language = {code: language_neurons(evidence.profile(code), share) for code in evidence.candidates}
    of_bridge = {
        code: bridge_neurons(masks, overlap, evidence.profile(code), reading) for code, masks in of_language.items()
    }
    return NeuronSets(overlap, of_language, of_bridge)


def block_inputs(
    evidence: Evidence, sets: NeuronSets, blocks: Sequence[int], *, match_self: bool, with_null: bool
) -> BlockInputs:
    """Reads the neurons of some blocks over the probe prompts.

    Args:
        evidence: gives the activations.
        sets: the neurons.
        blocks: numbers of the blocks, in each of which every set has a neuron.
        match_self: whether a neuron in both sets may match itself.
        with_null: whether neurons that may stand in for the candidates' are read too: for each up to four of its block
            that are not the candidate's and like it in activation share over source text and over target text.
    """
    union = [np.logical_or.reduce(masks) for masks in zip(*sets.of_bridge.values(), strict=True)]
    matches = {block: _matches(evidence, sets, block) for block in blocks} if with_null else {}
    wanted: list[npt.NDArray[np.int64]] = []
    for place in range(len(union)):
        chosen = np.zeros(len(union[place]), dtype=bool)
        if place + 1 in blocks:
            chosen = sets.overlap[place] | union[place]
            for found in matches.get(place + 1, []):
                chosen[found[found >= 0]] = True
        wanted.append(np.flatnonzero(chosen))
    activations = evidence.probe(wanted)
    inputs = BlockInputs([], [], [[] for _ in sets.of_bridge], [], [] if with_null else None)
    for block in blocks:
        place = block - 1
        values = _values(evidence, activations.values[place], activations.num_tokens)
        _add_block(inputs, sets, block, union[place], wanted[place], values, matches.get(block), match_self)
    return inputs


def _matches(evidence: Evidence, sets: NeuronSets, block: int) -> list[npt.NDArray[np.int64]]:
    """By candidate, neurons that may stand in for each of its neurons in a block: `[neurons, matches]`, -1: none."""
    pair = evidence.pair
    shares = np.stack([evidence.profile(code).share[block - 1] for code in (pair.source, pair.target)], axis=1)
    return [
        matched_neurons(sets.of_bridge[code][block - 1], ~masks[block - 1], shares, _NUM_MATCHES)
        for code, masks in sets.of_language.items()
    ]


def _add_block(
    inputs: BlockInputs,
    sets: NeuronSets,
    block: int,
    union: Mask,
    index: npt.NDArray[np.int64],
    values: Tensor,
    matches: list[npt.NDArray[np.int64]] | None,
    match_self: bool,
) -> None:
    import torch

    from bridgex.stats.neuron_null import NeuronPool

    rows, of_any = (np.flatnonzero(mask[index]) for mask in (sets.overlap[block - 1], union))
    inputs.x.append(values[rows])
    inputs.y.append(values[of_any])
    is_own = torch.from_numpy(rows[:, None] == of_any[None])
    inputs.excluded.append(None if match_self else is_own)
    for columns, masks in zip(inputs.columns, sets.of_bridge.values(), strict=True):
        columns.append(torch.from_numpy(np.flatnonzero(masks[block - 1][index][of_any])))
    if matches is not None and inputs.pools is not None:
        given = np.concatenate([found.ravel() for found in matches])
        pool = np.unique(given[given >= 0])
        placed = [np.where(found >= 0, np.searchsorted(pool, found), -1) for found in matches]
        inputs.pools.append(
            NeuronPool(
                values=values[np.searchsorted(index, pool)],
                matches=tuple(map(torch.from_numpy, placed)),
                is_own=is_own,
                is_own_in_pool=torch.from_numpy(index[rows][:, None] == pool[None]),
            )
        )


def _values(evidence: Evidence, values: npt.NDArray[Any], num_tokens: npt.NDArray[np.int64]) -> Tensor:
    """One block's activations `[neurons, prompts]`, what the number of tokens does taken out if asked for."""
    import torch

    from bridgex.stats.kernels import residualise_length

    matrix = torch.tensor(np.asarray(values, dtype=np.float32), device=evidence.device)
    if evidence.probe_settings.partial_length:
        if len(num_tokens) < _MIN_WORDS_BY_LENGTH and len(set(num_tokens.tolist())) > 1:
            raise MissingEvidence(
                f"probe.partial_length=true: {len(num_tokens)} probe words of several lengths, and at least "
                f"{_MIN_WORDS_BY_LENGTH} are needed to take out what length does. Raise probe.limit, give a longer "
                f"word list, or use probe.partial_length=false"
            )
        return residualise_length(
            matrix, torch.tensor(np.asarray(num_tokens, dtype=np.float32), device=evidence.device)
        )
    return matrix
