"""How often and how strongly each neuron fires: profiles of languages, and the probe matrix of prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bridgex.extract.packing import runs_of

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

# Tokens of which a sum makes a copy in float64 at a time: on the CPU as many as its cache holds.
_TOKENS_AT_ONCE = {"cpu": 256}
_TOKENS_AT_ONCE_ELSEWHERE = 4096


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


@dataclass(frozen=True)
class BlockSums:
    """What one batch adds to a profile in one block.

    Attributes:
        total: sum of the activations, float64 `[I]`.
        active: tokens with an activation > 0, int64 `[I]`.
        num_tokens: tokens counted.
    """

    total: Tensor
    active: Tensor
    num_tokens: int


def block_sums(activation: Tensor, counted: Tensor) -> BlockSums:
    """Sums over the tokens that count; they stay on the activation's device.

    Args:
        activation: `[N, I]`, any float type.
        counted: places of the tokens that count, `[M]`.
    """
    if activation.device.type == "mps":
        activation = activation.cpu()  # has no float64
    device, width = activation.device, activation.shape[-1]
    total = torch.zeros(width, dtype=torch.float64, device=device)
    active = torch.zeros(width, dtype=torch.int64, device=device)
    for places in torch.split(counted.to(device), _TOKENS_AT_ONCE.get(device.type, _TOKENS_AT_ONCE_ELSEWHERE)):
        # Left out rather than multiplied by 0, which would not silence a nan or an infinity at a BOS.
        part = activation.index_select(0, places)
        # A product with ones is several times faster here than a sum over the first dimension.
        total += part.new_ones(len(part), dtype=torch.float64) @ part.double()
        active += (part > 0).sum(dim=0, dtype=torch.int32)
    return BlockSums(total, active, len(counted))


class ProfileSums:
    """Sums from which a profile follows: float64 activations, whole counts, of a size that text does not change.

    Sums of parts add up to the sums of the whole, so that several processes agree with one.
    """

    def __init__(self) -> None:
        self._totals: dict[int, Tensor] = {}
        self._active: dict[int, Tensor] = {}
        self._tokens: dict[int, int] = {}

    def add(self, parts: Mapping[int, BlockSums]) -> None:
        """Adds one batch that has gone through all blocks.

        Args:
            parts: by number of the block, 1..L.
        """
        for block, part in parts.items():
            if block in self._totals:
                self._totals[block] += part.total
                self._active[block] += part.active
                self._tokens[block] += part.num_tokens
            else:
                self._totals[block], self._active[block] = part.total, part.active
                self._tokens[block] = part.num_tokens

    def __add__(self, other: ProfileSums) -> ProfileSums:
        merged = ProfileSums()
        for given in (self, other):
            merged.add(
                {
                    # A fresh copy, since what is added first is added to.
                    block: BlockSums(
                        given._totals[block].to("cpu", copy=True), given._active[block].to("cpu", copy=True), count
                    )
                    for block, count in given._tokens.items()
                }
            )
        return merged

    def cpu(self) -> ProfileSums:
        """The same sums on the CPU, as one process sends them to another."""
        return self + ProfileSums()

    @property
    def num_tokens(self) -> int:
        """Tokens counted."""
        counts = set(self._tokens.values())
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

    def means(self, block: int, activation: Tensor, lengths: Sequence[int], num_prefix: int) -> Tensor:
        """One batch's columns of one block; nothing is kept yet.

        Args:
            block: number of the block, 1..L.
            activation: `[N, I]`, any float type, the tokens of one prompt after the other.
            lengths: tokens of each prompt.
            num_prefix: tokens in front of each prompt that do not count; every prompt has more.

        Returns:
            Means over the other tokens, float32 `[prompts of the batch, neurons]`.

        Raises:
            ValueError: neurons that the block does not have.
        """
        chosen = activation.index_select(-1, self._indices_on(block, activation))
        parts: list[Tensor] = []
        start = 0
        for length, count in runs_of(lengths):
            stop = start + length * count
            part = chosen[start:stop].reshape(count, length, chosen.shape[-1])[:, num_prefix:]
            parts.append(part.mean(dim=1, dtype=torch.float32))
            start = stop
        return torch.cat(parts)

    def add(self, parts: Mapping[int, Tensor], columns: Sequence[int]) -> None:
        """Fills the columns of one batch that has gone through all blocks.

        Args:
            parts: what `means` found, by block.
            columns: where each prompt belongs.
        """
        for block, means in parts.items():
            if block not in self._means:
                self._means[block] = means.new_zeros(self._num_prompts, means.shape[-1])
            self._means[block][torch.as_tensor(columns, device=means.device)] = means
        self._filled.extend(columns)

    def part(self) -> tuple[list[int], dict[int, npt.NDArray[np.float32]]]:
        """The filled columns and, per block, their means `[columns, neurons]`: what one process tells the others."""
        return self._filled, {block: means.cpu().numpy()[self._filled] for block, means in self._means.items()}

    def _indices_on(self, block: int, activation: Tensor) -> Tensor:
        if block not in self._indices:
            wanted = self.neurons[block - 1]
            if len(wanted) and not 0 <= wanted.min() <= wanted.max() < activation.shape[-1]:
                raise ValueError(f"block {block}: neurons {wanted.min()} to {wanted.max()} of {activation.shape[-1]}")
            self._indices[block] = torch.as_tensor(wanted, device=activation.device)
        return self._indices[block]
