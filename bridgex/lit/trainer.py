"""The Lightning trainer as every stage of a run uses it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Sequence
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ProgressBar

from bridgex.config.settings import Settings

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
        """
        handler = signal.getsignal(signal.SIGINT)
        try:
            return super().predict(*arguments, **options)
        except SystemExit as stop:
            if stop.code == 1:
                raise KeyboardInterrupt from None
            raise
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGINT, handler)


def make_trainer(settings: Settings, callbacks: Sequence[Callback]) -> Trainer:
    """A fresh trainer with the run's own callbacks and these; it logs nothing and writes nothing by itself."""
    own = [target.build(Callback) for target in settings.callbacks.values()]
    return RunTrainer(
        accelerator=settings.trainer.accelerator,
        devices=1,
        callbacks=[*own, *callbacks],
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in own),
    )
