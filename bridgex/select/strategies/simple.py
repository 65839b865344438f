"""Strategies that look at no neuron: none, one language, chance, and hindsight."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import ClassVar

from bridgex.languages import Pair
from bridgex.records.schema import StrategyRecord
from bridgex.select.evidence import Evidence
from bridgex.select.strategies.base import Strategy, ranking_of, ranking_of_means


class NoBridge(Strategy):
    """Straight from source to target."""

    def candidates_of(self, pair: Pair) -> tuple[str, ...]:
        """None."""
        return ()

    def rank_all(self, evidence: Evidence) -> dict[str, StrategyRecord]:
        """Nothing to rank."""
        return {}

    def rank(self, evidence: Evidence) -> StrategyRecord:
        """Nothing to rank."""
        return StrategyRecord(scores={})

    def choose(self, rankings: Mapping[str, StrategyRecord]) -> tuple[str | None, str | None]:
        """No bridge, chosen by none."""
        return None, None


class Fixed(Strategy):
    """Always `bridge.language`."""

    def problems(self, pair: Pair) -> list[str]:
        """A language must be named, and it must be a third one."""
        if self.language is None:
            return ["bridge.language: not set. bridge=fixed needs bridge.language=<code>, e.g. en"]
        return super().problems(pair)

    def candidates_of(self, pair: Pair) -> tuple[str, ...]:
        """The one language."""
        return () if self.language is None else (self.language,)

    def rank(self, evidence: Evidence) -> StrategyRecord:
        """The one language, first."""
        return ranking_of(dict.fromkeys(evidence.candidates, 0.0))


class Random(Strategy):
    """A random order by the seed: what choosing without looking gives."""

    def rank(self, evidence: Evidence) -> StrategyRecord:
        """A number for each candidate, drawn from seed and pair whatever the other candidates are."""
        start = f"{evidence.seed} {evidence.pair}"
        return ranking_of({code: random.Random(f"{start} {code}").random() for code in evidence.candidates})


class Oracle(Strategy):
    """By the score on the run's own items: what nobody has who has no labels."""

    uses_labels: ClassVar[bool] = True
    evaluates_all: ClassVar[bool] = True

    def rank(self, evidence: Evidence) -> StrategyRecord:
        """Mean score of each candidate, with its bootstrap interval over items, groups of them taken whole."""
        found = evidence.route_scores()
        values = {code: found.via[code] for code in evidence.candidates}
        return ranking_of_means(values, self.hsic.bootstrap, evidence.seed, found.groups)
