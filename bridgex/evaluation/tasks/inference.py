"""Natural language inference: does the premise entail the hypothesis, contradict it, or neither?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import ClassVar, Literal

from pydantic import Field

from bridgex.config.settings import ReadsData, Settings
from bridgex.data import task_rows
from bridgex.data.task_rows import InferenceRow, ParallelRows
from bridgex.evaluation.tasks.base import LabelledPairs, PairTask
from bridgex.evaluation.tasks.choices import ChoiceTask
from bridgex.evaluation.tasks.context import Asked, Side

LABELS = ("entailment", "neutral", "contradiction")
"""By their numbers in the data."""


class Inference(ChoiceTask, PairTask):
    """XNLI and its like: premise in the source language, hypothesis in the target language."""

    chance: ClassVar[float | None] = 1 / 3
    shots_split: ClassVar[str | None] = "validation"
    option_names: ClassVar[tuple[str, ...]] = ("letter", "label")
    class_names: ClassVar[tuple[str, ...]] = LABELS

    variant: Literal["xnli", "afrixnli"] = Field("xnli", description="the data set")

    def data_set(self, settings: Settings) -> str:
        """The variant."""
        return self.variant

    def read(self, settings: Settings, codes: Sequence[str], split: str) -> ParallelRows[InferenceRow]:
        """Rows of the variant."""
        return task_rows.inference_rows(settings, codes, split, dataset=self.variant)

    def side(self, row: InferenceRow) -> Side:
        """Premise and hypothesis."""
        return Side(row.premise, row.hypothesis)

    def gold(self, row: InferenceRow) -> tuple[str, ...]:
        """The label's name."""
        return (LABELS[row.label],)

    def labels(self, asked: Asked, words: Mapping[str, str]) -> list[dict[str, str]]:
        """The three labels in the wording's words."""
        return [
            {"letter": letter, "label": words.get(name, name)}
            for letter, name in zip(ascii_uppercase, LABELS, strict=False)
        ]

    def answers(self, asked: Asked) -> list[str]:
        """The labels' names."""
        return list(LABELS)

    def pairs(self, settings: ReadsData, codes: Sequence[str], split: str) -> LabelledPairs:
        """Premises and hypotheses; the label is that of the first language, where languages differ in a few."""
        found = task_rows.inference_rows(settings, codes, split, dataset=self.variant)
        return LabelledPairs(
            ids=found.ids,
            groups=found.groups,
            labels=tuple(row.label for row in found.rows[codes[0]]),
            texts={code: tuple((row.premise, row.hypothesis) for row in found.rows[code]) for code in codes},
            fingerprint=found.fingerprint,
            origins=found.origins,
            notes=found.notes,
        )

    def pair_problems(self, settings: ReadsData, codes: Sequence[str], split: str) -> list[str]:
        """Languages without rows of the variant."""
        return task_rows.problems(settings, self.variant, codes, [split])

    def pair_languages(self, settings: ReadsData, split: str) -> list[str]:
        """Languages with rows of the variant."""
        return task_rows.languages(settings, self.variant, split)
