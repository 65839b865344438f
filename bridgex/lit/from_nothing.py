"""What every training of a model from nothing shares: a silent trainer, fixed threads, a folder that is whole."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import lightning
import torch

from bridgex.config.settings import Node
from bridgex.config.toy_recipe import ToyRecipe
from bridgex.lit.run_trainer import RunTrainer
from bridgex.records.files import whole_folder, writing

_RECIPE_FILE = "recipe.json"


def fit(module: lightning.LightningModule, data: lightning.LightningDataModule, *, show_progress: bool) -> None:
    """Trains a module on the CPU, once over its data; nothing is logged or written.

    Args:
        module: its model is changed in place.
        data: its batches.
        show_progress: whether to show a bar.

    Raises:
        KeyboardInterrupt: it was interrupted.
    """
    trainer = RunTrainer(
        accelerator="cpu",
        devices=1,
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=show_progress,
    )
    trainer.fit(module, datamodule=data)


@contextmanager
def one_setting(num_threads: int) -> Iterator[None]:
    """Fixes the threads, on which the bits of the weights depend, and keeps Lightning's advice out of the terminal."""
    before = torch.get_num_threads()
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    torch.set_num_threads(num_threads)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            # Lightning 2.6 uses a name that torch 2.13 has set aside.
            warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
            yield
    finally:
        torch.set_num_threads(before)
        logger.setLevel(level)


def write_model(folder: Path, recipe: ToyRecipe | Node, seed: int, save: Callable[[Path], str], **more: str) -> None:
    """Writes `<folder>/model` with a `recipe.json` that tells how it was made; a model that is there is replaced.

    Args:
        folder: an existing folder.
        recipe: every number of the model.
        seed: of its weights.
        save: writes the model's files into an empty folder, and gives the digest of its weights.
        more: what else the weights follow from.

    Raises:
        UserError: the folder cannot be written.
    """
    with writing(folder), whole_folder(folder / "model", is_own=True) as place:
        digest = save(place)
        content = {
            "recipe": recipe.model_dump(mode="json"),
            "seed": seed,
            **more,
            "torch": torch.__version__,
            "weights_sha256": digest,
        }
        (place / _RECIPE_FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
