from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bridgex.errors import UserError
from bridgex.extract.sites import backbone, find_sites
from tests.fakes.tiny_models import BLOCKS, EXPERT_FAMILIES, FAMILIES, layers_of, make_model, num_hooks


@pytest.mark.parametrize("family", FAMILIES)
def test_one_site_a_block_in_order(family: str) -> None:
    model = make_model(family)
    sites = find_sites(model)
    assert [site.block for site in sites] == list(range(1, BLOCKS + 1))
    assert {site.num_neurons for site in sites} == {FAMILIES[family].neurons}
    assert [site.layer for site in sites] == list(layers_of(model))
    assert all(backbone(model).get_submodule(site.path) is site.module for site in sites)
    assert num_hooks(model) == 0


@pytest.mark.parametrize("family", EXPERT_FAMILIES)
def test_experts_are_refused_with_the_reason(family: str) -> None:
    with pytest.raises(UserError, match=r"mixture of experts.*Choose a dense model"):
        find_sites(make_model(family))


def test_a_model_that_skips_a_block_is_refused() -> None:
    model = make_model("llama")
    model.config.num_hidden_layers = 2  # the forward pass leaves the third block out
    with pytest.raises(UserError, match=r"runs its 3 blocks in the order 1, 2, not once each"):
        find_sites(model)


def test_replaced_feed_forward_code_is_refused() -> None:
    model = make_model("llama")
    mlp = layers_of(model)[1].mlp
    mlp.forward = lambda x: mlp.down_proj(nn.functional.silu(mlp.gate_proj(x)) * mlp.up_proj(x))
    with pytest.raises(UserError) as caught:
        find_sites(model)
    assert str(caught.value) == (
        "LlamaForCausalLM: block 2 does not compute its neurons in one call of one known module. Expected one output "
        "of (2, 3, 48) or (6, 48); found layers.1.mlp.act_fn: not called. Where a faster kernel replaces the "
        "feed-forward code, load the model without it; else choose another model"
    )
    assert num_hooks(model) == 0


def test_two_calls_a_forward_are_refused() -> None:
    model = make_model("llama")
    for layer in layers_of(model):
        layer.mlp.forward = lambda x, m=layer.mlp: m.down_proj(m.act_fn(m.act_fn(m.gate_proj(x))) * m.up_proj(x))
    with pytest.raises(UserError, match=r"block 1 .* called 2 times, shapes .*\(3 of 3 blocks\)"):
        find_sites(model)


def test_another_width_is_refused() -> None:
    model = make_model("llama")
    model.config.intermediate_size = 47
    with pytest.raises(UserError, match=r"Expected one output of \(2, 3, 47\).*\(2, 3, 48\)"):
        find_sites(model)


def test_other_activations_in_a_block_do_not_disturb() -> None:
    model = make_model("llama")
    expected = [site.path for site in find_sites(model)]
    for layer in layers_of(model):
        attention = layer.self_attn
        attention.act = nn.SiLU()
        attention.q_proj.register_forward_hook(lambda module, args, output, act=attention.act: act(output))
    assert [site.path for site in find_sites(model)] == expected


def test_a_shared_module_serves_every_block() -> None:
    model = make_model("llama")
    shared = nn.SiLU()
    for layer in layers_of(model):
        layer.mlp.act_fn = shared
    assert [site.module for site in find_sites(model)] == [shared] * BLOCKS


def test_a_model_without_blocks_is_refused() -> None:
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(2, 2)
            self.heads = nn.ModuleList([nn.Linear(2, 2)])

        def forward(self, **given: Any) -> Tensor:
            return torch.zeros(1)

    with pytest.raises(UserError, match=r"Flat: 0 lists of transformer blocks .* its lists are: heads \(1\)"):
        find_sites(Flat())
