"""What a task is: rows of a data set in, questions out, answers in, verdicts out. It knows no models."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from bridgex.config.settings import FolderName, ReadsData, Settings
from bridgex.config.targets import Target
from bridgex.errors import UserError
from bridgex.evaluation.dialogue import Dialogue
from bridgex.evaluation.routes import Route
from bridgex.languages import Language

T = TypeVar("T")


@dataclass(frozen=True)
class Item:
    """One item of a task.

    Attributes:
        id: unique within the data.
        text: what stands in the source language.
        gold: right answers, any of which counts.
        group: items of one group are resampled together.
        bridge_gold: right bridge texts by language, where the data have them.
        examples: text that stands in front of every question, with right answers; empty: none.
    """

    id: str
    text: str
    gold: tuple[str, ...]
    group: str
    bridge_gold: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    examples: str = ""

    def texts(self) -> tuple[str, ...]:
        """All texts that must not be looked at while bridges are ranked."""
        return (self.text, *self.gold, *(text for texts in self.bridge_gold.values() for text in texts))

    def texts_in(self, bridge: str | None) -> tuple[str, ...] | None:
        """What a bridge text is compared with by degree; None: nothing, or words, which are right or wrong.

        Args:
            bridge: the bridge language; None: the target language.
        """
        return None


@dataclass(frozen=True)
class Items:
    """A task's items and where they come from.

    Attributes:
        items: in the data's order.
        fingerprint: SHA-256 of the files read.
        notes: what a reader of the results must know of the data.
        origins: by language, where its texts come from: data set, commit, config.
        bridges: by bridge language that was asked for and the data could have, why its text could not be read; empty:
            it was.
    """

    items: tuple[Item, ...]
    fingerprint: str
    notes: tuple[str, ...] = ()
    bridges: Mapping[str, str] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)

    @property
    def gold_bridges(self) -> frozenset[str]:
        """Languages in which the data have every item, so that it can be asked through their own text."""
        return frozenset(code for code in self.bridges if not self._num_lacking(code))

    def lacking(self) -> list[str]:
        """Why items cannot be asked through the data's own text in a language that the data should have."""
        told = []
        for code, reason in self.bridges.items():
            if reason:
                told.append(f"no route via {code} (gold): {reason}")
            elif count := self._num_lacking(code):
                told.append(f"no route via {code} (gold): {count} of {len(self.items)} items lack a text in {code}")
        return told

    def _num_lacking(self, code: str) -> int:
        return sum(item.texts_in(code) is None for item in self.items)


EXAMPLES_APART = "\n\n"
"""What stands after each example."""


class Task(BaseModel, ABC):
    """A task; its fields are the keys of its yaml file.

    A class of your own needs only an importable path: `task._target_=my_package.MyTask`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: ClassVar[str]
    """What a score of this task is."""
    chance: ClassVar[float | None] = None
    """Expected score of guessing; None: an open answer."""
    has_context: ClassVar[bool] = False
    """Whether items have a context that can be translated straight into the target language."""

    name: FolderName = Field(description="stands in folder names and tables")
    limit: int | None = Field(None, ge=1, description="first N items; null: all")
    ablate: Literal["overlap", "bridge", "both"] | None = Field(
        None, description="neurons held at their means to see which route needs them; null: none"
    )
    dry_run: bool = Field(False, description="show prompts and cost, ask nothing")

    def items(self, settings: Settings, bridges: Sequence[str] = ()) -> Items:
        """The items of the settings' pair, cut to `limit`.

        Args:
            settings: of the run.
            bridges: languages whose right bridge texts are wanted, where the data have them.

        Raises:
            UserError: the data lack the pair, or a file is damaged.
        """
        found = self.load(settings, bridges)
        found = replace(found, items=found.items[: self.limit])
        return replace(found, notes=(*found.notes, *found.lacking()))

    def problems(self, settings: Settings) -> list[str]:
        """What the task needs for the settings' pair and cannot read, one line each; reads nothing large."""
        return []

    @abstractmethod
    def load(self, settings: Settings, bridges: Sequence[str]) -> Items:
        """All items of the settings' pair."""

    def gold_texts(self, item: Item) -> tuple[str, ...]:
        """Texts that a right answer begins with, as the model would write them; none: `ablate` is not for the task."""
        return ()

    @abstractmethod
    def dialogue(self, item: Item, source: Language, target: Language, route: Route) -> Dialogue:
        """Asks one item on a route."""


@dataclass(frozen=True)
class LabelledPairs:
    """Pairs of texts with one label of a few, the same in several languages.

    Attributes:
        ids: of the items, the same in every language.
        groups: what items of one premise have in common.
        labels: number of each item's class.
        texts: by language, the two texts of every item.
        fingerprint: SHA-256 of what was read.
        origins: by language, where its texts come from.
        notes: what a reader of the results must know of the data.
    """

    ids: tuple[str, ...]
    groups: tuple[str, ...]
    labels: tuple[int, ...]
    texts: Mapping[str, tuple[tuple[str, str], ...]]
    fingerprint: str
    origins: Mapping[str, str]
    notes: tuple[str, ...]


class PairTask(Task):
    """A task that a model can be fine-tuned on: pairs of texts with a class each."""

    class_names: ClassVar[tuple[str, ...]]
    """The classes by their numbers."""

    @abstractmethod
    def pairs(self, settings: ReadsData, codes: Sequence[str], split: str) -> LabelledPairs:
        """The pairs of a part of the data in these languages, parallel.

        Raises:
            UserError: a language or a part is missing, or the rows cannot be trusted.
        """

    @abstractmethod
    def pair_problems(self, settings: ReadsData, codes: Sequence[str], split: str) -> list[str]:
        """Which languages lack a part of the data, one line each; reads nothing large."""

    @abstractmethod
    def pair_languages(self, settings: ReadsData, split: str) -> list[str]:
        """Codes of the languages that have a part of the data."""


def pair_task(target: Target) -> PairTask:
    """The task that a config names, if a model can be fine-tuned on it.

    Raises:
        UserError: it cannot, or the task cannot be built.
    """
    task = target.build(Task)
    if not isinstance(task, PairTask):
        raise UserError(
            f"task={task.name}: has no pairs of texts with classes, and train.py fine-tunes on these. Use task=xnli or "
            f"task=nli"
        )
    return task


def read_bridges(codes: Sequence[str], read: Callable[[str], T]) -> tuple[dict[str, T], dict[str, str]]:
    """Rows in bridge languages, which a run can do without.

    Args:
        codes: languages that the data should have.
        read: reads one; may raise UserError.

    Returns:
        The rows by language, and for every language why there are none, empty where there are.
    """
    rows: dict[str, T] = {}
    reasons: dict[str, str] = {}
    for code in codes:
        try:
            rows[code], reasons[code] = read(code), ""
        except UserError as error:
            reasons[code] = "; ".join(error.problems)
    return rows, reasons


def examples_of(pool: Sequence[Item], count: int, seed: int, task: str) -> list[Item]:
    """Items to show as examples, drawn from a pool, no two of one group.

    Raises:
        UserError: the pool has fewer groups.
    """
    order = random.Random(seed).sample(pool, len(pool))
    by_group = {item.group: item for item in reversed(order)}
    chosen = [item for item in order if by_group[item.group] is item][:count]
    if len(chosen) < count:
        raise UserError(f"{task}: task.shots={count}, and there are {len(chosen)} items to draw examples from")
    return chosen


def majority_score(items: Sequence[Item]) -> float:
    """Score of always giving the most frequent right answer."""
    counts: dict[str, int] = {}
    for item in items:
        for answer in set(item.gold):
            counts[answer] = counts.get(answer, 0) + 1
    return max(counts.values()) / len(items) if items else 0.0
