"""From single verdicts to scores, the paired verdict, and the oracle."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from bridgex.evaluation.routes import DIRECT, TRANSLATED, bridge_of
from bridgex.evaluation.tasks.base import Item, Task, majority_score
from bridgex.evaluation.texts import chrf
from bridgex.languages import Pair
from bridgex.records.schema import BridgeStep, Metrics, OracleScore, Paired, Prediction, RouteScore
from bridgex.stats.paired import cross_fit_oracle, paired_difference, share_interval

Floats = npt.NDArray[np.float64]
# Texts of one route that are compared with the data's: chrF takes milliseconds each.
_MAX_COMPARED = 500


def summarise(
    task: Task,
    pair: Pair,
    model: str,
    items: Sequence[Item],
    predictions: Sequence[Prediction],
    *,
    chosen: str | None = None,
    chosen_by: str | None = None,
    chose_direct: bool = False,
    uses_labels: bool = False,
    candidates: Sequence[str] = (),
    seed: int = 0,
) -> Metrics:
    """The metrics of a run from its predictions, which hold every item once a route.

    Args:
        task: what was asked.
        pair: source and target.
        model: its name.
        items: the run's items, in order.
        predictions: all of them.
        chosen: the chosen bridge.
        chosen_by: the strategy that chose it.
        chose_direct: whether that strategy chose no bridge because going directly is better.
        uses_labels: whether that strategy looked at these items' labels; then the comparison is out of fold.
        candidates: all candidates.
        seed: of bootstrap and folds.
    """
    by_route: dict[str, list[Prediction]] = {}
    for prediction in predictions:
        by_route.setdefault(prediction.route, []).append(prediction)
    scores = item_scores(items, predictions)
    groups = [item.group for item in items]
    via = {code: scores[f"via {code}"] for code in candidates if f"via {code}" in scores}
    is_complete = len(via) == len(candidates) > 0
    taken = scores[DIRECT] if chose_direct else None if chosen is None or uses_labels else via.get(chosen)

    def against(route: str) -> Paired | None:
        if chosen is None or route not in scores:
            return None
        return _paired(scores[route], via, chosen, groups, uses_labels, seed, _is_by_degree(predictions))

    return Metrics(
        task=task.name,
        pair=str(pair),
        model=model,
        n=len(items),
        metric=task.metric,
        chance=task.chance,
        majority=None if _is_by_degree(predictions) else majority_score(items),
        routes={route: route_score(group, items, seed) for route, group in by_route.items()},
        chosen=chosen,
        chosen_by=chosen_by,
        chose_direct=chose_direct,
        paired=against(DIRECT),
        against_translated=against(TRANSLATED),
        oracle=_oracle(scores[DIRECT], via, taken, groups, seed) if is_complete else None,
    )


def route_score(predictions: Sequence[Prediction], items: Sequence[Item], seed: int = 0) -> RouteScore:
    """The mean of a route's items with its interval, the misses by reason, and how the bridge step went.

    Args:
        predictions: of one route.
        items: the run's items.
        seed: of the bootstrap, and of the part of the bridge texts that is compared.
    """
    by_id = {item.id: item for item in items}
    worth = np.array([_worth(prediction) for prediction in predictions])
    groups = [by_id[prediction.id].group for prediction in predictions]
    is_by_degree = _is_by_degree(predictions)
    misses = Counter(prediction.miss for prediction in predictions if prediction.miss is not None)
    return RouteScore(
        score=float(worth.mean()),
        ci95=share_interval(worth, groups, seed),
        n=len(predictions),
        misses=dict(sorted(misses.items())),
        bridge_step=_bridge_step(predictions, by_id, seed) if _translates(predictions[0].route) else None,
        exact=float(np.mean([prediction.correct for prediction in predictions])) if is_by_degree else None,
        num_cut=sum(any(step.num_cut for step in prediction.steps) for prediction in predictions),
        num_merged=sum(any(option.is_merged for option in prediction.options) for prediction in predictions),
    )


def _translates(route: str) -> bool:
    return route == TRANSLATED or bridge_of(route) is not None


def _is_by_degree(predictions: Sequence[Prediction]) -> bool:
    return any(prediction.score is not None for prediction in predictions)


def _worth(prediction: Prediction) -> float:
    return float(prediction.correct) if prediction.score is None else prediction.score


def _bridge_step(predictions: Sequence[Prediction], items: Mapping[str, Item], seed: int) -> BridgeStep:
    with_right = [_worth(prediction) for prediction in predictions if prediction.bridge_correct is True]
    with_wrong = [_worth(prediction) for prediction in predictions if prediction.bridge_correct is False]
    known = len(with_right) + len(with_wrong)
    code = bridge_of(predictions[0].route)
    pairs = [
        (prediction.bridge_text, texts)
        for prediction in predictions
        if (texts := items[prediction.id].texts_in(code)) is not None
    ]
    if len(pairs) > _MAX_COMPARED:
        pairs = random.Random(seed).sample(pairs, _MAX_COMPARED)
    return BridgeStep(
        n_known=known,
        correct=len(with_right) / known if known else None,
        score_if_correct=sum(with_right) / len(with_right) if with_right else None,
        score_if_wrong=sum(with_wrong) / len(with_wrong) if with_wrong else None,
        chrf=float(np.mean([chrf(text, texts) for text, texts in pairs])) if pairs else None,
        chrf_n=len(pairs),
    )


def item_scores(items: Sequence[Item], predictions: Sequence[Prediction]) -> dict[str, Floats]:
    """By route, the score of each item, in the items' order."""
    by_route: dict[str, dict[str, float]] = {}
    for prediction in predictions:
        by_route.setdefault(prediction.route, {})[prediction.id] = _worth(prediction)
    return {route: np.array([found[item.id] for item in items]) for route, found in by_route.items()}


def _paired(
    direct: Floats,
    via: Mapping[str, Floats],
    chosen: str,
    groups: Sequence[str],
    uses_labels: bool,
    seed: int,
    is_by_degree: bool,
) -> Paired:
    bridge = via[chosen]
    if uses_labels:
        bridge = np.array(cross_fit_oracle(np.stack(list(via.values())), groups=groups, seed=seed).item_scores)
    found = paired_difference(direct, bridge, groups, seed=seed, is_by_degree=is_by_degree)
    return Paired(
        difference=found.difference,
        ci95=found.ci95,
        mcnemar_p=found.mcnemar_p,
        randomisation_p=found.randomisation_p,
        is_grouped=found.num_groups < found.num_items,
        only_bridge=None if found.mcnemar_p is None else int(np.sum(bridge > direct)),
        only_direct=None if found.mcnemar_p is None else int(np.sum(direct > bridge)),
        verdict=f"{found.verdict} (uses labels)" if uses_labels else found.verdict,
    )


def _oracle(
    direct: Floats, via: Mapping[str, Floats], taken: Floats | None, groups: Sequence[str], seed: int
) -> OracleScore | None:
    """What choosing by labels would have given, against the items' scores by the route that was taken without them."""
    if len(set(groups)) < 2:
        return None
    codes = list(via)
    table = np.stack([via[code] for code in codes])
    found = cross_fit_oracle(table, taken, direct, groups, seed)
    return OracleScore(
        bridge=codes[int(table.mean(axis=1).argmax())],
        score=found.score,
        regret=found.regret,
        regret_with_direct=found.regret_with_direct,
        score_with_direct=cross_fit_oracle(np.vstack([table, direct]), groups=groups, seed=seed).score,
    )
