"""How sure the model is of its own words on the way through each candidate bridge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from lightning.pytorch import Callback, Trainer

from bridgex.evaluation.dialogue import Completion, converse, listen
from bridgex.evaluation.tasks.base import Item, Task
from bridgex.extract.loading import LoadedModel
from bridgex.languages import Language
from bridgex.lit.callbacks import CollectOutputs
from bridgex.lit.data import SampleData
from bridgex.lit.modules import ICLModule, Sample

MakeTrainer = Callable[[Sequence[Callback]], Trainer]


class ConfidenceModule(ICLModule):
    """Asks as an evaluation does, and returns each sample's log-probability a token instead of its verdict."""

    verb = "Weighing words"

    def predict_step(self, batch: Sequence[Sample], batch_idx: int = 0, dataloader_idx: int = 0) -> Any:
        """For each sample its bridge, its item's id, and the mean log-probability of all its steps' tokens, nats."""
        heard: list[list[Completion]] = [[] for _ in batch]
        converse([listen(self.dialogue(sample), said) for sample, said in zip(batch, heard, strict=True)], self.answer)
        return [
            (sample.bridge.code if sample.bridge else "", sample.item.id, _mean_logprob(said))
            for sample, said in zip(batch, heard, strict=True)
        ]


def collect_confidence(
    loaded: LoadedModel,
    task: Task,
    items: Sequence[Item],
    source: Language,
    target: Language,
    bridges: Sequence[Language],
    make_trainer: MakeTrainer,
    *,
    batch_tokens: int,
) -> dict[str, npt.NDArray[np.float64]]:
    """Mean log-probability a token, over both steps, of what the model says through each bridge.

    Args:
        loaded: the model.
        task: what is asked; right answers are not looked at.
        items: the probe items.
        source: language of their text.
        target: language of the answers.
        bridges: candidates.
        make_trainer: makes the trainer that runs it, with these callbacks.
        batch_tokens: tokens in one batch at most, padding included.

    Returns:
        By candidate, `[items]`, nats.
    """
    collect = CollectOutputs()
    module = ConfidenceModule(loaded, task, source, target)
    samples = [Sample(item, bridge) for bridge in bridges for item in items]
    data = SampleData(samples, module.cost, batch_tokens)
    make_trainer([collect]).predict(module, datamodule=data, return_predictions=False)
    found = {(code, name): value for code, name, value in collect.found}
    return {bridge.code: np.array([found[bridge.code, item.id] for item in items]) for bridge in bridges}


def _mean_logprob(said: Sequence[Completion]) -> float:
    return sum(step.logprob for step in said) / max(1, sum(step.num_tokens for step in said))
