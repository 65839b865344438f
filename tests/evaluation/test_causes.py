"""XCOPA: every prompt as it is given, and what is read from its rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridgex.evaluation.dialogue import Choice
from bridgex.evaluation.routes import Route
from bridgex.languages import language
from tests.fakes.scripted_engine import load, play, shown_context, write_rows

EN = language("en")
ROWS = {
    "it": ("L'uomo {aprì} il rubinetto.", "Il gabinetto si riempì.", "L'acqua uscì."),
    "tr": ("Adam musluğu açtı !", "İçi su doldu.", "Irmak aktı."),
    "th": ("ชายคนนั้นเปิดก๊อก", "โถส้วมเต็ม", "น้ำไหลออกมา"),
    "en": ("The man turned on the faucet.", "The toilet filled with water.", "I saw water."),
    "zh": ("男人打开了水龙头。", "马桶里装满了水。", "水从喷口流出。"),
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_rows(tmp_path, "xcopa", {
        f"{code}/test.jsonl": [
            {"premise": premise, "choice1": first, "choice2": second, "question": "effect", "label": 1, "idx": 7},
            # Thai says effect in every row, which is wrong upstream.
            {"premise": premise, "choice1": second, "choice2": first, "question": "effect" if code == "th" else "cause",
             "label": 0, "idx": 3},
        ]
        for code, (premise, first, second) in ROWS.items()
    })  # fmt: skip
    return tmp_path


def asked(root: Path, pair: str, number: int, route: Route, said: list[str], *overrides: str) -> list[Choice]:
    task, items, found = load(f"pair={pair}", "task=xcopa", *overrides, root=root, bridges=["en"])
    return play(task, items.items[number], found, route, said)[0]


def test_the_premise_goes_on_with_a_connective_and_a_choice(root: Path) -> None:
    (effect,) = asked(root, "it-en", 0, Route(), [])
    premise = "L'uomo {aprì} il rubinetto"
    assert effect == Choice(
        f"{premise} therefore", (" the toilet filled with water.", " i saw water."), (0, len(premise))
    )
    (cause,) = asked(root, "it-en", 1, Route(), [])
    assert cause.prompt == f"{premise} because"


def test_words_may_be_the_target_languages(root: Path) -> None:
    (turkish,) = asked(root, "it-tr", 0, Route(), [], "task.wording=target")
    assert turkish.prompt == "L'uomo {aprì} il rubinetto bu yüzden"
    assert turkish.options == (" içi su doldu.", " ırmak aktı."), "Turkish has two letters i"
    (italian,) = asked(root, "tr-it", 1, Route(), [], "task.wording=target")
    assert italian.prompt == "Adam musluğu açtı perché", "neither the sign nor the space before it stays"
    (chinese,) = asked(root, "th-zh", 0, Route(), [], "task.wording=target")
    assert chinese.prompt == "ชายคนนั้นเปิดก๊อก 所以", "without a full stop nothing is cut off"
    (thai,) = asked(root, "zh-th", 0, Route(), [], "task.wording=target")
    assert thai.prompt == "男人打开了水龙头 ดังนั้น"


def test_what_is_asked_for_is_right_where_a_language_has_it_wrong(root: Path) -> None:
    assert asked(root, "it-th", 1, Route(), [])[0].prompt.endswith(" because")
    assert asked(root, "th-it", 1, Route(), [])[0].prompt.endswith(" because")


def test_letters_ask_in_words_and_leave_the_texts_as_they_are(root: Path) -> None:
    (choice,) = asked(root, "it-tr", 0, Route(), [], "task.form=letters")
    assert choice.prompt == (
        "L'uomo {aprì} il rubinetto.\nWhat happened as a result?\nA: İçi su doldu.\nB: Irmak aktı.\nAnswer:"
    )
    assert (choice.options, shown_context(choice)) == ((" A", " B"), "L'uomo {aprì} il rubinetto.")
    (choice,) = asked(root, "it-tr", 1, Route(), [], "task.form=letters", "task.wording=target")
    assert "\nWhat was the cause?\n" in choice.prompt, "which has no other wording yet"


def test_through_a_bridge_texts_are_translated_and_nothing_else(root: Path) -> None:
    first, last = asked(root, "it-tr", 0, Route("via", EN), ['"The man opened it!"'])
    assert first.prompt == 'italiano:"L\'uomo {aprì} il rubinetto."→English:'
    assert (last.prompt, last.options[0]) == ("The man opened it therefore", " içi su doldu.")
    *questions, last = asked(root, "it-tr", 0, Route("via", EN, "both"), ['"He did."', '"It filled."', '"It ran."'])
    assert [question.prompt for question in questions] == [
        'italiano:"L\'uomo {aprì} il rubinetto."→English:',
        'Türkçe:"İçi su doldu."→English:',
        'Türkçe:"Irmak aktı."→English:',
    ]
    assert (last.prompt, last.options) == ("He did therefore", (" it filled.", " it ran."))
    first, last = asked(root, "it-tr", 0, Route("translated"), ['"Adam açtı."'])
    assert (first.prompt[-9:], last.prompt) == ('"→Türkçe:', "Adam açtı therefore")
    (gold,) = asked(root, "it-tr", 0, Route("gold", EN), [])
    assert (gold.prompt, gold.options[1]) == ("The man turned on the faucet therefore", " ırmak aktı.")
    (gold,) = asked(root, "it-tr", 0, Route("gold", EN, "both"), [])
    assert gold.options == (" the toilet filled with water.", " i saw water.")


def test_rows_have_letters_and_no_word_of_ours_among_their_texts(root: Path) -> None:
    task, items, _ = load("pair=it-tr", "task=xcopa", root=root, bridges=["en"])
    assert [(item.id, item.group, item.gold) for item in items.items] == [("7", "7", ("B",)), ("3", "3", ("A",))]
    assert set(items.items[0].texts()) == {text for code in ("it", "tr", "en") for text in ROWS[code]}
    assert (task.chance, items.gold_bridges) == (1 / 2, {"en"})
