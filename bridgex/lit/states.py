"""Reads hidden states under Lightning: one vector a text, from its last token or as the mean over its tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from bridgex.errors import UserError
from bridgex.extract.extractor import is_out_of_memory
from bridgex.extract.limits import TokenBudget
from bridgex.extract.loading import LoadedModel
from bridgex.extract.sites import backbone, find_layers, input_device
from bridgex.lit.callbacks import CollectOutputs
from bridgex.lit.probe_data import ProbeBatch, ProbeData, ProbeRow, rows_of
from bridgex.lit.trainer import MakeTrainer

Block = int | Literal["last"]
"""A block 1..L: its output, as the next block gets it; `last`: the output after the final norm, as the head gets it."""
Pooling = Literal["last", "mean"]
States = npt.NDArray[np.float32]


class StatesModule(LightningModule):
    """Each predict step runs the model, without its head, on a batch and returns one vector a text and block.

    A batch goes through in passes of texts of one length, so that none is padded and every model reads them as it would
    alone; where memory does not suffice, in smaller ones.

    Args:
        loaded: the model; the trainer moves it to its device.
        blocks: what to read.
        pooling: `last` token, or `mean` over the tokens less what the tokenizer puts in front.
        batch_tokens: tokens in one pass at most; None: by device.
    """

    verb = "Reading states"

    def __init__(
        self, loaded: LoadedModel, blocks: Sequence[Block], pooling: Pooling, batch_tokens: int | None
    ) -> None:
        super().__init__()
        self.model = loaded.model
        self._num_prefix = len(loaded.encoder.prefix)
        self._blocks, self._pooling, self._batch_tokens = tuple(blocks), pooling, batch_tokens
        self._body = backbone(loaded.model)
        self._layers: dict[int, torch.nn.Module] = {}

    def on_predict_start(self) -> None:
        """Finds the blocks.

        Raises:
            UserError: the model's blocks cannot be told apart, or it has none of a wanted number.
        """
        self._budget = TokenBudget(self._batch_tokens, self.device)
        numbers = [block for block in self._blocks if block != "last"]
        if not numbers:
            return
        self._layers = dict(enumerate(find_layers(self.model), start=1))
        missing = [block for block in numbers if block not in self._layers]
        if missing:
            raise UserError(
                f"block {missing[0]}: the model has blocks 1 to {len(self._layers)}. Give one of them, or last"
            )

    def predict_step(self, batch: ProbeBatch | None, batch_idx: int = 0, dataloader_idx: int = 0) -> Any:
        """The number of each text with its vectors `[blocks, D]`, float32 on the CPU.

        Raises:
            UserError: memory does not suffice for one text.
        """
        found: list[tuple[int, States]] = []
        waiting = batch
        while waiting is not None:
            now, later = waiting.split(self._budget.tokens, is_packed=False)
            try:
                found += self._read(now)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            else:
                waiting = later
                continue
            # Outside of the except clause, whose error holds on to the pass and its memory.
            self._budget.halve(now)
        return found

    def _read(self, batch: ProbeBatch) -> list[tuple[int, States]]:
        """One pass of texts of one length."""
        ids = torch.from_numpy(np.stack([row.ids for row in batch.rows])).long()
        found: dict[Block, Tensor] = {}
        numbers = [block for block in self._blocks if block != "last"]
        with ExitStack() as hooks:
            for block in numbers:
                hooks.enter_context(_Hook(self._layers[block], block, self._pool, found, is_end=self._is_end(block)))
            self._run(ids, found)
        vectors = torch.stack([found[block] for block in self._blocks], dim=1).numpy()
        return list(zip(batch.columns, vectors, strict=True))

    def _run(self, ids: Tensor, found: dict[Block, Tensor]) -> None:
        ids = ids.to(input_device(self._body))
        try:
            with torch.no_grad():
                output = self._body(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
        except _LastBlockRead:
            return
        if "last" in self._blocks:
            found["last"] = self._pool(output.last_hidden_state)

    def _pool(self, states: Tensor) -> Tensor:
        """`[B, T, D]` to `[B, D]`, float32 on the CPU."""
        if self._pooling == "last":
            return states[:, -1].float().cpu()
        return states[:, self._num_prefix :].float().mean(dim=1).cpu()

    def _is_end(self, block: int) -> bool:
        return "last" not in self._blocks and block == max(number for number in self._blocks if number != "last")


class _Hook:
    """Takes one block's output while open."""

    def __init__(
        self,
        layer: torch.nn.Module,
        block: int,
        pool: Callable[[Tensor], Tensor],
        found: dict[Block, Tensor],
        is_end: bool,
    ) -> None:
        self._layer, self._block, self._pool, self._found, self._is_end = layer, block, pool, found, is_end

    def __enter__(self) -> _Hook:
        self._handle = self._layer.register_forward_hook(self._take)
        return self

    def __exit__(self, *error: object) -> None:
        self._handle.remove()

    def _take(self, module: torch.nn.Module, args: Any, output: Any) -> None:
        states = output[0] if isinstance(output, tuple) else output
        self._found[self._block] = self._pool(states)
        if self._is_end:
            raise _LastBlockRead


class _LastBlockRead(Exception):
    """Ends a forward pass whose rest nobody needs."""


def collect_states(
    loaded: LoadedModel,
    encoded: Sequence[Sequence[int]],
    make_trainer: MakeTrainer,
    *,
    blocks: Sequence[Block],
    pooling: Pooling,
    batch_tokens: int | None,
    note: Callable[[str], None] | None = None,
) -> States:
    """Hidden states of texts, one vector a text and block; equal texts go through the model once.

    Args:
        loaded: the model.
        encoded: token ids of each text, what the tokenizer puts in front included, and at least one token more.
        make_trainer: makes the trainer that runs it, with these callbacks.
        blocks: what to read.
        pooling: tokens to one vector.
        batch_tokens: tokens in one batch at most; None: by device. Where memory does not suffice, fewer.
        note: gets a sentence if texts were cut to what the model reads.

    Returns:
        `[blocks, texts, D]`, the same in every process.

    Raises:
        UserError: a block that the model does not have, a text of no token, one whose last token is beyond what the
            model reads, one for which memory does not suffice, or a trainer that leaves texts out.
    """
    cut = _fitting(loaded, encoded, pooling, note)
    distinct = {ids: row for row, ids in enumerate(dict.fromkeys(cut))}
    rows = [ProbeRow("", row, np.array(ids, dtype=np.int32)) for ids, row in distinct.items()]
    module, collect = StatesModule(loaded, blocks, pooling, batch_tokens), CollectOutputs()
    data = ProbeData(rows, len(loaded.encoder.prefix), batch_tokens)
    make_trainer([collect]).predict(module, datamodule=data, return_predictions=False)
    found = dict(collect.found)
    if len(collect.found) != len(distinct) or len(found) != len(distinct):
        raise UserError(
            f"trainer: of {len(distinct)} texts to read, {len(collect.found)} were read. Leave limit_predict_batches, "
            f"fast_dev_run and use_distributed_sampler at their defaults, and trainer.strategy at auto or ddp"
        )
    return np.stack([found[distinct[ids]] for ids in cut], axis=1)


def _fitting(
    loaded: LoadedModel, encoded: Sequence[Sequence[int]], pooling: Pooling, note: Callable[[str], None] | None
) -> list[tuple[int, ...]]:
    """Texts no longer than the model reads; a mean can do without a text's end, a last token cannot."""
    num_prefix = len(loaded.encoder.prefix)
    if not encoded or any(len(ids) <= num_prefix for ids in encoded):
        raise UserError("texts to read states of: none, or one of no token. Each must hold at least one word")
    rows, num_cut = rows_of(loaded, {"": encoded}, note if pooling == "mean" else None)
    if pooling == "last" and num_cut.total():
        raise UserError(f"{num_cut.total()} prompts are longer than what the model reads. Leave out words that long")
    return [tuple(row.ids.tolist()) for row in rows]
