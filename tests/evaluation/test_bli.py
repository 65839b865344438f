"""Word translation: prompts, verdicts, and the first reason of a miss that holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bridgex.config import command, settings
from bridgex.evaluation.dialogue import Completion
from bridgex.evaluation.routes import Route
from bridgex.evaluation.scores import route_score, summarise
from bridgex.evaluation.tasks.base import Item, Task, majority_score
from bridgex.languages import Pair, language
from bridgex.records.schema import Prediction

ITEM = Item("Hund", "Hund", ("chien", "clebs"), "Hund")


def task(**more: object) -> Task:
    (cell,) = command.check("evaluate", [f"task.{key}={value}" for key, value in more.items()], settings.validate)
    return settings.validate(cell.config).task.build(Task)


def ask(output: str, *, target: str = "fr", is_truncated: bool = False) -> Prediction:
    dialogue = task().dialogue(ITEM, language("de"), language(target), Route())
    question = next(dialogue)
    assert question.prompt == f'Deutsch:"Hund"→{language(target).name}:'
    assert question.max_tokens == 30
    with pytest.raises(StopIteration) as stop:
        dialogue.send(Completion(question.prompt, output, 4, -1.0, is_truncated))
    found: Prediction = stop.value.value
    return found


@pytest.mark.parametrize("output", ['"chien"', '"Clebs"→', "chien\n"])
def test_any_listed_translation_is_right(output: str) -> None:
    found = ask(output)
    assert (found.correct, found.miss, found.route) == (True, None, "direct")
    assert found.steps[0].output == output


@pytest.mark.parametrize(
    ("output", "is_truncated", "target", "miss"),
    [
        ("chien chien chien", True, "fr", "truncated"),
        ("", False, "fr", "not_found"),
        ('""', False, "fr", "not_found"),
        ('"Hund"', False, "fr", "wrong_language"),
        ('"chien2"', False, "he", "wrong_language"),
        ('"chat"', False, "fr", "wrong"),
    ],
)
def test_a_miss_has_its_first_reason(output: str, is_truncated: bool, target: str, miss: str) -> None:
    found = ask(output, is_truncated=is_truncated, target=target)
    assert (found.correct, found.miss) == (False, miss)


def test_a_word_alike_in_both_languages_is_right_not_copied() -> None:
    item = Item("taxi", "taxi", ("taxi",), "taxi")
    dialogue = task().dialogue(item, language("de"), language("fr"), Route())
    next(dialogue)
    with pytest.raises(StopIteration) as stop:
        dialogue.send(Completion("", '"taxi"', 1, 0.0, False))
    assert stop.value.value.correct


def test_limit_takes_the_first_items(tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    own.write_text("a b\nc d\ne f\n")
    overrides = ["model=random", "pair=de-fr", f"data.dictionary={own}", "task.limit=2"]
    (cell,) = command.check("evaluate", overrides, settings.validate)
    found = settings.validate(cell.config)
    items = found.task.build(Task).items(found)
    assert [item.id for item in items.items] == ["a", "c"]


def test_scores_count_items_with_their_wilson_interval() -> None:
    right, wrong, lost = ask('"chien"'), ask('"chat"'), ask("")
    said = [right] * 5 + [wrong] * 3 + [lost] * 2
    items = [replace(ITEM, id=str(number), group=str(number)) for number in range(10)]
    score = route_score([found.model_copy(update={"id": str(number)}) for number, found in enumerate(said)], items)
    assert (score.score, score.n) == (0.5, 10)
    assert score.misses == {"not_found": 2, "wrong": 3}
    # Wilson 1927 for 5 of 10 at z = 1.959964, by hand: centre .5, half width z sqrt(.025 + z^2/400) / (1 + z^2/10)
    assert score.ci95 == pytest.approx((0.236593, 0.763407), abs=1e-6)


def route(item: Item, *outputs: str, bridge: str | None = "en") -> Prediction:
    """Plays a dialogue with given outputs, and checks what is asked on the way."""
    through = Route.to(None if bridge is None else language(bridge))
    dialogue = task().dialogue(item, language("de"), language("fr"), through)
    question = next(dialogue)
    for place, output in enumerate(outputs):
        expected = [
            f'Deutsch:"{item.text}"→English:',
            f'Deutsch:"{item.text}"→English:"{outputs[0].strip(chr(34))}"→français:',
        ]
        assert question.prompt == (expected[place] if bridge else f'Deutsch:"{item.text}"→français:')
        try:
            question = dialogue.send(Completion(question.prompt, output, 2, -1.0, False))
        except StopIteration as stop:
            found: Prediction = stop.value
            assert place == len(outputs) - 1
    return found


@pytest.mark.parametrize(
    ("outputs", "bridge_text", "bridge_correct", "correct", "miss"),
    [
        (('"dog"', '"chien"'), "dog", True, True, None),
        (('"cat"', '"chien"'), "cat", False, True, None),
        (('"dog"', '"chat"'), "dog", True, False, "wrong"),
        (('"cat"', '"chat"'), "cat", False, False, "bad_bridge"),
        (('"cat"', '"Hund"'), "cat", False, False, "wrong_language"),
        (('"cat"', ""), "cat", False, False, "not_found"),
        (("",), None, False, False, "not_found"),
    ],
)
def test_a_bridge_is_asked_first_and_judged_by_the_dictionary(
    outputs: tuple[str, ...], bridge_text: str | None, bridge_correct: bool, correct: bool, miss: str | None
) -> None:
    item = Item("Hund", "Hund", ("chien",), "Hund", bridge_gold={"en": ("dog", "hound")})
    found = route(item, *outputs)
    assert (found.route, found.bridge_text, found.bridge_correct) == ("via en", bridge_text, bridge_correct)
    assert (found.correct, found.miss) == (correct, miss)
    assert [step.kind for step in found.steps] == ["bridge", "answer"][: len(outputs)]


def test_without_a_dictionary_the_bridge_text_is_not_judged() -> None:
    found = route(Item("Hund", "Hund", ("chien",), "Hund"), '"dog"', '"chat"')
    assert (found.bridge_correct, found.miss) == (None, "wrong")


def _items(count: int) -> list[Item]:
    return [Item(f"w{n}", f"w{n}", ("x",), f"w{n}", bridge_gold={"en": ("b",)}) for n in range(count)]


def test_the_summary_pairs_the_chosen_bridge_with_direct_and_names_the_oracle() -> None:
    items = _items(12)
    direct = [route(item, '"x"' if n < 2 else '"y"', bridge=None) for n, item in enumerate(items)]
    via = [route(item, '"b"' if n < 10 else '"c"', '"x"' if n < 10 else '"y"') for n, item in enumerate(items)]
    found = summarise(
        task(), Pair("de", "fr"), "m", items, [*direct, *via], chosen="en", chosen_by="hsic", candidates=["en"]
    )
    assert (found.n, found.metric, found.chance, found.majority) == (12, "accuracy", None, 1.0)
    assert found.paired is not None
    assert found.paired.difference == pytest.approx(8 / 12)
    assert found.paired.mcnemar_p == pytest.approx(2 / 2**8)  # 8 discordant items, all one way
    assert found.paired.verdict == "bridge helps"
    step = found.routes["via en"].bridge_step
    assert step is not None
    assert (step.n_known, step.correct, step.score_if_correct, step.score_if_wrong) == (12, 10 / 12, 1.0, 0.0)
    assert found.routes["direct"].bridge_step is None
    assert found.oracle is not None
    assert (found.oracle.bridge, found.oracle.regret) == ("en", 0.0)


def test_a_choice_by_labels_is_compared_out_of_fold_and_marked() -> None:
    items = _items(12)
    direct = [route(item, '"y"', bridge=None) for item in items]
    via = [route(item, '"b"', '"x"') for item in items]
    found = summarise(
        task(), Pair("de", "fr"), "m", items, [*direct, *via],
        chosen="en", chosen_by="oracle", uses_labels=True, candidates=["en"],
    )  # fmt: skip
    assert found.paired is not None
    assert found.paired.verdict == "bridge helps (uses labels)"
    assert found.oracle is not None
    assert found.oracle.regret is None


def test_without_a_bridge_nothing_is_paired() -> None:
    items = _items(3)
    found = summarise(task(), Pair("de", "fr"), "m", items, [route(item, '"x"', bridge=None) for item in items])
    assert (found.chosen, found.chosen_by, found.paired, found.oracle) == (None, None, None, None)
    assert list(found.routes) == ["direct"]


def test_the_majority_is_the_answer_that_fits_most_items() -> None:
    items = [Item(word, word, gold, word) for word, gold in {"a": ("x", "y"), "b": ("x",), "c": ("z",)}.items()]
    assert majority_score(items) == pytest.approx(2 / 3)
