"""Evidence of plain data: languages with chosen neurons, and activations that are made to measure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bridgex.config.settings import ProbeSettings
from bridgex.data.typology import Distances, Leg
from bridgex.languages import Pair
from bridgex.select.evidence import (
    Block,
    Evidence,
    Floats,
    LanguageProfile,
    ProbeActivations,
    RouteConfidence,
    RouteScores,
    SentenceVectors,
    States,
)

Sets = Mapping[str, Sequence[Sequence[int]]]
NUM_BLOCKS, WIDTH = 5, 30
MIDDLE = (2, 3, 4)


def unavailable(*_: Any) -> Any:
    raise AssertionError("this evidence was not to be asked for")


def make_evidence(
    sets: Sets,
    values: Sequence[Floats] | None = None,
    *,
    pair: str = "de-sw",
    candidates: Sequence[str] | None = None,
    num_tokens: npt.NDArray[np.int64] | None = None,
    partial_length: bool = False,
    seed: int = 0,
    dictionary: Callable[[str, str], Mapping[str, tuple[str, ...]] | None] = unavailable,
    probe_pairs: Callable[[], Sequence[tuple[str, str]]] = unavailable,
    confidence: Callable[[Sequence[str]], Mapping[str, RouteConfidence]] = unavailable,
    states: Callable[[Sequence[str], Block], States] = unavailable,
    sentence_vectors: Callable[[str], SentenceVectors] = unavailable,
    distances: Callable[[Sequence[Leg]], Distances] = unavailable,
    route_scores: Callable[[], RouteScores] = unavailable,
) -> Evidence:
    """Evidence in which each language's neurons are exactly the given ones.

    Args:
        sets: by language, per block, the indices of its neurons; as many for every language.
        values: per block, activations of all neurons `[WIDTH, prompts]`.
    """
    (size,) = {sum(map(len, blocks)) for blocks in sets.values()} or {0}
    made = Pair.parse(pair)

    def profile(code: str) -> LanguageProfile:
        share = [np.full(WIDTH, 0.1) for _ in range(NUM_BLOCKS)]
        for block, indices in zip(share, sets[code], strict=True):
            block[list(indices)] = 0.9
        return LanguageProfile(tuple(share), tuple(share))

    def probe(neurons: Sequence[npt.NDArray[np.int64]]) -> ProbeActivations:
        assert values is not None
        chosen = tuple(block[index] for block, index in zip(values, neurons, strict=True))
        tokens = np.full(values[0].shape[1], 7, dtype=np.int64) if num_tokens is None else num_tokens
        return ProbeActivations(chosen, tokens)

    return Evidence(
        pair=made,
        candidates=tuple(candidates or (code for code in sets if code not in (made.source, made.target))),
        probe_settings=ProbeSettings(
            neuron_share=max(size, 1) / (NUM_BLOCKS * WIDTH),
            depth=(0.25, 0.75),
            partial_length=partial_length,
            prompt="{word}",
            chain="{bridge_word}",
        ),
        seed=seed,
        profile=profile,
        probe=probe,
        dictionary=dictionary,
        probe_pairs=probe_pairs,
        confidence=confidence,
        states=states,
        sentence_vectors=sentence_vectors,
        distances=distances,
        route_scores=route_scores,
    )


def noise(seed: int, num_prompts: int) -> list[Floats]:
    random = np.random.default_rng(seed)
    return [random.standard_normal((WIDTH, num_prompts)) for _ in range(NUM_BLOCKS)]


def even(indices: Sequence[int]) -> list[list[int]]:
    """The same neurons in every block."""
    return [list(indices) for _ in range(NUM_BLOCKS)]
