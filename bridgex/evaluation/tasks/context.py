"""Tasks in which a text in one language is asked about in another: the text goes into the bridge language first."""

from __future__ import annotations

import hashlib
import re
from abc import abstractmethod
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, TypeVar

from pydantic import Field, field_validator

from bridgex.config.settings import Settings, checked_template
from bridgex.data import task_rows
from bridgex.data.task_rows import ParallelRows
from bridgex.errors import UserError
from bridgex.evaluation.answers import normalise_word
from bridgex.evaluation.dialogue import Completion, Dialogue, Question, Reply, Request, ask
from bridgex.evaluation.routes import Route, Translate
from bridgex.evaluation.tasks.base import EXAMPLES_APART, Item, Items, Task, examples_of, read_bridges
from bridgex.evaluation.texts import END_OF_TEXT, is_other_language, is_right_bridge, one_line, read_text
from bridgex.languages import Language, Pair, language
from bridgex.records.schema import Miss, Option, Prediction, Step

T = TypeVar("T")


@dataclass(frozen=True)
class Side:
    """An item's texts in one language.

    Attributes:
        context: what is read: premise, passage, problem.
        query: what is asked about it: hypothesis, question; empty where the context itself asks.
        options: what may be answered, where answers are given.
        asks_for: what kind of answer is wanted, where items differ in it; a name, not text of the language.
    """

    context: str
    query: str = ""
    options: tuple[str, ...] = ()
    asks_for: str = ""


@dataclass(frozen=True)
class ContextItem(Item):
    """An item with a context.

    Attributes:
        sides: by language, of source, target and every bridge language in which the data have it.
        target: code of the target language.
    """

    sides: dict[str, Side] = field(default_factory=dict)
    target: str = ""

    def texts(self) -> tuple[str, ...]:
        """All texts of all sides."""
        return tuple(text for side in self.sides.values() for text in (side.context, side.query, *side.options) if text)

    def contexts(self) -> frozenset[str]:
        """The context in every language, in compared form."""
        return frozenset(normalise_word(side.context) for side in self.sides.values())

    def texts_in(self, bridge: str | None) -> tuple[str, ...] | None:
        """The context in that language."""
        code = self.target if bridge is None else bridge
        return (self.sides[code].context,) if code in self.sides else None


@dataclass(frozen=True)
class Asked:
    """What is finally asked, whatever the route to it.

    Attributes:
        item: the item.
        context: the text to be read.
        context_language: its language.
        query: what is asked about it.
        options: what may be answered.
        query_language: language of query, options and answer.
    """

    item: ContextItem
    context: str
    context_language: Language
    query: str
    options: tuple[str, ...]
    query_language: Language


@dataclass(frozen=True)
class Answered:
    """How the last step of an item went.

    Attributes:
        step: its record.
        answer: as parsed; None: there was none to read.
        is_truncated: whether it ran into the limit of tokens.
        options: of scored tasks.
    """

    step: Step
    answer: str | None
    is_truncated: bool = False
    options: list[Option] = field(default_factory=list)


@dataclass
class _Translator:
    """What was said on the way into other languages."""

    steps: list[Step] = field(default_factory=list)
    is_truncated: bool = False


class ContextTask(Task):
    """A task whose items have a context in the source language and a query in the target language."""

    has_context: ClassVar[bool] = True
    shots_split: ClassVar[str | None] = None
    """The part of the data that is meant for examples; None: there is none, and test items are set aside."""

    shots: int = Field(0, ge=0, description="examples in front of every question")
    translate: Translate = Field("context", description="what bridge.translate is where it is not given")
    translation: str = Field(description="asks for a translation; names {source} and {target} and the {text}")
    max_tokens: int = Field(512, ge=1, description="generated tokens of a translation at most")
    sentence_end: str | None = Field(
        None, min_length=1, description="each sentence of a context is translated by itself, cut here; null: whole"
    )

    @field_validator("translation")
    @classmethod
    def _translation_fits(cls, translation: str) -> str:
        return checked_text_template(translation, "source", "target", "text")

    @abstractmethod
    def read(self, settings: Settings, codes: Sequence[str], split: str) -> ParallelRows[Any]:
        """The data set's rows in some languages.

        Raises:
            UserError: they cannot be had.
        """

    @abstractmethod
    def data_set(self, settings: Settings) -> str:
        """The data set that is read, by its name in the catalogue."""

    @abstractmethod
    def side(self, row: Any) -> Side:
        """A row's texts."""

    @abstractmethod
    def gold(self, row: Any) -> tuple[str, ...]:
        """A row's right answers."""

    @abstractmethod
    def example(self, asked: Asked) -> str:
        """An item as it stands in front of others, right answer and all."""

    @abstractmethod
    def last_step(self, asked: Asked) -> Generator[Request, Reply, Answered]:
        """Asks what is finally asked."""

    def problems(self, settings: Settings) -> list[str]:
        """Whether the data set has both languages, and the task words in the target language."""
        pair = settings.pair.pair
        splits = ["test", *([self.shots_split] if self.shots and self.shots_split is not None else [])]
        found = task_rows.problems(settings, self.data_set(settings), (pair.source, pair.target), splits)
        try:
            self.check_wording([pair.target])
        except UserError as error:
            found += error.problems
        return found

    def load(self, settings: Settings, bridges: Sequence[str]) -> Items:
        """All items of the data set's test part, with their text in those bridge languages that it has."""
        pair, data_set = settings.pair.pair, self.data_set(settings)
        codes = (pair.source, pair.target)
        own = self.read(settings, codes, "test")
        if settings.bridge.arguments.get("translate") == "both":
            self.check_wording(bridges)
        there = [code for code in bridges if task_rows.has_language(settings, data_set, code)]
        others, unread = read_bridges(there, lambda code: self.read(settings, (*codes, code), "test"))
        sides = {code: self._sides(rows, code) for code, rows in others.items()}
        items = [
            replace(item, sides=item.sides | {code: some[item.id] for code, some in sides.items() if item.id in some})
            for item in self._items_of(own, pair)
        ]
        fingerprints = [own.fingerprint, *(rows.fingerprint for rows in others.values())]
        notes = [*own.notes]
        if self.shots:
            examples = None if self.shots_split is None else self.read(settings, codes, self.shots_split)
            fingerprints += [] if examples is None else [examples.fingerprint]
            items, told = self._with_examples(settings, items, examples)
            notes += told
        return Items(
            items=tuple(items),
            fingerprint=joint_fingerprint(fingerprints),
            notes=tuple(notes),
            origins={**own.origins, **{code: rows.origins[code] for code, rows in others.items()}},
            bridges=unread,
        )

    def check_wording(self, codes: Sequence[str]) -> None:
        """Whether what is asked can be worded in each of these languages.

        Raises:
            UserError: it cannot.
        """
        return

    def _items_of(self, rows: ParallelRows[Any], pair: Pair) -> list[ContextItem]:
        by_side = zip(rows.rows[pair.source], rows.rows[pair.target], strict=True)
        return [
            ContextItem(
                id=name,
                text=self.side(source).context,
                gold=self.gold(target),
                group=group,
                sides={pair.source: self.side(source), pair.target: self.side(target)},
                target=pair.target,
            )
            for name, group, (source, target) in zip(rows.ids, rows.groups, by_side, strict=True)
        ]

    def _sides(self, rows: ParallelRows[Any], code: str) -> dict[str, Side]:
        return {name: self.side(row) for name, row in zip(rows.ids, rows.rows[code], strict=True)}

    def _with_examples(
        self, settings: Settings, items: list[ContextItem], rows: ParallelRows[Any] | None
    ) -> tuple[list[ContextItem], list[str]]:
        """Items with examples in front, in source and target language, none of them or of their groups evaluated.

        Args:
            settings: of the run.
            items: what is evaluated.
            rows: the part that is meant for examples; None: there is none, and they come from `items`.
        """
        pair = settings.pair.pair
        pool = items
        if rows is not None:
            evaluated = {text for item in items for text in item.contexts()}
            pool = self._items_of(rows, pair)
            known = {item.group for item in pool if not evaluated.isdisjoint(item.contexts())}
            pool = [item for item in pool if item.group not in known]
        chosen = examples_of(pool, self.shots, settings.seed, f"task={self.name}")
        source, target = language(pair.source), language(pair.target)
        text = "".join(
            self.example(_as_it_stands(item, source, target)) + EXAMPLES_APART
            for item in chosen
            if isinstance(item, ContextItem)
        )
        shown = ", ".join(item.id for item in chosen)
        if rows is not None:
            note = f"{self.shots} examples from the {self.shots_split} part: {shown}"
            return [replace(item, examples=text) for item in items], [note]
        barred = {item.group for item in chosen}
        kept = [replace(item, examples=text) for item in items if item.group not in barred]
        if not kept:
            raise UserError(none_left(self.name, self.shots, len(items)))
        told = f"{len(items) - len(kept)} items, which are these or share their context, are not evaluated"
        return kept, [f"{self.shots} examples from the test part itself: {shown}; {told}"]

    def dialogue(self, item: Item, source: Language, target: Language, route: Route) -> Dialogue:
        """The context as it stands, translated by the same model, or as the data have it in the bridge language."""
        assert isinstance(item, ContextItem)
        asked = _as_it_stands(item, source, target)
        said = _Translator()
        found: Asked | None = asked
        if route.kind == "gold":
            found = _in_bridge_language(asked, route)
        elif route.kind != "direct":
            found = yield from self._translated(asked, route, said)
        answered = None
        if found is not None:
            answered = yield from self.last_step(found)
        into = route.bridge or target
        bridge_text = found.context if found is not None and route.kind != "direct" else None
        is_foreign = bridge_text is not None and route.kind != "gold" and is_other_language(bridge_text, into)
        in_data = [item.sides[into.code].context] if into.code in item.sides else None
        bridge_correct = is_right_bridge(bridge_text, in_data, into, asked.context) if said.steps else None
        answer = answered.answer if answered is not None else None
        is_correct = answer is not None and self.is_right(answer, item)
        return Prediction(
            id=item.id,
            route=route.name,
            steps=[*said.steps, *([answered.step] if answered is not None else [])],
            options=answered.options if answered is not None else [],
            bridge_text=bridge_text,
            bridge_correct=bridge_correct,
            answer=answer,
            gold=list(item.gold),
            correct=is_correct,
            miss=None
            if is_correct
            else _miss(
                said.is_truncated or (answered is not None and answered.is_truncated),
                answer,
                is_foreign,
                bridge_correct,
            ),
        )

    def is_right(self, answer: str, item: Item) -> bool:
        """Whether an answer counts."""
        return answer in item.gold

    def _translated(self, asked: Asked, route: Route, said: _Translator) -> Generator[Request, Reply, Asked | None]:
        """The same with the context, or all of it, in the route's language; None: the model gave no text."""
        into = route.bridge or asked.query_language
        context = yield from self._into(asked.context, asked.context_language, into, said)
        if context is None:
            return None
        found = replace(asked, context=context, context_language=into)
        if route.kind == "translated" or route.translate == "context":
            return found
        query = yield from self._into(asked.query, asked.query_language, into, said)
        options = []
        for option in asked.options:
            text = yield from self._into(option, asked.query_language, into, said)
            options.append(text)
        whole = [text for text in options if text is not None]
        if query is None or len(whole) < len(options):
            return None
        return replace(found, query=query, options=tuple(whole), query_language=into)

    def _into(
        self, text: str, source: Language, target: Language, said: _Translator
    ) -> Generator[Request, Reply, str | None]:
        """A text translated by the model; None: it gave none."""
        # Odd pieces are what stands between sentences.
        pieces = [text] if self.sentence_end is None else re.split(rf"((?:{re.escape(self.sentence_end)}\s*)+)", text)
        found: list[str | None] = []
        for number, piece in enumerate(pieces):
            if number % 2 or not piece.strip():
                found.append(piece)
                continue
            question = translation_question(self.translation, piece, source, target, self.max_tokens)
            completion: Completion = yield from ask(question)
            said.steps.append(completion.step("bridge"))
            said.is_truncated |= completion.is_truncated
            found.append(read_text(completion))
        whole = [piece for piece in found if piece is not None]
        return one_line("".join(whole)) if len(whole) == len(found) else None


def checked_text_template(template: str, *names: str) -> str:
    """As `checked_template`; the last name, whose place in the prompt is kept, must stand in it once.

    Raises:
        ValueError: it names something else, or the last one not once.
    """
    checked_template(template, *names)
    if template.count(f"{{{names[-1]}}}") > 1:
        raise ValueError(f"must name {{{names[-1]}}} once")
    return template


def worded(words: Mapping[str, T], wording: str, target: Language, task: str) -> T:
    """What a task has by language, in English or, with `wording=target`, in the language of the query.

    Raises:
        UserError: there is nothing in that language.
    """
    code = target.code if wording == "target" else "en"
    if code not in words:
        raise UserError(
            f"task.wording=target: task={task} has no wording in {target.english} ({code}), only in "
            f"{', '.join(sorted(words))}. Use task.wording=english, or give task.words.{code}"
        )
    return words[code]


def joint_fingerprint(fingerprints: Sequence[str]) -> str:
    """One fingerprint of several; of one, itself."""
    first, *others = fingerprints
    return hashlib.sha256(" ".join(fingerprints).encode()).hexdigest() if others else first


def none_left(task: str, shots: int, count: int) -> str:
    """The line for examples that leave no item to evaluate."""
    return f"task={task}: task.shots={shots} of {count} items leaves none to evaluate. Lower task.shots"


def _as_it_stands(item: ContextItem, source: Language, target: Language) -> Asked:
    own = item.sides[target.code]
    return Asked(item, item.sides[source.code].context, source, own.query, own.options, target)


def translation_question(
    template: str, text: str, source: Language, target: Language, max_tokens: int, examples: str = ""
) -> Question:
    """Asks for a text in another language, as a bridge step; the text may be cut from its end."""
    prompt, context = filled(template, "text", one_line(text), source=source.name, target=target.name)
    return Question(
        "bridge",
        examples + prompt,
        max_tokens,
        END_OF_TEXT,
        (context[0] + len(examples), context[1] + len(examples)),
    )


def filled(template: str, name: str, text: str, **others: str) -> tuple[str, tuple[int, int]]:
    """A template with its names filled in, and where one of them stands.

    Args:
        template: names `name` once.
        name: the one whose place is wanted.
        text: what stands there.
        others: what the others are.

    Returns:
        The whole text, and start and end of `text` in it.
    """
    before, _, after = template.partition("{" + name + "}")
    start = before.format(**others)
    return start + text + after.format(**others), (len(start), len(start) + len(text))


def _in_bridge_language(asked: Asked, route: Route) -> Asked:
    assert route.bridge is not None
    side = asked.item.sides[route.bridge.code]
    found = replace(asked, context=side.context, context_language=route.bridge)
    if route.translate == "context":
        return found
    return replace(found, query=side.query, options=side.options, query_language=route.bridge)


def _miss(is_truncated: bool, answer: str | None, is_foreign: bool, bridge_correct: bool | None) -> Miss:
    """Why an answer does not count: the first reason that holds."""
    if is_truncated:
        return "truncated"
    if answer is None:
        return "not_found"
    if is_foreign:
        return "wrong_language"
    return "bad_bridge" if bridge_correct is False else "wrong"
