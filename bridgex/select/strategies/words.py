"""Strategies that look at words: how they are spelt, and how sure the model is of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from rapidfuzz.distance import Levenshtein

from bridgex.languages import language
from bridgex.records.schema import StrategyRecord
from bridgex.select.evidence import Evidence
from bridgex.select.strategies.base import MissingEvidence, Strategy, ranking_of_means, two_legs


class Lexical(Strategy):
    """Spelling: mean of 1 - edit distance / longer length over dictionary entries S-C and C-T."""

    def rank(self, evidence: Evidence) -> StrategyRecord:
        """Mean of the two legs.

        Raises:
            MissingEvidence: a candidate has another script or no dictionary.
        """
        pair = evidence.pair
        legs = {
            code: (_similarity(evidence, pair.source, code), _similarity(evidence, code, pair.target))
            for code in evidence.candidates
        }
        return two_legs(evidence, legs)


class Confidence(Strategy):
    """The model's own log-probability a token, over both steps of the way through a candidate; no labels.

    The token that ends an answer is left out: how likely a line ends there is not how sure the model is of the word.
    """

    reads_words: ClassVar[bool] = True

    def rank(self, evidence: Evidence) -> StrategyRecord:
        """Mean over probe words."""
        found = evidence.confidence(evidence.candidates)
        values = {code: found[code].mean for code in evidence.candidates}
        return ranking_of_means(values, self.hsic.bootstrap, evidence.seed)


def _similarity(evidence: Evidence, source: str, target: str) -> float:
    scripts = language(source).script, language(target).script
    if scripts[0] != scripts[1]:
        raise MissingEvidence(
            f"{source} is written in {scripts[0]} and {target} in {scripts[1]}: spelling tells nothing"
        )
    entries: Mapping[str, tuple[str, ...]] | None = evidence.dictionary(source, target)
    if not entries:
        raise MissingEvidence(f"no dictionary {source}-{target} to compare spellings by")
    return float(
        np.mean(
            [
                max(Levenshtein.normalized_similarity(word, translation) for translation in translations)
                for word, translations in entries.items()
            ]
        )
    )
