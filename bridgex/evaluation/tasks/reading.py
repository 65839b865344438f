"""Reading comprehension with options: a passage in the source language, question and options in the target language."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_uppercase
from typing import ClassVar

from bridgex.config.settings import Settings
from bridgex.data import task_rows
from bridgex.data.task_rows import ParallelRows, ReadingRow
from bridgex.evaluation.tasks.choices import ChoiceTask
from bridgex.evaluation.tasks.context import Side


class Reading(ChoiceTask):
    """Belebele and its like: four options; examples come from other passages of the same part, which has no other."""

    chance: ClassVar[float | None] = 1 / 4
    num_options: ClassVar[int] = 4

    def data_set(self, settings: Settings) -> str:
        """Belebele."""
        return "belebele"

    def read(self, settings: Settings, codes: Sequence[str], split: str) -> ParallelRows[ReadingRow]:
        """Rows of Belebele."""
        return task_rows.reading_rows(settings, codes, split)

    def side(self, row: ReadingRow) -> Side:
        """Passage, question, options."""
        return Side(row.passage, row.question, row.options)

    def gold(self, row: ReadingRow) -> tuple[str, ...]:
        """The letter of the right option."""
        return (ascii_uppercase[row.label],)
