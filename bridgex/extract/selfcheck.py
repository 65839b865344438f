"""Checks on the user's own model, before the first probe, that the neurons read are the neurons meant."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from bridgex.errors import UserError
from bridgex.extract.extractor import is_out_of_memory, read_activations
from bridgex.extract.loading import LoadedModel
from bridgex.extract.sites import Site, backbone

# Rounding of the activations, relative to their size, after tens of blocks. Weights in 4 bits compute in one of these
# types and are held to its tolerance; in 8 bits they compute in half precision whatever the type around them.
_TOLERANCES = {torch.float64: 1e-4, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
_LONGEST = 32


@dataclass(frozen=True)
class SelfCheck:
    """What the check measured; every difference is `|a - b| / |b|` of one prompt and block, the largest of all.

    Attributes:
        dtype: of the activations, as in `float32`.
        tolerance: what the first two differences may be.
        batch_difference: between a batch, as batches will be made, and one prompt at a time.
        recomputed_difference: between what is read and the activation function applied to the projection of the
            block's input.
        float32_difference: between half precision and the same weights in float32; None: they are in float32, or
            could not be computed in it.
        cannot_pack: why batches must be made of prompts of one length; None: prompts of any lengths are packed.
    """

    dtype: str
    tolerance: float
    batch_difference: float
    recomputed_difference: float
    float32_difference: float | None
    cannot_pack: str | None

    def notes(self) -> list[str]:
        """What a reader of results must know."""
        found = [
            f"neurons read in batches differ by {self.batch_difference:.1g} from those read one prompt at a time and "
            f"by {self.recomputed_difference:.1g} from recomputed ones (allowed: {self.tolerance:g} in {self.dtype})"
        ]
        if self.float32_difference is not None:
            found.append(
                f"neurons in {self.dtype} differ by {self.float32_difference:.1g} of their size from those that the "
                f"same weights give in float32"
            )
        if self.cannot_pack is not None:
            found.append(f"batches hold texts of one length, since this model cannot be packed: {self.cannot_pack}")
        return found


def check_capture(loaded: LoadedModel, sites: Sequence[Site], prompts: Sequence[str]) -> SelfCheck:
    """Checks the sites on a few prompts, each cut to 32 tokens.

    Args:
        loaded: the model and its encoder.
        sites: where its neurons are read.
        prompts: a few, best of different lengths.

    Raises:
        UserError: a batch gives other activations than its prompts one by one, or an activation is not what the
            block's own projection and activation function give.
    """
    encoder = loaded.encoder
    return check_rows(loaded.model, sites, [encoder.encode(prompt) for prompt in prompts], len(encoder.prefix))


def check_rows(model: nn.Module, sites: Sequence[Site], rows: Sequence[Sequence[int]], num_prefix: int) -> SelfCheck:
    """`check_capture` of token ids.

    Args:
        model: the model.
        sites: where its neurons are read.
        rows: token ids of a few prompts.
        num_prefix: ids in front of each prompt that are never read.

    Raises:
        UserError: as `check_capture`.
    """
    rows = _telling(rows, num_prefix)
    inputs = _Inputs(backbone(model), sites)
    with inputs:
        longest = read_activations(model, sites, rows[:1], is_packed=False)
    dtype = next(iter(longest.values())).dtype
    name, tolerance = str(dtype).removeprefix("torch."), _TOLERANCES.get(dtype, 1e-1)
    if getattr(model, "is_loaded_in_8bit", False):
        name, tolerance = f"8 bits and {name}", max(tolerance, _TOLERANCES[torch.float16])
    recomputed = _compare_recomputed(inputs, longest, name, tolerance)
    alone = [longest, *(read_activations(model, sites, [row], is_packed=False) for row in rows[1:])]
    read = _Read(rows, alone, num_prefix)
    cannot_pack: str | None = None
    try:
        found = read.differences(read_activations(model, sites, rows, is_packed=True))
        if block := _first_above(found, tolerance):
            cannot_pack = (
                f"the neurons of block {block} differ by {found[block]:.1g} of their size from one prompt at a time"
            )
    except Exception as error:  # whatever a model's code makes of a row that it was not written for
        if is_out_of_memory(error):
            raise
        cannot_pack = (str(error).splitlines() or [type(error).__name__])[0]
    if cannot_pack is not None:
        found = read.differences(read_activations(model, sites, rows[:2], is_packed=False))
    if block := _first_above(found, tolerance):
        raise UserError(
            f"block {block}: neurons read in a batch differ by {found[block]:.1g} of their size from those read one "
            f"prompt at a time (allowed: {tolerance:g} in {name}). Batches of this model cannot be trusted. "
            f"{_what_to_do(model, dtype)}"
        )
    in_float32 = _float32_difference(model, sites, read) if dtype in (torch.float16, torch.bfloat16) else None
    return SelfCheck(name, tolerance, max(found.values()), recomputed, in_float32, cannot_pack)


@dataclass(frozen=True)
class _Read:
    """Prompts with what was read of each alone, by block `[T, I]`."""

    rows: Sequence[Sequence[int]]
    alone: Sequence[dict[int, Tensor]]
    num_prefix: int

    def differences(self, batch: dict[int, Tensor]) -> dict[int, float]:
        """By block, the largest difference of a batch of the first of these prompts; nan where one is nan."""
        found: dict[int, float] = {}
        for block, together in batch.items():
            found[block], start = 0.0, 0
            for row, alone in zip(self.rows, self.alone, strict=True):
                if start == len(together):
                    break
                part = together[start : start + len(row)]
                difference = _difference(part[self.num_prefix :], alone[block][self.num_prefix :])
                if not (difference <= found[block] or math.isnan(found[block])):
                    found[block] = difference
                start += len(row)
        return found


def _first_above(differences: dict[int, float], tolerance: float) -> int | None:
    """The first block whose difference is larger, or nan; what follows it has it from there."""
    return next((block for block, found in differences.items() if not found <= tolerance), None)


class _Inputs:
    """Keeps what goes into each block's projection, while open."""

    def __init__(self, body: nn.Module, sites: Sequence[Site]) -> None:
        self._projections = {site.block: (site, body.get_submodule(site.projection)) for site in sites}
        self._kept: dict[int, Tensor] = {}
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> _Inputs:
        for block, (_, projection) in self._projections.items():
            self._handles.append(projection.register_forward_pre_hook(self._keep(block), with_kwargs=True))
        return self

    def __exit__(self, *error: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _keep(self, block: int) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            given = next((value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)), None)
            if given is not None:
                self._kept[block] = given.clone()

        return hook

    @torch.no_grad()
    def recompute(self, block: int) -> Tensor | None:
        """The block's activation from its kept input; None: it had none, or it has another shape."""
        if block not in self._kept:
            return None
        site, projection = self._projections[block]
        gate = projection(self._kept[block])
        if gate.shape[-1] == 2 * site.num_neurons:
            gate = gate[..., : site.num_neurons]
        found = site.module(gate) if gate.shape[-1] == site.num_neurons else None
        return found if isinstance(found, Tensor) else None


def _compare_recomputed(inputs: _Inputs, read: dict[int, Tensor], name: str, tolerance: float) -> float:
    worst = 0.0
    for block, activation in read.items():
        found = float("nan")
        try:
            recomputed = inputs.recompute(block)
        except (RuntimeError, TypeError, ValueError):  # an activation function that takes something else
            recomputed = None
        if recomputed is not None and recomputed.numel() == activation.numel():
            found = _difference(activation, recomputed.reshape(activation.shape))
        if not found <= tolerance:
            raise UserError(
                f"block {block}: the neurons read differ by {found:.1g} of their size from the activation function "
                f"applied to the block's own projection of its input (allowed: {tolerance:g} in {name}). Something "
                f"replaced the model's feed-forward code, such as a fused kernel; load it without, or choose another "
                f"model"
            )
        worst = max(worst, found)
    return worst


def _telling(rows: Sequence[Sequence[int]], num_prefix: int) -> list[list[int]]:
    """Rows of a bounded length: two of one length in front, then the others, shorter and shorter.

    One batch of the first two, and a packed one of all, then show whether texts see one another.
    """
    cut = sorted((list(row[: num_prefix + _LONGEST]) for row in rows if len(row) > num_prefix), key=len, reverse=True)
    if not cut:
        raise ValueError("the check needs a prompt with at least one token")
    longest = cut[0]
    shorter = [row for row in cut if len(row) < len(longest)]
    if not shorter and len(longest) > num_prefix + 1:
        shorter = [longest[: num_prefix + (len(longest) - num_prefix) // 2]]
    return [longest, [*longest[:num_prefix], *reversed(longest[num_prefix:])], *shorter]


def _float32_difference(model: nn.Module, sites: Sequence[Site], read: _Read) -> float | None:
    """Largest difference from the same weights in float32; None: quantised, not all in memory, or no room for it."""
    body = backbone(model)
    weights = [*body.parameters(), *body.buffers()]
    if any(weight.device.type == "meta" for weight in weights) or getattr(model, "is_quantized", False):
        return None
    try:
        with _in_float32(body, sites):
            exact = [read_activations(model, sites, [row], is_packed=False) for row in read.rows]
    except RuntimeError:  # too little memory, or code that fixes its own types: the run does not depend on this figure
        return None
    return max(
        _difference(half[block][read.num_prefix :], full[block][read.num_prefix :])
        for half, full in zip(read.alone, exact, strict=True)
        for block in full
    )


@contextmanager
def _in_float32(body: nn.Module, sites: Sequence[Site]) -> Iterator[None]:
    """While open the body computes in float32: each block's weights are widened while it runs, the others' throughout.

    Memory for one block and the embeddings in float32 is all that it takes.
    """
    own = {id(weight) for site in sites for weight in _weights(site.layer)}
    before: dict[int, tuple[Tensor, Tensor]] = {}

    def widen(weights: Sequence[Tensor]) -> None:
        for weight in weights:
            if weight.dtype in (torch.float16, torch.bfloat16):
                before[id(weight)] = (weight, weight.data)
                weight.data = weight.data.float()

    def restore(weights: Sequence[Tensor]) -> None:
        for weight in weights:
            if id(weight) in before:
                _, weight.data = before.pop(id(weight))

    handles = []
    try:
        widen([weight for weight in _weights(body) if id(weight) not in own])
        for site in sites:
            handles.append(site.layer.register_forward_pre_hook(lambda layer, args: widen(_weights(layer))))
            handles.append(site.layer.register_forward_hook(lambda layer, args, output: restore(_weights(layer))))
        yield
    finally:
        for handle in handles:
            handle.remove()
        restore([weight for weight, _ in list(before.values())])


def _weights(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


def _difference(found: Tensor, expected: Tensor) -> float:
    """`|found - expected| / |expected|`, Euclidean over everything; nan where either holds one."""
    size = float(expected.float().norm())
    distance = float((found.float() - expected.float()).norm())
    if size == 0.0:
        return 0.0 if distance == 0.0 else float("inf")
    return distance / size


def _what_to_do(model: nn.Module, dtype: torch.dtype) -> str:
    if getattr(model, "is_quantized", False):
        return "Load it without model.quantization"
    if dtype in (torch.float16, torch.bfloat16):
        return "Load it with model.dtype=float32"
    return "Its texts see one another; choose another model"
