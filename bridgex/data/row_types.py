"""The typed rows of the tasks' data sets, and how each is read from its columns."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Generic, Literal, TypeVar

from bridgex.data.row_checks import BadCell, text_of, whole_number

Row = TypeVar("Row")

INFERENCE_LABELS = ("entailment", "neutral", "contradiction")
"""What the labels of `InferenceRow` mean, from 0."""


@dataclass(frozen=True)
class InferenceRow:
    """Natural language inference: XNLI, AfriXNLI.

    Attributes:
        premise: what is given.
        hypothesis: what may follow.
        label: 0 entailment, 1 neutral, 2 contradiction.
    """

    premise: str
    hypothesis: str
    label: int


@dataclass(frozen=True)
class ReadingRow:
    """Reading comprehension: Belebele.

    Attributes:
        passage: what is read.
        question: about it.
        options: four answers.
        label: the right one, from 0.
    """

    passage: str
    question: str
    options: tuple[str, ...]
    label: int


@dataclass(frozen=True)
class CausalRow:
    """Causal reasoning: XCOPA, COPA.

    Attributes:
        premise: what happened.
        options: two candidates.
        asks_for: whether the option is to be the premise's cause or its effect.
        label: the right one, from 0.
    """

    premise: str
    options: tuple[str, str]
    asks_for: Literal["cause", "effect"]
    label: int


@dataclass(frozen=True)
class ProblemRow:
    """A mathematical problem: MGSM.

    Attributes:
        question: the problem.
        answer: worked out in words; None in the test split.
        number: the right answer.
        equation: the steps as equations; None where the data have none.
    """

    question: str
    answer: str | None
    number: int | float
    equation: str | None = None


@dataclass(frozen=True)
class SentenceRow:
    """A sentence to translate: NTREX, FLORES+.

    Attributes:
        text: the sentence.
    """

    text: str


@dataclass(frozen=True)
class Reading(Generic[Row]):
    """How a data set's rows are read.

    Attributes:
        parse: types a row.
        key: the id of a row, from it and its number from 0.
        has_ids: whether the data tell which rows are the same item.
    """

    parse: Callable[[Mapping[str, Any]], Row]
    key: Callable[[Mapping[str, Any], int], str]
    has_ids: bool


def _inference_row(cells: Mapping[str, Any]) -> InferenceRow:
    label = whole_number(cells["label"], "label", range(3), INFERENCE_LABELS)
    return InferenceRow(text_of(cells["premise"], "premise"), text_of(cells["hypothesis"], "hypothesis"), label)


def _reading_row(cells: Mapping[str, Any]) -> ReadingRow:
    options = tuple(text_of(cells[f"mc_answer{number}"], f"mc_answer{number}") for number in range(1, 5))
    return ReadingRow(
        passage=text_of(cells["flores_passage"], "flores_passage"),
        question=text_of(cells["question"], "question"),
        options=options,
        label=whole_number(cells["correct_answer_num"], "correct_answer_num", range(1, 5)) - 1,
    )


def _causal_row(cells: Mapping[str, Any]) -> CausalRow:
    asks_for = cells["question"]
    if asks_for not in ("cause", "effect"):
        raise BadCell(f"question is {asks_for!r}, expected cause or effect")
    return CausalRow(
        premise=text_of(cells["premise"], "premise"),
        options=(text_of(cells["choice1"], "choice1"), text_of(cells["choice2"], "choice2")),
        asks_for=asks_for,
        label=whole_number(cells["label"], "label", range(2)),
    )


def _problem_row(cells: Mapping[str, Any]) -> ProblemRow:
    return ProblemRow(
        question=text_of(cells["question"], "question"),
        answer=text_of(cells["answer"], "answer") or None,
        number=number_of(cells["answer_number"], "answer_number"),
        equation=text_of(cells.get("equation_solution"), "equation_solution") or None,
    )


def _sentence_row(cells: Mapping[str, Any]) -> SentenceRow:
    return SentenceRow(text_of(cells["text"] if "text" in cells else cells["sentence"], "text"))


def number_of(value: object, column: str) -> int | float:
    """A number: as such, or written with commas between thousands.

    Raises:
        BadCell: anything else.

    Example:
        >>> number_of("1,000", "answer_number"), number_of(2.5, "answer_number")
        (1000, 2.5)
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return int(value) if value == int(value) else value
    if isinstance(value, str):
        try:
            return number_of(float(value.strip().replace(",", "")), column)
        except (ValueError, OverflowError):
            pass
    raise BadCell(f"{column} is {value!r}, expected a number")


def _by_number(cells: Mapping[str, Any], number: int) -> str:
    return str(number)


def _by_question(cells: Mapping[str, Any], number: int) -> str:
    return f"{_id_of(cells, 'link')} {_id_of(cells, 'question_number')}"


def _by_idx(cells: Mapping[str, Any], number: int) -> str:
    return _id_of(cells, "idx")


def _by_id(cells: Mapping[str, Any], number: int) -> str:
    # Line numbers, from 1 as in files that have them.
    return _id_of(cells, "id") if "id" in cells else str(number + 1)


def _id_of(cells: Mapping[str, Any], column: str) -> str:
    value = cells[column]
    if not isinstance(value, (int, str)) or value == "":
        raise BadCell(f"{column} is {value!r}, expected a number or a name")
    return str(value).strip()


INFERENCE = Reading(_inference_row, _by_number, has_ids=False)
READING = Reading(_reading_row, _by_question, has_ids=True)
CAUSAL = Reading(_causal_row, _by_idx, has_ids=True)
PROBLEM = Reading(_problem_row, _by_number, has_ids=False)
SENTENCE = Reading(_sentence_row, _by_id, has_ids=True)

READINGS: Mapping[str, Reading[Any]] = MappingProxyType(
    {
        "xnli": INFERENCE,
        "afrixnli": INFERENCE,
        "belebele": READING,
        "xcopa": CAUSAL,
        "mgsm": PROBLEM,
        "ntrex": SENTENCE,
        "flores": SENTENCE,
    }
)
"""How each data set is read, by name."""
