"""Grade-school arithmetic: a problem in the source language, a worked answer, a number."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Generator, Iterable, Sequence
from decimal import Decimal
from functools import cache
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from bridgex.config.settings import Settings
from bridgex.data import task_rows
from bridgex.data.task_rows import ParallelRows, ProblemRow
from bridgex.evaluation.dialogue import Question, Reply, Request, ask
from bridgex.evaluation.tasks.context import (
    Answered,
    Asked,
    ContextTask,
    Side,
    checked_text_template,
    filled,
    worded,
)
from bridgex.languages import language

# Signs that other scripts write in numbers. A full-width comma or full stop is one between full-width digits only:
# elsewhere it parts sentences, "18，18 元".
_SIGNS = str.maketrans({"−": "-", "－": "-", "٫": ".", "٬": ",", "’": "'", "\u00a0": " ", "\u202f": " "})
_WIDE_SIGN = re.compile("(?<=[０-９])[，．](?=[０-９])")
_NUMBER = re.compile(
    r"""
    (?P<minus>(?<![0-9A-Za-zÀ-ɏ)\]%])-)?          # not the dash of 20-3, step-5 or 5%-10%
    (?:[$€£¥₹฿]\s?)?
    (?:
        (?P<grouped>
            [1-9]\d{0,2}(?P<mark>[,.'\ ])\d{3}(?:(?P=mark)\d{3})*
            | [1-9]\d?(?:,\d\d)+,\d{3}             # as in India: 12,34,567
        )(?!\d)(?:(?!(?P=mark))[.,](?P<rest>\d+))?
        | (?P<whole>\d+)(?:[.,](?P<decimals>\d+))?
        | (?<![\w.])\.(?P<bare>\d+)
    )
    """,
    re.VERBOSE,
)


class ProblemWords(BaseModel):
    """The prompt's words in one language."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    question_word: str = Field(min_length=1, description="stands before a problem")
    answer_words: str = Field(min_length=1, description="stand before a worked answer")


class Problems(ContextTask):
    """MGSM: the problem is the context; the last number of a worked answer counts."""

    metric: ClassVar[str] = "accuracy"
    shots_split: ClassVar[str | None] = "train"

    prompt: str = Field(description="names the {problem}, {question_word} and {answer_words}")
    answer_tokens: int = Field(512, ge=1, description="generated tokens of an answer at most")
    wording: Literal["english", "target"] = Field("english", description="language of the words in the prompt")
    words: dict[str, ProblemWords] = Field(description="the prompt's words by language, en among them")

    @field_validator("prompt")
    @classmethod
    def _prompt_fits(cls, prompt: str) -> str:
        return checked_text_template(prompt, "source", "target", "question_word", "answer_words", "problem")

    def data_set(self, settings: Settings) -> str:
        """MGSM."""
        return "mgsm"

    def read(self, settings: Settings, codes: Sequence[str], split: str) -> ParallelRows[ProblemRow]:
        """Rows of MGSM."""
        return task_rows.problem_rows(settings, codes, split)

    def side(self, row: ProblemRow) -> Side:
        """The problem; where there is a worked answer, it stands as the only option."""
        # The examples begin with the words that the prompt has already.
        labels = _labels(tuple(word for words in self.words.values() for word in words.model_dump().values()))
        answer = () if row.answer is None else (labels.sub("", row.answer),)
        return Side(labels.sub("", row.question), options=answer)

    def gold(self, row: ProblemRow) -> tuple[str, ...]:
        """The number."""
        whole, _, decimals = f"{Decimal(str(abs(row.number))):f}".partition(".")
        return (_written(row.number < 0, whole, decimals),)

    def example(self, asked: Asked) -> str:
        """The problem with its worked answer."""
        worked = asked.item.sides[asked.query_language.code].options
        (number,) = asked.item.gold
        return f"{self._question(asked).prompt} {worked[0] if worked else number}"

    def last_step(self, asked: Asked) -> Generator[Request, Reply, Answered]:
        """Asks for a worked answer."""
        completion = yield from ask(self._question(asked))
        text = self._stop().split(completion.text, maxsplit=1)[0]
        return Answered(completion.step("answer"), last_number(text), completion.is_truncated)

    def check_wording(self, codes: Sequence[str]) -> None:
        """Whether the prompt has words in each of these languages."""
        for code in codes:
            worded(self.words, self.wording, language(code), self.name)

    def _stop(self) -> re.Pattern[str]:
        """Where a worked answer is over: the model goes on with another problem."""
        return _next_problem(tuple(words.question_word for words in self.words.values()))

    def _question(self, asked: Asked) -> Question:
        prompt, (start, end) = filled(
            self.prompt,
            "problem",
            asked.context,
            source=asked.context_language.name,
            target=asked.query_language.name,
            **worded(self.words, self.wording, asked.query_language, self.name).model_dump(),
        )
        before = len(asked.item.examples)
        return Question(
            "answer",
            asked.item.examples + prompt,
            self.answer_tokens,
            self._stop(),
            (start + before, end + before),
        )


def last_number(text: str) -> str | None:
    """The last number in a text, in any script's digits, as `plain_number` writes it; None: there is none.

    >>> last_number("16 - 3 - 4 = 9, so 9 * 2 = $18.00 a day.")
    '18'
    """
    found = list(_NUMBER.finditer(_in_ascii(text)))
    return _number_of(found[-1]) if found else None


def plain_number(text: str) -> str | None:
    """A number without signs between its thousands and without empty decimals, in ASCII digits; None: it is none.

    A comma or full stop before exactly three digits stands between thousands, unless a zero or more than three digits
    stand before it or another one between thousands; any other stands before decimals.

    >>> plain_number("1,234.50"), plain_number("1.234"), plain_number("٣"), plain_number("-7.0")
    ('1234.5', '1234', '3', '-7')
    """
    match = _NUMBER.fullmatch(_in_ascii(text).strip().rstrip(",."))
    return None if match is None else _number_of(match)


def _in_ascii(text: str) -> str:
    signs = _WIDE_SIGN.sub(lambda sign: {"，": ",", "．": "."}[sign[0]], text).translate(_SIGNS)
    return "".join(str(unicodedata.decimal(sign, sign)) for sign in signs)


def _number_of(match: re.Match[str]) -> str:
    whole = re.sub(r"\D", "", match["grouped"] or match["whole"] or "")
    return _written(match["minus"] is not None, whole, match["rest"] or match["decimals"] or match["bare"] or "")


def _written(is_negative: bool, whole: str, decimals: str = "") -> str:
    whole, decimals = whole.lstrip("0") or "0", decimals.rstrip("0")
    sign = "-" if is_negative and (whole != "0" or decimals) else ""
    return f"{sign}{whole}.{decimals}" if decimals else f"{sign}{whole}"


@cache
def _labels(labels: tuple[str, ...]) -> re.Pattern[str]:
    """One of these words at the beginning of a text, with its colon."""
    return re.compile(rf"\A\s*(?:{_any_of(labels)})\s*[:：]\s*")


@cache
def _next_problem(labels: tuple[str, ...]) -> re.Pattern[str]:
    """A line that begins with one of these words and a colon."""
    return re.compile(rf"\n\s*(?:{_any_of(labels)})\s*[:：]")


def _any_of(labels: Iterable[str]) -> str:
    stems = {label.rstrip(" :：") for label in labels}
    return "|".join(map(re.escape, sorted(stems, key=len, reverse=True)))
