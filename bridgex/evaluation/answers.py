"""Reads an answer out of what a model said, and says why it misses."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection

from bridgex.evaluation.dialogue import Completion
from bridgex.languages import Language

# An answer is over at the end of its line, or where the quote that it opened closes.
END_OF_WORD = re.compile(r'\n|^\s*["“”„«»「」][^\n]*?["“”„«»「」]')
_QUOTES = re.compile(r"[\"'“”„‟‘’‚‛«»‹›「」『』`´]")
_HEBREW_POINTS = re.compile(r"[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7]")
_QUOTED = re.compile(r'^\s*["“”„«»「」]([^\n]*?)(?:["“”„«»「」]|\n|$)')

# First words of the Unicode names of a script's letters.
_SCRIPTS = {
    "Arab": {"ARABIC"},
    "Armn": {"ARMENIAN"},
    "Beng": {"BENGALI"},
    "Cyrl": {"CYRILLIC"},
    "Deva": {"DEVANAGARI"},
    "Ethi": {"ETHIOPIC"},
    "Geor": {"GEORGIAN"},
    "Grek": {"GREEK"},
    "Gujr": {"GUJARATI"},
    "Guru": {"GURMUKHI"},
    "Hans": {"CJK"},
    "Hant": {"CJK"},
    "Hebr": {"HEBREW"},
    "Jpan": {"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"},
    "Khmr": {"KHMER"},
    "Knda": {"KANNADA"},
    "Kore": {"HANGUL", "CJK"},
    "Laoo": {"LAO"},
    "Latn": {"LATIN"},
    "Mlym": {"MALAYALAM"},
    "Mymr": {"MYANMAR"},
    "Orya": {"ORIYA"},
    "Sinh": {"SINHALA"},
    "Taml": {"TAMIL"},
    "Telu": {"TELUGU"},
    "Thai": {"THAI"},
    "Tibt": {"TIBETAN"},
}


def normalise_word(text: str) -> str:
    """The form in which words are compared: NFKC, case folded, without quotes, Hebrew points and outer punctuation.

    >>> normalise_word(' "Straße". ')
    'strasse'
    """
    text = _HEBREW_POINTS.sub("", unicodedata.normalize("NFKC", text))
    text = _QUOTES.sub("", text.casefold())
    return " ".join(text.split()).strip(" .,;:!?…،؛؟。、，")


def read_word(completion: Completion) -> str | None:
    """The word that a model answered: what stands in its first quotes, else its first line; None where there is none.

    >>> read_word(Completion("", '"chien"→English:', 4, 0.0, False))
    'chien'
    """
    said = completion.text.lstrip()  # chat models may begin with a new line
    quoted = _QUOTED.match(said)
    text = quoted.group(1) if quoted else said.partition("\n")[0]
    return text.strip() if normalise_word(text) else None


def is_foreign_script(text: str, language: Language) -> bool:
    """Whether no letter of the text belongs to the language's script; False where the script is not known here."""
    names = _SCRIPTS.get(language.script)
    letters = [character for character in text if character.isalpha()]
    if names is None or not letters:
        return False
    return not any(unicodedata.name(letter, "").split(" ")[0] in names for letter in letters)


def is_match(answer: str | None, gold: Collection[str]) -> bool:
    """Whether the answer is one of the right ones, in compared form."""
    return answer is not None and normalise_word(answer) in {normalise_word(word) for word in gold}
