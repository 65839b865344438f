"""Lightning callbacks: what is written and shown while batches run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar

from bridgex.evaluation.engines.remembered import RememberingEngine
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


class Joining(Callback, ABC):
    """A callback of which each process holds a part, until all of them are through."""

    @abstractmethod
    def part(self) -> Any:
        """This process's part, which another one can be sent."""

    @abstractmethod
    def join(self, parts: Sequence[Any]) -> None:
        """Takes the parts of all processes, in the order of their ranks."""

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Of one process the part is all; of several, whoever started them joins the parts."""
        if trainer.world_size == 1:
            self.join([self.part()])


class CollectOutputs(Joining):
    """Gathers what the predict steps of all processes returned, once, at the end.

    Attributes:
        found: all of it, in no particular order; empty until the end.
    """

    def __init__(self) -> None:
        self._part: list[Any] = []
        self.found: list[Any] = []

    def part(self) -> list[Any]:
        """This process's rows."""
        return self._part

    def join(self, parts: Sequence[list[Any]]) -> None:
        """Puts them one after another."""
        self.found = [row for part in parts for row in part]

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


class CountAnswers(Joining):
    """Adds what other processes' engines were asked to the first one's counts.

    Args:
        engine: this process's.

    Attributes:
        notes: what a reader of results must know of the engines.
    """

    def __init__(self, engine: RememberingEngine) -> None:
        self._engine = engine
        self._before = engine.num_asked, engine.num_remembered
        self.notes: list[str] = []

    def part(self) -> tuple[int, int, list[str]]:
        """Since the callback was made."""
        asked, remembered = self._before
        return self._engine.num_asked - asked, self._engine.num_remembered - remembered, self._engine.notes

    def join(self, parts: Sequence[tuple[int, int, list[str]]]) -> None:
        """Adds up what is not counted yet: the first process's own engine has counted for itself."""
        self._engine.num_asked += sum(asked for asked, _, _ in parts[1:])
        self._engine.num_remembered += sum(remembered for _, remembered, _ in parts[1:])
        self.notes = list(dict.fromkeys(note for _, _, notes in parts for note in notes))


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
