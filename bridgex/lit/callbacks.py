"""Lightning callbacks: what is written and shown while batches run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar

from bridgex.records.predictions import PredictionWriter


class ProgressBar(RichProgressBar):
    """A bar over the batches of a run.

    Args:
        refresh_rate: batches between two redraws.
    """

    def __init__(self, refresh_rate: int = 5) -> None:
        super().__init__(refresh_rate=refresh_rate, leave=False)
        self._verb = "Running"

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes over what the module says of itself."""
        self._verb = str(getattr(pl_module, "verb", self._verb))
        super().on_predict_start(trainer, pl_module)

    @property
    def predict_description(self) -> str:
        """What the bar says."""
        return self._verb


class CollectOutputs(Callback):
    """Gathers what the predict steps of all processes returned, once, at the end.

    Attributes:
        found: all of it, in no particular order; empty until the end.
    """

    def __init__(self) -> None:
        self._part: list[Any] = []
        self.found: list[Any] = []

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keeps the batch's rows."""
        self._part += outputs

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Joins the processes' rows; ranks may have run unequal numbers of batches, so nothing is gathered earlier."""
        parts: list[Any] = [self._part]
        if trainer.world_size > 1:
            parts = [None] * trainer.world_size
            torch.distributed.all_gather_object(parts, self._part)
        self.found = [row for part in parts for row in part]


class RecordPredictions(Callback):
    """Appends each batch's predictions to the run's folder before the next batch is asked.

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: PredictionWriter | None = None

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Opens this process's file."""
        self._writer = PredictionWriter(self._folder, rank=trainer.global_rank)

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Writes the batch."""
        assert self._writer is not None
        self._writer.append(outputs)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Closes the file."""
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Closes the file; what was written stays."""
        self._close()

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
