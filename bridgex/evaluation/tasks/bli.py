"""Word translation (bilingual lexicon induction)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field, field_validator

from bridgex.config.settings import Settings, checked_template
from bridgex.data import sources
from bridgex.evaluation.answers import END_OF_WORD, is_foreign_script, is_match, normalise_word, read_word
from bridgex.evaluation.dialogue import Dialogue, Question, ask
from bridgex.evaluation.routes import Route
from bridgex.evaluation.tasks.base import Item, Items, Task
from bridgex.languages import Language, Pair
from bridgex.records.schema import Miss, Prediction


class WordTranslation(Task):
    """Asks for the translation of each test word of a dictionary; any listed translation counts.

    The denominator is all words of the list, as published.
    """

    metric: ClassVar[str] = "accuracy"

    max_tokens: int = Field(30, ge=1, description="generated tokens at most, each step")
    prompt: str = Field(description="names {source} and {target} and the {word}")
    chain: str = Field(description="names also {bridge} and the {bridge_word} that the first step gave")

    @field_validator("prompt")
    @classmethod
    def _prompt_fits(cls, prompt: str) -> str:
        return checked_template(prompt, "source", "target", "word")

    @field_validator("chain")
    @classmethod
    def _chain_fits(cls, chain: str) -> str:
        return checked_template(chain, "source", "target", "word", "bridge", "bridge_word")

    def problems(self, settings: Settings) -> list[str]:
        """Whether the pair has test words."""
        return sources.problems(settings, ("test",))

    def load(self, settings: Settings, bridges: Sequence[str]) -> Items:
        """Test words in the dictionary's order, each once."""
        pair = settings.pair.pair
        found = sources.dictionary(settings, pair, "test")
        to_bridge = {code: sources.known_words(settings, Pair(pair.source, code), "test") for code in bridges}
        items = tuple(
            Item(
                id=word,
                text=word,
                gold=gold,
                group=word,
                bridge_gold={code: entries[word] for code, entries in to_bridge.items() if word in entries},
            )
            for word, gold in found.entries.items()
        )
        return Items(items, found.fingerprint(), (found.note,) if found.note else ())

    def gold_texts(self, item: Item) -> tuple[str, ...]:
        """Each listed translation in quotes, as the prompt has its words."""
        return tuple(f'"{word}"' for word in item.gold)

    def dialogue(self, item: Item, source: Language, target: Language, route: Route) -> Dialogue:
        """The word in the source language, to be continued in the target language; via a bridge in two steps."""
        bridge = route.bridge
        steps, bridge_text, bridge_correct, is_truncated = [], None, None, False
        prompt = self.prompt.format(source=source.name, target=target.name, word=item.text)
        if bridge is not None:
            first = self.prompt.format(source=source.name, target=bridge.name, word=item.text)
            completion = yield from ask(Question("bridge", first, self.max_tokens, END_OF_WORD))
            steps.append(completion.step("bridge"))
            bridge_text, is_truncated = read_word(completion), completion.is_truncated
            if bridge.code in item.bridge_gold:
                bridge_correct = is_match(bridge_text, item.bridge_gold[bridge.code])
            prompt = self.chain.format(
                source=source.name, bridge=bridge.name, target=target.name, word=item.text, bridge_word=bridge_text
            )
        answer = None
        if bridge is None or bridge_text is not None:  # without a bridge word there is nothing to go on with
            completion = yield from ask(Question("answer", prompt, self.max_tokens, END_OF_WORD))
            steps.append(completion.step("answer"))
            answer, is_truncated = read_word(completion), is_truncated or completion.is_truncated
        is_correct = is_match(answer, item.gold)
        return Prediction(
            id=item.id,
            route=route.name,
            steps=steps,
            bridge_text=bridge_text,
            bridge_correct=bridge_correct,
            answer=answer,
            gold=list(item.gold),
            correct=is_correct,
            miss=None if is_correct else _miss(answer, is_truncated, item.text, target, bridge_correct),
        )


def _miss(answer: str | None, is_truncated: bool, word: str, target: Language, bridge_correct: bool | None) -> Miss:
    """Why an answer does not count: the first reason that holds."""
    if is_truncated:
        return "truncated"
    if answer is None:
        return "not_found"
    if is_foreign_script(answer, target) or normalise_word(answer) == normalise_word(word):
        return "wrong_language"
    return "bad_bridge" if bridge_correct is False else "wrong"
