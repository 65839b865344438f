"""The Lightning trainer as every stage of a run uses it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ProgressBar
from torch.multiprocessing.spawn import ProcessRaisedException

from bridgex.config.settings import Settings
from bridgex.config.train_settings import FinetuneSettings, TrainSettings
from bridgex.errors import UserError

MakeFitTrainer = Callable[[Sequence[Callback]], Trainer]
"""Makes a fresh trainer for fine-tuning with these callbacks beside a run's own."""
MakeTrainer = Callable[[Sequence[Callback]], Trainer]
"""Makes a fresh trainer with these callbacks beside a run's own."""


class RunTrainer(Trainer):
    """A trainer from which Ctrl-C comes out as what it is.

    Lightning turns an interruption into the exit status 1 of a failed program, and has the process ignore later ones.
    """

    def predict(self, *arguments: Any, **options: Any) -> Any:
        """As Lightning's own.

        Raises:
            KeyboardInterrupt: it was interrupted.
            UserError: one of several processes met it.
        """
        try:
            with _interruptible():
                return super().predict(*arguments, **options)
        except ProcessRaisedException as error:
            raise _user_error(error) or error from None

    def fit(self, *arguments: Any, **options: Any) -> None:
        """As Lightning's own.

        Raises:
            KeyboardInterrupt: it was interrupted.
        """
        with _interruptible():
            super().fit(*arguments, **options)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Turns Lightning's exit back into the interruption it was, and has later ones arrive as before."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as stop:
        if stop.code == 1:
            raise KeyboardInterrupt from None
        raise
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)


def _user_error(error: ProcessRaisedException) -> UserError | None:
    """What a process told the user, from the text of its traceback, which is all that comes back of it."""
    mark = f"{UserError.__module__}.{UserError.__qualname__}: "
    _, found, told = str(error).rpartition(mark)
    return UserError(*told.strip().splitlines()) if found else None


def make_trainer(settings: Settings | TrainSettings, callbacks: Sequence[Callback], devices: int = 1) -> Trainer:
    """A fresh trainer with the run's own callbacks and these; it logs nothing and writes nothing by itself.

    Args:
        settings: of the run.
        callbacks: in addition.
        devices: how many; what the steps return stays in their processes where there are several.

    Raises:
        UserError: this machine lacks them.
    """
    own = [target.build(Callback) for target in settings.callbacks.values()]
    try:
        return _trainer(settings, [*own, *callbacks], devices)
    except MisconfigurationException as error:
        told = " ".join(str(error).split())
        raise UserError(
            f"trainer.accelerator={settings.trainer.accelerator}, trainer.devices={devices}: {told}"
        ) from None


def make_fit_trainer(settings: TrainSettings, callbacks: Sequence[Callback]) -> Trainer:
    """A fresh trainer for fine-tuning, which writes nothing by itself.

    Args:
        settings: of the run.
        callbacks: in addition to the run's own.

    Raises:
        UserError: this machine lacks the device or the precision.
    """
    own = [target.build(Callback) for target in settings.callbacks.values()]
    finetune: FinetuneSettings = settings.finetune
    try:
        return _trainer(
            settings,
            [*own, *callbacks],
            1,
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


def _trainer(settings: Settings | TrainSettings, callbacks: Sequence[Callback], devices: int, **more: Any) -> Trainer:
    return RunTrainer(
        **more,
        accelerator=settings.trainer.accelerator,
        devices=devices,
        strategy=_strategy(settings.trainer.accelerator) if devices > 1 else "auto",
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in callbacks),
    )


def _strategy(accelerator: str) -> str:
    """How further processes come to be: they take over this one's memory, which CUDA does not survive."""
    on_cpu = accelerator == "cpu" or (accelerator == "auto" and not torch.cuda.is_available())
    return "ddp_fork" if on_cpu and hasattr(os, "fork") else "ddp_spawn"
