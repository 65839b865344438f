"""Ctrl-C and SIGTERM, held back where they would do harm."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class HeldSignals:
    """While entered, Ctrl-C and SIGTERM wait; they arrive at the end, as they would have.

    For passages of other libraries that take no second and turn an interruption into an error of their own.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._arrived: int | None = None

    def __enter__(self) -> HeldSignals:
        if _hears():
            self._before = {which: signal.signal(which, self._keep) for which in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *error: object) -> None:
        if not _hears():
            return
        for which, handler in self._before.items():
            signal.signal(which, handler)
        self._before = {}
        arrived, self._arrived = self._arrived, None
        if arrived is not None:
            signal.raise_signal(arrived)

    @contextmanager
    def released(self) -> Iterator[None]:
        """Lets signals arrive for a while."""
        self.__exit__()
        try:
            yield
        finally:
            self.__enter__()

    def _keep(self, signum: int, frame: FrameType | None) -> None:
        self._arrived = signum


def _hears() -> bool:
    """Whether signals come to this thread: only to the main one."""
    return threading.current_thread() is threading.main_thread()
