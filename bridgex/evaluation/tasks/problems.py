"""Grade-school arithmetic: a problem in the source language, a worked answer, a number."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Generator, Sequence
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from bridgex.config.settings import Settings, checked_template
from bridgex.data import task_rows
from bridgex.data.task_rows import ParallelRows, ProblemRow
from bridgex.errors import UserError
from bridgex.evaluation.dialogue import Question, Reply, Request, ask
from bridgex.evaluation.tasks.base import Item
from bridgex.evaluation.tasks.context import Answered, Asked, ContextTask, Side, filled
from bridgex.languages import Language, language

# A worked answer is over where a paragraph ends: what follows is another problem.
END_OF_ANSWER = re.compile(r"\n\s*\n")
# As the examples of MGSM begin, in each of its languages: a few words and a colon, no other sign.
_LABEL = re.compile(r"^[^\W\d_][^\d.,!?。:：]{0,40}?\s?[:：]\s*")
_NUMBER = re.compile(r"[-−]?\d[\d,.\u00a0\u202f ']*")


class Problems(ContextTask):
    """MGSM: the problem is the context; the last number of a worked answer counts."""

    metric: ClassVar[str] = "accuracy"
    shots_split: ClassVar[str | None] = "train"

    prompt: str = Field(description="names the {problem}, {question_word} and {answer_words}")
    answer_tokens: int = Field(512, ge=1, description="generated tokens of an answer at most")
    wording: Literal["english", "target"] = Field("english", description="language of the words in the prompt")
    words: dict[str, dict[str, str]] = Field(description="the prompt's words by language, en among them")

    @field_validator("prompt")
    @classmethod
    def _prompt_fits(cls, prompt: str) -> str:
        return checked_template(prompt, "source", "target", "question_word", "answer_words", "problem")

    def data_set(self, settings: Settings) -> str:
        """MGSM."""
        return "mgsm"

    def read(self, settings: Settings, codes: Sequence[str], split: str) -> ParallelRows[ProblemRow]:
        """Rows of MGSM."""
        return task_rows.problem_rows(settings, codes, split)

    def side(self, row: ProblemRow) -> Side:
        """The problem; where there is a worked answer, it stands as the only option."""
        return Side(_without_label(row.question), "", (_without_label(row.answer),) if row.answer else ())

    def gold(self, row: ProblemRow) -> tuple[str, ...]:
        """The number."""
        return (plain_number(str(row.number)) or str(row.number),)

    def example(self, asked: Asked) -> str:
        """The problem with its worked answer."""
        worked = asked.item.sides[asked.query_language.code].options
        (number,) = asked.item.gold
        return f"{self._question(asked).prompt} {worked[0] if worked else number}"

    def last_step(self, asked: Asked) -> Generator[Request, Reply, Answered]:
        """Asks for a worked answer."""
        completion = yield from ask(self._question(asked))
        text = END_OF_ANSWER.split(completion.text.lstrip(), maxsplit=1)[0]
        return Answered(completion.step("answer"), last_number(text), completion.is_truncated)

    def is_right(self, answer: str, item: Item) -> bool:
        """Whether the numbers are equal."""
        return answer in item.gold

    def problems(self, settings: Settings) -> list[str]:
        """Whether the data set has both languages, and the prompt words in the target language."""
        found = super().problems(settings)
        try:
            self._words(language(settings.pair.target))
        except UserError as error:
            found += error.problems
        return found

    def _words(self, target: Language) -> dict[str, str]:
        code = target.code if self.wording == "target" else "en"
        if code not in self.words:
            raise UserError(
                f"task.wording=target: task={self.name} has no wording in {target.english} ({code}), only in "
                f"{', '.join(sorted(self.words))}. Use task.wording=english, or give task.words.{code}"
            )
        return self.words[code]

    def _question(self, asked: Asked) -> Question:
        prompt, (start, end) = filled(
            self.prompt,
            "problem",
            asked.context,
            source=asked.context_language.name,
            target=asked.query_language.name,
            **self._words(asked.query_language),
        )
        before = len(asked.item.examples)
        return Question(
            "answer",
            asked.item.examples + prompt,
            self.answer_tokens,
            END_OF_ANSWER,
            (start + before, end + before),
        )


def last_number(text: str) -> str | None:
    """The last number in a text, in any script's digits, as `plain_number` writes it; None: there is none.

    >>> last_number("16 - 3 - 4 = 9, so 9 * 2 = $18.00 a day.")
    '18'
    """
    found = _NUMBER.findall(text)
    return plain_number(found[-1]) if found else None


def plain_number(text: str) -> str | None:
    """A number without signs between its thousands and without empty decimals, in ASCII digits.

    A comma or full stop before exactly three digits stands between thousands, any other one before decimals.

    >>> plain_number("1,234.50"), plain_number("1.234"), plain_number("٣"), plain_number("-7.0")
    ('1234.5', '1234', '3', '-7')
    """
    text = "".join(str(unicodedata.decimal(sign, sign)) for sign in text.replace("−", "-"))
    text = re.sub(r"[\s\u00a0\u202f']", "", text).rstrip(",.")
    text = re.sub(r"[.,](?=\d{3}(?:\D|$))", "", text)
    match = re.fullmatch(r"(-?)(\d+)(?:[.,](\d+))?", text)
    if match is None:
        return None
    sign, whole, decimals = match.group(1), match.group(2).lstrip("0") or "0", (match.group(3) or "").rstrip("0")
    return f"{sign}{whole}.{decimals}" if decimals else f"{sign if whole != '0' else ''}{whole}"


def _without_label(text: str) -> str:
    """A text without the words that say what it is, which the prompt has already and the data have in one part only."""
    return _LABEL.sub("", text, count=1)
