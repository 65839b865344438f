"""Lightning's trainer, from which Ctrl-C comes out as what it is."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightning.pytorch import Trainer


class RunTrainer(Trainer):
    """A trainer from which Ctrl-C comes out as what it is.

    Lightning turns an interruption into the exit status 1 of a failed program, and has the process ignore later ones.
    """

    def predict(self, *arguments: Any, **options: Any) -> Any:
        """As Lightning's own.

        Raises:
            KeyboardInterrupt: it was interrupted.
        """
        with interruptible():
            return super().predict(*arguments, **options)

    def fit(self, *arguments: Any, **options: Any) -> None:
        """As Lightning's own.

        Raises:
            KeyboardInterrupt: it was interrupted.
        """
        with interruptible():
            super().fit(*arguments, **options)


@contextmanager
def interruptible() -> Iterator[None]:
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
