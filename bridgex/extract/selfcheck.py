"""Checks on the user's own model, before the first probe, that the neurons read are the neurons meant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bridgex.errors import UserError
from bridgex.extract.extractor import pad_right, read_activations
from bridgex.extract.loading import LoadedModel
from bridgex.extract.sites import Site

# Rounding of the activations, relative to their size, after tens of blocks.
_TOLERANCES = {torch.float64: 1e-4, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
# Names of the first projection, the likeliest first; `up_proj` is one only where no gate stands beside it.
_PROJECTIONS = (
    "gate_proj", "gate_up_proj", "dense_h_to_4h", "c_fc", "fc_in", "fc1", "w1", "Wi", "up_proj",
)  # fmt: skip
_LONGEST = 32


@dataclass(frozen=True)
class SelfCheck:
    """What the check measured; every difference is `|a - b| / |b|` of one prompt and block, the largest of all.

    Attributes:
        dtype: of the activations, as in `float32`.
        tolerance: what both differences may be.
        batch_difference: between a padded batch and one prompt at a time.
        recomputed_difference: between what is read and the activation function applied to the projection of the
            block's input; None: no projection was found.
        remarks: what could not be checked.
    """

    dtype: str
    tolerance: float
    batch_difference: float
    recomputed_difference: float | None
    remarks: tuple[str, ...]

    def notes(self) -> list[str]:
        """What a reader of results must know."""
        recomputed = (
            "not recomputed"
            if self.recomputed_difference is None
            else f"differ by {self.recomputed_difference:.1g} from recomputed ones"
        )
        return [
            f"neurons read in batches differ by {self.batch_difference:.1g} from those read one prompt at a time and "
            f"{recomputed} (allowed: {self.tolerance:g} in {self.dtype})",
            *self.remarks,
        ]


def check_capture(loaded: LoadedModel, sites: Sequence[Site], prompts: Sequence[str]) -> SelfCheck:
    """Checks the sites on a few prompts, each cut to 32 tokens.

    Args:
        loaded: the model and its encoder.
        sites: where its neurons are read.
        prompts: a few, best of different lengths.

    Raises:
        UserError: a padded batch gives other activations than its prompts one by one, or an activation is not what
            the block's own projection and activation function give.
    """
    encoder = loaded.encoder
    rows = [encoder.encode(prompt) for prompt in prompts]
    return check_rows(loaded.model, sites, rows, len(encoder.prefix), pad_id(loaded))


def check_rows(
    model: nn.Module, sites: Sequence[Site], rows: Sequence[Sequence[int]], num_prefix: int, pad: int
) -> SelfCheck:
    """`check_capture` of token ids.

    Args:
        model: the model.
        sites: where its neurons are read.
        rows: token ids of a few prompts.
        num_prefix: ids in front of each prompt that are never read.
        pad: id that fills shorter rows.

    Raises:
        UserError: as `check_capture`.
    """
    rows = _different_lengths(rows, num_prefix)
    inputs = _Inputs(sites)
    with inputs:
        batch = read_activations(model, sites, *pad_right(rows, pad))
    dtype = next(iter(batch.values())).dtype
    name, tolerance = str(dtype).removeprefix("torch."), _TOLERANCES.get(dtype, 1e-1)
    recomputed, remarks = _compare_recomputed(inputs, batch, name, tolerance)
    worst = 0.0
    for number, row in enumerate(rows):
        alone = read_activations(model, sites, *pad_right([row], pad))
        for block, activation in alone.items():
            found = _difference(batch[block][number, num_prefix : len(row)], activation[0, num_prefix:])
            if not found <= tolerance:
                raise UserError(
                    f"block {block}: neurons read in a padded batch differ by {found:.1g} of their size from those "
                    f"read one prompt at a time (allowed: {tolerance:g} in {name}). Batches of this model cannot be "
                    f"trusted. {_what_to_do(dtype)}"
                )
            worst = max(worst, found)
    return SelfCheck(name, tolerance, worst, recomputed, tuple(remarks))


def pad_id(loaded: LoadedModel) -> int:
    """An id to fill rows with: the tokenizer's padding or end, else 0."""
    tokenizer = loaded.encoder.tokenizer
    for value in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if isinstance(value, int):
            return value
    return 0


class _Inputs:
    """Keeps what goes into each block's projection, while open.

    Attributes:
        missing: blocks whose projection has no known name.
    """

    def __init__(self, sites: Sequence[Site]) -> None:
        self._found = {site.block: (site, *_projection(site)) for site in sites}
        self._kept: dict[int, Tensor] = {}
        self._handles: list[Any] = []
        self.missing = [block for block, (_, projection, _) in self._found.items() if projection is None]

    def __enter__(self) -> _Inputs:
        for block, (_, projection, watched) in self._found.items():
            if projection is not None:
                self._handles.append(watched.register_forward_pre_hook(self._keep(block), with_kwargs=True))
        return self

    def __exit__(self, *error: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _keep(self, block: int) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            given = args[0] if args else kwargs.get("hidden_states", kwargs.get("x"))
            if isinstance(given, Tensor):
                self._kept[block] = given.clone()

        return hook

    @torch.no_grad()
    def recompute(self, block: int) -> Tensor | None:
        """The block's activation from its kept input; None: it had none, or it has another shape."""
        site, projection, _ = self._found[block]
        if projection is None or block not in self._kept:
            return None
        gate = projection(self._kept[block])
        if gate.shape[-1] == 2 * site.num_neurons:
            gate = gate[..., : site.num_neurons]
        if gate.shape[-1] != site.num_neurons:
            return None
        found = site.module(gate)
        return found if isinstance(found, Tensor) else None


def _projection(site: Site) -> tuple[nn.Module | None, nn.Module]:
    """The projection whose output the activation function takes, and the module whose input is its input."""
    parents = [module for module in site.layer.modules() if any(child is site.module for child in module.children())]
    for parent in parents[:1]:
        for name in _PROJECTIONS:
            projection = getattr(parent, name, None)
            if isinstance(projection, nn.Module):
                # OPT and XGLM have no module for the whole feed-forward block.
                return projection, projection if parent is site.layer else parent
    return None, site.layer


def _compare_recomputed(
    inputs: _Inputs, batch: dict[int, Tensor], name: str, tolerance: float
) -> tuple[float | None, list[str]]:
    worst: float | None = None
    for block, activation in batch.items():
        if block in inputs.missing:
            continue
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
        worst = max(worst or 0.0, found)
    remarks = []
    if inputs.missing:
        remarks.append(
            f"neurons of blocks {', '.join(map(str, inputs.missing))} could not be recomputed: their feed-forward part "
            f"has no projection of a known name ({', '.join(_PROJECTIONS)})"
        )
    return worst, remarks


def _different_lengths(rows: Sequence[Sequence[int]], num_prefix: int) -> list[list[int]]:
    """Rows of a bounded length, at least two and not all equally long, so that one of them is padded."""
    cut = [list(row[: num_prefix + _LONGEST]) for row in rows if len(row) > num_prefix]
    if not cut:
        raise ValueError("the check needs a prompt with at least one token")
    longest = max(cut, key=len)
    if min(map(len, cut)) == len(longest) and len(longest) > num_prefix + 1:
        cut.append(longest[: num_prefix + (len(longest) - num_prefix) // 2])
    return cut


def _difference(found: Tensor, expected: Tensor) -> float:
    """`|found - expected| / |expected|`, Euclidean over everything; nan where either holds one."""
    size = float(expected.float().norm())
    distance = float((found.float() - expected.float()).norm())
    if size == 0.0:
        return 0.0 if distance == 0.0 else float("inf")
    return distance / size


def _what_to_do(dtype: torch.dtype) -> str:
    if dtype in (torch.float16, torch.bfloat16):
        return "Load it with model.dtype=float32"
    return "Its attention reads padding; choose another model"
