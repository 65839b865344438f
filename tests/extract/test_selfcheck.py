from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bridgex.errors import UserError
from bridgex.extract.selfcheck import check_capture
from bridgex.extract.sites import find_sites
from tests.fakes.tiny_models import BLOCKS, FAMILIES, layers_of, make_loaded, num_hooks

PROMPTS = ['English:"water"→French:', "x", 'Kiswahili:"maji ya moto"→日本語:']


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_passes(family: str) -> None:
    loaded = make_loaded(family)
    check = check_capture(loaded, find_sites(loaded.model), PROMPTS)
    assert check.batch_difference < 1e-5
    assert check.recomputed_difference is not None
    assert check.recomputed_difference < 1e-6
    assert (check.dtype, check.tolerance, check.remarks) == ("float32", 1e-4, ())
    assert "allowed: 0.0001 in float32" in check.notes()[0]
    assert num_hooks(loaded.model) == 0


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.1), (torch.float16, 0.02)])
def test_half_precision_has_its_own_tolerance(dtype: torch.dtype, tolerance: float) -> None:
    loaded = make_loaded()
    loaded.model.to(dtype)
    check = check_capture(loaded, find_sites(loaded.model), PROMPTS)
    assert check.tolerance == tolerance
    assert str(dtype) == f"torch.{check.dtype}"


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
    mlp = layers_of(loaded.model)[1].mlp
    mlp.act_fn = GateTimesUp(mlp)

    def forward(x: Tensor) -> Tensor:
        up = mlp.up_proj(x)
        return mlp.down_proj(mlp.act_fn(mlp.gate_proj(x)) if up is not None else up)

    mlp.forward = forward
    with pytest.raises(UserError, match=r"block 2: the neurons read differ by .* \(allowed: 0\.0001 in float32\)"):
        check_capture(loaded, find_sites(loaded.model), PROMPTS)
    assert num_hooks(loaded.model) == 1  # the fake's own


def test_an_activation_of_something_else_is_caught() -> None:
    loaded = make_loaded("phi3")
    mlp = layers_of(loaded.model)[2].mlp
    width = FAMILIES["phi3"].neurons
    mlp.forward = lambda x: mlp.down_proj(mlp.activation_fn(mlp.gate_up_proj(x)[..., width:]))
    with pytest.raises(UserError, match="block 3: the neurons read differ"):
        check_capture(loaded, find_sites(loaded.model), PROMPTS)


def test_a_model_that_reads_padding_is_caught() -> None:
    loaded = make_loaded("gpt2")
    layer = layers_of(loaded.model)[1]
    plain = layer.forward
    layer.forward = lambda hidden, *args, **given: plain(hidden + hidden.mean(dim=1, keepdim=True), *args, **given)
    with pytest.raises(UserError, match=r"block 2: neurons read in a padded batch differ by .* Its attention reads"):
        check_capture(loaded, find_sites(loaded.model), PROMPTS)
    assert num_hooks(loaded.model) == 0


@pytest.mark.parametrize("prompts", [["longer than one"], ["same", "same"]])
def test_prompts_of_one_length_are_padded_too(prompts: list[str]) -> None:
    loaded = make_loaded("gpt2")
    layer = layers_of(loaded.model)[0]
    plain = layer.forward
    layer.forward = lambda hidden, *args, **given: plain(hidden + hidden.mean(dim=1, keepdim=True), *args, **given)
    with pytest.raises(UserError, match="padded batch"):
        check_capture(loaded, find_sites(loaded.model), prompts)


def test_nan_never_passes() -> None:
    loaded = make_loaded()
    with torch.no_grad():
        layers_of(loaded.model)[1].mlp.gate_proj.weight.fill_(float("nan"))
    with pytest.raises(UserError, match="block 2: .* differ by nan"):
        check_capture(loaded, find_sites(loaded.model), PROMPTS)


def test_nan_in_one_of_two_ways_never_passes() -> None:
    loaded = make_loaded("gpt2")
    layer = layers_of(loaded.model)[1]
    plain = layer.forward
    layer.forward = lambda hidden, *args, **given: plain(
        hidden if len(hidden) > 1 else hidden * float("nan"), *args, **given
    )
    with pytest.raises(UserError, match="block 2: neurons read in a padded batch differ by nan"):
        check_capture(loaded, find_sites(loaded.model), PROMPTS)


def test_an_unknown_projection_is_remarked_on() -> None:
    class Renamed(nn.Module):
        def __init__(self, mlp: Any) -> None:
            super().__init__()
            self.first, self.second, self.act_fn = mlp.gate_proj, mlp.down_proj, mlp.act_fn

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.act_fn(self.first(x)))

    loaded = make_loaded()
    for layer in layers_of(loaded.model):
        layer.mlp = Renamed(layer.mlp)
    check = check_capture(loaded, find_sites(loaded.model), PROMPTS)
    assert check.recomputed_difference is None
    assert check.remarks[0].startswith(f"neurons of blocks {', '.join(map(str, range(1, BLOCKS + 1)))} could not be")
    assert "not recomputed" in check.notes()[0]
