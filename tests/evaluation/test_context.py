"""What all tasks with a context share: how texts go into another language, and what an item holds."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridgex.errors import UserError
from bridgex.evaluation.dialogue import Question
from bridgex.evaluation.routes import Route
from bridgex.evaluation.tasks.base import Task
from bridgex.evaluation.tasks.context import ContextItem, ContextTask, Side, filled, translation_question
from bridgex.languages import language
from tests.fakes.scripted_engine import ScriptedEngine, ask, load, make_data, play, settings_for, write_rows

EN = language("en")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"))


_ANY = st.text(max_size=20)


@given(_ANY, _ANY, _ANY)
def test_a_filled_template_says_where_its_text_stands(text: str, other: str, last: str) -> None:
    found, (start, end) = filled("{a}: {text} {{x}} {b}", "text", text, a=other, b=last)
    assert found == f"{other}: {text} {{x}} {last}"
    assert found[start:end] == text


@given(st.text("ab {}\"'\n\t→\u200f", max_size=20), st.text(max_size=10))
def test_a_translation_is_asked_for_on_one_line(text: str, examples: str) -> None:
    template = '{source}:"{text}"→{target}:'
    question = translation_question(template, text, language("ar"), EN, 9, examples)
    line = " ".join(text.split())
    assert question.prompt == f'{examples}العربية:"{line}"→English:'
    assert question.context is not None
    assert question.prompt[slice(*question.context)] == line
    assert (question.kind, question.max_tokens) == ("bridge", 9)


@pytest.mark.parametrize("name", ["xnli", "belebele", "mgsm", "xcopa"])
@pytest.mark.parametrize("shots", [0, 2])
def test_no_prompt_ends_in_space_and_only_its_context_may_be_cut(root: Path, name: str, shots: int) -> None:
    pair = "it-sw" if name == "xcopa" else "de-fr"
    forms = ["cloze", "letters"] if name != "mgsm" else [""]
    for form in forms:
        for wording in ("english", "target") if name != "belebele" else ("english",):
            given = [f"pair={pair}", f"task={name}", f"task.shots={shots}", f"task.wording={wording}"]
            given += [f"task.form={form}"] if form else []
            task, items, found = load(*given, root=root, bridges=["en"])
            assert task.problems(found) == []
            engine = ScriptedEngine(task, items.items, found.pair.source, found.pair.target)
            for route in (Route(), Route("translated"), Route("via", EN), Route("gold", EN, "both")):
                for item in items.items[:3]:
                    asked = play_with(engine, task, item, found, route)
                    contexts = {" ".join(side.context.split()) for side in item.sides.values()}
                    for request in asked:
                        assert request.prompt == request.prompt.rstrip()
                        assert request.context is not None
                        shown = request.prompt[slice(*request.context)]
                        bare = " ".join(shown.split())
                        assert {bare, f"{bare}."} & contexts
                        assert item.examples in request.prompt if request is asked[-1] else True
                        if not isinstance(request, Question):
                            assert all(re.match(r" \S", option) for option in request.options)


def play_with(engine: ScriptedEngine, task: Task, item: object, found: object, route: Route) -> list:
    before = len(engine.asked)
    dialogue = task.dialogue(item, language(found.pair.source), language(found.pair.target), route)
    request = next(dialogue)
    while True:
        (reply,) = engine([request])
        try:
            request = dialogue.send(reply)
        except StopIteration:
            return engine.asked[before:]


def test_each_sentence_may_be_translated_by_itself(root: Path) -> None:
    task, items, found = load("pair=de-fr", "task=belebele", "task.sentence_end=.", root=root, bridges=["en"])
    item = items.items[0]
    text = "Eins. Zwei\nund 3?.. \n Drei."
    changed = replace(item, text=text, sides=item.sides | {"de": Side(text)})
    requests, predicted = play(task, changed, found, Route("via", EN), ['"One"', '"Two and 3?"', '"Three"'])
    assert [request.prompt for request in requests[:3]] == [
        'Deutsch:"Eins"→English:', 'Deutsch:"Zwei und 3?"→English:', 'Deutsch:"Drei"→English:',
    ]  # fmt: skip
    assert predicted.bridge_text == "One. Two and 3?.. Three.", "what stands between sentences stays"
    assert len(predicted.steps) == 4
    lost, predicted = play(task, changed, found, Route("via", EN), ['"One"', '""', '"Three"'])
    assert len(lost) == 3
    assert (predicted.bridge_text, predicted.miss) == (None, "not_found")


def test_a_text_that_is_over_at_the_limit_marks_what_follows(root: Path) -> None:
    task, items, found = load("pair=de-fr", "task=xnli", root=root, bridges=["en"])
    for answer, reason in (("right", None), ("wrong", "truncated")):
        said = ask(task, items, found, Route("via", EN), bridge="cut", answer=answer)
        assert {p.miss for p in said} == {reason}


@pytest.mark.parametrize(
    ("name", "pair"), [("xnli", "de-fr"), ("belebele", "de-fr"), ("mgsm", "de-fr"), ("xcopa", "it-sw")]
)
def test_items_are_unique_and_hold_all_their_texts(root: Path, name: str, pair: str) -> None:
    _, items, found = load(f"pair={pair}", f"task={name}", root=root, bridges=["en"])
    assert len({item.id for item in items.items}) == len(items.items)
    for item in items.items:
        assert isinstance(item, ContextItem)
        assert set(item.sides) == {found.pair.source, found.pair.target, "en"}
        assert item.text == item.sides[found.pair.source].context
        texts = {text for side in item.sides.values() for text in (side.context, side.query, *side.options)} - {""}
        assert set(item.texts()) == texts
        assert not texts & {"cause", "effect", "entailment", *item.gold}
        assert item.texts_in(None) == (item.sides[found.pair.target].context,)


def test_every_file_that_is_read_is_in_the_fingerprint(tmp_path: Path) -> None:
    root = make_data(tmp_path)

    def fingerprint(*more: str, bridges: tuple[str, ...] = ()) -> str:
        return load("pair=de-fr", "task=xnli", *more, root=root, bridges=bridges)[1].fingerprint

    def change(file: str) -> None:
        path = root / "xnli" / file
        path.write_text(path.read_text(encoding="utf-8").replace(" p", " pp"), encoding="utf-8")

    before = [fingerprint(), fingerprint(bridges=("en",)), fingerprint("task.shots=1")]
    assert len(set(before)) == 3
    change("en/test.jsonl")
    assert [fingerprint(), fingerprint(bridges=("en",)) == before[1]] == [before[0], False]
    change("fr/validation.jsonl")
    assert [fingerprint(), fingerprint("task.shots=1") == before[2]] == [before[0], False]
    change("de/test.jsonl")
    assert fingerprint() != before[0]


def test_a_language_that_the_data_lack_has_no_gold_route(root: Path) -> None:
    _, items, _ = load("pair=de-fr", "task=xnli", root=root, bridges=["en", "it", "es"])
    assert items.gold_bridges == {"en", "es"}
    assert all("it" not in item.sides for item in items.items)


def test_an_item_that_a_bridge_language_lacks_is_asked_all_the_same(tmp_path: Path) -> None:
    root = make_data(tmp_path)
    path = root / "xcopa" / "en" / "test.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(lines[1:]) + "\n", encoding="utf-8")
    task, items, found = load("pair=it-sw", "task=xcopa", root=root, bridges=["en", "vi"])
    assert (len(items.items), items.gold_bridges) == (4, {"vi"})
    assert "en" not in items.items[0].sides
    _, predicted = play(task, items.items[0], found, Route("via", EN), ['"En p0."'])
    assert (predicted.bridge_text, predicted.bridge_correct) == ("En p0.", True)


def test_the_nearest_task_is_named_for_a_language_that_is_lacking(root: Path) -> None:
    found = settings_for("pair=en-xh", "task=xnli", root=root)
    (line,) = found.task.build(Task).problems(found)
    assert line.startswith("xnli: no Xhosa (xh)")
    assert "afrixnli (task=xnli task.variant=afrixnli)" in line
    with pytest.raises(UserError):
        load("pair=en-xh", "task=xnli", root=root)


def test_examples_are_looked_for_before_a_run_begins(root: Path, tmp_path: Path) -> None:
    write_rows(tmp_path, "xnli", {
        f"{code}/test.jsonl": [{"premise": "a", "hypothesis": "b", "label": 0}] for code in ("de", "fr")
    })  # fmt: skip
    for shots, count in ((0, 0), (1, 2)):
        found = settings_for("pair=de-fr", "task=xnli", f"task.shots={shots}", root=tmp_path)
        lines = found.task.build(Task).problems(found)
        assert len(lines) <= count
        assert all("validation" in line for line in lines)
        assert bool(lines) == bool(shots)


def test_every_context_task_says_what_it_reads() -> None:
    for name in ("xnli", "belebele", "xcopa", "mgsm", "nli", "mrc"):
        pair = ["pair=qaa-qaf"] if name in ("nli", "mrc") else ["model=random", "pair=de-fr"]
        found = settings_for(*pair, f"task={name}")
        task = found.task.build(Task)
        assert isinstance(task, ContextTask)
        assert (task.name, task.has_context) == (name, True)
        assert (
            found.bridge.arguments["translate"] == task.translate == ("both" if name in ("nli", "mrc") else "context")
        )
