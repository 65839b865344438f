"""A task as a user would write it."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from bridgex.config.settings import Settings
from bridgex.evaluation.answers import END_OF_WORD
from bridgex.evaluation.dialogue import Dialogue, Question, ask
from bridgex.evaluation.routes import Route
from bridgex.evaluation.tasks.base import Item, Items, Task
from bridgex.languages import Language
from bridgex.records.schema import Prediction


class OwnTask(Task):
    metric = "loudness"

    loud: bool = False

    def load(self, settings: Settings, bridges: Sequence[str]) -> Items:
        return Items((Item("1", "word", ("gold",), "1"),), "0" * 64, ("one item only",))

    def dialogue(self, item: Item, source: Language, target: Language, route: Route) -> Dialogue:
        completion = yield from ask(Question("answer", f"{item.text}!", 3, END_OF_WORD))
        return Prediction(
            id=item.id,
            route=route.name,
            steps=[completion.step("answer")],
            gold=list(item.gold),
            correct=False,
            miss="wrong",
            answer=completion.text,
        )


class KeyedTask(OwnTask):
    """One that asks a service of its own, and tells too much."""

    api_key: str = ""
    place: str = ""
    greeting: str = ""
    breaks: bool = False

    def load(self, settings: Settings, bridges: Sequence[str]) -> Items:
        logging.getLogger(__name__).warning("asked %s", self.place)
        if self.breaks:
            raise RuntimeError(f"no answer from {self.place}?key={self.api_key} for {self.greeting}")
        return Items((Item("1", "word", ("gold",), "1"),), "0" * 64, (f"asked {self.place} {self.greeting}",))
