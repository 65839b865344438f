"""What a strategy is: evidence in, a ranking of candidate bridges out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, get_args

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from bridgex.config.settings import FolderName, checked_template, known_language
from bridgex.languages import Pair, all_languages, candidates, language
from bridgex.records.schema import CandidateRecord, StrategyRecord
from bridgex.select.evidence import Block, Evidence, Floats
from bridgex.select.neurons import Reading

Estimator = Literal["normalised", "unbiased", "biased", "paper"]
LabelFree = Literal[
    "hsic",
    "overlap",
    "cosine",
    "convergence",
    "alignment",
    "confidence",
    "hsic_or_direct",
    "lexical",
    "typology",
    "random",
]
LABEL_FREE: tuple[LabelFree, ...] = get_args(LabelFree)
"""Strategies that look at no right answer of an evaluated item."""
# Two scores closer than this, relative to the larger, differ by rounding.
_TIE = 1e-9


class MissingEvidence(Exception):
    """A strategy cannot rank here; the message says why and what would help."""


class HsicKeys(BaseModel):
    """Keys below `bridge.hsic`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    estimator: Estimator = Field("normalised", description="what a pair of neurons is worth")
    transform: Literal["none", "rank"] = Field("none", description="rank: Gaussian scores first")
    orders: int = Field(4, ge=0, description="random orders behind the chance correction")
    bootstrap: int = Field(200, ge=0, description="replicates over source words behind the intervals")
    draws: int = Field(199, ge=0, description="random sets of neurons behind p_neuron_null")


class ConvergenceKeys(BaseModel):
    """Keys below `bridge.convergence`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    block: Block = Field("last", description="whose output is compared: 1..L, or last: after the final norm")
    prompt: str = Field(
        '{language}:"{word}"→{bridge}:"', description="on the way from a {language}'s {word} into {bridge}"
    )

    @field_validator("block", mode="before")  # before: one line for what is neither, not one for each
    @classmethod
    def _block_is_one(cls, block: object) -> object:
        # A bool is an int, and no number of a block.
        if block != "last" and (not isinstance(block, int) or isinstance(block, bool) or block < 1):
            raise ValueError("should be a block from 1 on, or last")
        return block

    @field_validator("prompt")
    @classmethod
    def _prompt_fits(cls, prompt: str) -> str:
        checked_template(prompt, "language", "bridge", "word")
        return checked_template(prompt, "language", "word", "bridge")


class Strategy(BaseModel, ABC):
    """How a bridge is chosen; its fields are the keys of `bridge`, the same for every strategy.

    A class of your own needs only an importable path: `bridge._target_=my_package.MyStrategy`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    uses_labels: ClassVar[bool] = False
    """Whether it looks at the items' right answers."""
    evaluates_all: ClassVar[bool] = False
    """Whether every candidate is evaluated, not the chosen one alone."""

    reads_profiles: ClassVar[bool] = False
    """Whether it needs text in every language."""
    reads_words: ClassVar[bool] = False
    """Whether it needs the pair's training words."""
    uses_dictionary: ClassVar[bool] = False
    """Whether it looks at those words' translations; evaluated items are none of them."""

    name: FolderName = Field(description="stands in folder names and tables")
    language: str | None = Field(None, description="the bridge of bridge=fixed")
    candidates: tuple[str, ...] | None = Field(None, min_length=1, description="codes to rank; null: the default ones")
    primary: LabelFree = Field("hsic", description="bridge=compare: the strategy whose first choice counts as chosen")
    neurons: Reading = Field("all", description="which neurons are the bridge's")
    match_self: bool = Field(True, description="whether a neuron in both sets may match itself")
    translate: Literal["context", "both"] = Field(
        "context", description="what goes into the bridge language: premise, passage, problem, or the query too"
    )
    margin: float = Field(
        0.0, allow_inf_nan=False, description="bridge=hsic_or_direct: nats a token by which the bridge must be better"
    )
    hsic: HsicKeys = Field(default_factory=HsicKeys)
    convergence: ConvergenceKeys = Field(default_factory=ConvergenceKeys)

    @field_validator("language")
    @classmethod
    def _language_exists(cls, code: str | None) -> str | None:
        return None if code is None else known_language(code)

    @field_validator("candidates")
    @classmethod
    def _candidates_exist(cls, codes: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if codes is not None and len(set(codes)) < len(codes):
            raise ValueError("names a language twice")
        return None if codes is None else tuple(known_language(code) for code in codes)

    def problems(self, pair: Pair) -> list[str]:
        """Which keys do not go with the pair."""
        named = [("bridge.language", self.language)] if self.language is not None else []
        named += [("bridge.candidates", code) for code in self.candidates or ()]
        found = [
            f"{key}={code}: is the pair's own {'source' if code == pair.source else 'target'}. Choose a third language"
            for key, code in named
            if code in (pair.source, pair.target)
        ]
        world = "invented" if language(pair.source).is_toy else "real"
        allowed = " ".join(other.code for other in all_languages() if other.is_toy == language(pair.source).is_toy)
        return found + [
            f"{key}={code}: pair {pair} is of {world} languages, and a bridge must be one of them too: {allowed}"
            for key, code in named
            if language(code).is_toy != language(pair.source).is_toy
        ]

    def candidates_of(self, pair: Pair) -> tuple[str, ...]:
        """The codes to rank for a pair."""
        return self.candidates or candidates(pair)

    def rank_all(self, evidence: Evidence) -> dict[str, StrategyRecord]:
        """The rankings that this strategy makes, by name; all but `compare` make one."""
        return {self.name: self.rank(evidence)}

    @abstractmethod
    def rank(self, evidence: Evidence) -> StrategyRecord:
        """Ranks the candidates.

        Raises:
            MissingEvidence: it cannot, with the reason.
        """

    def choose(self, rankings: Mapping[str, StrategyRecord]) -> tuple[str | None, str | None]:
        """The chosen bridge and the name of the strategy that chose it; None: no bridge."""
        return best_of(rankings[self.name]), self.name


def chose_direct(ranking: StrategyRecord | None) -> bool:
    """Whether a strategy that may choose to go directly did so."""
    return ranking is not None and ranking.against_direct is not None and ranking.against_direct.chose_direct


def best_of(ranking: StrategyRecord) -> str | None:
    """The first-ranked candidate; None where the strategy is missing or goes directly."""
    if chose_direct(ranking):
        return None
    return next((code for code, record in ranking.scores.items() if record.rank == 1), None)


def ranking_of(scores: Mapping[str, float], legs: Mapping[str, float] | None = None) -> StrategyRecord:
    """A ranking by score alone, best first; ties keep the candidates' order and are recorded.

    Args:
        scores: by candidate.
        legs: by candidate, the smaller of its two legs (source to bridge, bridge to target).
    """
    groups = _groups(scores)
    order = [code for group in groups for code in group]
    return StrategyRecord(
        scores={
            code: CandidateRecord(
                score=scores[code],
                raw=scores[code],
                rank=order.index(code) + 1,
                smaller_leg=None if legs is None else legs[code],
            )
            for code in scores
        },
        ties=[group for group in groups if len(group) > 1],
        margin=scores[order[0]] - scores[order[1]] if len(order) > 1 else None,
    )


def ranking_of_means(
    values: Mapping[str, Floats], num_replicates: int, seed: int, groups: Sequence[str] | None = None
) -> StrategyRecord:
    """A ranking by means, with intervals by a bootstrap that takes the same words or items for all candidates.

    Args:
        values: by candidate, `[items]`, the same items in the same order.
        num_replicates: bootstrap replicates; 0: no intervals.
        seed: of the bootstrap.
        groups: a label for each item; items of one group are taken together. None: each item by itself.
    """
    table = np.stack(list(values.values()))
    ranking = ranking_of({code: float(of_items.mean()) for code, of_items in values.items()})
    ranking = ranking.model_copy(update={"num_samples": table.shape[1]})
    numbers: dict[str, int] = {}
    labels = [str(item) for item in range(table.shape[1])] if groups is None else groups
    members = np.array([numbers.setdefault(label, len(numbers)) for label in labels])
    if num_replicates == 0 or len(numbers) < 2:
        return ranking
    sums, sizes = np.stack([np.bincount(members, weights=row) for row in table]), np.bincount(members)
    even = np.full(len(sizes), 1 / len(sizes))
    counts = np.random.default_rng(seed).multinomial(len(sizes), even, size=num_replicates)
    means = (sums @ counts.T) / (counts @ sizes)
    return with_intervals(ranking, means)


def with_intervals(ranking: StrategyRecord, replicates: Floats) -> StrategyRecord:
    """A ranking with the uncertainty that matters for choosing.

    Args:
        ranking: of all candidates.
        replicates: `[candidates, replicates]`, the ranking's scores with other samples, the same ones for all
            candidates.

    Returns:
        The ranking with intervals (2.5 and 97.5 percentiles), the share of replicates in which each candidate is best
        (shared evenly where several are), and the interval of best less runner-up.
    """
    low, high = np.percentile(replicates, [2.5, 97.5], axis=1)
    is_best = replicates >= replicates.max(axis=0) - _TIE * np.abs(replicates).max(axis=0)
    p_rank1 = (is_best / is_best.sum(axis=0)).mean(axis=1)
    scores = {
        code: record.model_copy(update={"ci95": (float(low[row]), float(high[row])), "p_rank1": float(p_rank1[row])})
        for row, (code, record) in enumerate(ranking.scores.items())
    }
    return ranking.model_copy(update={"scores": scores, "margin_ci95": _margin_interval(ranking, replicates)})


def _margin_interval(ranking: StrategyRecord, replicates: Floats) -> tuple[float, float] | None:
    """95 % interval of best less runner-up, from replicates `[candidates, replicates]`; None: one candidate only."""
    rows = {record.rank: row for row, record in enumerate(ranking.scores.values())}
    if len(rows) < 2:
        return None
    low, high = np.percentile(replicates[rows[1]] - replicates[rows[2]], [2.5, 97.5])
    return float(low), float(high)


def _groups(scores: Mapping[str, float]) -> list[list[str]]:
    """Candidates with equal scores together, best first."""
    groups: list[list[str]] = []
    for code in sorted(scores, key=lambda code: -scores[code]):
        if groups and abs(scores[groups[-1][0]] - scores[code]) <= _TIE * abs(scores[code]):
            groups[-1].append(code)
        else:
            groups.append([code])
    place = list(scores).index
    return [sorted(group, key=place) for group in groups]


def two_legs(evidence: Evidence, legs: Mapping[str, Sequence[float]]) -> StrategyRecord:
    """A ranking by the mean of two legs, source to bridge and bridge to target."""
    means = {code: float(np.mean(legs[code])) for code in evidence.candidates}
    return ranking_of(means, {code: float(min(legs[code])) for code in evidence.candidates})
