"""Reads sentences and passages that a model wrote, and judges them: the language, and how near they are to others."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import Any

from bridgex.evaluation.answers import is_foreign_script, normalise_word
from bridgex.evaluation.dialogue import Completion
from bridgex.languages import Language

# Where a text's quote closes and the next language is named.
_NEXT = re.compile(r'["“”„«»「」『』]\s*→')
# A text is over at the end of its line or there.
END_OF_TEXT = re.compile(rf"\n|{_NEXT.pattern}")
# What closes the quote that a sign opens: languages differ, and models mix their ways.
_CLOSED_BY = {'"': '"”', "“": '”"', "„": '“”"', "”": '”"', "«": "»", "»": "«", "「": "」", "『": "』"}
_OPENS_WITHIN = re.compile(r'(?:^|[\s(\[])"(?=\S)[^"]*$')
# Below so many letters an identifier guesses.
_MIN_LETTERS = 20
# What an identifier still gives to the language of a text, next to its near relatives.
_MIN_PROBABILITY = 0.01


def read_text(completion: Completion) -> str | None:
    """The text that a model wrote: its first line without the quotes around it; None where there is none.

    >>> read_text(Completion("", ' "Er sagte "ja"."→English:"He', 9, 0.0, False))
    'Er sagte "ja".'
    """
    line = completion.text.lstrip().partition("\n")[0]
    before_next, *following = _NEXT.split(line, maxsplit=1)
    if following:
        text = before_next.strip()
        text = text[1:] if text[:1] in _CLOSED_BY else text
    else:
        text = _unquoted(line.strip())
    return text.strip() or None


def _unquoted(line: str) -> str:
    """A line without the quotes around it, or the one before it; quotes that close within it belong to the text."""
    opening, inside = line[:1], line[1:]
    closing = _CLOSED_BY.get(opening, "")
    if not closing or not inside:
        return line if not closing else ""
    is_closed = inside[-1] in closing
    text = inside[:-1] if is_closed else inside
    if opening == '"':
        is_balanced = text.count('"') % 2 == 0
        if not is_closed:
            return text if is_balanced else line
        return text if is_balanced or not _OPENS_WITHIN.search(text) else inside
    depth = 0
    for sign in text:
        depth += (sign == opening) - (sign in closing)
        if depth < 0:
            return line
    return text if depth == 0 else inside


def one_line(text: str) -> str:
    """A text as a prompt of one line has it: line breaks and runs of spaces are single spaces."""
    return " ".join(text.split())


def is_same_text(text: str | None, gold: Sequence[str]) -> bool:
    """Whether a text is one of the right ones but for case, white space, quotes and outer punctuation."""
    if text is None:
        return False
    compared = normalise_word(one_line(text))
    return any(compared == normalise_word(one_line(right)) for right in gold)


def is_other_language(text: str, language: Language) -> bool:
    """Whether a text is surely not in a language: another script, or an identifier (py3langid) all but excludes it.

    Short texts and languages that the identifier does not know are judged by their script alone.
    """
    if is_foreign_script(text, language):
        return True
    letters = sum(character.isalpha() for character in unicodedata.normalize("NFC", text))
    identifier = _identifier()
    label = _LABELS.get(language.code, language.code)
    if letters < _MIN_LETTERS or label not in identifier.labels:
        return False
    ranked: dict[str, float] = dict(identifier.rank(one_line(text)))
    return max(ranked, key=ranked.__getitem__) != label and ranked[label] < _MIN_PROBABILITY


def is_right_bridge(
    text: str | None, gold: Sequence[str] | None, bridge: Language, source_text: str = ""
) -> bool | None:
    """Whether a bridge text can be built on: invented languages are compared with the data, real ones identified.

    Args:
        text: what the model wrote; None: nothing.
        gold: the data's own texts in the bridge language; None: there are none.
        bridge: the language that it should be in.
        source_text: what was to be translated: to repeat it is no translation, unless the data do so, too.
    """
    if text is None or is_other_language(text, bridge) or not any(map(str.isalpha, text)):
        return False
    if bridge.is_toy:
        return None if gold is None else is_same_text(text, gold)
    return not is_same_text(text, [source_text]) or is_same_text(text, gold or [])


# Codes that the identifier calls otherwise; the scripts of Chinese have one label.
_LABELS = {"zh_hant": "zh", "gn": "gug", "ckb": "sdh"}


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def chrf(text: str | None, gold: Sequence[str]) -> float:
    """Sentence chrF2, 0 to 1: character n-grams up to 6, no words, beta 2 (Popović 2015), by sacreBLEU.

    Not by torchmetrics 1.9, which counts n-gram orders that a short text does not have as misses: equal texts of three
    letters score .5 there.

    Args:
        text: what the model wrote; None scores 0.
        gold: references; the best counts.
    """
    if not text:
        return 0.0
    return float(_chrf().sentence_score(text, list(gold)).score) / 100


@cache
def _chrf() -> Any:
    from sacrebleu.metrics.chrf import CHRF

    return CHRF()
