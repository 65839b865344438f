"""Lightning data for probing: token ids in batches of bounded size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bridgex.extract.extractor import pad_right
from bridgex.extract.loading import LoadedModel

# Positions that a model can read, under the names that configs give it.
_LENGTH_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")


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
        group: see `ProbeRow`.
        columns: number of each text within the group, `[B]`.
        ids: token ids, padded on the right, `[B, T]`.
        attention_mask: 1 for tokens, 0 for padding `[B, T]`.
        counts: True for tokens that count: neither padding nor what the tokenizer puts in front `[B, T]`.
    """

    group: str
    columns: tuple[int, ...]
    ids: Tensor
    attention_mask: Tensor
    counts: Tensor


class ProbeData(LightningDataModule):
    """Texts sorted by length and cut into batches; under several devices each process gets whole batches.

    Args:
        rows: the texts.
        num_prefix: ids in front of each that are not counted.
        pad: id that fills shorter rows.
        batch_tokens: tokens in one batch at most, padding included; a longer text goes alone.
    """

    def __init__(self, rows: Sequence[ProbeRow], num_prefix: int, pad: int, batch_tokens: int) -> None:
        super().__init__()
        self._batches = _batches_of(rows, batch_tokens)
        self._num_prefix, self._pad = num_prefix, pad

    def predict_dataloader(self) -> DataLoader[ProbeBatch | None]:
        """One element is one batch, so that a distributed sampler deals out batches, none twice.

        A process without a batch would not come to where the processes join their results, so it gets None.
        """
        world_size = self.trainer.world_size if self.trainer is not None else 1
        idle = [()] * (world_size - len(self._batches))
        return DataLoader(
            _Batches([*self._batches, *idle], self._num_prefix, self._pad), batch_size=None, shuffle=False
        )

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
    longest = _longest(loaded)
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


class _Batches(Dataset["ProbeBatch | None"]):
    def __init__(self, batches: Sequence[Sequence[ProbeRow]], num_prefix: int, pad: int) -> None:
        self._batches, self._num_prefix, self._pad = batches, num_prefix, pad

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> ProbeBatch | None:
        rows = self._batches[index]
        if not rows:
            return None
        ids, mask = pad_right([row.ids for row in rows], self._pad)
        counts = mask.bool()
        counts[:, : self._num_prefix] = False
        return ProbeBatch(rows[0].group, tuple(row.column for row in rows), ids, mask, counts)


def _batches_of(rows: Sequence[ProbeRow], batch_tokens: int) -> list[list[ProbeRow]]:
    """Batches of one group each, in which (longest row) x (rows) stays within `batch_tokens`."""
    batches: list[list[ProbeRow]] = []
    for row in sorted(rows, key=lambda row: (row.group, -len(row.ids))):
        last = batches[-1] if batches else []
        if last and last[0].group == row.group and len(last[0].ids) * (len(last) + 1) <= batch_tokens:
            last.append(row)
        else:
            batches.append([row])
    # The longest first: a batch that does not fit into memory shows at once, not after an hour.
    return sorted(batches, key=lambda batch: -len(batch[0].ids) * len(batch))


def _longest(loaded: LoadedModel) -> int:
    config: Any = loaded.model.config
    config = config.get_text_config() if hasattr(config, "get_text_config") else config
    for key in _LENGTH_KEYS:
        value = getattr(config, key, None)
        if isinstance(value, int) and value > 0:
            return value
    return int(min(loaded.encoder.tokenizer.model_max_length, np.iinfo(np.int32).max))
