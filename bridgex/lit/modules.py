"""Lightning modules: one predict step is one batch of items, asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lightning.pytorch import LightningModule

from bridgex.evaluation.dialogue import Dialogue, converse
from bridgex.evaluation.engines.remembered import Engine
from bridgex.evaluation.routes import Route
from bridgex.evaluation.tasks.base import Item, Task
from bridgex.extract.loading import LoadedModel
from bridgex.languages import Language
from bridgex.records.schema import Prediction


@dataclass(frozen=True)
class Sample:
    """One item on one route.

    Attributes:
        item: what is asked.
        route: how.
    """

    item: Item
    route: Route


class ICLModule(LightningModule):
    """Evaluates in-context learning: each predict step asks a batch of samples and returns their records.

    Args:
        loaded: the model; the trainer moves it to its device.
        engine: asks it.
        task: what is asked.
        source: language of the items' text.
        target: language of the answers.
    """

    verb = "Asking"

    def __init__(self, loaded: LoadedModel, engine: Engine, task: Task, source: Language, target: Language) -> None:
        super().__init__()
        self.model = loaded.model
        self._engine = engine
        self._task, self._source, self._target = task, source, target
        self.answer = engine.answer

    def predict_step(self, batch: Sequence[Sample], batch_idx: int = 0, dataloader_idx: int = 0) -> Any:
        """Asks every sample of the batch, all steps of it where it goes through a bridge."""
        predictions: list[Prediction] = converse([self.dialogue(sample) for sample in batch], self.answer)
        return [
            prediction
            if sample.item.group == sample.item.id
            else prediction.model_copy(update={"group": sample.item.group})
            for prediction, sample in zip(predictions, batch, strict=True)
        ]

    def dialogue(self, sample: Sample) -> Dialogue:
        """A fresh dialogue for a sample."""
        return self._task.dialogue(sample.item, self._source, self._target, sample.route)

    def cost(self, sample: Sample) -> int:
        """Tokens that a sample's first request takes, prompt and longest answer."""
        return self._engine.cost(next(self.dialogue(sample)))
