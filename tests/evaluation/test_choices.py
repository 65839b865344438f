"""Choices: which forms are allowed, how options are compared, and what is recorded of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridgex.config import command, settings
from bridgex.errors import UserError
from bridgex.evaluation.dialogue import ScoredOption, Scores
from bridgex.evaluation.routes import Route
from bridgex.languages import language
from bridgex.records.schema import Prediction
from tests.fakes.scripted_engine import load, make_data, settings_for


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (["task=xnli", "task.form=clothe"], "task.form=clothe: not allowed (nearest: cloze). Allowed: cloze, letters"),
        (["task=nli", "task.form=letters"], "task.form=letters: not allowed. Allowed: cloze"),
        (["task=xnli", "task.forms.cloze.prompt=hello"], "task.forms.cloze.prompt=hello: must name {context}"),
        (
            ["task=xnli", "task.forms.letters.prompt='{context} {context}'"],
            "task.forms.letters.prompt={context} {context}: must name {context} once",
        ),
        (
            ["task=xcopa", "task.forms.cloze.prompt='{context} {option_c}'"],
            "task.forms.cloze.prompt={context} {option_c}: may name {source} {target} {connective} {asks_for} "
            "{option_a} {option_b} {cause} {effect} {asks_for_cause} {asks_for_effect} {context} "
            "only, found 'option_c'",
        ),
        (
            ["task=xnli", "task.forms.cloze.option=' hello'"],
            "task.forms.cloze.option= hello: must name {letter} or {label}",
        ),
        (
            ["task=belebele", "task.forms.cloze.option='{label} {option}'"],
            "task.forms.cloze.option={label} {option}: may name {source} {target} {query} {option_a} {option_b} "
            "{option_c} {option_d} {letter} {option} only, found 'label'",
        ),
        (["task=xnli", "task.wording=german"], "task.wording=german: not allowed. Allowed: english, target"),
        (["task=xnli", "task.translation=hello"], "task.translation=hello: must name {text}"),
        (
            ["task=xnli", "task.translation='{text} {text}'"],
            "task.translation={text} {text}: must name {text} once",
        ),
    ],
)  # fmt: skip
def test_a_form_that_cannot_be_filled_is_one_line(given: list[str], line: str) -> None:
    pair = ["pair=qaa-qaf"] if "task=nli" in given else ["model=random", "pair=de-fr"]
    with pytest.raises(UserError) as error:
        settings_for(*pair, *given)
    assert error.value.problems == (line,)


def choose(root: Path, values: list[tuple[float, int]], *overrides: str) -> Prediction:
    task, items, _ = load("pair=de-fr", *overrides, root=root)
    dialogue = task.dialogue(items.items[0], language("de"), language("fr"), Route())
    choice = next(dialogue)
    with pytest.raises(StopIteration) as stop:
        dialogue.send(Scores(choice.prompt, tuple(ScoredOption(*value) for value in values), num_cut=3))
    found: Prediction = stop.value.value
    return found


def test_the_most_likely_option_is_the_answer_and_the_first_of_several(root: Path) -> None:
    for values, answer in (
        ([-3.0, -2.0, -9.0], "neutral"),
        ([-3.0, -9.0, -2.0], "contradiction"),
        ([-2.0, -2.0, -2.0], "entailment"),
        ([-3.0, -2.0, -2.0], "neutral"),
    ):
        assert choose(root, [(value, 4) for value in values], "task=xnli").answer == answer


def test_options_may_be_compared_by_character_or_token(root: Path) -> None:
    # " Yes, fr h0x", " Also, fr h0x", " No, fr h0x": 11, 12 and 10 characters without the space before them.
    values = [(-11.0, 4), (-11.5, 8), (-10.5, 3)]
    found = [
        choose(root, values, "task=xnli", f"task.forms.cloze.normalise={by}") for by in ("none", "characters", "tokens")
    ]
    assert [one.answer for one in found] == ["contradiction", "neutral", "neutral"]
    assert [[option.worth for option in one.options] for one in found] == [
        [-11.0, -11.5, -10.5],
        pytest.approx([-11 / 11, -11.5 / 12, -10.5 / 10]),
        pytest.approx([-11 / 4, -11.5 / 8, -10.5 / 3]),
    ]
    assert [option.logprob for option in found[1].options] == [-11.0, -11.5, -10.5]


def test_a_record_says_what_was_given_and_cut(root: Path) -> None:
    found = choose(root, [(-1.0, 4), (-2.0, 4), (-3.0, 4)], "task=xnli")
    (step,) = found.steps
    assert (step.kind, step.prompt, step.output, step.num_tokens, step.num_cut) == (
        "answer",
        "de p0., right?",
        "",
        0,
        3,
    )
    assert (found.answer, found.gold, found.correct, found.route) == ("entailment", ["entailment"], True, "direct")


def test_words_of_ones_own_are_taken(root: Path) -> None:
    own = "+task.words.my={right: yes?, entailment: A, neutral: B, contradiction: C}"
    task, items, _ = load("pair=de-fr", "task=xnli", "task.wording=target", own, root=root)
    assert task.words_in(language("my"))["neutral"] == "B"
    partly, _, _ = load("pair=de-fr", "task=xnli", "task.wording=target", "+task.words.my={right: R}", root=root)
    assert partly.words_in(language("my")) == {
        "right": "R", "entailment": "Yes", "neutral": "Also", "contradiction": "No",
    }, "what a wording lacks is English"  # fmt: skip
    assert task.words_in(language("fr"))["entailment"] == "Oui"
    assert items.items


def test_a_word_that_no_form_knows_is_refused() -> None:
    with pytest.raises(UserError) as raised:
        command.check(
            "evaluate",
            ["model=random", "pair=en-my", "task=xnli", "+task.words.my={rihgt: x}", "+task.words.zz={right: y}"],
            settings.validate,
        )
    told = "\n".join(raised.value.problems)
    assert "words.my.rihgt: no such word. Allowed here: right, entailment, neutral, contradiction" in told
    assert "words.zz" in told
