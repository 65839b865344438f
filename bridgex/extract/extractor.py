"""Reads the neurons' activations while text runs through a model, one block in memory at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from bridgex.errors import UserError
from bridgex.extract.sites import Site, backbone, input_device

Receiver = Callable[[int, Tensor], None]


class ActivationReader:
    """Hooks on a model's sites; use as a context manager, which always takes them off again.

    Args:
        model: the model that the sites belong to.
        sites: the blocks to read, in order; a forward pass ends after the last of them.

    Example:
        >>> with ActivationReader(model, find_sites(model)) as reader:  # doctest: +SKIP
        ...     reader.run(ids, attention_mask, lambda block, activation: print(block, activation.shape))
    """

    def __init__(self, model: nn.Module, sites: Sequence[Site]) -> None:
        self._body = backbone(model)
        self._sites = tuple(sites)
        self._by_block = {site.block: site for site in sites}
        self._handles: list[RemovableHandle] = []
        self._running = 0
        self._read: list[int] = []
        self._shape = (0, 0)
        self._receive: Receiver | None = None

    def __enter__(self) -> ActivationReader:
        try:
            for site in self._sites:
                self._handles.append(site.layer.register_forward_pre_hook(self._enter(site.block)))
                self._handles.append(site.layer.register_forward_hook(self._leave))
            for module in {id(site.module): site.module for site in self._sites}.values():
                self._handles.append(module.register_forward_hook(self._take))
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def run(self, ids: Tensor, attention_mask: Tensor, receive: Receiver) -> None:
        """Runs the model once, without its head, and hands over each block's activation.

        Args:
            ids: token ids `[B, T]`, padded on the right.
            attention_mask: 1 for tokens, 0 for padding `[B, T]`.
            receive: called once a block, in order, with the block's number and its activation `[B, T, I]`, which is
                the model's own memory: copy what is kept, change nothing.

        Raises:
            UserError: a block did not compute its activation exactly once through its site.
        """
        assert self._handles or not self._sites, "the reader is used as a context manager"
        if not self._sites:
            return
        self._running, self._read, self._receive = 0, [], receive
        self._shape = (ids.shape[0], ids.shape[1])
        device = input_device(self._body)
        try:
            with torch.no_grad():
                self._body(input_ids=ids.to(device), attention_mask=attention_mask.to(device), use_cache=False)
        except _LastBlockRead:
            pass
        finally:
            self._receive = None
        self._check()

    def _enter(self, block: int) -> Callable[[nn.Module, Any], None]:
        def hook(module: nn.Module, args: Any) -> None:
            self._running = block

        return hook

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        self._running = 0

    def _take(self, module: nn.Module, args: Any, output: Any) -> None:
        site = self._by_block.get(self._running)
        # A shared activation function also runs in blocks that are not read.
        if site is None or site.module is not module or self._receive is None:
            return
        is_whole = isinstance(output, Tensor) and output.numel() == math.prod(self._shape) * site.num_neurons
        if not is_whole or site.block in self._read:
            raise UserError(
                f"block {site.block}: {site.path} gave {_shape_of(output)} for a batch of {self._shape}, not once one "
                f"activation of {site.num_neurons} neurons a token. Something changed the model after it was loaded"
            )
        self._read.append(site.block)
        self._receive(site.block, output.reshape(*self._shape, site.num_neurons))
        if site is self._sites[-1]:
            raise _LastBlockRead

    def _check(self) -> None:
        missing = [site for site in self._sites if site.block not in self._read]
        if missing:
            raise UserError(
                f"block {missing[0].block}: {missing[0].path} did not run in a forward pass. Something replaced the "
                f"model's feed-forward code after it was loaded (a fused kernel, a compiled module); load it without"
            )

    def _remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()


class _LastBlockRead(Exception):
    """Ends a forward pass whose rest nobody needs."""


def read_activations(model: nn.Module, sites: Sequence[Site], ids: Tensor, attention_mask: Tensor) -> dict[int, Tensor]:
    """Every site's activation of one batch at once, for small batches.

    Args:
        model: the model that the sites belong to.
        sites: the blocks to read.
        ids: token ids `[B, T]`, padded on the right.
        attention_mask: 1 for tokens, 0 for padding `[B, T]`.

    Returns:
        Block number to activation `[B, T, I]`, copied.

    Raises:
        UserError: as `ActivationReader.run`.
    """
    kept: dict[int, Tensor] = {}
    with ActivationReader(model, sites) as reader:
        reader.run(ids, attention_mask, lambda block, activation: kept.update({block: activation.clone()}))
    return kept


def pad_right(rows: Sequence[Sequence[int] | npt.NDArray[np.int32]], pad_id: int) -> tuple[Tensor, Tensor]:
    """One batch of rows of unequal length.

    Args:
        rows: token ids of each row.
        pad_id: fills the rest.

    Returns:
        Token ids `[B, T]` and attention mask `[B, T]`, both int64.

    Example:
        >>> pad_right([[5, 6], [7]], 0)
        (tensor([[5, 6],
                [7, 0]]), tensor([[1, 1],
                [1, 0]]))
    """
    ids = torch.full((len(rows), max(map(len, rows))), pad_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.as_tensor(row)
        mask[number, : len(row)] = 1
    return ids, mask


def _shape_of(output: object) -> str:
    return str(tuple(output.shape)) if isinstance(output, Tensor) else type(output).__name__
