"""The Lightning trainer as every stage of a run uses it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar

from bridgex.config.settings import Settings
from bridgex.config.train_settings import FinetuneSettings, TrainSettings
from bridgex.errors import UserError
from bridgex.extract.loading import LoadedModel
from bridgex.lit.crew import Crew, ModelKey
from bridgex.lit.run_trainer import RunTrainer, interruptible

MakeFitTrainer = Callable[[Sequence[Callback]], Trainer]
"""Makes a fresh trainer for fine-tuning with these callbacks beside a run's own."""


class Predictor(Protocol):
    """What runs a module over data: a trainer, or the processes of a crew."""

    def predict(self, module: LightningModule, *, datamodule: LightningDataModule, return_predictions: bool) -> Any:
        """As Lightning's own."""


MakeTrainer = Callable[[Sequence[Callback]], Predictor]
"""Makes what predicts, afresh, with these callbacks beside a run's own."""


@dataclass(frozen=True)
class CrewTrainer:
    """Predicts with the processes of a crew.

    Attributes:
        crew: the processes.
        key: what their model is loaded from.
        loaded: this process's.
        accelerator: where each runs it.
        callbacks: the run's own, and more.
    """

    crew: Crew
    key: ModelKey
    loaded: LoadedModel
    accelerator: str
    callbacks: Sequence[Callback]

    def predict(self, module: LightningModule, *, datamodule: LightningDataModule, return_predictions: bool) -> None:
        """As a trainer's; nothing is returned."""
        with interruptible():
            self.crew.predict(self.key, self.loaded, self.accelerator, module, datamodule, self.callbacks)


def make_trainer(settings: Settings | TrainSettings, callbacks: Sequence[Callback]) -> Trainer:
    """A fresh trainer with the run's own callbacks and these; it logs nothing and writes nothing by itself.

    Args:
        settings: of the run.
        callbacks: in addition.

    Raises:
        UserError: this machine lacks the device.
    """
    try:
        return _trainer(settings, run_callbacks(settings, callbacks))
    except MisconfigurationException as error:
        raise device_error(settings, error) from None


def device_name(settings: Settings, crew: Crew | None) -> str:
    """Where the model runs, for the record.

    Raises:
        UserError: this machine lacks the device.
    """
    device = str(make_trainer(settings, []).strategy.root_device)
    return device if crew is None else f"{device.partition(':')[0]}, {crew.place.world_size} processes"


def run_callbacks(settings: Settings | TrainSettings, more: Sequence[Callback]) -> list[Callback]:
    """The run's own callbacks, and more."""
    return [*(target.build(Callback) for target in settings.callbacks.values()), *more]


def device_error(settings: Settings | TrainSettings, error: MisconfigurationException) -> UserError:
    """What Lightning said of a device that is not there."""
    told, trainer = " ".join(str(error).split()), settings.trainer
    return UserError(f"trainer.accelerator={trainer.accelerator}, trainer.devices={trainer.devices}: {told}")


def make_fit_trainer(settings: TrainSettings, callbacks: Sequence[Callback]) -> Trainer:
    """A fresh trainer for fine-tuning, which writes nothing by itself.

    Args:
        settings: of the run.
        callbacks: in addition to the run's own.

    Raises:
        UserError: this machine lacks the device or the precision.
    """
    finetune: FinetuneSettings = settings.finetune
    try:
        return _trainer(
            settings,
            run_callbacks(settings, callbacks),
            precision=finetune.precision,
            accumulate_grad_batches=finetune.accumulate,
            gradient_clip_val=finetune.clip_norm,
            max_epochs=1,  # a training is one pass over its numbered batches
            limit_val_batches=0,
        )
    except (MisconfigurationException, ValueError) as error:
        told = " ".join(str(error).split())
        raise UserError(
            f"trainer.accelerator={settings.trainer.accelerator}, finetune.precision={finetune.precision}: {told}"
        ) from None


def _trainer(settings: Settings | TrainSettings, callbacks: Sequence[Callback], **more: Any) -> Trainer:
    return RunTrainer(
        **more,
        accelerator=settings.trainer.accelerator,
        devices=1,
        # Whatever a scheduler's or torchrun's environment says of more processes: this trainer has one.
        plugins=[LightningEnvironment()],
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in callbacks),
    )
