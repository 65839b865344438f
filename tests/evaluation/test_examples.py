"""Examples in front of every question: where they come from, how they read, and what is not evaluated for them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bridgex.errors import UserError
from bridgex.evaluation.routes import Route
from bridgex.languages import language
from tests.fakes.scripted_engine import load, make_data, play, shown_context

EN = language("en")
XNLI, MGSM = ["pair=de-fr", "task=xnli"], ["pair=de-fr", "task=mgsm"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_data(tmp_path)


def first(root: Path, *overrides: str, **more: object) -> tuple[str, object]:
    """The examples, and the first item's direct request."""
    task, items, found = load(*overrides, root=root, bridges=["en"])
    shown = {item.examples for item in items.items}
    assert len(shown) == 1, "one beginning for all items, computed once"
    said = ['"x"'] if task.name == "mt" else ["1"] if task.name == "mgsm" else []
    (request,), _ = play(task, items.items[0], found, Route(), said)
    (examples,) = shown
    assert request.prompt.startswith(examples)
    assert shown_context(request) in (items.items[0].text, items.items[0].text.rstrip("."))
    return examples, request


def test_xnli_shows_premises_in_the_source_and_the_rest_in_the_target_language(root: Path) -> None:
    examples, request = first(root, *XNLI, "task.shots=1")
    assert examples in {
        f"de p{100 + n}., right? {('Yes', 'Also', 'No')[(n + k) % 3]}, fr h{100 + n}{mark}\n\n"
        for n in range(3)
        for k, mark in enumerate("xyz")
    }
    assert request.prompt == f"{examples}de p0., right?"


def test_letters_and_the_targets_words_are_shown_as_they_are_asked(root: Path) -> None:
    examples, request = first(root, *XNLI, "task.shots=2", "task.form=letters")
    assert examples.count("Does the premise entail") == 2
    assert all(example[-1] in "ABC" for example in examples.split("\n\n")[:2])
    assert request.prompt.endswith("\nAnswer:")
    examples, _ = first(root, *XNLI, "task.shots=2", "task.wording=target")
    assert examples.count(", correct? ") == 2
    examples, _ = first(root, "pair=it-sw", "task=xcopa", "task.shots=3", "task.wording=target")
    lines = examples.split("\n\n")
    assert sorted(line.partition(".")[0].split(" ")[1] for line in lines[:3]) == ["p100", "p101", "p102"]
    assert {line for line in lines if line} == {
        "it p100 kwa sababu sw a100.", "it p101 kwa hiyo sw a101.", "it p102 kwa sababu sw b102.",
    }  # fmt: skip


def test_mgsm_shows_worked_answers_of_the_target_language_without_their_labels(root: Path) -> None:
    examples, request = first(root, *MGSM, "task.shots=8", "task.wording=target")
    shown = [example.split("\n") for example in examples.split("\n\n") if example]
    assert sorted(shown) == [
        [f"Question : de p{n}?", f"Réponse étape par étape : fr a{n} = {n - 98}."] for n in range(100, 108)
    ]
    assert request.prompt == f"{examples}Question : de p0?\nRéponse étape par étape :"


def test_mt_and_belebele_take_items_and_do_not_evaluate_those(root: Path) -> None:
    given = ["pair=de-fr", "task=mt", "task.held_out=1", "task.shots=2"]
    examples, _ = first(root, *given)
    lines = examples.splitlines()
    numbers = [int(line.partition(" s")[2].partition(".")[0]) for line in lines]
    assert lines == [f'Deutsch:"de s{n}."→français:"fr s{n}."' for n in numbers]
    _, items, _ = load(*given, root=root)
    assert sorted([*numbers, *(int(item.id) - 1 for item in items.items)]) == [0, 1, 2, 3, 4]
    (note,) = [note for note in items.notes if "examples" in note]
    assert note == (
        f"2 examples from the test part itself: {', '.join(str(n + 1) for n in numbers)}; 2 items, which are these or "
        f"say the same, are not evaluated"
    )
    given = ["pair=de-fr", "task=belebele", "task.shots=2"]
    examples, _ = first(root, *given)
    _, items, _ = load(*given, root=root)
    passages = {example.split("\n")[0] for example in examples.split("\n\n") if example}
    assert len(passages) == 2, "no two of one passage"
    assert len(items.items) == 4
    assert not any(f"P: {item.text.splitlines()[0]}" in passages for item in items.items)
    (note,) = [note for note in items.notes if "examples" in note]
    assert note.startswith("2 examples from the test part itself: l")
    assert note.endswith("; 4 items, which are these or share their context, are not evaluated")


@pytest.mark.parametrize("name", ["xnli", "belebele", "mgsm", "mt"])
def test_the_seed_decides_and_the_limit_does_not(root: Path, name: str) -> None:
    given = ["pair=de-fr", f"task={name}", "task.shots=2", *(["task.held_out=0"] if name == "mt" else [])]
    examples = {seed: first(root, *given, f"seed={seed}")[0] for seed in range(6)}
    assert len(set(examples.values())) > 1
    assert first(root, *given, "seed=3")[0] == examples[3]
    assert first(root, *given, "seed=3", "task.limit=2")[0] == examples[3]


@pytest.mark.parametrize("code", ["de", "fr"])
def test_an_item_is_never_its_own_example_in_any_language_nor_is_its_group(root: Path, code: str) -> None:
    path = root / "xnli" / code / "validation.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    # One of each triple, whose premises may be written a little otherwise; the last as the bridge language has it.
    for place, planted in enumerate([f"{code.upper()}  p0", f"{code} p1.", "en p2."]):
        rows[3 * place + 1]["premise"] = planted
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    _, items, _ = load(*XNLI, "task.shots=1", root=root)
    assert "h102" in items.items[0].examples, "nothing else is left"
    with pytest.raises(UserError) as error:
        load(*XNLI, "task.shots=1", root=root, bridges=["en"])
    assert error.value.problems == ("task=xnli: task.shots=1, and there are 0 items to draw examples from",)


def test_more_examples_than_there_are_are_refused_in_one_line(root: Path) -> None:
    for given, line in [
        ([*XNLI, "task.shots=4"], "task=xnli: task.shots=4, and there are 3 items to draw examples from"),
        ([*MGSM, "task.shots=9"], "task=mgsm: task.shots=9, and there are 8 items to draw examples from"),
        (
            ["pair=de-fr", "task=belebele", "task.shots=5"],
            "task=belebele: task.shots=5, and there are 4 items to draw examples from",
        ),
        (
            ["pair=de-fr", "task=belebele", "task.shots=4"],
            "task=belebele: task.shots=4 of 8 items leaves none to evaluate. Lower task.shots",
        ),
        (
            ["pair=de-fr", "task=mt", "task.held_out=0", "task.shots=6"],
            "task=mt: task.shots=6 of 6 items leaves none to evaluate. Lower task.shots",
        ),
    ]:
        with pytest.raises(UserError) as error:
            load(*given, root=root)
        assert error.value.problems == (line,)


@pytest.mark.parametrize("alike", ["deu", "fra", "deu fra"])
def test_a_sentence_that_stands_twice_is_not_evaluated_behind_itself(root: Path, alike: str) -> None:
    for code in ("deu", "fra"):
        path = root / "ntrex" / code / "test.jsonl"
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        again = rows if code in alike else [{"text": f"Other {row['text']}"} for row in rows]
        own = [{"id": n, "text": row["text"]} for n, row in enumerate([*rows, *again], start=1)]
        path.write_text("".join(json.dumps(row) + "\n" for row in own), encoding="utf-8")
    _, items, _ = load("pair=de-fr", "task=mt", "task.held_out=0", "task.shots=2", root=root)
    examples = items.items[0].examples
    shown = [f'"{text}"' in examples for item in items.items for text in (item.text, *item.gold)]
    assert not any(shown)
    assert len(items.items) == 12 - 2 * len(set(examples.splitlines()))


def test_translations_are_asked_for_without_examples(root: Path) -> None:
    task, items, found = load(*XNLI, "task.shots=2", root=root, bridges=["en"])
    requests, _ = play(task, items.items[0], found, Route("via", EN), ['"en p0."'])
    assert [request.prompt.count("\n\n") for request in requests] == [0, 2]
    task, items, found = load("pair=de-fr", "task=mt", "task.held_out=1", "task.shots=2", root=root, bridges=["en"])
    said = ['"en s0."', '"fr s0."']
    requests, _ = play(task, items.items[0], found, Route("via", EN), said)
    assert [request.prompt.count("\n") for request in requests] == [0, 2]


@pytest.mark.parametrize(
    ("pair", "name", "shots"),
    [("de-th", "xnli", 5), ("th-id", "belebele", 5), ("id-tr", "xcopa", 5), ("ru-sw", "mgsm", 8)],
)
def test_real_examples_are_other_items(pair: str, name: str, shots: int, test_data: Path) -> None:
    _, items, _ = load(f"pair={pair}", f"task={name}", f"task.shots={shots}", root=test_data)
    (examples,) = {item.examples for item in items.items}
    for item in items.items:
        for side in item.sides.values():
            assert side.context not in examples
    assert len(examples.split("\n\n")) >= shots + 1
