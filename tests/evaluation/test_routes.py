"""Routes: their names in records, and who knows every answer is right by each of them, in every task."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridgex.evaluation.dialogue import Completion, ScoredOption, Scores
from bridgex.evaluation.routes import Route, bridge_of
from bridgex.evaluation.scores import route_score, summarise
from bridgex.languages import language
from tests.fakes.scripted_engine import ask, load, make_data, routes

MADE_UP = [
    (["pair=de-fr", "task=bli"], "en", 5),
    (["pair=de-fr", "task=mt", "task.held_out=2"], "es", 4),
    (["pair=de-fr", "task=xnli"], "en", 12),
    (["pair=de-fr", "task=xnli", "task.form=letters"], "en", 12),
    (["pair=de-fr", "task=xnli", "task.wording=target", "task.shots=2"], "es", 12),
    (["pair=de-fr", "task=belebele"], "es", 8),
    (["pair=de-fr", "task=belebele", "task.form=cloze", "task.shots=1"], "es", 6),
    (["pair=it-sw", "task=xcopa"], "en", 4),
    (["pair=it-sw", "task=xcopa", "task.form=letters", "task.shots=3"], "vi", 4),
    (["pair=it-sw", "task=xcopa", "task.wording=target"], "vi", 4),
    (["pair=de-fr", "task=mgsm"], "es", 4),
    (["pair=de-fr", "task=mgsm", "task.wording=target", "task.shots=8"], "es", 4),
]  # fmt: skip
TOY = [
    (["pair=qaa-qaf", "task=bli"], "qad", 24),
    (["pair=qaa-qaf", "task=mt", "task.limit=9"], "qad", 9),
    (["pair=qaa-qaf", "task=nli", "task.limit=9"], "qad", 9),
    (["pair=qaf-qaa", "task=mrc", "task.limit=9"], "qad", 9),
]
REAL = [
    (["pair=de-it", "task=bli", "task.limit=40"], "en"),
    (["pair=hi-sw", "task=mt", "task.limit=40"], "ar"),
    (["pair=ar-th", "task=xnli", "task.limit=40", "task.shots=3"], "en"),
    (["pair=th-my", "task=belebele", "task.limit=40", "task.shots=3"], "zh"),
    (["pair=it-tr", "task=xcopa", "task.limit=40", "task.shots=3", "task.wording=target"], "en"),
    (["pair=ja-th", "task=mgsm", "task.limit=40", "task.shots=8", "task.wording=target"], "zh"),
]


def check_all_right(overrides: list[str], bridge: str, count: int | None, root: Path | None) -> None:
    task, items, found = load(*overrides, root=root, bridges=[bridge])
    assert count in (None, len(items.items))
    predictions = []
    for translate in ("context", "both") if task.has_context else ("context",):
        predictions = []
        for route in routes(bridge, task.has_context, translate):
            if route.kind == "gold" and bridge not in items.gold_bridges:
                assert task.name == "bli", "words are right or wrong: there is no gold route"
                continue
            said = ask(task, items, found, route)
            assert [(p.route, p.id) for p in said] == [(route.name, item.id) for item in items.items]
            assert [p.miss for p in said if not p.correct] == [], route.name
            score = route_score(said, items.items)
            assert score.score == 1.0
            is_translated = route.kind in ("translated", "via")
            assert {p.bridge_correct for p in said} <= ({True} if is_translated else {None})
            assert {p.bridge_text is None for p in said} == {route.kind == "direct"}
            assert (score.bridge_step is not None) == is_translated
            if score.bridge_step is not None:
                assert (score.bridge_step.correct, score.bridge_step.n_known) == (1.0, len(said))
                assert score.bridge_step.chrf == (None if task.name == "bli" else pytest.approx(1.0))
            predictions += said
    metrics = summarise(
        task, found.pair.pair, "m", items.items, predictions, chosen=bridge, chosen_by="fixed", candidates=[bridge]
    )
    assert metrics.paired is not None
    assert metrics.paired.verdict == "no evidence"
    assert (metrics.against_translated is not None) == task.has_context
    assert metrics.chance == task.chance


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize(("overrides", "bridge", "count"), MADE_UP)
def test_who_knows_every_answer_scores_one_by_every_route(
    overrides: list[str], bridge: str, count: int, root: Path
) -> None:
    check_all_right(overrides, bridge, count, root)


@pytest.mark.parametrize(("overrides", "bridge", "count"), TOY)
def test_in_the_toy_world_too(overrides: list[str], bridge: str, count: int) -> None:
    check_all_right(overrides, bridge, count, None)


@pytest.mark.parametrize(("overrides", "bridge"), REAL)
def test_on_real_data_too(overrides: list[str], bridge: str, test_data: Path) -> None:
    check_all_right(overrides, bridge, None, test_data)


ALL = [case for case in MADE_UP if "task=bli" not in case[0]]


@pytest.mark.parametrize(("overrides", "bridge", "count"), ALL)
@pytest.mark.parametrize(
    ("mood", "miss"),
    [("foreign", "wrong_language"), ("cut", "truncated"), ("silent", "not_found"), ("wrong", "wrong")],
)
def test_the_first_reason_of_a_miss_comes_from_either_step(
    overrides: list[str], bridge: str, count: int, mood: str, miss: str, root: Path
) -> None:
    task, items, found = load(*overrides, root=root, bridges=[bridge])
    through = Route("via", language(bridge))
    for route in (through, Route("translated")) if task.has_context else (through,):
        if mood != "cut":
            known = ask(task, items, found, through, bridge=mood)  # who knows better all the same
            assert [p.correct for p in known] == [mood != "silent"] * count
            assert {p.bridge_correct for p in known} == {mood == "wrong"}, "a real language is identified, no more"
        both = ask(task, items, found, route, bridge=mood, answer="wrong")
        # Where answers are written, the language is the answer's; else it can only be the bridge text's.
        reason = "bad_bridge" if mood == "foreign" and not task.has_context else miss
        assert {(p.correct, p.miss) for p in both} == {(False, reason)}
    direct = ask(task, items, found, Route(), answer="wrong")
    assert {(p.correct, p.miss, p.bridge_correct) for p in direct} == {(False, "wrong", None)}


@pytest.mark.parametrize("task_name", ["bli", "mt"])
def test_an_answer_that_is_written_misses_for_its_own_reason(task_name: str, root: Path) -> None:
    more = ["task.held_out=2"] if task_name == "mt" else []
    task, items, found = load("pair=de-fr", f"task={task_name}", *more, root=root, bridges=["en"])
    for route in (Route(), Route("via", language("en"))):
        for mood, miss in (("foreign", "wrong_language"), ("cut", "truncated"), ("silent", "not_found")):
            said = ask(task, items, found, route, answer=mood)
            assert {(p.correct, p.miss) for p in said} == {(False, miss)}
        said = ask(task, items, found, route, answer="wrong")
        assert {(p.correct, p.miss) for p in said} == {(False, "wrong")}


@pytest.mark.parametrize(("overrides", "bridge", "count"), TOY)
def test_bridge_and_last_step_are_told_apart(overrides: list[str], bridge: str, count: int) -> None:
    """Invented bridge texts are compared with the data, so that both ways of half a failure show."""
    task, items, found = load(*overrides, bridges=[bridge])
    via = Route("via", language(bridge), "both")
    lucky = ask(task, items, found, via, bridge="wrong") if not task.has_context else []
    assert all(p.correct and p.bridge_correct is False and p.miss is None for p in lucky)
    unlucky = ask(task, items, found, via, answer="wrong")
    assert {(p.correct, p.bridge_correct, p.miss) for p in unlucky} == {(False, True, "wrong")}
    step = route_score([*lucky[:3], *unlucky[3:]], items.items).bridge_step
    assert step is not None
    num_lucky = len(lucky[:3])
    assert step.correct == pytest.approx(1 - num_lucky / (num_lucky + count - 3))
    assert step.score_if_correct is not None
    if task.metric == "accuracy":
        assert step.score_if_correct == 0.0
        assert step.score_if_wrong == (1.0 if lucky else None)
    both = ask(task, items, found, via, bridge="wrong", answer="wrong") if not task.has_context else []
    assert {(p.correct, p.bridge_correct, p.miss) for p in both} <= {(False, False, "bad_bridge")}


@pytest.mark.parametrize("mood", ["right", "wrong"])
def test_a_bad_bridge_is_a_reason_only_where_none_comes_before(mood: str) -> None:
    """The toy task with a context: its bridge text is wrong, its choice is what it is."""
    task, items, _ = load("pair=qaa-qaf", "task=nli", "task.limit=9", bridges=["qad"])
    item = items.items[0]
    dialogue = task.dialogue(item, language("qaa"), language("qaf"), Route("via", language("qad")))
    question = next(dialogue)
    choice = dialogue.send(Completion(question.prompt, '"bula bula bula"', 4, -1.0, False))
    right = ["entailment", "neutral", "contradiction"].index(item.gold[0])
    best = right if mood == "right" else (right + 1) % 3
    with pytest.raises(StopIteration) as stop:
        dialogue.send(Scores(choice.prompt, tuple(ScoredOption(-float(n != best), 1) for n in range(3))))
    said = stop.value.value
    assert (said.bridge_text, said.bridge_correct) == ("bula bula bula", False)
    assert (said.correct, said.miss) == ((True, None) if mood == "right" else (False, "bad_bridge"))


def test_names_of_routes_are_read_back() -> None:
    en = language("en")
    named = {
        Route(): "direct",
        Route("translated"): "translated",
        Route.to(en): "via en",
        Route("gold", en): "via en (gold)",
    }
    assert {route: route.name for route in named} == named
    assert [bridge_of(name) for name in named.values()] == [None, None, "en", None]
    assert bridge_of("via zh_hant") == "zh_hant"
    assert Route.to(None) == Route()
    with pytest.raises(AssertionError, match="a bridge route"):
        Route("via")
    with pytest.raises(AssertionError, match="a bridge route"):
        Route("direct", en)
