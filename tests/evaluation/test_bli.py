"""Word translation: prompts, verdicts, and the first reason of a miss that holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridgex.config import command, settings
from bridgex.evaluation.dialogue import Completion
from bridgex.evaluation.scores import route_score, summarise
from bridgex.evaluation.tasks.base import Item, Task, majority_score
from bridgex.languages import Pair, language
from bridgex.records.schema import Prediction

ITEM = Item("Hund", "Hund", ("chien", "clebs"), "Hund")


def task(**more: object) -> Task:
    (cell,) = command.check("evaluate", [f"task.{key}={value}" for key, value in more.items()], settings.validate)
    return settings.validate(cell.config).task.build(Task)


def ask(output: str, *, target: str = "fr", is_truncated: bool = False) -> Prediction:
    dialogue = task().dialogue(ITEM, language("de"), language(target), None)
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
    dialogue = task().dialogue(item, language("de"), language("fr"), None)
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
    score = route_score([right] * 5 + [wrong] * 3 + [lost] * 2)
    assert (score.score, score.n) == (0.5, 10)
    assert score.misses == {"not_found": 2, "wrong": 3}
    # Wilson 1927 for 5 of 10 at z = 1.959964, by hand: centre .5, half width z sqrt(.025 + z^2/400) / (1 + z^2/10)
    assert score.ci95 == pytest.approx((0.236593, 0.763407), abs=1e-6)


def test_the_summary_names_what_guessing_would_give() -> None:
    items = [Item(word, word, gold, word) for word, gold in {"a": ("x", "y"), "b": ("x",), "c": ("z",)}.items()]
    assert majority_score(items) == pytest.approx(2 / 3)
    found = summarise(task(), Pair("de", "fr"), "m", items, [ask('"chien"')] * 3)
    assert (found.task, found.pair, found.metric, found.chance, found.chosen) == (
        "bli",
        "de-fr",
        "accuracy",
        None,
        None,
    )
    assert list(found.routes) == ["direct"]
