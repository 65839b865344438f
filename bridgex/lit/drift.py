"""Reads every language's representations before, during and after fine-tuning, and compares them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from bridgex.errors import UserError
from bridgex.extract.block_states import BlockReader, Pooling, Read
from bridgex.extract.extractor import is_out_of_memory
from bridgex.lit.moments import CrossMoments
from bridgex.lit.pairs import PairBatch, ReadData, on_device
from bridgex.lit.trainer import MakeTrainer
from bridgex.records.cache import ArrayCache
from bridgex.records.train_files import keep_measured
from bridgex.records.train_schema import DriftRecord, LabelRecord, Measured
from bridgex.stats.cka import cka
from bridgex.stats.moments import cka_of, top_row_share

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Sums over pairs are D x D for each block, kernels N x N; up to this width sums are small whatever N is.
_WIDTH_OF_SUMS = 1024
_CHUNK = 256
# What CKA is exact to in float64.
_DIGITS = 12

States = Mapping[Pooling, Tensor]
"""By pooling, `[N, L + 1, D]`."""


@dataclass(frozen=True)
class MeasuredPairs:
    """What is read: the same items in every language.

    Attributes:
        ids: of the items.
        groups: what items of one premise have in common.
        labels: number of each item's class.
        keys: by language, what its cached representations before fine-tuning are found by.
    """

    ids: Sequence[str]
    groups: Sequence[str]
    labels: Sequence[int]
    keys: Mapping[str, Mapping[str, str]]


class ReadModule(LightningModule):
    """Each predict step runs a batch through the classifier and returns classes and pooled hidden states.

    Args:
        model: the classifier.
        poolings: tokens to one vector.
    """

    verb = "Reading representations"

    def __init__(self, model: PreTrainedModel, poolings: Sequence[Pooling]) -> None:
        super().__init__()
        self.model = model
        self._reader = BlockReader(model, poolings)

    def predict_step(self, batch: PairBatch, batch_idx: int = 0, dataloader_idx: int = 0) -> Read:
        """One batch.

        Raises:
            UserError: memory does not suffice, or the blocks do not run once each.
        """
        try:
            return self._reader.read(batch.given)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        shape = tuple(batch.given.ids.shape)
        raise UserError(
            f"memory on {self.device} does not suffice for {shape[0]} pairs of {shape[1]} tokens beside the model. Use "
            f"a lower drift.batch_tokens than {shape[0] * shape[1]}, or a lower finetune.max_length"
        )


@dataclass
class LanguageStates:
    """What was read of one language, put together from its batches.

    Attributes:
        answers: number of the class chosen, by number of the pair.
        states: by pooling, the batches' states in the order read.
        numbers: of the pairs, in the order read.
    """

    answers: dict[int, int] = field(default_factory=dict)
    parts: dict[Pooling, list[Tensor]] = field(default_factory=dict)
    numbers: list[int] = field(default_factory=list)

    def take(self, batch: PairBatch, read: Read) -> None:
        """Adds one batch."""
        chosen = read.logits.argmax(dim=1).tolist()
        self.answers.update(zip(batch.numbers, chosen, strict=True))
        self.numbers += batch.numbers
        for pooling, states in read.states.items():
            # On MPS there is no float64 to compare in.
            self.parts.setdefault(pooling, []).append(states.cpu() if states.device.type == "mps" else states)

    def in_order(self) -> dict[Pooling, Tensor]:
        """States by number of the pair."""
        places = torch.tensor(self.numbers).argsort()
        return {pooling: torch.cat(parts)[places.to(parts[0].device)] for pooling, parts in self.parts.items()}


class Collect(Callback):
    """Gathers batches and hands over each language when it is whole.

    Args:
        pairs: what is read.
        name: of the model in records.
        step: optimiser steps so far.
        folder: of the run, which keeps what is measured.
    """

    def __init__(self, pairs: MeasuredPairs, name: str, step: int, folder: Path) -> None:
        self._pairs, self._name, self._step, self._folder = pairs, name, step, folder
        self._open: dict[str, LanguageStates] = {}

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Takes one batch."""
        self.take(batch, outputs)

    def take(self, batch: PairBatch, read: Read) -> None:
        """Takes one batch; the last one of a language ends it."""
        self._open.setdefault(batch.code, LanguageStates()).take(batch, read)
        if batch.is_last:
            found = self._open.pop(batch.code)
            keep_measured(
                self._folder,
                Measured(
                    language=batch.code,
                    model=self._name,
                    step=self._step,
                    answers=self.answers(batch.code, found),
                    drift=self.compare(batch.code, found.in_order()),
                ),
            )

    def answers(self, code: str, found: LanguageStates) -> list[LabelRecord]:
        """Every item's answer."""
        pairs = self._pairs
        return [
            LabelRecord(
                language=code,
                model=self._name,
                id=item,
                group=pairs.groups[number],
                answer=found.answers[number],
                gold=pairs.labels[number],
            )
            for number, item in enumerate(pairs.ids)
        ]

    def compare(self, code: str, states: States) -> list[DriftRecord]:
        """What is said of the states; nothing."""
        return []


class KeepBase(Collect):
    """Keeps the representations before fine-tuning in the cache for all runs, and the untrained head's answers.

    Args:
        pairs: what is read.
        folder: of the run.
        cache: where representations are kept.
    """

    def __init__(self, pairs: MeasuredPairs, folder: Path, cache: ArrayCache) -> None:
        super().__init__(pairs, "untrained", 0, folder)
        self._cache = cache

    def compare(self, code: str, states: States) -> list[DriftRecord]:
        """Keeps them."""
        self._cache.put(self._pairs.keys[code], {pooling: rows.cpu().numpy() for pooling, rows in states.items()})
        return []


class MeasureDrift(Collect):
    """Compares every language's representations with those before fine-tuning.

    Args:
        pairs: what is read.
        name: of the model in records.
        step: optimiser steps so far.
        folder: of the run.
        cache: where the representations before fine-tuning are kept.
        with_answers: whether answers are wanted, too.
    """

    def __init__(
        self, pairs: MeasuredPairs, step: int, folder: Path, cache: ArrayCache, *, with_answers: bool = True
    ) -> None:
        super().__init__(pairs, "fine-tuned", step, folder)
        self._cache, self._with_answers = cache, with_answers

    def answers(self, code: str, found: LanguageStates) -> list[LabelRecord]:
        """Every item's answer, where they are wanted."""
        return super().answers(code, found) if self._with_answers else []

    def compare(self, code: str, states: States) -> list[DriftRecord]:
        """Drift of every block, by both estimators."""
        before = read_base(self._cache, self._pairs.keys[code])
        return [
            drift_of(torch.from_numpy(before[pooling]).to(rows.device), rows, code, self._step, pooling)
            for pooling, rows in states.items()
        ]


class MeasureAlong(Callback):
    """Measures drift after every so many optimiser steps of a training.

    Args:
        every: steps.
        accumulate: passes of a step.
        steps: of the whole training, whose end is measured elsewhere.
        module: reads; it holds the model that is trained.
        data: what is read, less what an earlier run has measured.
        make: makes the callback that measures at a step.
        is_done: whether a step was measured before.
    """

    def __init__(
        self,
        every: int,
        accumulate: int,
        steps: int,
        module: ReadModule,
        data: ReadData,
        make: Callable[[int], Collect],
        is_done: Callable[[int], bool],
    ) -> None:
        self._every, self._accumulate, self._steps = every, accumulate, steps
        self._module, self._data, self._make, self._is_done = module, data, make, is_done

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measures, if it is time to."""
        step, rest = divmod(batch_idx + 1, self._accumulate)
        if rest or step % self._every or step >= self._steps or self._is_done(step):
            return
        collect = self._make(step)
        device = pl_module.device
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            for waiting in self._data.batches(device):
                moved = on_device(waiting, device)
                collect.take(moved, self._module.predict_step(moved))


def drift_of(before: Tensor, after: Tensor, code: str, step: int, pooling: Pooling) -> DriftRecord:
    """Drift of every block of one language: 1 - CKA of the same pairs before and after.

    Args:
        before: `[N, L + 1, D]`.
        after: the same pairs, same device.
        code: of the language.
        step: optimiser steps between the two.
        pooling: how tokens became vectors.

    Returns:
        Its record; blocks on which a side does not vary are missing.

    Raises:
        UserError: states that are not finite.
    """
    if not bool(torch.isfinite(after).all()):
        raise UserError(
            f"drift: the model's hidden states for {code} are not finite after {step} steps. Use finetune.precision="
            f"32-true or a lower finetune.learning_rate"
        )
    num_pairs, _, width = after.shape
    find = _by_sums if width <= max(num_pairs, _WIDTH_OF_SUMS) else _by_kernels
    unbiased, biased, top = find(before, after)
    return DriftRecord(
        language=code,
        step=step,
        pooling=pooling,
        n=num_pairs,
        unbiased=[None if value is None else _distance(value) for value in unbiased],
        biased=[None if value is None else _distance(value) for value in biased],
        top_row_share=[None if known is None else share for share, known in zip(top, biased, strict=True)],
    )


def _distance(value: float) -> float:
    """1 - CKA without its rounding, which would make ranks of what a frozen block does not do."""
    return round(1 - value, _DIGITS) + 0.0  # no minus zero


def read_base(cache: ArrayCache, key: Mapping[str, str]) -> dict[Pooling, npt.NDArray[np.float32]]:
    """Representations before fine-tuning.

    Raises:
        UserError: another process has removed them.
    """
    found = cache.get(key)
    if found is None:
        raise UserError(f"{cache.path(key)}: gone or damaged since this run read it. The same command makes it again")
    return found  # type: ignore[return-value]


def read_languages(
    model: PreTrainedModel, poolings: Sequence[Pooling], data: ReadData, collect: Collect, make_trainer: MakeTrainer
) -> None:
    """Runs the languages' pairs through a classifier, in evaluation mode and full precision.

    Args:
        model: the classifier.
        poolings: tokens to one vector.
        data: the pairs.
        collect: gets what was read.
        make_trainer: makes the trainer that runs it.
    """
    module = ReadModule(model, poolings)
    make_trainer([collect]).predict(module, datamodule=data, return_predictions=False)


_Found = tuple[list[float | None], list[float | None], list[float | None]]


def _by_sums(before: Tensor, after: Tensor) -> _Found:
    """From sums over pairs, which need less than kernels where there are more pairs than dimensions."""
    moments = CrossMoments()
    for start in range(0, len(before), _CHUNK):
        moments.update(before[start : start + _CHUNK], after[start : start + _CHUNK])
    sums = moments.compute()
    shares: list[float | None] = list(top_row_share(before, after, sums).tolist())
    return cka_of(sums, "unbiased"), cka_of(sums, "biased"), shares


def _by_kernels(before: Tensor, after: Tensor) -> _Found:
    """From kernels of all pairs, block after block."""
    unbiased: list[float | None] = []
    biased: list[float | None] = []
    shares: list[float | None] = []
    for block in range(before.shape[1]):
        x, y = before[:, block], after[:, block]
        unbiased.append(cka(x, y, "unbiased"))
        biased.append(cka(x, y, "biased"))
        shares.append(None if biased[-1] is None else _top_row_of_kernels(x, y))
    return unbiased, biased, shares


def _top_row_of_kernels(x: Tensor, y: Tensor) -> float:
    left, right = ((rows - rows.mean(dim=0)).cpu() for rows in (x.double(), y.double()))
    parts = ((left @ left.T) * (right @ right.T)).sum(dim=1)
    return float(parts.max() / parts.sum())
