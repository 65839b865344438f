from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bridgex.errors import UserError
from bridgex.extract.loading import LoadedModel
from bridgex.extract.packing import ATTENTION
from bridgex.extract.selfcheck import check_capture
from bridgex.extract.sites import find_sites
from tests.fakes.tiny_models import FAMILIES, layers_of, make_loaded, num_hooks, reference_activations

PROMPTS = ['English:"water"→French:', "x", 'Kiswahili:"maji ya moto"→日本語:']


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_passes(family: str) -> None:
    loaded = make_loaded(family)
    check = check_capture(loaded, find_sites(loaded.model), PROMPTS)
    assert check.batch_difference < 1e-5
    assert check.recomputed_difference < 1e-6
    assert (check.dtype, check.tolerance) == ("float32", 1e-4)
    assert check.float32_difference is None
    assert "allowed: 0.0001 in float32" in check.notes()[0]
    assert len(check.notes()) == (1 if check.cannot_pack is None else 2)
    assert num_hooks(loaded.model) == 0


@pytest.mark.parametrize(("family", "reason"), [("bloom", "exchanged"), ("gemma2", "its attention has softcap")])
def test_what_cannot_be_packed_is_said(family: str, reason: str) -> None:
    loaded = make_loaded(family)
    check = check_capture(loaded, find_sites(loaded.model), PROMPTS)
    assert check.cannot_pack is not None
    assert reason in check.cannot_pack
    assert check.notes()[1].startswith("batches hold texts of one length, since this model cannot be packed: its att")


@pytest.mark.parametrize(
    ("dtype", "tolerance", "least", "most"), [(torch.bfloat16, 0.1, 1e-3, 3e-2), (torch.float16, 0.02, 1e-4, 4e-3)]
)
@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "gemma3_text"])
def test_half_precision_is_compared_with_float32(
    family: str, dtype: torch.dtype, tolerance: float, least: float, most: float
) -> None:
    loaded = make_loaded(family)
    loaded.model.to(dtype)
    rounded = {name: weight.clone() for name, weight in loaded.model.state_dict().items()}
    check = check_capture(loaded, find_sites(loaded.model), PROMPTS)
    assert check.tolerance == tolerance
    assert str(dtype) == f"torch.{check.dtype}"
    assert check.float32_difference is not None
    assert least < check.float32_difference < most
    assert f"neurons in {check.dtype} differ by {check.float32_difference:.1g} of their size" in check.notes()[1]
    for name, weight in loaded.model.state_dict().items():
        assert weight.dtype == dtype
        assert torch.equal(weight, rounded[name])


def test_the_difference_from_float32_is_that_of_a_float32_copy() -> None:
    loaded = make_loaded()
    loaded.model.to(torch.bfloat16)
    sites = find_sites(loaded.model)
    found = check_capture(loaded, sites, ["one prompt only"]).float32_difference
    ids = loaded.encoder.encode("one prompt only")
    # The rows of the check: the prompt, the same backwards, and its first half.
    rows = [ids, [ids[0], *reversed(ids[1:])], ids[: 1 + (len(ids) - 1) // 2]]
    wide = copy.deepcopy(loaded.model).float()
    worst = 0.0
    for row in rows:
        narrow = reference_activations(loaded.model, "llama", torch.tensor([row]))
        exact = reference_activations(wide, "llama", torch.tensor([row]))
        for mine, theirs in zip(narrow, exact, strict=True):
            mine, theirs = mine[0, 1:].float(), theirs[0, 1:]
            worst = max(worst, float((mine - theirs).norm() / theirs.norm()))
    assert found == pytest.approx(worst, rel=1e-4)


class GateTimesUp(nn.Module):
    """What a hook before `down_proj` would read: the product, not the activation."""

    def __init__(self, mlp: Any) -> None:
        super().__init__()
        self._up: list[Tensor] = []
        mlp.up_proj.register_forward_hook(lambda module, args, output: self._up.append(output))

    def forward(self, gate: Tensor) -> Tensor:
        return nn.functional.silu(gate) * (self._up.pop() if self._up else 1)


def test_the_product_with_up_is_not_the_activation() -> None:
    loaded = make_loaded()
    sites = list(find_sites(loaded.model))
    mlp = layers_of(loaded.model)[1].mlp
    mlp.act_fn = GateTimesUp(mlp)
    sites[1] = dataclasses.replace(sites[1], module=mlp.act_fn)

    def forward(x: Tensor) -> Tensor:
        up = mlp.up_proj(x)
        return mlp.down_proj(mlp.act_fn(mlp.gate_proj(x)) if up is not None else up)

    mlp.forward = forward
    with pytest.raises(UserError, match=r"block 2: the neurons read differ by .* \(allowed: 0\.0001 in float32\)"):
        check_capture(loaded, sites, PROMPTS)
    assert num_hooks(loaded.model) == 1  # the fake's own


def test_an_activation_of_something_else_is_caught() -> None:
    loaded = make_loaded("phi3")
    mlp = layers_of(loaded.model)[2].mlp
    width = FAMILIES["phi3"].neurons
    mlp.forward = lambda x: mlp.down_proj(mlp.activation_fn(mlp.gate_up_proj(x)[..., width:]))
    with pytest.raises(UserError, match="block 3: the neurons read differ"):
        check_capture(loaded, find_sites(loaded.model), PROMPTS)


def spoil(loaded: LoadedModel, block: int, change: Callable[[Tensor], Tensor]) -> None:
    """Puts something in front of a block."""
    layer = layers_of(loaded.model)[block - 1]
    plain = layer.forward
    layer.forward = lambda hidden, *args, **given: plain(change(hidden), *args, **given)


@pytest.mark.parametrize("prompts", [PROMPTS, ["longer than one"], ["same", "same"]])
def test_a_model_whose_texts_meet_along_the_row_is_not_packed(prompts: list[str]) -> None:
    loaded = make_loaded()
    spoil(loaded, 2, lambda hidden: hidden + hidden.mean(dim=1, keepdim=True))
    check = check_capture(loaded, find_sites(loaded.model), prompts)
    assert check.cannot_pack is not None
    assert check.cannot_pack.startswith("the neurons of block 2 differ by ")
    assert check.batch_difference < 1e-5
    assert num_hooks(loaded.model) == 0
    assert loaded.model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("prompts", [PROMPTS, ["longer than one"], ["same", "same"]])
def test_a_model_whose_texts_meet_in_every_batch_is_refused(prompts: list[str]) -> None:
    loaded = make_loaded("gpt2")
    spoil(loaded, 2, lambda hidden: hidden + hidden.mean(dim=(0, 1)))
    with pytest.raises(UserError, match=r"block 2: neurons read in a batch differ by .* Its texts see one another"):
        check_capture(loaded, find_sites(loaded.model), prompts)
    assert num_hooks(loaded.model) == 0


def test_code_that_breaks_on_a_packed_row_is_not_packed() -> None:
    loaded = make_loaded()

    def break_on_long_rows(hidden: Tensor) -> Tensor:
        if hidden.shape[1] > 40:
            raise IndexError("no such position\nin this model")
        return hidden

    spoil(loaded, 1, break_on_long_rows)
    assert check_capture(loaded, find_sites(loaded.model), PROMPTS).cannot_pack == "no such position"


def test_running_out_of_memory_is_no_reason_not_to_pack() -> None:
    loaded = make_loaded()

    def break_when_packed(hidden: Tensor) -> Tensor:
        if loaded.model.config._attn_implementation == ATTENTION:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return hidden

    spoil(loaded, 1, break_when_packed)
    with pytest.raises(torch.OutOfMemoryError):
        check_capture(loaded, find_sites(loaded.model), PROMPTS)


def test_nan_never_passes() -> None:
    loaded = make_loaded()
    with torch.no_grad():
        layers_of(loaded.model)[1].mlp.gate_proj.weight.fill_(float("nan"))
    with pytest.raises(UserError, match="block 2: .* differ by nan"):
        check_capture(loaded, find_sites(loaded.model), PROMPTS)


def test_nan_in_batches_alone_never_passes() -> None:
    loaded = make_loaded("gpt2")
    spoil(loaded, 2, lambda hidden: hidden * float("nan") if hidden.shape[0] > 1 or hidden.shape[1] > 33 else hidden)
    with pytest.raises(UserError, match="block 2: neurons read in a batch differ by nan"):
        check_capture(loaded, find_sites(loaded.model), PROMPTS)
