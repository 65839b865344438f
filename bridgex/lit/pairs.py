"""Lightning data for fine-tuning and for reading: pairs of texts with labels, in batches that follow from numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from bridgex.extract.classifier import EncodedPair, PairEncoder, PairInput
from bridgex.extract.limits import TokenBudget
from bridgex.lit.data import Batches, batches_of


@dataclass(frozen=True)
class Pair:
    """One labelled pair of texts.

    Attributes:
        code: its language.
        first: premise.
        second: hypothesis.
        label: number of its class.
    """

    code: str
    first: str
    second: str
    label: int


@dataclass(frozen=True)
class PairBatch:
    """Pairs that go through the model together.

    Attributes:
        code: their language; empty where there are several.
        numbers: of each among its language's pairs.
        given: what the model gets.
        labels: number of each one's class `[B]`.
        is_last: whether its language's pairs end with it.
    """

    code: str
    numbers: tuple[int, ...]
    given: PairInput
    labels: Tensor
    is_last: bool


class TrainBatches(Dataset[PairBatch]):
    """The passes of a whole training by number: each follows from its number and the seed alone.

    The rows go by in a new random order each epoch, one epoch after the other without a gap, so that every step has
    `batch_size` rows.

    Args:
        rows: to train on.
        encoder: turns them into inputs, when they are asked for.
        batch_size: rows of an optimiser step.
        accumulate: passes that a step is cut into.
        steps: optimiser steps.
        seed: of the order.
    """

    def __init__(
        self, rows: Sequence[Pair], encoder: PairEncoder, batch_size: int, accumulate: int, steps: int, seed: int
    ) -> None:
        self._rows, self._encoder = rows, encoder
        self._size, self._num_passes = batch_size // accumulate, steps * accumulate
        self._seed = seed
        self._orders: dict[int, list[int]] = {}

    def __len__(self) -> int:
        return self._num_passes

    def __getitem__(self, number: int) -> PairBatch:
        """Pass `number`, from 0."""
        rows = [self._rows[self._place(number * self._size + place)] for place in range(self._size)]
        encoded = [self._encoder.encode(row.code, [row.first], [row.second])[0] for row in rows]
        return PairBatch("", (), self._encoder.batch(encoded), torch.tensor([row.label for row in rows]), is_last=False)

    def _place(self, count: int) -> int:
        epoch, place = divmod(count, len(self._rows))
        if epoch not in self._orders:
            # A pass touches two epochs at most.
            self._orders = {number: order for number, order in self._orders.items() if number == epoch - 1}
            generator = torch.Generator().manual_seed(self._seed * 1_000_003 + epoch)
            self._orders[epoch] = torch.randperm(len(self._rows), generator=generator).tolist()
        return self._orders[epoch][place]


class TrainData(LightningDataModule):
    """The passes of a training, from where the trainer stands.

    Args:
        batches: all passes.
        accumulate: passes of an optimiser step.
    """

    def __init__(self, batches: TrainBatches, accumulate: int) -> None:
        super().__init__()
        self._batches, self._accumulate = batches, accumulate

    def train_dataloader(self) -> DataLoader[PairBatch]:
        """All passes, or what is left of them where the trainer goes on from a checkpoint."""

        def start() -> int:
            assert self.trainer is not None, "a trainer asks for batches"
            return self.trainer.global_step * self._accumulate

        return DataLoader(self._batches, batch_size=None, sampler=_From(start, len(self._batches)), num_workers=0)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Puts ids and labels where the model is."""
        return on_device(batch, device)


class ReadData(LightningDataModule):
    """Pairs of several languages, one language after the other, the longest first, in batches of bounded size.

    Args:
        pairs: encoded pairs with their labels by language.
        encoder: makes batches.
        batch_tokens: tokens in one batch at most, padding included, a longer pair goes alone; None: by device.
    """

    def __init__(
        self,
        pairs: Mapping[str, tuple[Sequence[EncodedPair], Sequence[int]]],
        encoder: PairEncoder,
        batch_tokens: int | None,
    ) -> None:
        super().__init__()
        self._pairs, self._encoder, self._batch_tokens = pairs, encoder, batch_tokens

    def batches(self, device: torch.device) -> list[PairBatch]:
        """All batches, on the CPU."""
        limit = TokenBudget(self._batch_tokens, device).tokens
        made = []
        for code, (encoded, labels) in self._pairs.items():
            groups = batches_of(range(len(encoded)), [len(pair.ids) for pair in encoded], limit)
            for place, numbers in enumerate(groups):
                given = self._encoder.batch([encoded[number] for number in numbers])
                chosen = torch.tensor([labels[number] for number in numbers])
                made.append(PairBatch(code, tuple(numbers), given, chosen, is_last=place + 1 == len(groups)))
        return made

    def predict_dataloader(self) -> DataLoader[PairBatch]:
        """One element is one batch."""
        assert self.trainer is not None, "a trainer asks for batches"
        return DataLoader(Batches(self.batches(self.trainer.strategy.root_device)), batch_size=None, shuffle=False)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Puts ids and labels where the model is."""
        return on_device(batch, device)


def on_device(batch: PairBatch, device: torch.device) -> PairBatch:
    """The batch with its ids and labels on a device."""
    return PairBatch(batch.code, batch.numbers, batch.given.to(device), batch.labels.to(device), batch.is_last)


def num_steps(num_rows: int, batch_size: int, epochs: float) -> int:
    """Optimiser steps in which every row is seen so often.

    Example:
        >>> num_steps(100, 32, 3)
        10
    """
    return max(1, math.ceil(epochs * num_rows / batch_size))


class _From(Sampler[int]):
    """Numbers from a start that is known when they are asked for; counts as all of them, as the trainer does."""

    def __init__(self, start: Callable[[], int], count: int) -> None:
        self._start, self._count = start, count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[int]:
        return iter(range(self._start(), self._count))
