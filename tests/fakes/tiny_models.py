"""Tiny random models of many families, made from configs; no network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from bridgex.extract import families
from bridgex.extract.loading import Encoder, LoadedModel
from bridgex.extract.random_model import byte_tokenizer

BLOCKS, WIDTH, NEURONS = families.BLOCKS, families.WIDTH, families.NEURONS


def tanh_gelu(values: Tensor) -> Tensor:
    return functional.gelu(values, approximate="tanh")


def squared_relu(values: Tensor) -> Tensor:
    return functional.relu(values) ** 2


def xielu(values: Tensor) -> Tensor:
    """As published, with the parameters from which training begins: 0.8 for both sides, beta 0.5."""
    return 0.5 * values + 0.8 * torch.where(values > 0, values**2, torch.expm1(values) - values)


class Family(NamedTuple):
    """A family's config, and what its neurons are by its published definition."""

    config: dict[str, Any]
    neurons: int
    projection: str
    activation: Callable[[Tensor], Tensor]


# Width of the feed-forward part, first projection, activation function: written down here, found by the package.
_DEFINITIONS: dict[str, tuple[int, str, Callable[[Tensor], Tensor]]] = {
    "llama": (NEURONS, "mlp.gate_proj", functional.silu),
    "mistral": (NEURONS, "mlp.gate_proj", functional.silu),
    "qwen2": (NEURONS, "mlp.gate_proj", functional.silu),
    "qwen3": (NEURONS, "mlp.gate_proj", functional.silu),
    "gemma": (NEURONS, "mlp.gate_proj", tanh_gelu),
    "gemma2": (NEURONS, "mlp.gate_proj", tanh_gelu),
    "gemma3_text": (NEURONS, "mlp.gate_proj", tanh_gelu),
    "olmo": (NEURONS, "mlp.gate_proj", functional.silu),
    "olmo2": (NEURONS, "mlp.gate_proj", functional.silu),
    "olmo3": (NEURONS, "mlp.gate_proj", functional.silu),
    "cohere": (NEURONS, "mlp.gate_proj", functional.silu),
    "cohere2": (NEURONS, "mlp.gate_proj", functional.silu),
    "phi": (NEURONS, "mlp.fc1", tanh_gelu),
    "phi3": (NEURONS, "mlp.gate_up_proj", functional.silu),
    "granite": (NEURONS, "mlp.gate_proj", functional.silu),
    "smollm3": (NEURONS, "mlp.gate_proj", functional.silu),
    "stablelm": (NEURONS, "mlp.gate_proj", functional.silu),
    "starcoder2": (NEURONS, "mlp.c_fc", tanh_gelu),
    "glm": (NEURONS, "mlp.gate_up_proj", functional.silu),
    "glm4": (NEURONS, "mlp.gate_up_proj", functional.silu),
    "exaone4": (NEURONS, "mlp.gate_proj", functional.silu),
    "ernie4_5": (NEURONS, "mlp.gate_proj", functional.silu),
    "seed_oss": (NEURONS, "mlp.gate_proj", functional.silu),
    "hunyuan_v1_dense": (NEURONS, "mlp.gate_proj", functional.silu),
    "helium": (NEURONS, "mlp.gate_proj", functional.silu),
    "apertus": (NEURONS, "mlp.up_proj", xielu),
    "arcee": (NEURONS, "mlp.up_proj", squared_relu),
    "nemotron": (NEURONS, "mlp.up_proj", squared_relu),
    "persimmon": (NEURONS, "mlp.dense_h_to_4h", squared_relu),
    "gpt2": (4 * WIDTH, "mlp.c_fc", tanh_gelu),
    "gpt_bigcode": (4 * WIDTH, "mlp.c_fc", tanh_gelu),
    "gpt_neo": (NEURONS, "mlp.c_fc", tanh_gelu),
    "gpt_neox": (NEURONS, "mlp.dense_h_to_4h", functional.gelu),
    "gptj": (4 * WIDTH, "mlp.fc_in", tanh_gelu),
    "codegen": (4 * WIDTH, "mlp.fc_in", tanh_gelu),
    "mpt": (4 * WIDTH, "ffn.up_proj", functional.gelu),
    "falcon": (4 * WIDTH, "mlp.dense_h_to_4h", functional.gelu),
    "bloom": (4 * WIDTH, "mlp.dense_h_to_4h", tanh_gelu),
    "opt": (NEURONS, "fc1", functional.relu),
    "biogpt": (NEURONS, "fc1", functional.gelu),
    "xglm": (NEURONS, "fc1", functional.gelu),
}
FAMILIES = {name: Family(families.FAMILIES[name].settings, *definition) for name, definition in _DEFINITIONS.items()}
EXPERT_FAMILIES = {
    name: given.settings for name, given in families.FAMILIES.items() if given.refused == "a mixture of experts"
}


def make_model(family: str, seed: int = 0) -> PreTrainedModel:
    """A random model whose weights, biases too, are large enough for its activations to differ."""
    return families.make_tiny_model(family, seed)


def make_loaded(family: str = "llama", chat_template: str | None = None) -> LoadedModel:
    """A random model with a byte tokenizer, which puts one BOS in front."""
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = chat_template
    encoder = Encoder(tokenizer, prefix=(0,), uses_chat_template=chat_template is not None, system_prompt=None)
    return LoadedModel(family, Path("nowhere"), make_model(family), encoder, end_ids=(1,))


def layers_of(model: nn.Module) -> nn.ModuleList:
    """The transformer blocks."""
    return next(module for module in model.modules() if isinstance(module, nn.ModuleList))


def reference_activations(model: PreTrainedModel, family: str, ids: Tensor) -> list[Tensor]:
    """Every block's neurons `[B, T, I]`: the family's activation function, written out, of its first projection."""
    given = FAMILIES[family]
    found: list[Tensor] = []

    def keep(module: nn.Module, args: Any, output: Tensor) -> None:
        found.append(given.activation(output[..., : given.neurons]).reshape(*ids.shape, given.neurons).clone())

    handles = [layer.get_submodule(given.projection).register_forward_hook(keep) for layer in layers_of(model)]
    with torch.no_grad():
        model(input_ids=ids)
    for handle in handles:
        handle.remove()
    return found


def num_hooks(model: nn.Module) -> int:
    """Hooks anywhere in the model."""
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())
