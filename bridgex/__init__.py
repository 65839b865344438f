"""Which third language should a language model go through, and did it help?"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bridgex.api import Run, TrainRun, evaluate, load_run, load_train_run, rank_bridges, train

__all__ = ["Run", "TrainRun", "evaluate", "load_run", "load_train_run", "rank_bridges", "train"]


def __getattr__(name: str) -> Any:
    """Loads the public functions when they are first used: `import bridgex` alone costs nothing."""
    if name in __all__:
        return getattr(import_module("bridgex.api"), name)
    raise AttributeError(f"module 'bridgex' has no attribute {name!r}")
