"""Causal commonsense: which of two sentences is the cause or the effect of the premise?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import ClassVar

from bridgex.config.settings import Settings
from bridgex.data import task_rows
from bridgex.data.task_rows import CausalRow, ParallelRows
from bridgex.evaluation.tasks.choices import ChoiceTask
from bridgex.evaluation.tasks.context import Asked, Side
from bridgex.languages import Language

_ENDS = ".。।။۔!?！？؟ \u00a0\u202f\t\n"
# Languages that write i with and without a dot, which no general rule of case keeps apart.
_DOTTED = ("tr", "az")


class Causes(ChoiceTask):
    """XCOPA: premise in the source language, the two choices in the target language.

    The premise goes without its full stop, and a choice begins in lower case: the two are joined by a connective.
    """

    chance: ClassVar[float | None] = 1 / 2
    shots_split: ClassVar[str | None] = "validation"
    num_options: ClassVar[int] = 2
    prompt_names: ClassVar[tuple[str, ...]] = ("connective", "asks_for")
    option_names: ClassVar[tuple[str, ...]] = ("letter", "option", "continued")

    def data_set(self, settings: Settings) -> str:
        """XCOPA."""
        return "xcopa"

    def read(self, settings: Settings, codes: Sequence[str], split: str) -> ParallelRows[CausalRow]:
        """Rows of XCOPA; English is COPA's."""
        return task_rows.causal_rows(settings, codes, split)

    def side(self, row: CausalRow) -> Side:
        """Premise, what is asked for, choices."""
        return Side(row.premise, options=row.options, asks_for=row.asks_for)

    def gold(self, row: CausalRow) -> tuple[str, ...]:
        """The letter of the right choice."""
        return (ascii_uppercase[row.label],)

    def names(self, asked: Asked, words: Mapping[str, str]) -> dict[str, str]:
        """Also the `connective` of cause or effect, and the word for what is asked for."""
        asks_for = asked.item.sides[asked.item.target].asks_for
        names = super().names(asked, words)
        return names | {"connective": words[asks_for], "asks_for": words[f"asks_for_{asks_for}"]}

    def labels(self, asked: Asked, words: Mapping[str, str]) -> list[dict[str, str]]:
        """The choices, as they go on with a sentence."""
        found = super().labels(asked, words)
        return [names | {"continued": _continued(names["option"], asked.query_language)} for names in found]

    def shown_context(self, asked: Asked) -> str:
        """The premise without its full stop where a connective follows."""
        return asked.context.rstrip(_ENDS) if self.form == "cloze" else asked.context


def _continued(sentence: str, language: Language) -> str:
    """A sentence as it goes on with another one."""
    first = sentence[:1]
    if language.code in _DOTTED and first in "Iİ":
        return {"I": "ı", "İ": "i"}.get(first, "") + sentence[1:]
    return first.lower() + sentence[1:]
