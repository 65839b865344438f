"""Neurons that are held stand at their means wherever text is read, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from bridgex.errors import UserError
from bridgex.extract.ablation import MeanAblation
from bridgex.extract.extractor import read_activations
from bridgex.extract.sites import Site, find_sites
from tests.fakes.tiny_models import FAMILIES, layers_of, make_model, num_hooks

IDS = torch.tensor([[0, 5, 9, 17, 4, 30], [0, 7, 7, 21, 3, 8]])


def activations(model: PreTrainedModel, sites: tuple[Site, ...]) -> dict[int, Tensor]:
    found = read_activations(model, sites, [row.numpy() for row in IDS], is_packed=False)
    return {block: values.unflatten(0, IDS.shape) for block, values in found.items()}


def logits_of(model: PreTrainedModel, ids: Tensor = IDS) -> Tensor:
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits


def means_of(sites: tuple[Site, ...]) -> dict[int, np.ndarray]:
    random = np.random.default_rng(0)
    return {site.block: random.standard_normal(site.num_neurons) for site in sites}


@pytest.mark.parametrize("family", FAMILIES)
def test_held_neurons_stand_at_their_means_but_for_the_prefix(family: str) -> None:
    model = make_model(family)
    sites = find_sites(model)
    means = means_of(sites)
    before = activations(model, sites)
    plain = logits_of(model)
    held = np.array([1, 4, 11])
    with MeanAblation(sites, means, num_prefix=1) as ablation:
        ablation.hold({2: held})
        # Its own hooks come first, so that a reader sees what the rest of the block gets.
        after = activations(model, sites)
        changed = logits_of(model)
        ablation.check()
        ablation.hold({})
        assert torch.equal(logits_of(model), plain)
    assert torch.equal(after[1], before[1])
    expected = before[2].clone()
    expected[:, 1:, torch.from_numpy(held)] = torch.from_numpy(means[2][held]).float()
    assert torch.equal(after[2], expected)
    assert float((changed - plain).abs().max()) > 1e-4
    assert num_hooks(model) == 0
    assert torch.equal(logits_of(model), plain)


def test_the_rest_of_the_model_goes_on_from_the_held_values() -> None:
    model = make_model("llama")
    sites = find_sites(model)
    means = means_of(sites)
    layer = layers_of(model)[1]
    held = np.array([0, 3])
    with MeanAblation(sites, means, num_prefix=0) as ablation:
        ablation.hold({2: held})
        found = logits_of(model)

    class Held(nn.Module):
        """The block's feed-forward part by its definition, with two neurons held."""

        def forward(self, states: Tensor) -> Tensor:
            gate = torch.nn.functional.silu(mlp.gate_proj(states))
            gate[..., held] = torch.from_numpy(means[2][held]).float()
            return mlp.down_proj(gate * mlp.up_proj(states))

    mlp = layer.mlp
    layer.mlp = Held()
    assert torch.allclose(found, logits_of(model), atol=1e-6)


def test_a_block_that_did_not_run_is_told() -> None:
    model = make_model("llama")
    sites = find_sites(model)
    with MeanAblation(sites, means_of(sites), num_prefix=0) as ablation:
        ablation.hold({3: np.array([1])})
        with pytest.raises(UserError, match=r"block 3: .* did not run in a forward pass, so its neurons could not be"):
            ablation.check()


def test_hooks_go_when_something_fails() -> None:
    model = make_model("llama")
    sites = find_sites(model)
    ablation = MeanAblation(sites, means_of(sites), 0)

    def fail() -> None:
        with ablation:
            assert num_hooks(model) > 0
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert num_hooks(model) == 0
