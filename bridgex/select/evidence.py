"""What a strategy may look at: plain data, computed when first asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from bridgex.config.settings import ProbeSettings
from bridgex.data.typology import Distances, Leg
from bridgex.languages import Pair

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
States = npt.NDArray[np.float32]
Block = int | Literal["last"]
"""A block 1..L: its output; `last`: the output after the final norm, as the head gets it."""

DIRECT = "direct"
"""The route without a bridge, where routes are named by their bridge's code."""


@dataclass(frozen=True, eq=False)
class LanguageProfile:
    """How often and how strongly each neuron answers to a language's text.

    Attributes:
        share: per block, share of tokens with activation > 0, `[I_l]`.
        mean: per block, mean activation, `[I_l]`.
    """

    share: tuple[Floats, ...]
    mean: tuple[Floats, ...]


@dataclass(frozen=True, eq=False)
class ProbeActivations:
    """Activations of the chosen neurons over probe prompts.

    Attributes:
        values: per block, `[chosen neurons, prompts]`, in the order of the neurons' indices.
        num_tokens: tokens of each prompt, `[prompts]`.
    """

    values: tuple[npt.NDArray[Any], ...]
    num_tokens: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class SentenceVectors:
    """Sentences of one language as the model sees them.

    Attributes:
        values: mean over each sentence's tokens of the hidden state, `[blocks, sentences, D]`; the same sentences in
            the same order for every language.
        blocks: their numbers.
        origin: the data set.
    """

    values: States
    blocks: tuple[int, ...]
    origin: str


@dataclass(frozen=True, eq=False)
class RouteConfidence:
    """How sure the model is of its own words on one route, in nats a token, less what ends each answer.

    Attributes:
        mean: for each probe word, mean log-probability over the tokens of all steps, `[words]`.
        weakest: for each probe word, that mean in the step in which it is lowest, `[words]`; the same where there is
            one step.
    """

    mean: Floats
    weakest: Floats


@dataclass(frozen=True, eq=False)
class RouteScores:
    """What the routes scored on the run's own items; labels were looked at.

    Attributes:
        direct: `[items]`.
        via: by candidate, `[items]`.
        groups: a label for each item; items of one group are resampled together.
    """

    direct: Floats
    via: Mapping[str, Floats]
    groups: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Evidence:
    """Everything that a ranking may use. What the callables give is computed when it is first asked for.

    A callable raises `MissingEvidence` (`strategies.base`) where what it should give is not there.

    Attributes:
        pair: source and target.
        candidates: codes to rank; ties are broken by their order.
        probe_settings: which neurons and blocks count.
        seed: of every random choice.
        profile: profile of a language.
        probe: activations of neurons, given per block by their indices.
        dictionary: training words from one language to another; None: no such list.
        probe_pairs: the pair's training words that are probed, distinct, each with the first of its translations that
            is no right answer of an evaluated item; words without one are left out.
        confidence: by route, each a candidate's code or `direct`, how sure the model is on the way.
        states: hidden state at the last token of each prompt at a block, `[prompts, D]`.
        sentence_vectors: of a language.
        distances: typological distances of pairs of languages.
        route_scores: scores of all routes on the run's items.
        device: where statistics over many neurons run, as torch names it.
    """

    pair: Pair
    candidates: tuple[str, ...]
    probe_settings: ProbeSettings
    seed: int
    profile: Callable[[str], LanguageProfile]
    probe: Callable[[Sequence[npt.NDArray[np.int64]]], ProbeActivations]
    dictionary: Callable[[str, str], Mapping[str, tuple[str, ...]] | None]
    probe_pairs: Callable[[], Sequence[tuple[str, str]]]
    confidence: Callable[[Sequence[str]], Mapping[str, RouteConfidence]]
    states: Callable[[Sequence[str], Block], States]
    sentence_vectors: Callable[[str], SentenceVectors]
    distances: Callable[[Sequence[Leg]], Distances]
    route_scores: Callable[[], RouteScores]
    device: str = "cpu"
