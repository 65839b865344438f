"""Texts that a model wrote: read, compared, identified."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridgex.evaluation.dialogue import Completion
from bridgex.evaluation.texts import (
    END_OF_TEXT,
    chrf,
    is_other_language,
    is_right_bridge,
    is_same_text,
    one_line,
    read_text,
)
from bridgex.languages import Language, all_languages, language


def read(text: str) -> str | None:
    return read_text(Completion("", text, 1, 0.0, False))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ('"Hallo Welt"', "Hallo Welt"),
        (' "Hallo Welt" ', "Hallo Welt"),
        ("Hallo Welt", "Hallo Welt"),
        ('"Hallo Welt', "Hallo Welt"),
        ('"Hallo Welt\nund', "Hallo Welt"),
        ('\n\n"Hallo Welt"\n"und"', "Hallo Welt"),
        ("„Hallo Welt“", "Hallo Welt"),
        ("„Hallo Welt”", "Hallo Welt"),
        ("“Hello world”", "Hello world"),
        ("”Hej världen”", "Hej världen"),
        ("« Bonjour »", "Bonjour"),
        ("»Hej verden«", "Hej verden"),
        ("「こんにちは」", "こんにちは"),
        ("『こんにちは』", "こんにちは"),
        # What follows is another language's text.
        ('"Hallo Welt"→English:"Hello', "Hallo Welt"),
        ('"Hallo Welt”→English:"Hello"→', "Hallo Welt"),
        ('"Hallo Welt" → English:', "Hallo Welt"),
        ("„Hallo Welt“→English:", "Hallo Welt"),
        ("« Bonjour » → English:", "Bonjour"),
        ("「こんにちは」→English:", "こんにちは"),
        ('Hallo Welt"→English:', "Hallo Welt"),
        # Quotes within quotes belong to the text.
        ('"Er sagte "ja"."', 'Er sagte "ja".'),
        ('"Er sagte "ja""', 'Er sagte "ja"'),
        ('"Er sagte "ja"', 'Er sagte "ja"'),
        ('"Er sagte "ja""→English:', 'Er sagte "ja"'),
        ('"Er sagte „ja“"', "Er sagte „ja“"),
        ('"Er sagte „ja“"→English:"He said', "Er sagte „ja“"),
        ('"Il dit « oui »"→English:', "Il dit « oui »"),
        ("„Er sagte „ja““", "Er sagte „ja“"),
        ("„Er sagte „ja“", "Er sagte „ja“"),
        ('"5" nail"', '5" nail'),
        ('"5" nail"→English:', '5" nail'),
        ('"„Ja“, sagte er."', "„Ja“, sagte er."),
        # Without quotes around it, a text may begin or end with some.
        ("„Ja“, sagte er.", "„Ja“, sagte er."),
        ("„Ja“, sagte er, „nein“", "„Ja“, sagte er, „nein“"),
        ('"Ja", sagte er.', '"Ja", sagte er.'),
        ("Er sagte „ja“", "Er sagte „ja“"),
        ("„Ja, sagte er.", "Ja, sagte er."),
    ],
)
def test_a_text_is_its_first_line_without_the_quotes_around_it(said: str, expected: str) -> None:
    assert read(said) == expected


@pytest.mark.parametrize("said", ["", " ", "\n", '"', '""', '" "', '""→English:', "„“", "\n \n"])
def test_no_text_is_none(said: str) -> None:
    assert read(said) is None


# A line: what other signs end a line of print may stand within it.
_LINES = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), min_size=1)


@given(_LINES.filter(lambda text: text.count('"') % 2 == 0 and "→" not in text))
def test_a_text_in_straight_quotes_comes_back(text: str) -> None:
    assert read(f'"{text}"') == (text.strip() or None)
    assert read(f'"{text}"\n"more"') == (text.strip() or None)
    assert read(f'"{text}"→English:"more"') == (text.strip() or None)


@given(_LINES.filter(lambda text: "→" not in text))
def test_reading_never_adds_and_keeps_the_middle(text: str) -> None:
    found = read(text)
    assert found is None or found in text
    assert len(text.strip()) - len(found or "") <= 2 or any(sign.isspace() for sign in text.strip())


@pytest.mark.parametrize("quote", ['"', "”", "“", "»", "«", "」", "』"])
def test_generation_ends_at_the_line_or_where_the_next_language_begins(quote: str) -> None:
    assert END_OF_TEXT.search(f"Hallo „Welt“ und{quote}") is None
    assert END_OF_TEXT.search(f"Hallo{quote}→") is not None
    assert END_OF_TEXT.search(f"Hallo{quote} →") is not None
    assert END_OF_TEXT.search("Hallo\n") is not None


def test_a_text_is_the_same_but_for_case_space_quotes_and_outer_punctuation() -> None:
    assert is_same_text(' "Der  Hund" läuft. ', ["der Hund läuft"])
    assert is_same_text("der\u00a0hund", ["x", "Der Hund!"])
    assert not is_same_text("der Hund, läuft", ["der Hund läuft"])
    assert not is_same_text(None, [""])
    assert one_line(" a\n b\t c ") == "a b c"


def test_a_language_is_told_by_its_script_and_else_identified() -> None:
    german = "Der Hund läuft über die Straße und bellt die Katze an."
    assert not is_other_language(german, language("de"))
    assert is_other_language(german, language("fr"))
    assert is_other_language(german, language("ru"))
    assert is_other_language("да", language("de")), "a script is enough, however short"
    assert not is_other_language("ja", language("fr")), "too short to be identified"
    assert not is_other_language("123 - 45", language("ru")), "no letters, no language"
    assert not is_other_language("qaab bula kofa dipo gami rusu keno", language("qaf")), "invented: by script alone"
    assert is_other_language("это совсем другой язык", language("qaf"))


def test_a_bridge_text_is_compared_where_languages_are_invented_and_else_identified() -> None:
    real, toy = language("en"), language("qad")
    assert is_right_bridge(None, ["a"], real) is False
    assert is_right_bridge("Ein Satz, der ganz bestimmt auf Deutsch geschrieben ist.", None, real) is False
    assert is_right_bridge("A sentence that is surely written in English.", ["Another one."], real) is True
    assert is_right_bridge("bula kofa", ["bula kofa"], toy) is True
    assert is_right_bridge("bula kofa", ["kofa bula"], toy) is False
    assert is_right_bridge("bula kofa", None, toy) is None


def sentences(folder: Path, entry: Language) -> list[str]:
    path = folder / "ntrex" / (entry.code_for("ntrex") or "none") / "test.jsonl"
    lines = path.read_text(encoding="utf-8").split("\n") if path.is_file() else []
    return [json.loads(line)["text"] for line in lines if line]


def test_real_sentences_are_identified(test_data: Path) -> None:
    texts = {entry: found for entry in all_languages() if (found := sentences(test_data, entry))}
    assert len(texts) > 20
    english = texts[language("en")]
    for entry, own in texts.items():
        alarms = sum(is_other_language(text, entry) for text in own) / len(own)
        assert alarms <= 0.01, entry.code
        if entry.code != "en":
            assert sum(is_other_language(text, entry) for text in english) / len(english) >= 0.95, entry.code


def reference_chrf(text: str, gold: str) -> float:
    """chrF2 from its definition: means of precision and recall over the orders that both texts have."""
    ours, theirs = "".join(text.split()), "".join(gold.split())
    precisions, recalls = [], []
    for order in range(1, 7):
        a, b = (Counter(s[n : n + order] for n in range(len(s) - order + 1)) for s in (ours, theirs))
        if a and b:
            common = sum(min(count, b[gram]) for gram, count in a.items())
            precisions.append(common / sum(a.values()))
            recalls.append(common / sum(b.values()))
    precision = sum(precisions) / len(precisions) if precisions else 0.0
    recall = sum(recalls) / len(recalls) if recalls else 0.0
    return 5 * precision * recall / (4 * precision + recall) if precision + recall else 0.0


_RNG = random.Random(0)
_LONG = "".join(_RNG.choice("abcdefgh ") for _ in range(20_000))


@pytest.mark.parametrize(
    ("text", "gold"),
    [
        ("", "x"), ("x", "x"), ("x", "y"), ("x", "xyz"), ("ab", "abc"), ("a b", "ab"), ("   ", "x"), (".", "Hund."),
        ("你好世界", "你好，世界"), ("狗", "狗"), ("नमस्ते दुनिया", "नमस्कार दुनिया"), ("é", "e\u0301"), ("กำ", "กํา"),
        ("Der Hund läuft.", "Der Hund lief schnell."), ("🐕🐈", "🐈🐕"), (_LONG, _LONG[::-1]),
        (_LONG, _LONG[:-1] + "z"),
    ],
)  # fmt: skip
def test_chrf_is_sacrebleus_and_the_definition(text: str, gold: str) -> None:
    from sacrebleu.metrics import CHRF

    assert chrf(text, [gold]) == pytest.approx(CHRF().sentence_score(text, [gold]).score / 100, abs=1e-6)
    assert chrf(text, [gold]) == pytest.approx(reference_chrf(text, gold), abs=1e-6)


@given(st.text("ab c你é", max_size=12), st.text("ab c你é", min_size=1, max_size=12))
def test_chrf_is_the_definition_on_any_text(text: str, gold: str) -> None:
    assert chrf(text, [gold]) == pytest.approx(reference_chrf(text, gold), abs=1e-6)


def test_the_best_reference_counts_and_no_text_is_worth_nothing() -> None:
    assert chrf("Der Hund", ["Die Katze", "Der Hund"]) == pytest.approx(1.0)
    assert chrf(None, ["x"]) == 0.0


def test_a_bridge_text_without_letters_or_repeated_is_none() -> None:
    french = language("fr")
    assert is_right_bridge(":::::", None, french) is False
    assert is_right_bridge("12345 ...", None, language("ru")) is False
    assert is_right_bridge("Hello", None, french, "Hello") is False
    assert is_right_bridge("Berlin", ["Berlin"], french, "Berlin") is True
    assert is_right_bridge("Bonjour", ["Salut"], french, "Hello") is True
