"""Reading words out of what a model says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridgex.evaluation.answers import END_OF_WORD, is_foreign_script, is_match, normalise_word, read_word
from bridgex.evaluation.dialogue import Completion
from bridgex.languages import language


def said(text: str) -> Completion:
    return Completion(given="", text=text, num_tokens=1, logprob=0.0, is_truncated=False)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('"chien"', "chien"),
        ('"chien"→English:"dog"', "chien"),
        (' "un chien"\nmore', "un chien"),
        ("chien\nmore", "chien"),
        ("« chien »", "chien"),
        ("„Hund“", "Hund"),
        ("「犬」", "犬"),
        ('"chien', "chien"),
        ("l'eau", "l'eau"),
        ('""', None),
        ("", None),
        ("\n", None),
        ('"."', None),
    ],
)
def test_the_word_is_what_stands_in_the_first_quotes(text: str, word: str | None) -> None:
    assert read_word(said(text)) == word


@pytest.mark.parametrize(
    ("answer", "gold", "is_right"),
    [
        ("HUND", "hund", True),
        ("Straße", "strasse", True),
        ("ﬁn", "fin", True),
        ("שָׁלוֹם", "שלום", True),
        ("ｄｏｇ", "dog", True),
        ("dog.", "dog", True),
        ("the dog", "dog", False),
        ("dogs", "dog", False),
        ("e\u0301te\u0301", "été", True),
        ("ete", "été", False),
        (None, "dog", False),
    ],
)
def test_words_are_compared_in_one_form(answer: str | None, gold: str, is_right: bool) -> None:
    assert is_match(answer, [gold]) is is_right


def test_any_listed_translation_counts() -> None:
    assert is_match("casa", ["hogar", "casa"])
    assert not is_match("casa", [])


@given(st.text())
def test_the_compared_form_is_stable(text: str) -> None:
    once = normalise_word(text)
    assert normalise_word(once) == once
    assert is_match(text, [text])


@pytest.mark.parametrize(
    ("text", "code", "is_foreign"),
    [
        ("dog", "en", False),
        ("dog", "ja", True),
        ("犬", "ja", False),
        ("いぬ", "ja", False),
        ("犬", "zh", False),
        ("いぬ", "zh", True),
        ("كلب", "he", True),
        ("כלב", "he", False),
        ("123", "he", False),
        ("kilo", "qaf", False),
    ],
)
def test_scripts_are_told_apart(text: str, code: str, is_foreign: bool) -> None:
    assert is_foreign_script(text, language(code)) is is_foreign


@pytest.mark.parametrize(
    ("text", "is_over"),
    [
        ('"chien"', True),
        ('"chien', False),
        ("chien", False),
        ("chien\n", True),
        ("", False),
        ('"', False),
        ('l"eau', False),
    ],
)
def test_an_answer_is_over_at_its_closing_quote_or_line_end(text: str, is_over: bool) -> None:
    assert bool(END_OF_WORD.search(text)) is is_over
