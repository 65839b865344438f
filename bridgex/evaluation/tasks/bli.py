"""Word translation (bilingual lexicon induction)."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, field_validator

from bridgex.config.settings import Settings
from bridgex.data import sources
from bridgex.evaluation.answers import END_OF_WORD, is_foreign_script, is_match, normalise_word, read_word
from bridgex.evaluation.dialogue import Dialogue, Question
from bridgex.evaluation.tasks.base import Item, Items, Task, route_name
from bridgex.languages import Language
from bridgex.records.schema import Miss, Prediction


class WordTranslation(Task):
    """Asks for the translation of each test word of a dictionary; any listed translation counts.

    The denominator is all words of the list, as published.
    """

    metric: ClassVar[str] = "accuracy"

    max_tokens: int = Field(30, ge=1, description="generated tokens at most")
    prompt: str = Field(description="names {source} and {target} and the {word}")

    @field_validator("prompt")
    @classmethod
    def _prompt_fits(cls, prompt: str) -> str:
        try:
            prompt.format(source="", target="", word="")
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError(f"may name {{source}}, {{target}} and {{word}} only, found {error}") from None
        return prompt

    def load(self, settings: Settings) -> Items:
        """Test words in the dictionary's order, each once."""
        found = sources.dictionary(settings, settings.pair.pair, "test")
        items = tuple(Item(id=word, text=word, gold=gold, group=word) for word, gold in found.entries.items())
        return Items(items, found.fingerprint(), (found.note,) if found.note else ())

    def dialogue(self, item: Item, source: Language, target: Language, bridge: Language | None) -> Dialogue:
        """One question: the word in the source language, to be continued in the target language."""
        prompt = self.prompt.format(source=source.name, target=target.name, word=item.text)
        completion = yield Question("answer", prompt, self.max_tokens, END_OF_WORD)
        answer = read_word(completion)
        is_correct = is_match(answer, item.gold)
        return Prediction(
            id=item.id,
            route=route_name(bridge),
            steps=[completion.step("answer")],
            answer=answer,
            gold=list(item.gold),
            correct=is_correct,
            miss=None if is_correct else _miss(answer, completion.is_truncated, item.text, target),
        )


def _miss(answer: str | None, is_truncated: bool, word: str, target: Language) -> Miss:
    """Why an answer does not count: the first reason that holds."""
    if is_truncated:
        return "truncated"
    if answer is None:
        return "not_found"
    if is_foreign_script(answer, target) or normalise_word(answer) == normalise_word(word):
        return "wrong_language"
    return "wrong"
