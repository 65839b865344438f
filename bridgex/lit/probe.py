"""Reads neurons under Lightning: profiles of languages and the probe matrix of prompts."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch import Callback, LightningModule
from torch import Tensor

from bridgex.errors import UserError
from bridgex.extract.extractor import ActivationReader, is_out_of_memory
from bridgex.extract.limits import TokenBudget
from bridgex.extract.loading import LoadedModel
from bridgex.extract.profiles import BlockSums, ProbeColumns, ProbeMatrix, Profile, ProfileSums, block_sums
from bridgex.extract.selfcheck import check_rows
from bridgex.extract.sites import Site, find_sites
from bridgex.lit.callbacks import Joining
from bridgex.lit.probe_data import ProbeBatch, ProbeData, ProbeRow, plain_ids, rows_of
from bridgex.lit.trainer import MakeTrainer

_T = TypeVar("_T")

_NUM_CHECKED = 3


class BlockCallback(Joining):
    """A callback that reduces each block's activation while it is in memory, and takes whole batches only.

    A pass may end early for want of memory; its texts then go through again in smaller batches.
    """

    @abstractmethod
    def reduce(self, batch: ProbeBatch, block: int, activation: Tensor) -> Any:
        """What to keep of one block of one batch; changes nothing.

        Args:
            batch: the texts.
            block: number of the block, 1..L.
            activation: `[N, I]`, the tokens of one text after the other, the model's own memory: copy what is kept.
        """

    @abstractmethod
    def take(self, batch: ProbeBatch, parts: Mapping[int, Any]) -> None:
        """Takes what `reduce` kept of a batch that has gone through all blocks, once for each text."""


class ProbeModule(LightningModule):
    """Each predict step runs the model, without its head, on a batch and hands every block to the callbacks.

    Args:
        loaded: the model; the trainer moves it to its device.
        check: token ids of a few texts on which the reading of neurons is checked first, on that device.
        batch_tokens: tokens in one pass at most; None: by device. Where memory does not suffice, fewer.
        blocks: the blocks to read; None: all. The model is not run further than the last of them.
        note: gets what a reader of the results must know.
    """

    verb = "Reading neurons"

    def __init__(
        self,
        loaded: LoadedModel,
        check: Sequence[Sequence[int]],
        batch_tokens: int | None,
        blocks: Sequence[int] | None = None,
        note: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__()
        self.model = loaded.model
        self._loaded, self._check, self._blocks, self._note = loaded, check, blocks, note
        self._batch_tokens = batch_tokens
        self._sites: tuple[Site, ...] = ()
        self._is_packed = False
        self._did_not_fit: int | None = None

    def on_predict_start(self) -> None:
        """Finds the sites and checks them.

        Raises:
            UserError: the model's neurons cannot be read, or not rightly.
        """
        sites = find_sites(self.model)
        checked = check_rows(self.model, sites, self._check, len(self._loaded.encoder.prefix))
        self._is_packed = checked.cannot_pack is None
        for note in checked.notes():
            self._say(note)
        if self._blocks is not None and any(block > len(sites) for block in self._blocks):
            raise ValueError(f"block {max(self._blocks)} of a model of {len(sites)} blocks")
        self._sites = tuple(site for site in sites if self._blocks is None or site.block in self._blocks)
        self._budget = TokenBudget(self._batch_tokens, self.device)
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)

    def predict_step(self, batch: ProbeBatch | None, batch_idx: int = 0, dataloader_idx: int = 0) -> int:
        """Reads one batch, in as many passes as memory takes; returns its number of texts.

        Raises:
            UserError: memory does not suffice for one text.
        """
        if batch is None:
            return 0
        callbacks: Sequence[Callback] = self.trainer.callbacks  # type: ignore[attr-defined]
        taking = [callback for callback in callbacks if isinstance(callback, BlockCallback)]
        waiting: ProbeBatch | None = batch
        while waiting is not None:
            now, later = waiting.split(self._budget.tokens, self._is_packed)
            parts = self._read(now, taking)
            if parts is None:
                self._budget.halve(now)
                self._did_not_fit = self._did_not_fit or sum(now.lengths)
                continue
            for callback, kept in zip(taking, parts, strict=True):
                callback.take(now, kept)
            self._budget.grow(sum(now.lengths), self._has_room)
            waiting = later
        return len(batch.rows)

    def on_predict_end(self) -> None:
        """Says how far batches were cut."""
        if self._did_not_fit is not None:
            self._say(
                f"memory did not suffice for {self._did_not_fit} tokens in one batch; those that followed held at most "
                f"{self._budget.tokens}, and what had failed was read again"
            )

    def _read(self, batch: ProbeBatch, taking: Sequence[BlockCallback]) -> list[dict[int, Any]] | None:
        """What each callback keeps of one pass, by block; None: memory did not suffice."""
        parts: list[dict[int, Any]] = [{} for _ in taking]

        def receive(block: int, activation: Tensor) -> None:
            for callback, kept in zip(taking, parts, strict=True):
                kept[block] = callback.reduce(batch, block, activation)

        try:
            # For one pass only, so that no error leaves a hook behind.
            with ActivationReader(self.model, self._sites) as reader:
                reader.run([row.ids for row in batch.rows], receive, is_packed=self._is_packed)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return None
        return parts

    def _has_room(self) -> bool:
        """Whether twice what a pass took at most would fit."""
        if self.device.type != "cuda":
            return True
        now = torch.cuda.memory_allocated(self.device)
        taken = torch.cuda.max_memory_allocated(self.device) - now
        free = torch.cuda.mem_get_info(self.device)[0] + torch.cuda.memory_reserved(self.device) - now
        return 2 * taken < 0.8 * free

    def _say(self, note: str) -> None:
        if self._note is not None:
            self._note(note)


class CollectProfiles(BlockCallback):
    """Sums up each group's activations.

    Attributes:
        sums: by group, those of all processes once prediction has ended; None before.
    """

    def __init__(self) -> None:
        self.sums: dict[str, ProfileSums] | None = None
        self._own: dict[str, ProfileSums] = {}

    def reduce(self, batch: ProbeBatch, block: int, activation: Tensor) -> BlockSums:
        """Sums over the batch's tokens."""
        return block_sums(activation, batch.counted)

    def take(self, batch: ProbeBatch, parts: Mapping[int, BlockSums]) -> None:
        """Adds one batch."""
        self._own.setdefault(batch.group, ProfileSums()).add(parts)

    def part(self) -> dict[str, ProfileSums]:
        """This process's sums, by group."""
        return {group: sums.cpu() for group, sums in self._own.items()}

    def join(self, parts: Sequence[dict[str, ProfileSums]]) -> None:
        """Adds up all processes' sums."""
        self.sums = {}
        for part in parts:
            for group, sums in part.items():
                self.sums[group] = self.sums[group] + sums if group in self.sums else sums


class CollectProbeMatrix(BlockCallback):
    """Fills the columns of a probe matrix.

    Args:
        neurons: per block, the indices of the neurons to keep.
        num_prompts: columns.

    Attributes:
        values: per block `[neurons, prompts]`, those of all processes once prediction has ended; None before.
        num_filled: how many times each column was filled, by all processes.
    """

    def __init__(self, neurons: Sequence[npt.NDArray[Any]], num_prompts: int) -> None:
        self.values: tuple[npt.NDArray[np.float32], ...] | None = None
        self.num_filled = Counter[int]()
        self._columns = ProbeColumns(neurons, num_prompts)
        self._shapes = [(len(indices), num_prompts) for indices in neurons]

    def reduce(self, batch: ProbeBatch, block: int, activation: Tensor) -> Tensor:
        """Means over each prompt of the batch."""
        return self._columns.means(block, activation, batch.lengths, batch.num_prefix)

    def take(self, batch: ProbeBatch, parts: Mapping[int, Tensor]) -> None:
        """Fills one batch's columns."""
        self._columns.add(parts, batch.columns)

    def part(self) -> tuple[list[int], dict[int, npt.NDArray[np.float32]]]:
        """This process's columns: their numbers, and per block their means."""
        return self._columns.part()

    def join(self, parts: Sequence[tuple[list[int], dict[int, npt.NDArray[np.float32]]]]) -> None:
        """Puts all processes' columns together."""
        values = [np.full(shape, np.nan, dtype=np.float32) for shape in self._shapes]
        for columns, means in parts:
            self.num_filled.update(columns)
            for block, part in means.items():
                values[block - 1][:, columns] = part.T
        self.values = tuple(values)


def collect_profiles(
    loaded: LoadedModel,
    texts: Mapping[str, Sequence[str]],
    make_trainer: MakeTrainer,
    *,
    batch_tokens: int | None,
    note: Callable[[str], None] | None = None,
) -> dict[str, Profile]:
    """Profiles of languages over text, which is given to the model as it is, without a chat template.

    Args:
        loaded: the model and its encoder.
        texts: sentences by language.
        make_trainer: makes the trainer that runs it, with these callbacks.
        batch_tokens: tokens in one batch at most; None: by device. Where memory does not suffice, fewer.
        note: gets what a reader of the results must know: what the self-check measured, how many texts were cut.

    Returns:
        One profile a language, the same in every process.

    Raises:
        UserError: a language has no text, or the model's neurons cannot be read.
    """
    if not texts:
        return {}
    encoded = {group: [plain_ids(loaded, text) for text in sentences] for group, sentences in texts.items()}
    rows, num_cut = rows_of(loaded, encoded, note)
    if empty := sorted(texts.keys() - {row.group for row in rows}):
        raise UserError(f"no text to make a profile of: {', '.join(empty)}. Give data.text.{empty[0]}=FILE")
    collect = CollectProfiles()
    _predict(loaded, rows, collect, make_trainer, batch_tokens, None, note)
    sums = _finished(collect.sums)
    expected = Counter[str]()
    for row in rows:
        expected[row.group] += len(row.ids) - len(loaded.encoder.prefix)
    _check_complete({group: part.num_tokens for group, part in sums.items()}, expected)
    return {group: sums[group].profile(num_cut[group]) for group in texts}


def collect_probe_matrix(
    loaded: LoadedModel,
    prompts: Sequence[str],
    neurons: Sequence[npt.NDArray[Any]],
    make_trainer: MakeTrainer,
    *,
    batch_tokens: int | None,
    note: Callable[[str], None] | None = None,
) -> ProbeMatrix:
    """Mean activation of selected neurons over each prompt, which is given to the model as evaluated prompts are.

    Equal prompts go through the model once, and the model is not run further than the last block with a neuron.

    Args:
        loaded: the model and its encoder.
        prompts: the probe prompts.
        neurons: per block, the indices of the neurons to keep; may be empty.
        make_trainer: makes the trainer that runs it, with these callbacks.
        batch_tokens: tokens in one batch at most; None: by device. Where memory does not suffice, fewer.
        note: gets what a reader of the results must know: what the self-check measured, how many prompts were cut.

    Returns:
        The matrix, its columns in the order of `prompts`, the same in every process.

    Raises:
        UserError: no prompt, a prompt of no token, or the model's neurons cannot be read.
        ValueError: blocks or neurons that the model does not have.
    """
    distinct = {prompt: column for column, prompt in enumerate(dict.fromkeys(prompts))}
    encoded = [loaded.encoder.encode(prompt) for prompt in distinct]
    num_prefix = len(loaded.encoder.prefix)
    if not encoded or any(len(ids) <= num_prefix for ids in encoded):
        raise UserError("probe prompts: none, or one of no token. Each must hold at least one word")
    rows, num_cut = rows_of(loaded, {"": encoded}, note)
    collect = CollectProbeMatrix(neurons, len(distinct))
    blocks = [block for block, indices in enumerate(neurons, start=1) if len(indices)]
    _predict(loaded, rows, collect, make_trainer, batch_tokens, blocks, note)
    values = _finished(collect.values)
    _check_complete(collect.num_filled, dict.fromkeys(range(len(distinct)), 1))
    _check_finite(loaded, values)
    order = [distinct[prompt] for prompt in prompts]
    lengths = np.array([len(row.ids) - num_prefix for row in rows], dtype=np.int64)
    return ProbeMatrix(
        values=tuple(block[:, order] for block in values),
        neurons=tuple(np.asarray(indices, dtype=np.int64) for indices in neurons),
        num_tokens=lengths[order],
        num_truncated=num_cut[""],
    )


def _predict(
    loaded: LoadedModel,
    rows: Sequence[ProbeRow],
    collect: BlockCallback,
    make_trainer: MakeTrainer,
    batch_tokens: int | None,
    blocks: Sequence[int] | None,
    note: Callable[[str], None] | None,
) -> None:
    by_length = sorted(rows, key=lambda row: len(row.ids))
    checked = [by_length[index * (len(rows) - 1) // (_NUM_CHECKED - 1)].ids.tolist() for index in range(_NUM_CHECKED)]
    module = ProbeModule(loaded, checked, batch_tokens, blocks, note)
    data = ProbeData(rows, len(loaded.encoder.prefix), batch_tokens)
    make_trainer([collect]).predict(module, datamodule=data, return_predictions=False)


def _finished(result: _T | None) -> _T:
    if result is None:
        raise UserError(
            "trainer.strategy: its processes end with the prediction and take what they read with them. Use ddp or auto"
        )
    return result


def _check_finite(loaded: LoadedModel, values: Sequence[npt.NDArray[np.float32]]) -> None:
    """Refuses prompts for which a model overflows: one of them would spoil every statistic."""
    bad = np.logical_or.reduce([~np.isfinite(block).all(axis=0) for block in values])
    if bad.any():
        raise UserError(
            f"{bad.sum()} of {len(bad)} probe prompts give neurons that are not finite in {loaded.model.dtype}. Use "
            f"model.dtype=float32, or bfloat16, whose range is as large"
        )


def _check_complete(found: Mapping[Any, int], expected: Mapping[Any, int]) -> None:
    """Refuses a trainer that leaves texts out or runs them twice."""
    if dict(found) != dict(expected):
        raise UserError(
            f"trainer: of {sum(expected.values())} tokens or prompts to read, {sum(found.values())} were read. Leave "
            f"limit_predict_batches, fast_dev_run and use_distributed_sampler at their defaults"
        )
