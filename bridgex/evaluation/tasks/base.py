"""What a task is: rows of a data set in, questions out, answers in, verdicts out. It knows no models."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from bridgex.config.settings import Settings
from bridgex.evaluation.dialogue import Dialogue
from bridgex.languages import Language

DIRECT = "direct"


@dataclass(frozen=True)
class Item:
    """One item of a task.

    Attributes:
        id: unique within the data.
        text: what stands in the source language.
        gold: right answers, any of which counts.
        group: items of one group are resampled together.
        bridge_gold: right bridge texts by language, where the data have them.
    """

    id: str
    text: str
    gold: tuple[str, ...]
    group: str
    bridge_gold: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Items:
    """A task's items and where they come from.

    Attributes:
        items: in the data's order.
        fingerprint: SHA-256 of the files read.
        notes: what a reader of the results must know of the data.
    """

    items: tuple[Item, ...]
    fingerprint: str
    notes: tuple[str, ...] = ()


class Task(BaseModel, ABC):
    """A task; its fields are the keys of its yaml file.

    A class of your own needs only an importable path: `task._target_=my_package.MyTask`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: ClassVar[str]
    """What a score of this task is."""
    chance: ClassVar[float | None] = None
    """Expected score of guessing; None: an open answer."""

    name: str = Field(pattern=r"^[\w.+-]+$", description="stands in folder names and tables")
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
        return Items(found.items[: self.limit], found.fingerprint, found.notes)

    @abstractmethod
    def load(self, settings: Settings, bridges: Sequence[str]) -> Items:
        """All items of the settings' pair."""

    def gold_texts(self, item: Item) -> tuple[str, ...]:
        """Texts that a right answer begins with, as the model would write them; none: `ablate` is not for the task."""
        return ()

    @abstractmethod
    def dialogue(self, item: Item, source: Language, target: Language, bridge: Language | None) -> Dialogue:
        """Asks one item directly, or through a bridge language."""


def route_name(bridge: Language | None) -> str:
    """The route's name in records: `direct` or `via <code>`."""
    return DIRECT if bridge is None else f"via {bridge.code}"


def majority_score(items: Sequence[Item]) -> float:
    """Score of always giving the most frequent right answer."""
    counts: dict[str, int] = {}
    for item in items:
        for answer in set(item.gold):
            counts[answer] = counts.get(answer, 0) + 1
    return max(counts.values()) / len(items) if items else 0.0
