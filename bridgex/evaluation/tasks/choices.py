"""Tasks whose answers are chosen by how likely the model finds them."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from string import ascii_lowercase, ascii_uppercase
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bridgex.config.mistakes import InvalidNode, not_allowed
from bridgex.config.settings import checked_template, known_language
from bridgex.evaluation.dialogue import Choice, Reply, Request, ScoredOption, weigh
from bridgex.evaluation.tasks.context import Answered, Asked, ContextTask, checked_text_template, filled, worded
from bridgex.languages import Language, language

Normalise = Literal["none", "characters", "tokens"]


class Form(BaseModel):
    """How a choice is put to the model; both name what the task's `names` gives.

    Each option's text is scored after the prompt.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str = Field(description="names the {context} and what else the task has")
    option: str = Field(description="names {option}, {label} or {letter}; begins with the space before it, if any")
    normalise: Normalise = Field("none", description="log-probability of an option divided by its characters or tokens")


class ChoiceTask(ContextTask):
    """A task with options, scored by likelihood."""

    metric: ClassVar[str] = "accuracy"
    num_options: ClassVar[int] = 0
    """Options of every item that come with the data; 0: none do."""
    prompt_names: ClassVar[tuple[str, ...]] = ("query",)
    """What `names` gives beside languages, listed options and words."""
    option_names: ClassVar[tuple[str, ...]] = ("letter", "option")
    """What `labels` gives."""

    form: str = Field("cloze", description="how the choice is put, one of `forms`")
    forms: dict[str, Form] = Field(description="by name, cloze: the options' own words are scored; letters: A, B, C")
    wording: Literal["english", "target"] = Field(
        "english", description="language of the words that the forms take from `words`"
    )
    words: dict[str, dict[str, str]] = Field(
        default_factory=dict, description="words of the forms by language, en among them; a language may lack some"
    )

    @model_validator(mode="after")
    def _forms_fit(self) -> ChoiceTask:
        lines = [] if self.form in self.forms else [not_allowed("form", self.form, list(self.forms))]
        listed = [f"option_{letter}" for letter in ascii_lowercase[: self.num_options]]
        allowed = ["source", "target", *self.prompt_names, *listed, *self.words.get("en", {})]
        for name, form in self.forms.items():
            try:
                checked_text_template(form.prompt, *allowed, "context")
            except ValueError as error:
                lines.append(f"forms.{name}.prompt={form.prompt}: {error}")
            try:
                _check_option(form.option, allowed, self.option_names)
            except ValueError as error:
                lines.append(f"forms.{name}.option={form.option}: {error}")
        own = self.words.get("en", {})
        for code, words in self.words.items():
            try:
                known_language(code)
            except ValueError as error:
                lines.append(f"words.{code}: {error}")
            unknown = [word for word in words if word not in own]
            lines += [f"words.{code}.{word}: no such word. Allowed here: {', '.join(own)}" for word in unknown]
        if lines:
            raise InvalidNode(lines)
        return self

    def names(self, asked: Asked, words: Mapping[str, str]) -> dict[str, str]:
        """What the forms may name beside the context, by name."""
        listed = {
            f"option_{letter.lower()}": text for letter, text in zip(ascii_uppercase, asked.options, strict=False)
        }
        return {
            "source": asked.context_language.name,
            "target": asked.query_language.name,
            "query": asked.query,
            **listed,
            **words,
        }

    def labels(self, asked: Asked, words: Mapping[str, str]) -> list[dict[str, str]]:
        """For each option what only its own text may name: its `letter`, and `option` or `label`."""
        return [
            {"letter": letter, "option": text} for letter, text in zip(ascii_uppercase, asked.options, strict=False)
        ]

    def answers(self, asked: Asked) -> list[str]:
        """What each option stands for in records."""
        return list(ascii_uppercase[: len(asked.options)])

    def words_in(self, target: Language) -> Mapping[str, str]:
        """The forms' own words.

        Raises:
            UserError: the field has none in the target language.
        """
        if not self.words:
            return {}
        return {**self.words["en"], **worded(self.words, self.wording, target, self.name)}

    def choice(self, asked: Asked) -> Choice:
        """What is scored."""
        form, words = self.forms[self.form], self.words_in(asked.query_language)
        names = self.names(asked, words)
        context = self.shown_context(asked)
        prompt, (start, end) = filled(form.prompt, "context", context, **names)
        before = len(asked.item.examples)
        return Choice(
            asked.item.examples + prompt,
            tuple(form.option.format(**names, **label) for label in self.labels(asked, words)),
            (start + before, end + before),
        )

    def shown_context(self, asked: Asked) -> str:
        """The context as it stands in the prompt."""
        return asked.context

    def example(self, asked: Asked) -> str:
        """The prompt with the right option."""
        choice = self.choice(asked)
        (right,) = asked.item.gold
        return choice.prompt + choice.options[self.answers(asked).index(right)]

    def last_step(self, asked: Asked) -> Generator[Request, Reply, Answered]:
        """Weighs the options; the first of the most likely ones is the answer."""
        choice = self.choice(asked)
        scores = yield from weigh(choice)
        form = self.forms[self.form]
        worth = [
            _normalised(scored, text, form.normalise)
            for scored, text in zip(scores.options, choice.options, strict=True)
        ]
        answer = self.answers(asked)[worth.index(max(worth))]
        return Answered(scores.step(), answer, options=scores.records(choice.options, worth))

    def check_wording(self, codes: Sequence[str]) -> None:
        """Whether the forms have words in each of these languages."""
        for code in codes:
            self.words_in(language(code))


def _check_option(option: str, allowed: Sequence[str], own: Sequence[str]) -> None:
    """Whether an option's text names what is there, and something of its own; ValueError if not."""
    named = [name for name in own if f"{{{name}}}" in option]
    if not named:
        raise ValueError(f"must name {' or '.join(f'{{{name}}}' for name in own)}")
    checked_template(option, *allowed, *(name for name in own if name != named[0]), named[0])


def _normalised(scored: ScoredOption, text: str, normalise: Normalise) -> float:
    size = {"none": 1, "characters": len(text.strip()), "tokens": scored.num_tokens}[normalise]
    return scored.logprob / size
