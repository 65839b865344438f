"""Belebele and its like: every prompt as it is given, and what is read from its rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridgex.evaluation.dialogue import Choice, ScoredOption, Scores
from bridgex.evaluation.routes import Route
from bridgex.languages import language
from tests.fakes.scripted_engine import load, play, shown_context, write_rows

EN = language("en")


def row(mark: str, number: int, right: int) -> dict[str, object]:
    return {
        "link": "https://x/y 1", "question_number": number, "flores_passage": f"{mark} P one.\n{{two}}\u2028 three.",
        "question": f"{mark} Q{number} {{?}}", **{f"mc_answer{n}": f"{mark} O{n}" for n in (1, 2, 3, 4)},
        "correct_answer_num": str(right), "dialect": mark, "ds": "2023-05-03",
    }  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    codes = {"de": "deu_Latn", "fr": "fra_Latn", "en": "eng_Latn"}
    write_rows(tmp_path, "belebele", {
        f"{config}/test.jsonl": [row(code, 1, 3), row(code, 2, 1)] for code, config in codes.items()
    })  # fmt: skip
    return tmp_path


def asked(root: Path, route: Route, said: list[str], *overrides: str) -> list[Choice]:
    task, items, found = load("pair=de-fr", "task=belebele", *overrides, root=root, bridges=["en"])
    return play(task, items.items[0], found, route, said)[0]


PASSAGE = "de P one.\n{two}\u2028 three."
ON_ONE_LINE = "de P one. {two} three."


def letters(passage: str, mark: str) -> Choice:
    options = "\n".join(f"{letter}: {mark} O{n}" for n, letter in enumerate("ABCD", start=1))
    prompt = f"P: {passage}\nQ: {mark} Q1 {{?}}\n{options}\nAnswer:"
    return Choice(prompt, (" A", " B", " C", " D"), (3, 3 + len(passage)))


def cloze(passage: str, mark: str) -> Choice:
    prompt = f"P: {passage}\nQ: {mark} Q1 {{?}}\nAnswer:"
    return Choice(prompt, tuple(f" {mark} O{n}" for n in (1, 2, 3, 4)), (3, 3 + len(passage)))


@pytest.mark.parametrize(("form", "expected"), [("letters", letters), ("cloze", cloze)])
def test_every_route_as_it_is_given(root: Path, form: str, expected: object) -> None:
    assert callable(expected)
    given = f"task.form={form}"
    assert asked(root, Route(), [], given) == [expected(PASSAGE, "fr")]
    first, last = asked(root, Route("translated"), ['"fr {P}"'], given)
    assert first.prompt == f'Deutsch:"{ON_ONE_LINE}"→français:', "a prompt of one line asks for one line"
    assert shown_context(first) == ON_ONE_LINE
    assert last == expected("fr {P}", "fr")
    first, last = asked(root, Route("via", EN), ['"en {P}"'], given)
    assert (first.prompt, last) == (f'Deutsch:"{ON_ONE_LINE}"→English:', expected("en {P}", "fr"))
    assert asked(root, Route("gold", EN), [], given) == [expected(PASSAGE.replace("de", "en"), "fr")]
    assert asked(root, Route("gold", EN, "both"), [], given) == [expected(PASSAGE.replace("de", "en"), "en")]
    said = ["en {P}", "en Q1 {?}", "en O1", "en O2", "en O3", "en O4"]
    *questions, last = asked(root, Route("via", EN, "both"), [f'"{text}"' for text in said], given)
    assert [question.prompt for question in questions] == [
        f'Deutsch:"{ON_ONE_LINE}"→English:', 'français:"fr Q1 {?}"→English:',
        *(f'français:"fr O{n}"→English:' for n in (1, 2, 3, 4)),
    ]  # fmt: skip
    assert last == expected("en {P}", "en")


def test_an_item_that_one_text_is_lacking_of_is_not_found(root: Path) -> None:
    task, items, found = load("pair=de-fr", "task=belebele", root=root, bridges=["en"])
    for place in range(6):
        said = ['"x"'] * 6
        said[place] = ""
        requests, predicted = play(task, items.items[0], found, Route("via", EN, "both"), said if place else said[:1])
        assert not any(isinstance(request, Choice) for request in requests)
        assert (predicted.answer, predicted.miss, predicted.bridge_correct) == (None, "not_found", False)
        assert len(predicted.steps) == len(requests)


def test_options_that_differ_in_length_are_compared_by_character(root: Path) -> None:
    task, items, _ = load("pair=de-fr", "task=belebele", "task.form=cloze", root=root)
    dialogue = task.dialogue(items.items[0], language("de"), language("fr"), Route())
    choice = next(dialogue)
    assert {len(option.strip()) for option in choice.options} == {5}
    with pytest.raises(StopIteration) as stop:
        dialogue.send(Scores(choice.prompt, tuple(ScoredOption(value, 2) for value in (-10.0, -9.0, -8.0, -8.0))))
    assert stop.value.value.answer == "C", "the first of the most likely ones"
    assert [option.worth for option in stop.value.value.options] == [-2.0, -1.8, -1.6, -1.6]


def test_rows_have_the_right_option_and_their_passage_as_a_group(root: Path) -> None:
    task, items, _ = load("pair=de-fr", "task=belebele", root=root, bridges=["en"])
    assert [item.gold for item in items.items] == [("C",), ("A",)]
    assert [item.group for item in items.items] == ["https://x/y 1"] * 2
    assert len({item.id for item in items.items}) == 2
    assert (task.chance, items.gold_bridges) == (1 / 4, {"en"})
    texts = items.items[0].texts()
    for code in ("de", "fr", "en"):
        assert {PASSAGE.replace("de", code), f"{code} Q1 {{?}}", *(f"{code} O{n}" for n in (1, 2, 3, 4))} <= set(texts)


def test_the_toy_world_asks_in_its_own_marks() -> None:
    task, items, found = load("pair=qaa-qaf", "task=mrc", "task.limit=1", bridges=["qad"])
    (item,) = items.items
    source, target, bridge = (item.sides[code] for code in ("qaa", "qaf", "qad"))
    (direct,) = play(task, item, found, Route())[0]
    assert direct == Choice(
        f'qaa:"{source.context}"?qaf:"{target.query}"→qaf:',
        tuple(f'"{option}"' for option in target.options),
        (5, 5 + len(source.context)),
    )
    facts = bridge.context.split(".")
    said = [f'"{text}"' for text in (*facts, bridge.query, *bridge.options)]
    *questions, last = play(task, item, found, Route("via", language("qad"), "both"), said)[0]
    assert [question.prompt for question in questions] == [
        *(f'qaa:"{fact}"→qad:' for fact in source.context.split(".")),
        f'qaf:"{target.query}"→qad:', *(f'qaf:"{option}"→qad:' for option in target.options),
    ]  # fmt: skip
    assert last.prompt == f'qad:"{bridge.context}"?qad:"{bridge.query}"→qad:'
    assert last.options == tuple(f'"{option}"' for option in bridge.options)
