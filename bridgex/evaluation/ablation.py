"""From log-probabilities with and without neurons to the question whether the bridge route needs them more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from bridgex.evaluation.dialogue import Completion, Dialogue
from bridgex.evaluation.tasks.base import DIRECT, Item
from bridgex.records.schema import AblatedRoute, Ablation, Prediction, Tested
from bridgex.stats.paired import ALPHA, group_interval, randomisation_test

Floats = npt.NDArray[np.float64]


def last_prompt(dialogue: Dialogue, prediction: Prediction) -> str | None:
    """What a recorded sample was asked last, before any chat template; None: the dialogue ended before its answer.

    Args:
        dialogue: a fresh one of the same item and route.
        prediction: the record.
    """
    question = next(dialogue)
    for step in prediction.steps:
        if question.kind == "answer":
            return question.prompt
        try:
            # The verdict of the step was made from its text alone.
            question = dialogue.send(Completion(step.prompt, step.output, step.num_tokens, 0.0, is_truncated=False))
        except StopIteration:
            return None
    return question.prompt if question.kind == "answer" else None


def summarise_ablation(
    logprobs: Mapping[tuple[str, str], Floats],
    items: Sequence[Item],
    route: str,
    *,
    ablated: str,
    num_neurons: int,
    seed: int,
) -> Ablation:
    """Paired differences in differences, against nothing and against random sets.

    With `loss = log p(right | nothing held) - log p(right | neurons held)` of an item on a route, tested are the mean
    over items of `loss via the bridge - loss directly`, and the mean of the same less its own mean over the random
    sets. All route comparisons are within items.

    Args:
        logprobs: by item and route: nothing held, the chosen neurons held, each random set held.
        items: the run's items; those that lack a route are left out and counted.
        route: of the chosen bridge.
        ablated: what was held.
        num_neurons: how many.
        seed: of bootstrap and randomisation.

    Raises:
        ValueError: no item has both routes.
    """
    kept = [item for item in items if (item.id, DIRECT) in logprobs and (item.id, route) in logprobs]
    if not kept:
        raise ValueError("no item has both routes")
    bridge = route.removeprefix("via ")
    groups = [item.group for item in kept]
    losses: dict[str, Floats] = {}
    routes: dict[str, AblatedRoute] = {}
    for name in (DIRECT, route):
        table = np.stack([logprobs[item.id, name] for item in kept])
        losses[name] = table[:, :1] - table[:, 1:]
        routes[name] = AblatedRoute(
            logprob=float(table[:, 0].mean()),
            loss=_tested(losses[name][:, 0], groups, seed),
            random_loss=float(losses[name][:, 1:].mean()),
        )
    differences = losses[route] - losses[DIRECT]
    above = differences[:, 0] - differences[:, 1:].mean(axis=1)
    num_sets = differences.shape[1] - 1
    num_as_large = int((differences[:, 1:].mean(axis=0) >= differences[:, 0].mean()).sum())
    difference, above_random = _tested(differences[:, 0], groups, seed), _tested(above, groups, seed)
    p_random_sets = (1 + num_as_large) / (1 + num_sets)
    return Ablation(
        ablated=ablated,
        bridge=bridge,
        n=len(kept),
        num_left_out=len(items) - len(kept),
        num_neurons=num_neurons,
        num_random_sets=num_sets,
        routes=routes,
        difference=difference,
        above_random=above_random,
        p_random_sets=p_random_sets,
        verdict=_verdict(difference, above_random, p_random_sets),
    )


def _tested(values: Floats, groups: Sequence[str], seed: int) -> Tested:
    return Tested(
        mean=float(values.mean()),
        ci95=group_interval(values, groups, seed=seed),
        p=randomisation_test(values, groups, seed=seed),
    )


def _verdict(difference: Tested, above_random: Tested, p_random_sets: float) -> str:
    if difference.p > ALPHA:
        return "no evidence that one route needs these neurons more than the other"
    if difference.mean < 0:
        return "the direct route needs these neurons more than the bridge route does"
    if above_random.p <= ALPHA and above_random.mean > 0 and p_random_sets <= ALPHA:
        return "the bridge route needs these neurons more than the direct route does, and more than random neurons"
    return "the bridge route needs these neurons more than the direct route does, but no more than random neurons"
