"""All strategies side by side."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import ClassVar

from bridgex.records.schema import StrategyRecord
from bridgex.select.evidence import Evidence
from bridgex.select.strategies.alignment import Alignment
from bridgex.select.strategies.base import LABEL_FREE, MissingEvidence, Strategy, best_of
from bridgex.select.strategies.convergence import Convergence
from bridgex.select.strategies.hsic_or_direct import HsicOrDirect
from bridgex.select.strategies.neurons import Cosine, Hsic, Overlap
from bridgex.select.strategies.simple import Oracle, Random
from bridgex.select.strategies.typology import Typology
from bridgex.select.strategies.words import Confidence, Lexical

_CLASSES: Mapping[str, type[Strategy]] = {
    "hsic": Hsic,
    "overlap": Overlap,
    "cosine": Cosine,
    "convergence": Convergence,
    "alignment": Alignment,
    "confidence": Confidence,
    "hsic_or_direct": HsicOrDirect,
    "lexical": Lexical,
    "typology": Typology,
    "random": Random,
    "oracle": Oracle,
}
assert tuple(_CLASSES)[:-1] == LABEL_FREE


class Compare(Strategy):
    """Ranks by every strategy; `bridge.primary` decides which one's first choice counts as chosen."""

    evaluates_all: ClassVar[bool] = True
    reads_profiles: ClassVar[bool] = True
    reads_words: ClassVar[bool] = True

    def rank_all(self, evidence: Evidence) -> dict[str, StrategyRecord]:
        """Every ranking, `seconds` beside it: evidence that an earlier strategy gathered is not counted again."""
        keys = self.model_dump(exclude={"name"})
        rankings: dict[str, StrategyRecord] = {}
        for name, made in _CLASSES.items():
            strategy, start = made(name=name, **keys), time.perf_counter()
            try:
                if isinstance(strategy, HsicOrDirect):
                    ranking = strategy.weigh(rankings["hsic"], evidence)
                else:
                    ranking = strategy.rank(evidence)
            except MissingEvidence as reason:
                ranking = StrategyRecord(scores={}, missing=str(reason))
            rankings[name] = ranking.model_copy(update={"seconds": time.perf_counter() - start})
        return rankings

    def rank(self, evidence: Evidence) -> StrategyRecord:
        """The primary strategy's ranking."""
        return self.rank_all(evidence)[self.primary]

    def choose(self, rankings: Mapping[str, StrategyRecord]) -> tuple[str | None, str | None]:
        """The primary strategy's first choice; None where it is missing or goes directly."""
        return best_of(rankings[self.primary]), self.primary
