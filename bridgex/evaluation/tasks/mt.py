"""Translation of sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from bridgex.config.settings import Settings, checked_template
from bridgex.data import task_rows
from bridgex.errors import UserError
from bridgex.evaluation.answers import normalise_word
from bridgex.evaluation.dialogue import Dialogue, Question, ask
from bridgex.evaluation.routes import Route
from bridgex.evaluation.tasks.base import Item, Items, Task, examples_of, read_bridges
from bridgex.evaluation.tasks.context import (
    checked_text_template,
    filled,
    joint_fingerprint,
    none_left,
    translation_question,
)
from bridgex.evaluation.texts import (
    END_OF_TEXT,
    chrf,
    is_other_language,
    is_right_bridge,
    is_same_text,
    one_line,
    read_text,
)
from bridgex.languages import Language, language
from bridgex.records.schema import Miss, Prediction


class Sentence(Item):
    """A sentence with its translations."""

    def texts_in(self, bridge: str | None) -> tuple[str, ...] | None:
        """The sentence in the bridge language."""
        return self.bridge_gold.get(bridge) if bridge is not None else self.gold


class SentenceTranslation(Task):
    """Asks for the translation of each sentence; an item's score is its chrF, right is an exact match.

    Exact matches are compared without case, quotes and outer punctuation.
    """

    metric: ClassVar[str] = "chrF"

    variant: Literal["ntrex", "flores"] | None = Field(
        None, description="the data set; null: NTREX-128, in the toy world flores"
    )
    held_out: int = Field(200, ge=0, description="last sentences of NTREX, kept for neuron profiles")
    shots: int = Field(0, ge=0, description="examples in front of every question")
    max_tokens: int = Field(256, ge=1, description="generated tokens at most, each step")
    prompt: str = Field(description="names {source} and {target} and the {text}")
    chain: str = Field(description="names also {bridge} and the {bridge_text} that the first step gave")

    @field_validator("prompt")
    @classmethod
    def _prompt_fits(cls, prompt: str) -> str:
        return checked_text_template(prompt, "source", "target", "text")

    @field_validator("chain")
    @classmethod
    def _chain_fits(cls, chain: str) -> str:
        checked_template(chain, "source", "target", "text", "bridge", "bridge_text")
        return checked_text_template(chain, "source", "target", "bridge", "bridge_text", "text")

    def problems(self, settings: Settings) -> list[str]:
        """Whether the data set has both languages."""
        pair = settings.pair.pair
        return task_rows.problems(settings, self._data_set(settings), (pair.source, pair.target))

    def load(self, settings: Settings, bridges: Sequence[str]) -> Items:
        """All sentences but those held out, in the data's order."""
        pair, data_set = settings.pair.pair, self._data_set(settings)
        codes = (pair.source, pair.target)
        own = task_rows.sentence_rows(settings, codes, dataset=data_set)
        there = [code for code in bridges if task_rows.has_language(settings, data_set, code)]
        others, unread = read_bridges(
            there, lambda code: task_rows.sentence_rows(settings, (*codes, code), dataset=data_set)
        )
        to_bridge = {
            code: dict(zip(rows.ids, (row.text for row in rows.rows[code]), strict=True))
            for code, rows in others.items()
        }
        items: list[Item] = [
            Sentence(
                id=name,
                text=one_line(source.text),
                gold=(target.text,),
                group=group,
                bridge_gold={code: (texts[name],) for code, texts in to_bridge.items() if name in texts},
            )
            for name, group, source, target in zip(
                own.ids, own.groups, *(own.rows[code] for code in codes), strict=True
            )
        ]
        notes = [*own.notes]
        if data_set == "ntrex" and self.held_out:
            if len(items) <= self.held_out:
                raise self._too_few(len(items))
            items = items[: -self.held_out]
            notes.append(f"the last {self.held_out} sentences of NTREX-128 are kept for neuron profiles")
        if self.shots:
            items, note = self._with_examples(settings, items)
            notes.append(note)
        return Items(
            items=tuple(items),
            fingerprint=joint_fingerprint([own.fingerprint, *(rows.fingerprint for rows in others.values())]),
            notes=tuple(notes),
            origins={**own.origins, **{code: rows.origins[code] for code, rows in others.items()}},
            bridges=unread,
        )

    def gold_texts(self, item: Item) -> tuple[str, ...]:
        """The reference in quotes, as the prompt has its sentences."""
        return tuple(f'"{text}"' for text in item.gold)

    def dialogue(self, item: Item, source: Language, target: Language, route: Route) -> Dialogue:
        """The sentence in the source language, to be continued in the target language; via a bridge in two steps."""
        bridge, steps, is_truncated = route.bridge, [], False
        bridge_text = bridge_correct = None
        if route.kind == "gold":
            assert bridge is not None
            bridge_text = item.bridge_gold[bridge.code][0]
        elif bridge is not None:
            question = translation_question(self.prompt, item.text, source, bridge, self.max_tokens)
            completion = yield from ask(question)
            steps.append(completion.step("bridge"))
            bridge_text, is_truncated = read_text(completion), completion.is_truncated
            bridge_correct = is_right_bridge(bridge_text, item.bridge_gold.get(bridge.code), bridge, item.text)
        answer = None
        if bridge is None or bridge_text is not None:  # without a bridge text there is nothing to go on with
            completion = yield from ask(self._question(item, source, target, bridge, bridge_text))
            steps.append(completion.step("answer"))
            answer, is_truncated = read_text(completion), is_truncated or completion.is_truncated
        is_correct = is_same_text(answer, item.gold)
        return Prediction(
            id=item.id,
            route=route.name,
            steps=steps,
            bridge_text=bridge_text,
            bridge_correct=bridge_correct,
            answer=answer,
            gold=list(item.gold),
            correct=is_correct,
            score=1.0 if is_correct else chrf(answer, item.gold),
            miss=None if is_correct else _miss(answer, is_truncated, item.text, target, bridge_correct),
        )

    def _question(
        self, item: Item, source: Language, target: Language, bridge: Language | None, bridge_text: str | None
    ) -> Question:
        if bridge is None:
            asked = translation_question(self.prompt, item.text, source, target, self.max_tokens, item.examples)
            return replace(asked, kind="answer")
        names = {"source": source.name, "bridge": bridge.name, "target": target.name}
        prompt, (start, end) = filled(self.chain, "text", item.text, **names, bridge_text=one_line(bridge_text or ""))
        before = len(item.examples)
        return Question("answer", item.examples + prompt, self.max_tokens, END_OF_TEXT, (start + before, end + before))

    def _with_examples(self, settings: Settings, items: Sequence[Item]) -> tuple[list[Item], str]:
        pair = settings.pair.pair
        source, target = language(pair.source), language(pair.target)
        chosen = examples_of(items, self.shots, settings.seed, f"task={self.name}")
        lines = [
            self.prompt.format(source=source.name, target=target.name, text=item.text) + f'"{one_line(item.gold[0])}"\n'
            for item in chosen
        ]
        # A sentence may stand in the data twice.
        shown = [{normalise_word(item.text) for item in chosen}, {normalise_word(item.gold[0]) for item in chosen}]
        kept = [
            replace(item, examples="".join(lines))
            for item in items
            if normalise_word(item.text) not in shown[0] and normalise_word(item.gold[0]) not in shown[1]
        ]
        if not kept:
            raise UserError(none_left(self.name, self.shots, len(items)))
        told = ", ".join(item.id for item in chosen)
        left_out = f"{len(items) - len(kept)} items, which are these or say the same, are not evaluated"
        return kept, f"{self.shots} examples from the test part itself: {told}; {left_out}"

    def _data_set(self, settings: Settings) -> Literal["ntrex", "flores"]:
        is_toy = language(settings.pair.source).is_toy
        return self.variant or ("flores" if is_toy else "ntrex")

    def _too_few(self, count: int) -> UserError:
        return UserError(
            f"task={self.name}: task.held_out={self.held_out} of {count} sentences leaves none to evaluate. Lower "
            f"task.held_out, or get the whole of NTREX-128 (1,997 sentences)"
        )


def _miss(answer: str | None, is_truncated: bool, text: str, target: Language, bridge_correct: bool | None) -> Miss:
    """Why an answer is no exact match: the first reason that holds."""
    if is_truncated:
        return "truncated"
    if answer is None:
        return "not_found"
    if is_other_language(answer, target) or is_same_text(answer, [text]):
        return "wrong_language"
    return "bad_bridge" if bridge_correct is False else "wrong"
