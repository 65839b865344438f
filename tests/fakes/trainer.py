"""A trainer that shows, logs and writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning.pytorch import Callback, Trainer


def make_trainer(callbacks: Sequence[Callback], **more: Any) -> Trainer:
    """On one CPU, with these callbacks."""
    given: dict[str, Any] = {"accelerator": "cpu", "devices": 1, **more}
    return Trainer(
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        **given,
    )
