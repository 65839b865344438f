"""How often and how strongly each neuron fires: profiles of languages, and the probe matrix of prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

# Bounds the copy in float64 that a sum makes.
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True, eq=False)
class Profile:
    """How the neurons answer to a language's text; blocks may differ in width.

    Attributes:
        share: per block, share of tokens with activation > 0, float64 `[I]`.
        mean: per block, mean activation over tokens, float64 `[I]`.
        num_tokens: tokens counted, padding and BOS left out.
        num_truncated: texts that were cut to the model's longest input.
    """

    share: tuple[Floats, ...]
    mean: tuple[Floats, ...]
    num_tokens: int
    num_truncated: int = 0

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The profile as named arrays, as a cache keeps it."""
        named: dict[str, npt.NDArray[Any]] = {"num": np.array([self.num_tokens, self.num_truncated], dtype=np.int64)}
        for block, (share, mean) in enumerate(zip(self.share, self.mean, strict=True), start=1):
            named[f"share_{block}"], named[f"mean_{block}"] = share, mean
        return named

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Profile:
        """The profile that `arrays` came from.

        Raises:
            KeyError: they are not a profile's.
        """
        blocks = range(1, sum(name.startswith("share_") for name in arrays) + 1)
        num_tokens, num_truncated = (int(value) for value in arrays["num"])
        return cls(
            tuple(arrays[f"share_{block}"] for block in blocks),
            tuple(arrays[f"mean_{block}"] for block in blocks),
            num_tokens,
            num_truncated,
        )


@dataclass(frozen=True, eq=False)
class ProbeMatrix:
    """How selected neurons answer to each prompt.

    Attributes:
        values: per block, mean activation over a prompt's tokens (BOS and padding left out), float32
            `[neurons, prompts]`.
        neurons: per block, the neurons' indices, int64 `[neurons]`.
        num_tokens: tokens of each prompt that the mean is over, int64 `[prompts]`.
        num_truncated: prompts that were cut to the model's longest input.
    """

    values: tuple[npt.NDArray[np.float32], ...]
    neurons: tuple[Indices, ...]
    num_tokens: Indices
    num_truncated: int = 0


class ProfileSums:
    """Sums from which a profile follows: float64 activations, whole counts, of a size that text does not change.

    Sums of parts add up to the sums of the whole, so that several processes agree with one.
    """

    def __init__(self) -> None:
        self._totals: dict[int, Tensor] = {}
        self._active: dict[int, Tensor] = {}
        self._tokens: dict[int, Tensor] = {}

    def update(self, block: int, activation: Tensor, mask: Tensor) -> None:
        """Counts one batch of one block; the sums stay on the activation's device.

        Args:
            block: number of the block, 1..L.
            activation: `[B, T, I]`, any float type.
            mask: True where a token counts, `[B, T]`.
        """
        width = activation.shape[-1]
        # Left out rather than multiplied by 0, which would not silence a nan at a padded place.
        rows = activation.reshape(-1, width)[mask.reshape(-1).bool().to(activation.device)]
        if rows.device.type == "mps":
            rows = rows.cpu()  # has no float64
        if block not in self._totals:
            self._totals[block] = torch.zeros(width, dtype=torch.float64, device=rows.device)
            self._active[block] = torch.zeros(width, dtype=torch.int64, device=rows.device)
            self._tokens[block] = torch.zeros((), dtype=torch.int64, device=rows.device)
        for part in torch.split(rows, _ROWS_AT_ONCE):
            # A product with ones is several times faster here than a sum over the first dimension.
            self._totals[block] += part.new_ones(len(part), dtype=torch.float64) @ part.double()
            self._active[block] += (part > 0).sum(dim=0, dtype=torch.int32)
        self._tokens[block] += len(rows)

    def __add__(self, other: ProfileSums) -> ProfileSums:
        merged = ProfileSums()
        for mine, theirs, into in (
            (self._totals, other._totals, merged._totals),
            (self._active, other._active, merged._active),
            (self._tokens, other._tokens, merged._tokens),
        ):
            for block in sorted(mine.keys() | theirs.keys()):
                parts = [part[block].cpu() for part in (mine, theirs) if block in part]
                into[block] = torch.stack(parts).sum(dim=0)
        return merged

    def cpu(self) -> ProfileSums:
        """The same sums on the CPU, as one process sends them to another."""
        return self + ProfileSums()

    @property
    def num_tokens(self) -> int:
        """Tokens counted."""
        counts = {int(count) for count in self._tokens.values()}
        assert len(counts) <= 1, f"blocks counted different numbers of tokens: {sorted(counts)}"
        return counts.pop() if counts else 0

    def profile(self, num_truncated: int = 0) -> Profile:
        """What the sums say.

        Args:
            num_truncated: texts that were cut.

        Raises:
            ValueError: no token was counted.
        """
        count = self.num_tokens
        if count == 0:
            raise ValueError("a profile of no tokens")
        blocks = sorted(self._totals)
        return Profile(
            share=tuple((self._active[block].double() / count).cpu().numpy() for block in blocks),
            mean=tuple((self._totals[block] / count).cpu().numpy() for block in blocks),
            num_tokens=count,
            num_truncated=num_truncated,
        )


class ProbeColumns:
    """Columns of a probe matrix, filled batch by batch in any order.

    Args:
        neurons: per block, the indices of the neurons to keep.
        num_prompts: columns.
    """

    def __init__(self, neurons: Sequence[npt.NDArray[Any]], num_prompts: int) -> None:
        self.neurons = tuple(np.asarray(indices, dtype=np.int64) for indices in neurons)
        self._num_prompts = num_prompts
        self._filled: list[int] = []
        self._means: dict[int, Tensor] = {}
        self._indices: dict[int, Tensor] = {}

    def update(self, block: int, activation: Tensor, mask: Tensor, columns: Sequence[int]) -> None:
        """Fills one batch of columns of one block.

        Args:
            block: number of the block, 1..L.
            activation: `[B, T, I]`, any float type.
            mask: True where a token counts, `[B, T]`, at least one in each row.
            columns: where each row belongs, `[B]`.
        """
        wanted = self.neurons[block - 1]
        device = activation.device
        if block not in self._means:
            if len(wanted) and not 0 <= wanted.min() <= wanted.max() < activation.shape[-1]:
                raise ValueError(f"block {block}: neurons {wanted.min()} to {wanted.max()} of {activation.shape[-1]}")
            self._means[block] = torch.zeros(self._num_prompts, len(wanted), device=device)
            self._indices[block] = torch.as_tensor(wanted, device=device)
        chosen = activation.index_select(-1, self._indices[block]).float()
        mask = mask.bool().to(device)
        chosen = chosen.masked_fill(~mask[..., None], 0.0)
        self._means[block][torch.as_tensor(columns, device=device)] = chosen.sum(dim=1) / mask.sum(dim=1)[:, None]

    def finish_batch(self, columns: Sequence[int]) -> None:
        """Marks columns as filled, once a batch has gone through all blocks."""
        self._filled.extend(columns)

    def part(self) -> tuple[list[int], dict[int, npt.NDArray[np.float32]]]:
        """The filled columns and, per block, their means `[columns, neurons]`: what one process tells the others."""
        return self._filled, {block: means.cpu().numpy()[self._filled] for block, means in self._means.items()}
