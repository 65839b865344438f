"""Whether a faster engine says what transformers says, before a run rests on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning.pytorch import LightningModule

from bridgex.evaluation.dialogue import Request
from bridgex.evaluation.engines.hf import HFEngine
from bridgex.evaluation.engines.remembered import Engine
from bridgex.evaluation.engines.vllm import Parity, parity
from bridgex.extract.loading import LoadedModel
from bridgex.lit.callbacks import CollectOutputs
from bridgex.lit.data import SampleData
from bridgex.lit.trainer import MakeTrainer


class ParityModule(LightningModule):
    """Asks both engines; one predict step is all requests.

    Args:
        loaded: the model in transformers; the trainer moves it to its device.
        engine: the other engine.
        hf: the engine that is trusted.
    """

    verb = "Comparing engines"

    def __init__(self, loaded: LoadedModel, engine: Engine, hf: HFEngine) -> None:
        super().__init__()
        self.model = loaded.model
        self._engine, self._hf = engine, hf

    def predict_step(self, batch: Sequence[Request], batch_idx: int = 0, dataloader_idx: int = 0) -> Any:
        """How far the engines agree."""
        return [parity(self._hf, self._engine, batch)]


def compare_engines(
    loaded: LoadedModel, engine: Engine, hf: HFEngine, requests: Sequence[Request], make_trainer: MakeTrainer
) -> Parity:
    """How far an engine agrees with transformers.

    Args:
        loaded: the model in transformers.
        engine: the other engine.
        hf: the engine that is trusted.
        requests: what both are asked, at least one.
        make_trainer: makes the trainer that runs it.
    """
    collect = CollectOutputs()
    data = SampleData(requests, lambda request: 1, len(requests))
    module = ParityModule(loaded, engine, hf)
    make_trainer([collect]).predict(module, datamodule=data, return_predictions=False)
    (found,) = collect.found
    assert isinstance(found, Parity)
    return found
