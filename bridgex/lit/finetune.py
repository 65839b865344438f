"""Fine-tunes a classifier under Lightning: AdamW, linear decay, checkpoints from which a killed run goes on."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy

from bridgex.config.train_settings import FinetuneSettings
from bridgex.errors import UserError
from bridgex.extract.extractor import is_out_of_memory
from bridgex.lit.pairs import PairBatch, TrainBatches, TrainData
from bridgex.lit.trainer import MakeFitTrainer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_REPORTED_SHARE = 0.05
# Looking at the loss waits for the device, so it is not looked at after every pass.
_LOOK_EVERY = 10
# What writing checkpoints may cost, as a share of the time between them, and how often they are written at most.
_WRITING_SHARE, _SECONDS_APART = 0.02, 5.0


class FinetuneModule(LightningModule):
    """One training step is one pass: cross-entropy of the classes.

    Every step's dropout follows from the seed and its number, so that a run which goes on from a checkpoint draws what
    an unbroken one draws.

    Args:
        model: the classifier, changed in place; parameters that need no gradient stay as they are.
        settings: of the training.
        steps: optimiser steps in all.
        seed: of dropout.
    """

    verb = "Fine-tuning"

    def __init__(self, model: PreTrainedModel, settings: FinetuneSettings, steps: int, seed: int) -> None:
        super().__init__()
        self.model = model
        self._settings, self._steps, self._seed = settings, steps, seed
        self.accuracy = MulticlassAccuracy(num_classes=int(model.config.num_labels or 0), average="micro")
        # A tensor of the state, since a run that goes on must know the losses of the steps before.
        self.register_buffer("losses", torch.full((steps,), torch.nan))

    def on_fit_start(self) -> None:
        """Training mode, dropout included."""
        self.model.train()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seeds what this pass draws."""
        torch.manual_seed(self._seed * 1_000_003 + batch_idx)

    def training_step(self, batch: PairBatch, batch_idx: int) -> Tensor:
        """The mean cross-entropy of a pass.

        Raises:
            UserError: it is not finite.
        """
        logits = self.model(**batch.given.arguments()).logits
        loss = nn.functional.cross_entropy(logits.float(), batch.labels)
        step = min(self.trainer.global_step, self._steps - 1)
        losses: Any = self.losses
        losses[step] = torch.nan_to_num(losses[step]) + loss.detach() / self._settings.accumulate
        if batch_idx % _LOOK_EVERY == 0 and not math.isfinite(float(loss.detach())):
            self._refuse(step)
        self.accuracy(logits.detach(), batch.labels)
        self.log("loss", loss.detach(), prog_bar=True, batch_size=len(batch.labels))
        self.log("accuracy", self.accuracy, prog_bar=True, batch_size=len(batch.labels))
        return loss

    def on_train_epoch_end(self) -> None:
        """Refuses what was spoiled by the last steps."""
        if not math.isfinite(self.last_loss()):
            self._refuse(self._steps - 1)

    def configure_optimizers(self) -> Any:
        """AdamW over what is trained, its rate rising for `warmup_steps` and then falling to 0 in a straight line."""
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        settings = self._settings
        optimiser = torch.optim.AdamW(trained, lr=settings.learning_rate, weight_decay=settings.weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, self.rate_factor)
        return [optimiser], [{"scheduler": schedule, "interval": "step"}]

    def rate_factor(self, step: int) -> float:
        """What the learning rate is multiplied with at a step, from 0."""
        warmup = self._settings.warmup_steps
        if step < warmup:
            return step / warmup
        return max(0.0, (self._steps - step) / max(1, self._steps - warmup))

    def last_loss(self) -> float:
        """Mean loss over the last twentieth of the steps, at least one."""
        losses: Any = self.losses
        return float(losses[-max(1, round(_REPORTED_SHARE * self._steps)) :].double().mean())

    def _refuse(self, step: int) -> None:
        settings = self._settings
        way = "finetune.precision=32-true, or a lower" if settings.precision == "16-mixed" else "a lower"
        raise UserError(
            f"finetune: the loss is not finite at step {step + 1} of {self._steps} with learning_rate="
            f"{settings.learning_rate:g}. Use {way} finetune.learning_rate, or finetune.warmup_steps"
        )


class Checkpoints(Callback):
    """Writes what an unfinished training needs to go on, whole or not at all, so often that it costs little.

    Args:
        path: the file.
        accumulate: passes of an optimiser step; between them nothing is written.
    """

    def __init__(self, path: Path, accumulate: int) -> None:
        self._path, self._accumulate = path, accumulate
        self._last, self._took = time.monotonic(), 0.0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Writes if it is time to."""
        if (batch_idx + 1) % self._accumulate:
            return
        if time.monotonic() - self._last >= max(_SECONDS_APART, self._took / _WRITING_SHARE):
            self._write(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the end, from which a run that is killed later goes on."""
        self._write(trainer)

    def _write(self, trainer: Trainer) -> None:
        start = time.monotonic()
        temporary = self._path.with_suffix(".new")
        try:
            trainer.save_checkpoint(temporary)
            os.replace(temporary, self._path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            reason = error.strerror or str(error)
            raise UserError(f"{self._path}: cannot be written ({reason}). Free space or give another folder") from error
        self._last = time.monotonic()
        self._took = self._last - start


def finetune(
    model: PreTrainedModel,
    batches: TrainBatches,
    settings: FinetuneSettings,
    steps: int,
    seed: int,
    checkpoint: Path,
    make_trainer: MakeFitTrainer,
    callbacks: tuple[Callback, ...] = (),
) -> float:
    """Fine-tunes a classifier in place, from its checkpoint on where there is one.

    Args:
        model: the classifier.
        batches: its passes.
        settings: of the training.
        steps: optimiser steps.
        seed: of dropout.
        checkpoint: file from which a run goes on, and which is left at the end.
        make_trainer: makes the trainer that runs it.
        callbacks: in addition.

    Returns:
        Mean loss over the last twentieth of the steps.

    Raises:
        UserError: the loss is not finite, memory does not suffice, or a checkpoint cannot be written or read.
        KeyboardInterrupt: it was interrupted.
    """
    module = FinetuneModule(model, settings, steps, seed)
    # What is done at a step comes before its checkpoint: a run that goes on from there does not come to it again.
    trainer = make_trainer([*callbacks, Checkpoints(checkpoint, settings.accumulate)])
    resumed = _readable(checkpoint)
    if resumed is not None and resumed["global_step"] >= steps:
        module.load_state_dict(resumed["state_dict"])
        model.eval()
        return module.last_loss()
    try:
        trainer.fit(
            module, datamodule=TrainData(batches, settings.accumulate), ckpt_path=checkpoint if resumed else None
        )
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(
            f"finetune: memory does not suffice for passes of {settings.batch_size // settings.accumulate} pairs. Use "
            f"a higher finetune.accumulate than {settings.accumulate}, or a lower finetune.max_length"
        ) from error
    model.eval()
    return module.last_loss()


def _readable(checkpoint: Path) -> dict[str, Any] | None:
    """What a checkpoint holds; None: there is none, or it is damaged and begins anew."""
    try:
        found: dict[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        return None
    except Exception:  # a file that is damaged can lead to any error of pickle, zip or torch
        checkpoint.unlink(missing_ok=True)
        return None
    return found
