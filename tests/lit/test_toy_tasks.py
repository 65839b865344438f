"""What the shipped world shows by the tasks themselves: which bridges help, and that texts are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import fmean

import pytest

import bridgex
from bench.toy_world import Bench
from bridgex.data.toy_world import CODES, contact_hub, family_hub, hubs, tier, word_order
from bridgex.evaluation.dialogue import Reply, Request, converse
from bridgex.evaluation.engines.hf import HFEngine
from bridgex.evaluation.routes import Route
from bridgex.evaluation.tasks.base import Item, Task
from bridgex.evaluation.tasks.context import ContextItem
from bridgex.extract.loading import load_model, model_folder
from bridgex.languages import language
from bridgex.stats.paired import wilson_interval
from tests.fakes.scripted_engine import load, settings_for

pytestmark = pytest.mark.slow

WORLD = Path(bridgex.__file__).parent / "toy"
# Pairs of two families without loans between them, low-resource language and hub, with the low one's family hub and the
# hub that has nothing to do with either.
PAIRS = [
    (pair, family_hub(low), next(code for code in hubs() if code not in (family_hub(low), contact_hub(low), hub)))
    for low in CODES
    if tier(low) == "low"
    for hub in hubs()
    if hub not in (family_hub(low), contact_hub(low))
    for pair in ((hub, low), (low, hub))
]
NUM_ITEMS = 12  # a pair


class Asker:
    """Asks the shipped model through the engine, nothing twice."""

    def __init__(self, folder: Path) -> None:
        found = settings_for("pair=qaa-qaf")
        loaded = load_model(found.model, model_folder(found.model, folder, 0))
        loaded.model.eval()
        self._answer: Callable[[Sequence[Request]], Sequence[Reply]] = HFEngine(loaded).answer
        self._known: dict[Request, Reply] = {}
        self.load = cache(load)

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        new = list(dict.fromkeys(request for request in requests if request not in self._known))
        if new:
            self._known.update(zip(new, self._answer(new), strict=True))
        return [self._known[request] for request in requests]

    def correct(self, task: Task, items: Sequence[Item], source: str, target: str, route: Route) -> list[bool]:
        made = [task.dialogue(item, language(source), language(target), route) for item in items]
        return [prediction.correct for prediction in converse(made, self.answer)]

    def share(self, name: str, pair: tuple[str, str], route: Route, limit: int = NUM_ITEMS) -> float:
        """Exact matches of a task's first items on a route."""
        task, items, _ = self.load(f"pair={'-'.join(pair)}", f"task={name}", f"task.limit={limit}")
        return fmean(self.correct(task, items.items, *pair, route))


@pytest.fixture(scope="module")
def asker(tmp_path_factory: pytest.TempPathFactory) -> Asker:
    return Asker(tmp_path_factory.mktemp("cache"))


def through(hub: str) -> Route:
    return Route("via", language(hub), "both")


@pytest.mark.parametrize("name", ["nli", "mrc"])
@pytest.mark.parametrize("is_from_hub", [True, False])
def test_inference_and_reading_go_better_through_the_family_hub(asker: Asker, name: str, is_from_hub: bool) -> None:
    chosen = [case for case in PAIRS if (tier(case[0][0]) == "hub") == is_from_hub]
    assert len(chosen) == 8
    related = fmean(asker.share(name, pair, through(own)) for pair, own, _ in chosen)
    unrelated = fmean(asker.share(name, pair, through(other)) for pair, _, other in chosen)
    translated = fmean(asker.share(name, pair, Route("translated")) for pair, _, _ in chosen)
    assert related >= translated + 0.15
    assert related >= unrelated + 0.15


@pytest.mark.parametrize("is_from_hub", [True, False])
def test_sentences_go_better_through_the_family_hub(asker: Asker, is_from_hub: bool) -> None:
    chosen = [case for case in PAIRS if (tier(case[0][0]) == "hub") == is_from_hub]
    related = fmean(asker.share("mt", pair, Route.to(language(own))) for pair, own, _ in chosen)
    direct = fmean(asker.share("mt", pair, Route()) for pair, _, _ in chosen)
    assert related >= direct + 0.30


def one_side(hub: str) -> Route:
    return Route("via", language(hub), "context")


@pytest.mark.parametrize(("name", "chance"), [("nli", 1 / 3), ("mrc", 1 / 4)])
def test_asked_across_languages_the_model_guesses(asker: Asker, name: str, chance: float) -> None:
    """It infers and reads within one language only, so going directly is chance; so is translating one side.

    All but reading with the passage in the family hub of the question's language: their words are alike.
    """
    shares = [asker.share(name, pair, Route()) for pair, _, _ in PAIRS]
    shares += [
        asker.share(name, pair, one_side(own)) for pair, own, _ in PAIRS if (name, tier(pair[1])) != ("mrc", "low")
    ]
    low, high = wilson_interval(round(sum(shares) * NUM_ITEMS), len(shares) * NUM_ITEMS)
    assert low <= chance <= high, (low, high)


def test_one_side_in_the_bridge_language_is_not_enough_for_reading_either(asker: Asker) -> None:
    chosen = [(pair, own) for pair, own, _ in PAIRS if tier(pair[1]) == "low"]
    one = fmean(asker.share("mrc", pair, one_side(own)) for pair, own in chosen)
    both = fmean(asker.share("mrc", pair, through(own)) for pair, own in chosen)
    assert both >= one + 0.25


def test_another_premise_brings_inference_down_to_chance(asker: Asker) -> None:
    right, swapped = [], []
    for pair, own, _ in PAIRS[::2]:
        task, items, _ = asker.load(f"pair={'-'.join(pair)}", "task=nli", f"task.limit={2 * NUM_ITEMS}")
        others = items.items[NUM_ITEMS:] + items.items[:NUM_ITEMS]
        changed = [with_context(item, pair[0], other.text) for item, other in zip(items.items, others, strict=True)]
        right += asker.correct(task, items.items, *pair, through(own))
        swapped += asker.correct(task, changed, *pair, through(own))
    low, high = wilson_interval(sum(swapped), len(swapped))
    assert low <= 1 / 3 <= high, (low, high)
    assert fmean(right) >= high + 0.15


def test_other_objects_in_the_passage_are_other_answers(asker: Asker) -> None:
    old, new = [], []
    for pair, own, _ in PAIRS[::2]:
        task, items, _ = asker.load(f"pair={'-'.join(pair)}", "task=mrc", f"task.limit={NUM_ITEMS}")
        changed = [with_context(item, pair[0], rebound(item.text, pair[0])) for item in items.items]
        right = [with_answer(item, pair[0]) for item in changed]
        old += asker.correct(task, changed, *pair, through(own))
        new += asker.correct(task, right, *pair, through(own))
    assert fmean(old) <= 0.25
    assert fmean(new) >= fmean(old) + 0.3


def with_context(item: Item, code: str, text: str) -> ContextItem:
    assert isinstance(item, ContextItem)
    return replace(item, text=text, sides=item.sides | {code: replace(item.sides[code], context=text)})


def rebound(passage: str, code: str) -> str:
    """Each fact with the next one's object."""
    facts = [fact.split(" ") for fact in passage.split(".")]
    place = word_order(code).index("O")
    objects = [fact[place] for fact in facts]
    for fact, new in zip(facts, [*objects[1:], objects[0]], strict=True):
        fact[place] = new
    return ".".join(" ".join(fact) for fact in facts)


def with_answer(item: ContextItem, code: str) -> ContextItem:
    """The item with the answer that its passage, in this language, gives now."""
    side = item.sides[code]
    _, verb, subject = side.query.split(" ")
    order = word_order(code)
    (fact,) = [
        words
        for words in (fact.split(" ") for fact in side.context.split("."))
        if (words[order.index("V")], words[order.index("S")]) == (verb, subject)
    ]
    return replace(item, gold=("ABCD"[side.options.index(fact[order.index("O")])],))


def test_figures_are_those_of_the_bench(asker: Asker) -> None:
    """Which has its own prompts, generation and scoring."""
    pair, own, other = PAIRS[0]
    bench = Bench(WORLD, NUM_ITEMS)
    for name in ("bli", "mt", "nli", "mrc"):
        (theirs,) = [found for found in bench.groups(name, pair) if found["pairs"] == 1]
        limit = 24 if name == "bli" else NUM_ITEMS
        route_of = through if name in ("nli", "mrc") else lambda hub: Route.to(language(hub))
        ours = {
            "direct": asker.share(name, pair, Route(), limit),
            "family hub": asker.share(name, pair, route_of(own), limit),
            "unrelated hub": asker.share(name, pair, route_of(other), limit),
        }
        if name in ("nli", "mrc"):
            ours["translated"] = asker.share(name, pair, Route("translated"), limit)
        assert ours == {route: pytest.approx(theirs[route], abs=0.5 / limit) for route in ours}, name
