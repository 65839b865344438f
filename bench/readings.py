"""What each reading of the published ranking finds: which neurons are the bridge's, and how they are compared.

    python -m bench.readings --world bridgex/toy OUTPUT --muse9 DIR --sweep outputs/sweeps/toy_grid

The published scripts read the lists of bridge neurons from files that none of them writes. Every reading is ranked on
all weak pairs of every world, with each estimator, with and without matches of a neuron with itself.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product
from typing import Any

from bench.worlds import FIELDS, Measured, numbers, run
from bridgex.records.schema import StrategyRecord
from bridgex.report.league import standings
from bridgex.select.strategies.base import MissingEvidence
from bridgex.select.strategies.neurons import Hsic

READINGS = ("all", "specific", "specific_top_k")
# Estimator, chance correction, matches with itself: the default, without self-matches, as published.
WAYS = (("normalised", 1, True), ("normalised", 1, False), ("paper", 0, True))

_FIELDS = f"""
fields:{FIELDS}
  reading      which neurons are the bridge's: bridge.neurons
  estimator    bridge.hsic.estimator; chance_corrected: whether the mean over shifts is taken off
  match_self   whether a neuron in both sets may match itself
  missing      pairs for which there is no such neuron in any middle block
"""


def lines(measured: Measured) -> Iterator[Mapping[str, Any]]:
    """One a reading, over all pairs."""
    cells = []
    for place, pair in enumerate(measured.pairs, start=1):
        compared = measured.compared(pair)
        made = measured.settings(pair)
        with measured.evidence(made, list(compared.via)) as evidence:
            rankings = {}
            for reading, (estimator, orders, match_self) in product(READINGS, WAYS):
                keys = {"estimator": estimator, "orders": orders, "bootstrap": 0, "draws": 0}
                strategy = Hsic(name="hsic", neurons=reading, match_self=match_self, hsic=keys)
                try:
                    ranking = strategy.rank(evidence)
                except MissingEvidence as reason:
                    ranking = StrategyRecord(scores={}, missing=str(reason))
                rankings[f"{reading}/{estimator}/{match_self}"] = ranking
        cells.append(replace(compared, rankings={**rankings, "confidence": compared.rankings["confidence"]}))
        print(f"{place} of {len(measured.pairs)} pairs", file=sys.stderr)
    rows = {row.strategy: row for row in standings(cells)}
    for reading, (estimator, orders, match_self) in product(READINGS, WAYS):
        row = rows.get(f"{reading}/{estimator}/{match_self}")
        described = {
            "reading": reading,
            "estimator": estimator,
            "chance_corrected": orders > 0,
            "match_self": match_self,
        }
        missing = sum(bool(cell.rankings[f"{reading}/{estimator}/{match_self}"].missing) for cell in cells)
        yield {"group": "all", **described, "missing": missing, **(numbers(row, cells) if row is not None else {})}


if __name__ == "__main__":
    run("readings", __doc__, _FIELDS, lines)
