"""Lightning data for probing: token ids in batches of bounded size, without padding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from bridgex.extract.limits import TokenBudget, longest_input
from bridgex.extract.loading import LoadedModel
from bridgex.lit.data import Batches


@dataclass(frozen=True)
class ProbeRow:
    """One text as the model gets it.

    Attributes:
        group: whose sums it goes into: a language's code; empty for probe prompts.
        column: its number within the group.
        ids: token ids, int32 `[T]`.
    """

    group: str
    column: int
    ids: npt.NDArray[np.int32]


@dataclass(frozen=True)
class ProbeBatch:
    """Texts of one group that go through the model together.

    Attributes:
        rows: the texts, the longest first.
        num_prefix: ids in front of each that do not count.
    """

    rows: tuple[ProbeRow, ...]
    num_prefix: int

    @property
    def group(self) -> str:
        """See `ProbeRow`."""
        return self.rows[0].group

    @property
    def columns(self) -> tuple[int, ...]:
        """Number of each text within the group."""
        return tuple(row.column for row in self.rows)

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens of each text."""
        return tuple(len(row.ids) for row in self.rows)

    @cached_property
    def counted(self) -> Tensor:
        """Places of the tokens that count, of all texts one after another, int64 `[M]`."""
        starts = np.concatenate([[0], np.cumsum(self.lengths)[:-1]])
        places = [
            np.arange(start + self.num_prefix, start + length)
            for start, length in zip(starts, self.lengths, strict=True)
        ]
        return torch.from_numpy(np.concatenate(places))

    def split(self, num_tokens: int, is_packed: bool) -> tuple[ProbeBatch, ProbeBatch | None]:
        """What goes through the model next, and the rest.

        Args:
            num_tokens: at most so many; the first text goes in any case.
            is_packed: texts of several lengths may go together.
        """
        total = count = 0
        for row in self.rows:
            total += len(row.ids)
            if count and (total > num_tokens or not (is_packed or len(row.ids) == len(self.rows[0].ids))):
                break
            count += 1
        rest = self.rows[count:]
        return ProbeBatch(self.rows[:count], self.num_prefix), ProbeBatch(rest, self.num_prefix) if rest else None


class ProbeData(LightningDataModule):
    """Texts sorted by length and cut into batches; under several devices each process gets whole batches.

    Args:
        rows: the texts.
        num_prefix: ids in front of each that are not counted.
        batch_tokens: tokens in one batch at most, a longer text goes alone; None: by device.
    """

    def __init__(self, rows: Sequence[ProbeRow], num_prefix: int, batch_tokens: int | None) -> None:
        super().__init__()
        self._rows, self._num_prefix, self._batch_tokens = rows, num_prefix, batch_tokens

    def predict_dataloader(self) -> DataLoader[ProbeBatch | None]:
        """One element is one batch, so that a distributed sampler deals out batches, none twice.

        A process without a batch would not come to where the processes join their results, so it gets None.
        """
        assert self.trainer is not None, "a trainer asks for batches"
        world_size = self.trainer.world_size
        largest = TokenBudget(self._batch_tokens, self.trainer.strategy.root_device).largest
        num_tokens = sum(len(row.ids) for row in self._rows)
        # Small enough that there is one for each process.
        batches = _batches_of(self._rows, min(largest, -(-num_tokens // world_size)))
        made = [ProbeBatch(tuple(rows), self._num_prefix) for rows in batches]
        idle = [None] * (world_size - len(batches))
        return DataLoader(Batches([*made, *idle]), batch_size=None, shuffle=False)

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        """The reader puts ids where the model's first weights lie, which `device` need not be."""
        return batch


def plain_ids(loaded: LoadedModel, text: str) -> list[int]:
    """Token ids of running text, with what the tokenizer puts in front and without a chat template."""
    encoder = loaded.encoder
    return [*encoder.prefix, *encoder.tokenizer(text, add_special_tokens=False).input_ids]


def rows_of(
    loaded: LoadedModel, encoded: Mapping[str, Sequence[Sequence[int]]], note: Callable[[str], None] | None
) -> tuple[list[ProbeRow], Counter[str]]:
    """Rows cut to the model's longest input, those without a token to count left out, and how many were cut.

    Args:
        loaded: the model and its encoder.
        encoded: token ids of each text, by group.
        note: gets a sentence if any was cut.
    """
    longest = longest_input(loaded)
    num_cut = Counter[str]()
    rows: list[ProbeRow] = []
    for group, texts in encoded.items():
        for column, ids in enumerate(texts):
            num_cut[group] += len(ids) > longest
            if len(ids) > len(loaded.encoder.prefix):
                rows.append(ProbeRow(group, column, np.array(ids[:longest], dtype=np.int32)))
    if note is not None and num_cut.total():
        note(f"{num_cut.total()} probe texts were cut to the model's longest input of {longest} tokens")
    return rows, num_cut


def _batches_of(rows: Sequence[ProbeRow], batch_tokens: int) -> list[list[ProbeRow]]:
    """Batches of one group each, the longest texts first, whose tokens stay within `batch_tokens`."""
    batches: list[list[ProbeRow]] = []
    total = 0
    for row in sorted(rows, key=lambda row: (row.group, -len(row.ids))):
        total += len(row.ids)
        if batches and batches[-1][0].group == row.group and total <= batch_tokens:
            batches[-1].append(row)
        else:
            batches.append([row])
            total = len(row.ids)
    # The longest texts first: what does not fit into memory shows at once, not after an hour.
    return sorted(batches, key=lambda batch: -len(batch[0].ids))
