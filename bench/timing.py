"""A clock that waits for the accelerator."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch


def now() -> float:
    """Seconds, after everything that was given to an accelerator is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def timed(run: Callable[[], object]) -> float:
    """Seconds that a run takes."""
    start = now()
    run()
    return now() - start
