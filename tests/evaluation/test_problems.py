"""MGSM: prompts, the words that its examples begin with, and how a number is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridgex.errors import UserError
from bridgex.evaluation.dialogue import Question
from bridgex.evaluation.routes import Route
from bridgex.evaluation.tasks.base import Task
from bridgex.evaluation.tasks.problems import last_number, plain_number
from bridgex.languages import language
from tests.fakes.scripted_engine import load, play, settings_for, shown_context, write_rows

EN = language("en")


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    texts = {"de": "Wie viele\n{Eier}: 3 oder 4?", "fr": "Combien {d'œufs} ?", "en": "How many {eggs}?", "ar": "كم {؟}"}
    write_rows(tmp_path, "mgsm", {
        f"{code}/{part}.jsonl": [
            {"question": text, "answer": None, "answer_number": 1234, "equation_solution": None},
            {"question": f"{text} 2", "answer": None, "answer_number": "2.5", "equation_solution": None},
        ]
        for code, text in texts.items() for part in ("test",)
    })  # fmt: skip
    return tmp_path


def asked(root: Path, route: Route, said: list[str], *overrides: str) -> list[Question]:
    task, items, found = load("pair=de-fr", "task=mgsm", *overrides, root=root, bridges=["en"])
    return play(task, items.items[0], found, route, said)[0]


def test_every_route_as_it_is_given(root: Path) -> None:
    problem = "Wie viele\n{Eier}: 3 oder 4?"
    (direct,) = asked(root, Route(), ["3"])
    assert direct.prompt == f"Question: {problem}\nStep-by-Step Answer:"
    assert (direct.kind, direct.max_tokens, shown_context(direct)) == ("answer", 512, problem)
    first, last = asked(root, Route("via", EN), ['"How {many}?"', "3"])
    assert first.prompt == 'Deutsch:"Wie viele {Eier}: 3 oder 4?"→English:'
    assert last.prompt == "Question: How {many}?\nStep-by-Step Answer:"
    assert shown_context(last) == "How {many}?"
    first, last = asked(root, Route("translated"), ['"Combien ?"', "3"])
    assert first.prompt.endswith("→français:")
    assert last.prompt == "Question: Combien ?\nStep-by-Step Answer:"
    for translate in ("context", "both"):
        (gold,) = asked(root, Route("gold", EN, translate), ["3"])
        assert gold.prompt == "Question: How many {eggs}?\nStep-by-Step Answer:"


def test_words_may_be_the_target_languages(root: Path) -> None:
    (direct,) = asked(root, Route(), ["3"], "task.wording=target")
    assert direct.prompt == "Question : Wie viele\n{Eier}: 3 oder 4?\nRéponse étape par étape :"
    _, last = asked(root, Route("via", EN), ['"How?"', "3"], "task.wording=target")
    assert last.prompt == "Question : How?\nRéponse étape par étape :", "the answer is the target language's"
    _, last = asked(root, Route("via", EN, "both"), ['"How?"', "3"], "task.wording=target")
    assert last.prompt == "Question: How?\nStep-by-Step Answer:", "or all of it goes through the bridge"
    with pytest.raises(UserError, match=r"has no wording in Italian \(it\), only in bn, de, en, es, fr, ja, ru, sw"):
        load("pair=de-fr", "task=mgsm", "task.wording=target", "bridge.translate=both", root=root, bridges=["it"])
    found = settings_for("pair=de-ar", "task=mgsm", "task.wording=target", root=root)
    (line,) = [line for line in found.task.build(Task).problems(found) if "wording" in line]
    assert line.startswith("task.wording=target: task=mgsm has no wording in Arabic (ar), only in bn, de,")


def test_words_must_be_whole() -> None:
    with pytest.raises(UserError, match=r"task\.words\.it\.answer_words: missing"):
        settings_for("model=random", "pair=de-fr", "task=mgsm", "+task.words.it={question_word: Q}")
    with pytest.raises(UserError, match=r"task\.prompt=.*: must name \{problem\} once"):
        settings_for("model=random", "pair=de-fr", "task=mgsm", "task.prompt='{problem} {problem}'")


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("3 + 4 = 7. The answer is 7.", "7"),
        (" 3 + 4 = 7.\n\nSo it is **7**.\n\nQuestion: And 9?", "7"),
        ("\n\n3 + 4 = 7.\nQuestion: And 9?", "7"),
        ("7\nFrage: Und 9?\nAntwort: 9", "7"),
        ("7\nQuestion : Et 9 ?", "7"),
        ("7\n\n問題：9", "7"),
        ("The question: is it 9?", "9"),
        ("nothing", None),
        ("", None),
    ],
)
def test_a_worked_answer_ends_where_another_problem_begins(root: Path, said: str, answer: str | None) -> None:
    task, items, found = load("pair=de-fr", "task=mgsm", root=root)
    _, predicted = play(task, items.items[0], found, Route(), [said])
    assert predicted.answer == answer
    assert predicted.miss == ("wrong" if answer else "not_found")
    (question,) = asked(root, Route(), ["3"])
    stop = question.stop.search(said)
    assert last_number(said if stop is None else said[: stop.start()]) == answer


def test_rows_have_their_number_in_one_form(root: Path) -> None:
    task, items, found = load("pair=de-fr", "task=mgsm", root=root, bridges=["en"])
    assert [item.gold for item in items.items] == [("1234",), ("2.5",)]
    assert set(items.items[0].texts()) == {"Wie viele\n{Eier}: 3 oder 4?", "Combien {d'œufs} ?", "How many {eggs}?"}
    assert items.items[0].texts_in("en") == ("How many {eggs}?",)
    _, predicted = play(task, items.items[0], found, Route(), ["So 1.234,00 €."])
    assert (predicted.correct, predicted.answer, predicted.gold) == (True, "1234", ["1234"])
    assert task.chance is None


@pytest.mark.parametrize("code", ["de", "en", "es", "fr", "ja", "ru", "sw", "th", "zh"])
def test_real_examples_lose_their_label_once_and_real_problems_nothing(code: str, test_data: Path) -> None:
    pair = f"{code}-{'en' if code != 'en' else 'de'}"
    task, items, found = load(f"pair={pair}", "task=mgsm", "task.shots=8", root=test_data)
    rows = rows_of(test_data / "mgsm" / code / "test.jsonl")
    assert [item.text for item in items.items] == [row["question"].strip() for row in rows]
    examples = rows_of(test_data / "mgsm" / code / "train.jsonl")
    (direct,), _ = play(task, items.items[0], found, Route(), ["1"])
    for row in examples:
        bare = row["question"].replace("：", ":").partition(":")[2].strip()
        assert f"Question: {bare}\n" in direct.prompt.replace("：", ":")
    assert direct.prompt.count("Question: ") == direct.prompt.count("Step-by-Step Answer:") == 9
    words = task.words[code]
    if code != "en":
        assert words.question_word not in direct.prompt
    numbers = [last_number(row["answer"]) for row in examples]
    assert numbers == [str(row["answer_number"]) for row in examples]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("18", "18"), ("18.", "18"), ("18,", "18"), ("$18.00", "18"), ("18.50", "18.5"), ("007", "7"), ("0", "0"),
        ("-0", "0"), ("-7.0", "-7"), ("−7", "-7"), ("－7", "-7"), ("-$7", "-7"), ("€ 7", "7"),
        ("1,234", "1234"), ("1.234", "1234"), ("1 234", "1234"), ("1\u00a0234", "1234"), ("1\u202f234", "1234"),
        ("1'234", "1234"), ("1’234", "1234"), ("1,234,567.89", "1234567.89"), ("1.234.567,89", "1234567.89"),
        ("1,234.567", "1234.567"), ("1234.567", "1234.567"), ("0.125", "0.125"), ("0,125", "0.125"),
        ("12,34,567", "1234567"), ("1,23,456.5", "123456.5"), ("3,5", "3.5"), (".5", "0.5"), ("-.5", "-0.5"),
        ("٣", "3"), ("١٬٢٣٤٫٥", "1234.5"), ("१२३", "123"), ("๑๒", "12"), ("１２．５", "12.5"), ("１，２３４", "1234"),
        ("", None), ("x", None), ("1 2", None), ("3x", None), ("1.2.3", None), ("²", None),
    ],
)  # fmt: skip
def test_a_number_has_one_form(text: str, expected: str | None) -> None:
    assert plain_number(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("18 dollars and 3 cents", "3"), ("She makes $18.", "18"), ("that is 50%", "50"), ("150 % mehr", "150"),
        ("16 - 3 - 4 = 9", "9"), ("so 20-3", "3"), ("so 20 - 3", "3"), ("it is -3", "-3"), ("it is −3.", "-3"),
        ("答案是-5", "-5"), ("答案是18，18美元。", "18"), ("答えは１８です。", "18"), ("ราคา ๑๘ บาท", "18"),
        ("5 m²", "5"),
        ("Step-5", "5"), ("The numbers are 5 6", "6"), ("In 2023 100 people", "100"), ("70 000 roubles", "70000"),
        ("80.000 US-Dollar", "80000"), ("\\boxed{42}", "42"), ("**42**", "42"), ("on 1/2", "2"), ("3,4,5", "5"),
        ("1,2345", "1.2345"),
        ("costs $.50", "0.5"), ("...5", "5"), ("الجواب هو ٢٤.", "24"), ("उत्तर २४ है।", "24"), ("none", None), ("", None),
    ],
)  # fmt: skip
def test_the_last_number_of_a_text(text: str, expected: str | None) -> None:
    assert last_number(text) == expected


_DIGITS = ["0123456789", "٠١٢٣٤٥٦٧٨٩", "०१२३४५६७८९", "๐๑๒๓๔๕๖๗๘๙", "０１２３４５６７８９"]


@given(
    st.integers(-(10**12), 10**12), st.sampled_from(["", ",", ".", "'", " ", "\u00a0", "\u202f", "’"]),
    st.sampled_from(_DIGITS), st.sampled_from(["-", "−", "－"]), st.sampled_from(["", "$", "€"]),
    st.sampled_from(["", ".", ",", ".0", ".00"]),
)  # fmt: skip
def test_whole_numbers_come_back_from_every_form(
    number: int, mark: str, digits: str, minus: str, currency: str, end: str
) -> None:
    if mark == "." and end.startswith(".0"):
        end = end.replace(".", ",")
    text = f"{abs(number):,}".replace(",", mark)
    text = "".join(digits[int(sign)] if sign.isdigit() else sign for sign in text)
    text = f"{minus if number < 0 else ''}{currency}{text}{end}"
    assert plain_number(text) == str(number)
    assert last_number(f"3 + 4, so {text}") == str(number)


@given(st.integers(0, 10**9), st.integers(0, 999), st.booleans(), st.booleans())
def test_decimals_come_back(whole: int, thousandths: int, is_grouped: bool, is_comma: bool) -> None:
    digits = f"{thousandths:03}".rstrip("0")
    # Three decimals behind three digits or fewer are thousands to a reader, too.
    if len(digits) == 3 and 0 < whole < 1000:
        digits = digits[:2].rstrip("0")
    text = f"{whole:,}" if is_grouped else str(whole)
    text = f"{text}.{digits}" if digits else text
    if is_comma:
        text = text.translate({ord(","): ".", ord("."): ","})
    assert plain_number(text) == (f"{whole}.{digits}" if digits else str(whole))
