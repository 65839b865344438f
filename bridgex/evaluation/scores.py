"""From single verdicts to a score with its interval."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from scipy.stats import binomtest

from bridgex.evaluation.tasks.base import Item, Task, majority_score
from bridgex.languages import Pair
from bridgex.records.schema import Metrics, Prediction, RouteScore


def summarise(task: Task, pair: Pair, model: str, items: Sequence[Item], predictions: Sequence[Prediction]) -> Metrics:
    """The metrics of a run from its predictions, which hold every item once a route."""
    routes: dict[str, list[Prediction]] = {}
    for prediction in predictions:
        routes.setdefault(prediction.route, []).append(prediction)
    return Metrics(
        task=task.name,
        pair=str(pair),
        model=model,
        n=len(items),
        metric=task.metric,
        chance=task.chance,
        majority=majority_score(items),
        routes={route: route_score(group) for route, group in routes.items()},
    )


def route_score(predictions: Sequence[Prediction]) -> RouteScore:
    """Share of right answers with its Wilson interval, and the misses by reason."""
    right = sum(prediction.correct for prediction in predictions)
    low, high = binomtest(right, len(predictions)).proportion_ci(method="wilson")
    misses = Counter(prediction.miss for prediction in predictions if prediction.miss is not None)
    return RouteScore(
        score=right / len(predictions), ci95=(low, high), n=len(predictions), misses=dict(sorted(misses.items()))
    )
