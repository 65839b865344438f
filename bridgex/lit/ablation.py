"""Asks how likely the right answers are while neurons are held at their means."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from lightning.pytorch import Callback, LightningModule, Trainer

from bridgex.evaluation.engine import Continuation, HFEngine
from bridgex.extract.ablation import MeanAblation
from bridgex.extract.loading import LoadedModel
from bridgex.extract.sites import Site, find_sites
from bridgex.lit.callbacks import CollectOutputs
from bridgex.lit.data import SampleData
from bridgex.select.ablation import AblationSets

MakeTrainer = Callable[[Sequence[Callback]], Trainer]


@dataclass(frozen=True)
class GoldSample:
    """The last question of one item on one route, and the texts that would answer it rightly.

    Attributes:
        item: its id.
        route: its name.
        prompt: the question, before any chat template.
        texts: right answers.
    """

    item: str
    route: str
    prompt: str
    texts: tuple[str, ...]

    @property
    def continuations(self) -> list[Continuation]:
        """The texts after the prompt."""
        return [Continuation(self.prompt, text) for text in self.texts]


class AblationModule(LightningModule):
    """Each predict step weighs the right answers of a batch under every condition.

    Args:
        loaded: the model; the trainer moves it to its device.
        sets: the neurons.
    """

    verb = "Holding neurons"

    def __init__(self, loaded: LoadedModel, sets: AblationSets) -> None:
        super().__init__()
        self.model = loaded.model
        self._engine, self._sets = HFEngine(loaded), sets
        self._num_prefix = len(loaded.encoder.prefix)
        self._sites: tuple[Site, ...] = ()

    def on_predict_start(self) -> None:
        """Finds where neurons are held, on the device.

        Raises:
            UserError: the model's neurons cannot be found.
        """
        self._sites = find_sites(self.model)

    def predict_step(self, batch: Sequence[GoldSample], batch_idx: int = 0, dataloader_idx: int = 0) -> Any:
        """For each sample its item, its route, and the log-probability of a right answer under each condition, nats.

        The conditions: nothing held, the chosen neurons held, then each random set.
        """
        asked = [continuation for sample in batch for continuation in sample.continuations]
        conditions = []
        with MeanAblation(self._sites, self._sets.means, self._num_prefix) as ablation:
            for held in ({}, self._sets.chosen, *self._sets.random):
                ablation.hold(held)
                found = iter(self._engine.logprobs(asked))
                conditions.append([_logsumexp([next(found) for _ in sample.texts]) for sample in batch])
                ablation.check()
        return [(s.item, s.route, list(values)) for s, values in zip(batch, zip(*conditions, strict=True), strict=True)]

    def cost(self, sample: GoldSample) -> int:
        """Tokens that a sample takes: all its texts, each after the prompt."""
        return sum(map(self._engine.length, sample.continuations))


def collect_ablation(
    loaded: LoadedModel,
    sets: AblationSets,
    samples: Sequence[GoldSample],
    make_trainer: MakeTrainer,
    *,
    batch_tokens: int,
) -> dict[tuple[str, str], npt.NDArray[np.float64]]:
    """Log-probability of a right answer to each sample under each condition.

    Args:
        loaded: the model.
        sets: the neurons.
        samples: what is asked.
        make_trainer: makes the trainer that runs it, with these callbacks.
        batch_tokens: tokens in one batch at most, padding included.

    Returns:
        By item and route, nats: nothing held, the chosen neurons held, each random set held `[2 + sets]`.
    """
    collect = CollectOutputs()
    module = AblationModule(loaded, sets)
    data = SampleData(samples, module.cost, batch_tokens)
    make_trainer([collect]).predict(module, datamodule=data, return_predictions=False)
    return {(item, route): np.array(values) for item, route, values in collect.found}


def _logsumexp(values: Sequence[float]) -> float:
    largest = max(values)
    return largest + math.log(sum(math.exp(value - largest) for value in values))
