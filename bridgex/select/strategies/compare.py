"""All strategies side by side."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import ClassVar

from bridgex.records.schema import StrategyRecord
from bridgex.select.evidence import Evidence
from bridgex.select.strategies.base import LABEL_FREE, MissingEvidence, Strategy, best_of
from bridgex.select.strategies.neurons import Cosine, Hsic, Overlap
from bridgex.select.strategies.simple import Oracle, Random
from bridgex.select.strategies.words import Confidence, Lexical

_CLASSES: Mapping[str, type[Strategy]] = {
    "hsic": Hsic,
    "overlap": Overlap,
    "cosine": Cosine,
    "lexical": Lexical,
    "confidence": Confidence,
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
        rankings = {}
        for name, strategy in _CLASSES.items():
            start = time.perf_counter()
            try:
                ranking = strategy(name=name, **keys).rank(evidence)
            except MissingEvidence as reason:
                ranking = StrategyRecord(scores={}, missing=str(reason))
            rankings[name] = ranking.model_copy(update={"seconds": time.perf_counter() - start})
        return rankings

    def rank(self, evidence: Evidence) -> StrategyRecord:
        """The primary strategy's ranking."""
        return self.rank_all(evidence)[self.primary]

    def choose(self, rankings: Mapping[str, StrategyRecord]) -> tuple[str | None, str | None]:
        """The primary strategy's first choice; None where it is missing."""
        return best_of(rankings[self.primary]), self.primary
