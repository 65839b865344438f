"""Trains the toy world's model from nothing: first the in-context circuit, then the languages."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

import lightning
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from bridgex.config.toy_recipe import OptimiserRecipe, StageRecipe, ToyRecipe
from bridgex.data.toy_files import write_files
from bridgex.data.toy_lines import PAD, Line, ToyLines, vocabulary
from bridgex.data.toy_world import ToyWorld
from bridgex.errors import UserError
from bridgex.extract.toy_model import make_model, save_model
from bridgex.lit.from_nothing import fit, one_setting, write_model

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

Batch = tuple[str, Tensor, Tensor]

_IDS = {token: number for number, token in enumerate(vocabulary())}
_REPORTED_SHARE = 0.05


def train_toy_world(recipe: ToyRecipe, seed: int, folder: Path, *, show_progress: bool = True) -> dict[str, float]:
    """Makes a toy world: its data files and its model.

    With the same recipe and seed the data are equal byte for byte everywhere; the weights are bit-equal on one machine
    with one torch build.

    Args:
        recipe: every number of it.
        seed: of the world, the first weights and the training lines.
        folder: gets `muse`, `ntrex`, `flores`, `xnli`, `belebele` and `model`; a `model` that is there is replaced.
        show_progress: whether to show a bar for each stage.

    Returns:
        `loss_<kind>`: mean loss of each kind of line over the last twentieth of the steps; `tokens`: how many were
        seen, padding left out; `cpu_seconds`.

    Raises:
        UserError: this torch has no Muon optimiser, or the folder cannot be written.
        KeyboardInterrupt: the training was stopped; no model is written.
    """
    if not hasattr(torch.optim, "Muon"):
        raise UserError(
            f"torch {torch.__version__}: the toy world's training needs torch.optim.Muon. Install torch 2.9 or later"
        )
    started = time.process_time()
    world = ToyWorld(recipe, seed)
    write_files(world, folder)
    lines = ToyLines(world)
    model = make_model(recipe.model, seed)
    with one_setting(recipe.num_threads):
        circuit = LineModule(model, recipe.circuit_stage, recipe.optimiser)
        fit(circuit, LineData(lines.circuit_batch, recipe.circuit_stage.steps), show_progress=show_progress)
        language = LineModule(model, recipe.language_stage, recipe.optimiser)
        fit(language, LineData(lines.language_batch, recipe.language_stage.steps), show_progress=show_progress)
    write_model(folder, recipe, seed, lambda place: save_model(model, recipe.model, place))
    metrics = {f"loss_{kind}": loss for kind, loss in sorted(language.last_losses().items())}
    metrics["tokens"] = float(circuit.num_tokens + language.num_tokens)
    metrics["cpu_seconds"] = time.process_time() - started
    return metrics


class LineBatches(Dataset[Batch]):
    """Training batches by number; each follows from its number alone.

    Args:
        draw: gives the lines of a batch.
        steps: how many batches there are.
    """

    def __init__(self, draw: Callable[[int], list[Line]], steps: int) -> None:
        self._draw = draw
        self._steps = steps

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, number: int) -> Batch:
        """Kind of line, token ids `[B, T]` (padded on the right) and loss weights `[B, T]`."""
        lines = self._draw(number)
        shape = len(lines), max(len(line.tokens) for line in lines)
        ids = torch.full(shape, _IDS[PAD])
        weights = torch.zeros(shape)
        for row, line in enumerate(lines):
            ids[row, : len(line.tokens)] = torch.tensor([_IDS[token] for token in line.tokens])
            weights[row, : len(line.tokens)] = torch.tensor(line.weights)
        return lines[0].kind, ids, weights


class LineData(lightning.LightningDataModule):
    """The batches of one stage, in order.

    Args:
        draw: gives the lines of a batch.
        steps: how many batches there are.
    """

    def __init__(self, draw: Callable[[int], list[Line]], steps: int) -> None:
        super().__init__()
        self._batches = LineBatches(draw, steps)

    def train_dataloader(self) -> DataLoader[Batch]:
        """The batches; no worker processes, since drawing lines is cheap."""
        return DataLoader(self._batches, batch_size=None)


class LineModule(lightning.LightningModule):
    """One stage of training: weighted next-token loss, Muon for the blocks' matrices, AdamW for the rest.

    Args:
        model: the model, changed in place.
        stage: steps and learning rates.
        optimiser: what the stages share.
    """

    def __init__(self, model: LlamaForCausalLM, stage: StageRecipe, optimiser: OptimiserRecipe) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model = model
        self.num_tokens = 0
        self._stage = stage
        self._optimiser = optimiser
        self._losses: list[tuple[str, Tensor]] = []

    def loss(self, ids: Tensor, weights: Tensor) -> Tensor:
        """Mean cross-entropy over the predicted tokens, weighted.

        Args:
            ids: token ids `[B, T]`, padded on the right.
            weights: loss weight of each token `[B, T]`; 0 for padding.

        Returns:
            A scalar.
        """
        hidden = self.model.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
        counted = weights[:, 1:] > 0
        logits = self.model.lm_head(hidden[counted])
        losses = nn.functional.cross_entropy(logits, ids[:, 1:][counted], reduction="none")
        chosen = weights[:, 1:][counted]
        return (losses * chosen).sum() / chosen.sum()

    def training_step(self, batch: Batch, number: int) -> None:
        """One step of both optimisers; the rates follow the stage's schedule."""
        kind, ids, weights = batch
        optimisers = cast(list[torch.optim.Optimizer], self.optimizers())
        factor = rate_factor(self._stage, number)
        for optimiser, rate in zip(optimisers, (self._stage.muon_rate, self._stage.adamw_rate), strict=True):
            for group in optimiser.param_groups:
                group["lr"] = rate * factor
            optimiser.zero_grad()
        loss = self.loss(ids, weights)
        self.manual_backward(loss)
        nn.utils.clip_grad_norm_(self.model.parameters(), self._optimiser.clip_norm)
        for optimiser in optimisers:
            optimiser.step()
        self.num_tokens += int(ids.ne(_IDS[PAD]).sum())
        self._losses.append((kind, loss.detach()))
        self.log("loss", loss, prog_bar=True, batch_size=len(ids))

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Muon for the blocks' matrices, AdamW for embeddings, norms and biases."""
        recipe = self._optimiser
        matrices: list[nn.Parameter] = []
        rest: list[nn.Parameter] = []
        for name, parameter in self.model.named_parameters():
            (matrices if parameter.ndim == 2 and ".layers." in name else rest).append(parameter)
        muon = torch.optim.Muon(
            matrices,
            lr=self._stage.muon_rate,
            weight_decay=recipe.muon_weight_decay,
            momentum=recipe.muon_momentum,
            ns_steps=recipe.muon_steps,
            adjust_lr_fn="match_rms_adamw",
        )
        adamw = torch.optim.AdamW(rest, lr=self._stage.adamw_rate, betas=recipe.adamw_betas, weight_decay=0.0)
        return [muon, adamw]

    def last_losses(self) -> dict[str, float]:
        """Mean loss of each kind of line over the last twentieth of the steps, at least one step."""
        count = max(1, round(_REPORTED_SHARE * len(self._losses)))
        by_kind = defaultdict(list)
        for kind, loss in self._losses[-count:]:
            by_kind[kind].append(float(loss))
        return {kind: sum(losses) / len(losses) for kind, losses in by_kind.items()}


def rate_factor(stage: StageRecipe, step: int) -> float:
    """What the full learning rates are multiplied with at a step (from 0): rises, stays 1, falls to 0.

    Example:
        >>> stage = StageRecipe(steps=100, muon_rate=1.0, adamw_rate=1.0, warmup_steps=10)
        >>> [rate_factor(stage, step) for step in (0, 9, 50, 75)]
        [0.1, 1.0, 1.0, 0.5]
    """
    rising = (step + 1) / stage.warmup_steps if stage.warmup_steps else 1.0
    falling = (stage.steps - step) / (stage.decay_share * stage.steps) if stage.decay_share else 1.0
    return min(1.0, rising, falling)
