"""Every other route against the direct one on the same items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bridgex.records.schema import Prediction
from bridgex.stats.paired import holm, mcnemar, randomisation_test


class Comparison(NamedTuple):
    """One route against direct.

    Attributes:
        difference: its score less direct's, over the items that both answered.
        gained: items that it gets right and direct gets wrong; of sentences, those that score higher.
        lost: the other way round.
        p: two-sided exact McNemar; approximate randomisation with whole groups where items come in groups or are scored
            by degree; among further routes after Holm.
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
    scores = worth(predictions)
    direct = scores.pop("direct", {})
    groups = {prediction.id: prediction.group or prediction.id for prediction in predictions}
    by_degree = any(prediction.score is not None for prediction in predictions)
    found = {
        route: _compared(answers, direct, groups, by_degree)
        for route, answers in scores.items()
        if answers.keys() & direct.keys()
    }
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


def worth(predictions: Sequence[Prediction]) -> dict[str, dict[str, float]]:
    """By route and item, the score: by degree where there is one, else 1 for right and 0 for wrong."""
    found: dict[str, dict[str, float]] = {}
    for prediction in predictions:
        score = float(prediction.correct) if prediction.score is None else prediction.score
        found.setdefault(prediction.route, {})[prediction.id] = score
    return found


def _compared(
    answers: Mapping[str, float], direct: Mapping[str, float], groups: Mapping[str, str], by_degree: bool
) -> Comparison:
    both = sorted(answers.keys() & direct.keys())
    differences = [answers[item] - direct[item] for item in both]
    labels = [groups[item] for item in both]
    if by_degree or len(set(labels)) < len(labels):
        p = randomisation_test(differences, labels)
    else:
        p = mcnemar([answers[item] for item in both], [direct[item] for item in both]).p
    gained, lost = (sum(sign * value > 0 for value in differences) for sign in (1, -1))
    return Comparison(sum(differences) / len(both), gained, lost, p, False)
