"""Every other route against the direct one on the same items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bridgex.records.schema import Prediction
from bridgex.stats.paired import holm, mcnemar


class Comparison(NamedTuple):
    """One route against direct.

    Attributes:
        difference: its score less direct's, over the items that both answered.
        gained: items that it gets right and direct gets wrong.
        lost: items that it gets wrong and direct gets right.
        p: two-sided exact McNemar; among further routes after Holm.
        is_corrected: whether Holm's correction is in `p`.
    """

    difference: float
    gained: int
    lost: int
    p: float
    is_corrected: bool


def against_direct(predictions: Sequence[Prediction], planned: str | None) -> dict[str, Comparison]:
    """The comparisons by route.

    Args:
        predictions: of a run.
        planned: the route of the bridge that was chosen without labels, the one test that was planned; all others share
            Holm's correction.
    """
    right = verdicts(predictions)
    direct = right.pop("direct", {})
    found = {route: _compared(answers, direct) for route, answers in right.items() if answers.keys() & direct.keys()}
    further = [route for route in found if route != planned]
    corrected = holm([found[route].p for route in further])
    for route, p in zip(further, corrected, strict=True):
        found[route] = found[route]._replace(p=p, is_corrected=len(further) > 1)
    return found


def verdicts(predictions: Sequence[Prediction]) -> dict[str, dict[str, bool]]:
    """By route and item, whether the answer is right."""
    right: dict[str, dict[str, bool]] = {}
    for prediction in predictions:
        right.setdefault(prediction.route, {})[prediction.id] = prediction.correct
    return right


def _compared(answers: Mapping[str, bool], direct: Mapping[str, bool]) -> Comparison:
    both = sorted(answers.keys() & direct.keys())
    found = mcnemar([answers[item] for item in both], [direct[item] for item in both])
    difference = (found.only_first - found.only_second) / len(both)
    return Comparison(difference, found.only_first, found.only_second, found.p, False)
