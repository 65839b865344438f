"""Typology: which candidate is closest to source and target by what linguists know of them."""

from __future__ import annotations

import importlib.util

from bridgex.languages import Pair, language
from bridgex.records.schema import StrategyRecord
from bridgex.select.evidence import Evidence
from bridgex.select.strategies.base import Strategy, two_legs


class Typology(Strategy):
    """1 - typological distance, mean of the legs source-candidate and candidate-target; looks at no model."""

    def problems(self, pair: Pair) -> list[str]:
        """Which keys do not go with the pair, and whether the package that knows real languages is not there."""
        found = super().problems(pair)
        if language(pair.source).is_toy or importlib.util.find_spec("urielplus") is not None:
            return found
        return [*found, f"bridge={self.name}: needs the package urielplus, which is not here: pip install urielplus"]

    def rank(self, evidence: Evidence) -> StrategyRecord:
        """Mean of both legs.

        Raises:
            MissingEvidence: the distances are not there.
        """
        pair = evidence.pair
        legs = {code: ((pair.source, code), (code, pair.target)) for code in evidence.candidates}
        found = evidence.distances([leg for both in legs.values() for leg in both])
        near = {code: [1.0 - found.values[leg] for leg in both] for code, both in legs.items()}
        return two_legs(evidence, near).model_copy(update={"origin": found.origin})
