"""From log-probabilities with and without neurons to the question whether the bridge route needs them more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from bridgex.evaluation.dialogue import Completion, Dialogue, Question
from bridgex.evaluation.routes import DIRECT
from bridgex.evaluation.tasks.base import Item
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
        if not isinstance(question, Question) or question.kind == "answer":
            return question.prompt
        try:
            # The verdict of the step was made from its text alone.
            question = dialogue.send(Completion(step.prompt, step.output, step.num_tokens, 0.0, is_truncated=False))
        except StopIteration:
            return None
    return question.prompt if not isinstance(question, Question) or question.kind == "answer" else None


def summarise_ablation(
    logprobs: Mapping[tuple[str, str], Floats],
    items: Sequence[Item],
    route: str,
    *,
    ablated: str,
    num_neurons: int,
    num_matched: int,
    seed: int,
) -> Ablation:
    """Paired differences in differences, against nothing and against random sets.

    With `loss = log p(right | nothing held) - log p(right | neurons held)` of an item on a route, tested are the mean
    over items of `loss via the bridge - loss directly`, and, for the neurons that have a match, the mean of the same
    less its own mean over the random sets. The matched set is one of those that could have been drawn, so its place
    among them is a p of its own. All route comparisons are within items.

    Args:
        logprobs: by item and route: nothing held, the chosen neurons held, the matched ones of them, each random set.
        items: the run's items; those that lack a route are left out and counted.
        route: of the chosen bridge.
        ablated: what was held.
        num_neurons: how many.
        num_matched: how many of them have a match.
        seed: of bootstrap and randomisation.

    Raises:
        ValueError: no item has both routes.
    """
    kept = [item for item in items if (item.id, DIRECT) in logprobs and (item.id, route) in logprobs]
    if not kept:
        raise ValueError("no item has both routes")
    groups = [item.group for item in kept]
    losses: dict[str, Floats] = {}
    routes: dict[str, AblatedRoute] = {}
    for name in (DIRECT, route):
        table = np.stack([logprobs[item.id, name] for item in kept])
        losses[name] = table[:, :1] - table[:, 1:]
        is_compared = losses[name].shape[1] > 2
        routes[name] = AblatedRoute(
            logprob=float(table[:, 0].mean()),
            loss=_tested(losses[name][:, 0], groups, seed),
            matched_loss=float(losses[name][:, 1].mean()) if is_compared else None,
            random_loss=float(losses[name][:, 2:].mean()) if is_compared else None,
        )
    differences = losses[route] - losses[DIRECT]
    matched, random = differences[:, 1], differences[:, 2:]
    num_sets = random.shape[1]
    difference = _tested(differences[:, 0], groups, seed)
    above_random = _tested(matched - random.mean(axis=1), groups, seed) if num_sets else None
    p_random_sets = _two_sided(float(matched.mean()), random.mean(axis=0)) if num_sets else None
    return Ablation(
        ablated=ablated,
        bridge=route.removeprefix("via "),
        n=len(kept),
        num_left_out=len(items) - len(kept),
        num_neurons=num_neurons,
        num_matched=num_matched,
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
        ci95=group_interval(values, groups, seed=seed) if len(set(groups)) > 1 else None,
        p=randomisation_test(values, groups, seed=seed),
    )


def _two_sided(observed: float, random: Floats) -> float:
    """Twice the smaller share of sets at least as high or as low, the observed one included; at most 1."""
    # The same set drawn again differs by rounding.
    slack = 1e-9 * abs(observed)
    as_high, as_low = (random >= observed - slack).sum(), (random <= observed + slack).sum()
    return min(1.0, 2 * (1 + float(min(as_high, as_low))) / (1 + len(random)))


def _verdict(difference: Tested, above_random: Tested | None, p_random_sets: float | None) -> str:
    routes = ("the last step of the bridge route", "the direct question")
    if difference.p > ALPHA:
        return f"no evidence that {routes[0]} and {routes[1]} need these neurons to a different extent"
    first, second = routes if difference.mean > 0 else routes[::-1]
    found = f"{first} needs these neurons more than {second} does"
    if above_random is None or p_random_sets is None:
        return f"{found}; too few of them have a match to say whether other neurons would do the same"
    is_above = above_random.p <= ALPHA and p_random_sets <= ALPHA and above_random.mean * difference.mean > 0
    return f"{found}, and more so than random neurons" if is_above else f"{found}, but not more so than random neurons"
