"""Reads the neurons' activations while text runs through a model, one block in memory at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bridgex.errors import UserError
from bridgex.extract.packing import packed, positions_of
from bridgex.extract.site_hooks import SiteHooks
from bridgex.extract.sites import Site, backbone, input_device

Receiver = Callable[[int, Tensor], None]
Ids = Sequence[int] | npt.NDArray[np.int32]

# What torch says, beside its own class of error, when an allocation fails: on CUDA and MPS, in cuBLAS, on the CPU.
_OUT_OF_MEMORY = ("out of memory", "ALLOC_FAILED", "can't allocate memory", "not enough memory")


class ActivationReader(SiteHooks):
    """Hooks on a model's sites; use as a context manager, which always takes them off again.

    Args:
        model: the model that the sites belong to.
        sites: the blocks to read, in order; a forward pass ends after the last of them.

    Example:
        >>> with ActivationReader(model, find_sites(model)) as reader:  # doctest: +SKIP
        ...     reader.run([[5, 6, 7], [5, 8]], lambda block, neurons: print(block, neurons.shape), is_packed=True)
    """

    def __init__(self, model: nn.Module, sites: Sequence[Site]) -> None:
        super().__init__(sites)
        self._body = backbone(model)
        self._read: list[int] = []
        self._num_tokens = 0
        self._receive: Receiver | None = None

    def run(self, rows: Sequence[Ids], receive: Receiver, *, is_packed: bool) -> None:
        """Runs the model once, without its head and without padding, and hands over each block's activation.

        Args:
            rows: token ids of each text.
            receive: called once a block, in order, with the block's number and its activation `[N, I]`, the tokens of
                one text after the other; it is the model's own memory: copy what is kept, change nothing.
            is_packed: the texts go in one row, as `packing.packed` does it; else all must be of one length.

        Raises:
            CannotPack: see `packing.packed`.
            UserError: a block did not compute its activation exactly once through its site.
            ValueError: texts of several lengths that are not packed.
        """
        assert self._handles or not self._sites, "the reader is used as a context manager"
        if not self._sites:
            return
        lengths = [len(row) for row in rows]
        ids = torch.cat([torch.as_tensor(row, dtype=torch.long) for row in rows]).to(input_device(self._body))
        self._running, self._read, self._receive = 0, [], receive
        self._num_tokens = len(ids)
        try:
            if is_packed:
                positions = positions_of(lengths).to(ids.device)
                with packed(self._body, lengths):
                    self._forward(input_ids=ids[None], position_ids=positions[None])
            else:
                if len(set(lengths)) > 1:
                    raise ValueError(f"texts of {min(lengths)} to {max(lengths)} tokens in a batch without padding")
                ids = ids.reshape(len(rows), -1)
                self._forward(input_ids=ids, attention_mask=torch.ones_like(ids))
        finally:
            self._receive = None
        self._check()

    @torch.no_grad()
    def _forward(self, **given: Tensor) -> None:
        with contextlib.suppress(_LastBlockRead):
            self._body(**given, use_cache=False)

    def _on_activation(self, site: Site, output: Any, shape: tuple[int, int]) -> None:
        if self._receive is None:
            return
        is_whole = isinstance(output, Tensor) and output.numel() == self._num_tokens * site.num_neurons
        if not is_whole or site.block in self._read:
            raise UserError(
                f"block {site.block}: {site.path} gave {_shape_of(output)} for {self._num_tokens} tokens, not once one "
                f"activation of {site.num_neurons} neurons a token. Something changed the model after it was loaded"
            )
        self._read.append(site.block)
        self._receive(site.block, output.reshape(self._num_tokens, site.num_neurons))
        if site is self._sites[-1]:
            raise _LastBlockRead

    def _check(self) -> None:
        missing = [site for site in self._sites if site.block not in self._read]
        if missing:
            raise UserError(
                f"block {missing[0].block}: {missing[0].path} did not run in a forward pass. Something replaced the "
                f"model's feed-forward code after it was loaded (a fused kernel, a compiled module); load it without"
            )


class _LastBlockRead(Exception):
    """Ends a forward pass whose rest nobody needs."""


def read_activations(
    model: nn.Module, sites: Sequence[Site], rows: Sequence[Ids], *, is_packed: bool
) -> dict[int, Tensor]:
    """Every site's activation of one batch at once, for small batches.

    Args:
        model: the model that the sites belong to.
        sites: the blocks to read.
        rows: token ids of each text.
        is_packed: see `ActivationReader.run`.

    Returns:
        Block number to activation `[N, I]`, the tokens of one text after the other, copied.

    Raises:
        CannotPack, UserError, ValueError: as `ActivationReader.run`.
    """
    kept: dict[int, Tensor] = {}
    with ActivationReader(model, sites) as reader:
        reader.run(rows, lambda block, activation: kept.update({block: activation.clone()}), is_packed=is_packed)
    return kept


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)


def _shape_of(output: object) -> str:
    return str(tuple(output.shape)) if isinstance(output, Tensor) else type(output).__name__
