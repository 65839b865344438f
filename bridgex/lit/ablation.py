"""Asks how likely the right answers are while neurons are held at their means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from lightning.pytorch import LightningModule

from bridgex.evaluation.engines.hf import Continuation, HFEngine
from bridgex.extract.ablation import MeanAblation
from bridgex.extract.loading import LoadedModel
from bridgex.extract.sites import Site, find_sites
from bridgex.lit.callbacks import CollectOutputs
from bridgex.lit.data import SampleData
from bridgex.lit.trainer import MakeTrainer
from bridgex.select.ablation import AblationSets


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
    def rows(self) -> list[GoldRow]:
        """One for each text."""
        return [
            GoldRow(self.item, self.route, place, Continuation(self.prompt, t)) for place, t in enumerate(self.texts)
        ]


@dataclass(frozen=True)
class GoldRow:
    """One right answer to one sample.

    Attributes:
        item: the sample's.
        route: the sample's.
        place: of the text among the sample's.
        continuation: the text after the sample's prompt.
    """

    item: str
    route: str
    place: int
    continuation: Continuation


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

    def predict_step(self, batch: Sequence[GoldRow], batch_idx: int = 0, dataloader_idx: int = 0) -> Any:
        """For each row its item, route and place, and the text's log-probability under each condition, nats.

        The conditions: nothing held, the chosen neurons, the matched ones of them, then each random set.
        """
        if not batch:
            return []
        asked = [row.continuation for row in batch]
        conditions = []
        with MeanAblation(self._sites, self._sets.means, self._num_prefix) as ablation:
            for held in ({}, self._sets.chosen, self._sets.matched, *self._sets.random):
                ablation.hold(held)
                conditions.append(self._engine.logprobs(asked))
                ablation.check()
        return [
            ((row.item, row.route), row.place, list(values))
            for row, values in zip(batch, zip(*conditions, strict=True), strict=True)
        ]

    def cost(self, row: GoldRow) -> int:
        """Tokens of a row: of a batch the largest one times its rows is what the padded batch takes."""
        return self._engine.length(row.continuation)


def collect_ablation(
    loaded: LoadedModel,
    sets: AblationSets,
    samples: Sequence[GoldSample],
    make_trainer: MakeTrainer,
    *,
    batch_tokens: int | None,
) -> dict[tuple[str, str], npt.NDArray[np.float64]]:
    """Log-probability of a right answer to each sample under each condition.

    Args:
        loaded: the model.
        sets: the neurons.
        samples: what is asked.
        make_trainer: makes the trainer that runs it, with these callbacks.
        batch_tokens: tokens in one batch at most, padding included; None: 4,096.

    Returns:
        By item and route, nats: nothing held, the chosen neurons held, the matched ones of them, each random set
        `[3 + sets]`.
    """
    collect = CollectOutputs()
    module = AblationModule(loaded, sets)
    # Texts and not samples are batched: of samples with few long and with many short texts no single cost bounds both
    # the rows of a batch and their length.
    data = SampleData([row for sample in samples for row in sample.rows], module.cost, batch_tokens)
    make_trainer([collect]).predict(module, datamodule=data, return_predictions=False)
    texts: dict[tuple[str, str], dict[int, list[float]]] = {}
    for key, place, values in collect.found:
        texts.setdefault(key, {})[place] = values
    return {key: np.logaddexp.reduce(np.array(list(found.values())), axis=0) for key, found in texts.items()}
