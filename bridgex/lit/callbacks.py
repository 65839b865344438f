"""Lightning callbacks: what is written and shown while batches run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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

    @property
    def predict_description(self) -> str:
        """What the bar says."""
        return "Asking"


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
