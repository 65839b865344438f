"""XNLI and its like: every prompt as it is given, and what is read from its rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridgex.errors import UserError
from bridgex.evaluation.dialogue import Choice, Question
from bridgex.evaluation.routes import Route
from bridgex.evaluation.tasks.base import Task
from bridgex.languages import language
from tests.fakes.scripted_engine import load, play, settings_for, shown_context, write_rows

EN = language("en")
ROWS = {
    "de": ("Er kam {nach} Hause.", 'Er ist "da".', 0),
    "ar": ("عاد إلى {0} البيت.", "هو هنا", 0),
    "fr": ("Il est rentré.", "Il est là.", 0),
    "en": ("He came home.", "He is here.", 0),
    "es": ("Volvió a casa.", "Está aquí.", 0),
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_rows(tmp_path, "xnli", {
        f"{code}/test.jsonl": [
            {"premise": premise, "hypothesis": hypothesis, "label": label},
            {"premise": premise, "hypothesis": f"{hypothesis} 2", "label": 2},
            {"premise": premise, "hypothesis": f"{hypothesis} 3", "label": 1},
        ]
        for code, (premise, hypothesis, label) in ROWS.items()
    })  # fmt: skip
    return tmp_path


def asked(root: Path, route: Route, said: list[str], *overrides: str, pair: str = "de-fr") -> list[Question | Choice]:
    task, items, found = load(f"pair={pair}", "task=xnli", *overrides, root=root, bridges=["en"])
    return play(task, items.items[0], found, route, said)[0]


def cloze(
    premise: str, hypothesis: str, right: str = "right", words: tuple[str, ...] = ("Yes", "Also", "No")
) -> Choice:
    prompt = f"{premise}, {right}?"
    return Choice(prompt, tuple(f" {word}, {hypothesis}" for word in words), (0, len(premise)))


def test_directly_the_labels_follow_the_premise_with_the_hypothesis(root: Path) -> None:
    assert asked(root, Route(), []) == [cloze("Er kam {nach} Hause.", "Il est là.")]


def test_through_a_bridge_the_premise_is_translated_first(root: Path) -> None:
    first, last = asked(root, Route("via", EN), ['"He {came} "home"."→Deutsch:"'])
    assert isinstance(first, Question)
    assert (first.kind, first.prompt) == ("bridge", 'Deutsch:"Er kam {nach} Hause."→English:')
    assert first.max_tokens == 256
    assert shown_context(first) == "Er kam {nach} Hause."
    assert last == cloze('He {came} "home".', "Il est là.")


def test_translated_goes_straight_into_the_target_language(root: Path) -> None:
    first, last = asked(root, Route("translated"), ['"Il est rentré."'])
    assert first.prompt == 'Deutsch:"Er kam {nach} Hause."→français:'
    assert last == cloze("Il est rentré.", "Il est là.")


def test_both_sides_may_go_through_the_bridge(root: Path) -> None:
    first, second, last = asked(root, Route("via", EN, "both"), ['"He came."', '"He is here."'])
    assert first.prompt == 'Deutsch:"Er kam {nach} Hause."→English:'
    assert second.prompt == 'français:"Il est là."→English:'
    assert last == cloze("He came.", "He is here.")


@pytest.mark.parametrize(("translate", "hypothesis"), [("context", "Il est là."), ("both", "He is here.")])
def test_the_datas_own_text_may_stand_for_the_bridge(root: Path, translate: str, hypothesis: str) -> None:
    assert asked(root, Route("gold", EN, translate), []) == [cloze("He came home.", hypothesis)]


def test_letters_name_the_hypothesis_in_the_prompt(root: Path) -> None:
    (choice,) = asked(root, Route(), [], "task.form=letters")
    assert isinstance(choice, Choice)
    assert choice.prompt == (
        "Premise: Er kam {nach} Hause.\nHypothesis: Il est là.\nDoes the premise entail the hypothesis?\n"
        "A: Yes, it does\nB: Neither\nC: No, it contradicts it\nAnswer:"
    )
    assert choice.options == (" A", " B", " C")
    assert shown_context(choice) == "Er kam {nach} Hause."


def test_words_may_be_the_target_languages(root: Path) -> None:
    french = asked(root, Route(), [], "task.wording=target")
    assert french == [cloze("Er kam {nach} Hause.", "Il est là.", "correct", ("Oui", "Aussi", "Non"))]
    arabic = asked(root, Route(), [], "task.wording=target", pair="de-ar")
    # Not رقم, which is "number".
    assert arabic == [cloze("Er kam {nach} Hause.", "هو هنا", "صحيح", ("نعم", "لذا", "لا"))]
    (_, last) = asked(root, Route("via", EN), ['"He came."'], "task.wording=target", pair="ar-fr")
    assert last == cloze("He came.", "Il est là.", "correct", ("Oui", "Aussi", "Non")), "the query's language counts"
    *_, last = asked(root, Route("via", EN, "both"), ['"a"', '"b"'], "task.wording=target", pair="ar-fr")
    assert last == cloze("a", "b"), "which may be the bridge"


def test_right_to_left_text_and_braces_leave_the_template_whole(root: Path) -> None:
    first, last = asked(root, Route("via", EN), ['"{} {0} {context}"'], pair="ar-de")
    assert first.prompt == 'العربية:"عاد إلى {0} البيت."→English:'
    assert shown_context(first) == "عاد إلى {0} البيت."
    assert last == cloze("{} {0} {context}", 'Er ist "da".')


def test_a_language_without_words_is_refused_with_those_that_have_some(root: Path) -> None:
    task = settings_for("pair=en-my", "task=xnli", "task.wording=target", root=root)
    lines = task.task.build(Task).problems(task)
    (line,) = [line for line in lines if "wording" in line]
    assert line.startswith("task.wording=target: task=xnli has no wording in Burmese (my), only in am, ar, bg, de, el,")
    assert line.endswith("Use task.wording=english, or give task.words.my")


def test_a_bridge_without_words_is_refused_where_it_would_be_asked_in(root: Path) -> None:
    given = ["pair=de-fr", "task=xnli", "task.wording=target"]
    load(*given, root=root, bridges=["it"])
    with pytest.raises(UserError, match=r"task\.wording=target: task=xnli has no wording in Italian \(it\)") as error:
        load(*given, "bridge.translate=both", root=root, bridges=["en", "it"])
    assert len(error.value.problems) == 1


def test_a_row_is_read_with_its_label_and_its_triple(root: Path) -> None:
    task, items, found = load("pair=de-fr", "task=xnli", root=root, bridges=["en", "es", "it"])
    assert [item.gold for item in items.items] == [("entailment",), ("contradiction",), ("neutral",)]
    assert len({item.group for item in items.items}) == 1
    assert len({item.id for item in items.items}) == 3
    first = items.items[0]
    assert first.text == "Er kam {nach} Hause."
    assert set(first.texts()) == {text for code in ("de", "fr", "en", "es") for text in ROWS[code][:2]}
    assert items.gold_bridges == {"en", "es"}, "Italian is not among the data"
    assert (task.chance, task.metric) == (1 / 3, "accuracy")
    (_, predicted) = play(task, first, found, Route())
    assert (predicted.answer, predicted.correct) == ("entailment", True)
    assert [option.text for option in predicted.options] == [" Yes, Il est là.", " Also, Il est là.", " No, Il est là."]


def test_the_toy_world_asks_in_its_own_marks() -> None:
    task, items, found = load("pair=qaa-qaf", "task=nli", "task.limit=1", bridges=["qad"])
    (item,) = items.items
    source, target, bridge = (item.sides[code] for code in ("qaa", "qaf", "qad"))
    (direct,) = play(task, item, found, Route())[0]
    assert direct == Choice(
        f'qaa:"{source.context}"|qaf:"{target.query}"→', ("+", "=", "-"), (5, 5 + len(source.context))
    )
    both = Route("via", language("qad"), "both")
    first, second, last = play(task, item, found, both, [f'"{bridge.context}"', f'"{bridge.query}"'])[0]
    assert (first.prompt, second.prompt) == (f'qaa:"{source.context}"→qad:', f'qaf:"{target.query}"→qad:')
    assert last.prompt == f'qad:"{bridge.context}"|qad:"{bridge.query}"→'
    assert found.bridge.arguments["translate"] == "both", "so it is in the toy world where it is not given"
    assert task.answers(None) == ["entailment", "neutral", "contradiction"]
