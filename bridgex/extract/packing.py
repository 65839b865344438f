"""Many texts in one forward pass without padding: exact, and with no mask in memory."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

# Under this name `extract.loading` makes `attend` known to transformers.
ATTENTION = "bridgex_packed"
# What models tell their attention that is said by the packing itself, or changes nothing in a forward pass alone.
_KNOWN = frozenset({"position_ids", "cache_position", "use_cache", "is_causal", "return_dict", "layer_idx"})
# Where flash-attn runs, and what it takes.
_FLASH_DEVICE = "cuda"
_FLASH_DTYPES = (torch.float16, torch.bfloat16)


class CannotPack(Exception):
    """Why texts cannot go through a model in one row."""


@dataclass
class _Row:
    """The packed row that is in the model now."""

    lengths: tuple[int, ...]
    num_calls: int = 0


_row: ContextVar[_Row | None] = ContextVar("packed_row", default=None)


def runs_of(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Neighbours of one length.

    Returns:
        The length and how many there are, of each run.

    Example:
        >>> runs_of([5, 5, 3, 5])
        [(5, 2), (3, 1), (5, 1)]
    """
    return [(length, len(list(run))) for length, run in groupby(lengths)]


def positions_of(lengths: Sequence[int]) -> Tensor:
    """Positions of the tokens of a packed row, `[N]`: they start again with each text.

    Example:
        >>> positions_of([3, 2])
        tensor([0, 1, 2, 0, 1])
    """
    return torch.cat([torch.arange(length) for length in lengths])


@contextmanager
def packed(body: nn.Module, lengths: Sequence[int]) -> Iterator[None]:
    """While open, a forward pass of one row of token ids `[1, N]` reads texts of these lengths, each for itself alone.

    The pass must be given the ids' positions. Texts of equal length are best neighbours: each such run is one call of
    the attention kernel. However it ends, the body gets its own attention back.

    Args:
        body: the part of a model below its head.
        lengths: tokens of each text, in the order in which they stand in the row.

    Raises:
        CannotPack: the body's attention cannot be exchanged, or does something that `attend` does not.
    """
    set_attention: Callable[[str], None] | None = getattr(body, "set_attn_implementation", None)
    config: Any = getattr(body, "config", None)
    before = getattr(config, "_attn_implementation", None)
    if set_attention is None or before is None:
        raise CannotPack("its attention cannot be exchanged")
    row = _Row(tuple(lengths))
    token = _row.set(row)
    try:
        set_attention(ATTENTION)
        if config._attn_implementation != ATTENTION:
            raise CannotPack("its attention cannot be exchanged")
        yield
    finally:
        _row.reset(token)
        set_attention(before)
    if row.num_calls == 0:
        raise CannotPack("its attention is code of its own")


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **given: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each text of a packed row, called by transformers in place of its own.

    Args:
        module: the model's attention module.
        query: `[1, heads, N, d]`.
        key: `[1, key heads, N, d]`; each serves heads / key heads queries.
        value: `[1, key heads, N, d]`.
        attention_mask: must be None: the lengths of the texts say all.
        dropout: must be 0.
        scaling: factor of the scores; None: `1 / sqrt(d)`.
        sliding_window: how many tokens, itself among them, a token sees at most; None: all before it.
        given: what else the model says.

    Returns:
        `[1, N, heads, d]`, and None in place of the weights.

    Raises:
        CannotPack: the model asks for something else than causal attention, such as a cap on scores.
    """
    row = _row.get()
    assert row is not None, "packed attention serves packed rows only"
    row.num_calls += 1
    _refuse_others(module, attention_mask, dropout, given)
    queries, keys, values = (states[0].transpose(0, 1) for states in (query, key, value))
    found = _with_flash(queries, keys, values, row.lengths, scaling, sliding_window)
    if found is not None:
        return found[None], None
    parts: list[Tensor] = []
    start = 0
    for length, count in runs_of(row.lengths):
        stop = start + length * count
        together = [
            states[start:stop].reshape(count, length, *states.shape[1:]).transpose(1, 2)
            for states in (queries, keys, values)
        ]
        is_cut = sliding_window is not None and length > sliding_window
        attended = scaled_dot_product_attention(
            together[0],
            together[1],
            together[2],
            attn_mask=_band(length, sliding_window, query.device) if is_cut else None,
            is_causal=not is_cut,
            scale=scaling,
            enable_gqa=key.shape[1] != query.shape[1],
        )
        parts.append(attended.transpose(1, 2).reshape(stop - start, *queries.shape[1:-1], values.shape[-1]))
        start = stop
    return torch.cat(parts)[None], None


def _refuse_others(module: nn.Module, mask: Tensor | None, dropout: float, given: dict[str, Any]) -> None:
    others = {
        name: value for name, value in given.items() if name not in _KNOWN and value is not None and value is not False
    }
    if others:
        raise CannotPack(f"its attention has {', '.join(sorted(others))}")
    if mask is not None or dropout:
        raise CannotPack(f"its attention has {'a mask of its own' if dropout == 0 else 'dropout'}")
    causal = given.get("is_causal")
    if not (getattr(module, "is_causal", True) if causal is None else causal):
        raise CannotPack("its attention is not causal")


def _band(length: int, window: int | None, device: torch.device) -> Tensor:
    """Which tokens each token sees, `[length, length]`."""
    assert window is not None
    distance = torch.arange(length, device=device)[:, None] - torch.arange(length, device=device)
    return (distance >= 0) & (distance < window)


def _with_flash(
    queries: Tensor, keys: Tensor, values: Tensor, lengths: Sequence[int], scaling: float | None, window: int | None
) -> Tensor | None:
    """The same by flash-attn's kernel for rows of unequal length; None: not installed, or not for these tensors.

    Not measured by us. As every packed pass it is compared with one text at a time before the first probe.
    """
    if queries.device.type != _FLASH_DEVICE or queries.dtype not in _FLASH_DTYPES:
        return None
    if queries.shape[-1] > 256 or queries.shape[-1] != values.shape[-1]:
        return None
    try:
        flash: Any = importlib.import_module("flash_attn")
    except ImportError:
        return None
    bounds = torch.tensor([0, *lengths], device=queries.device).cumsum(0, dtype=torch.int32)
    found: Tensor = flash.flash_attn_varlen_func(
        queries,
        keys,
        values,
        cu_seqlens_q=bounds,
        cu_seqlens_k=bounds,
        max_seqlen_q=max(lengths),
        max_seqlen_k=max(lengths),
        softmax_scale=scaling,
        causal=True,
        window_size=(-1, -1) if window is None else (window - 1, 0),
    )
    return found
