"""Tiny random models of many families, made from configs; no network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from bridgex.extract.loading import Encoder, LoadedModel
from bridgex.extract.random_model import byte_tokenizer

BLOCKS, WIDTH, NEURONS = 3, 32, 48
_IDS = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
_COMMON = {
    "hidden_size": WIDTH,
    "intermediate_size": NEURONS,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
_GROUPED = {**_COMMON, "num_key_value_heads": 2, "head_dim": 8}


def tanh_gelu(values: Tensor) -> Tensor:
    return functional.gelu(values, approximate="tanh")


class Family(NamedTuple):
    """A family's config, and what its neurons are by its published definition."""

    config: dict[str, Any]
    neurons: int
    projection: str
    activation: Callable[[Tensor], Tensor]


FAMILIES = {
    "llama": Family(_GROUPED, NEURONS, "mlp.gate_proj", functional.silu),
    # Windows shorter than the test's texts.
    "mistral": Family({**_GROUPED, "sliding_window": 6}, NEURONS, "mlp.gate_proj", functional.silu),
    "qwen2": Family({**_COMMON, "num_key_value_heads": 2}, NEURONS, "mlp.gate_proj", functional.silu),
    "qwen3": Family(_GROUPED, NEURONS, "mlp.gate_proj", functional.silu),
    "gemma": Family(_GROUPED, NEURONS, "mlp.gate_proj", tanh_gelu),
    "gemma2": Family({**_GROUPED, "sliding_window": 6}, NEURONS, "mlp.gate_proj", tanh_gelu),
    "gemma3_text": Family({**_GROUPED, "sliding_window": 6}, NEURONS, "mlp.gate_proj", tanh_gelu),
    "olmo2": Family(_COMMON, NEURONS, "mlp.gate_proj", functional.silu),
    "phi3": Family({**_COMMON, "num_key_value_heads": 2}, NEURONS, "mlp.gate_up_proj", functional.silu),
    "gpt2": Family(
        {"n_embd": WIDTH, "n_layer": BLOCKS, "n_head": 4, "n_positions": 64}, 4 * WIDTH, "mlp.c_fc", tanh_gelu
    ),
    "gpt_neox": Family(_COMMON, NEURONS, "mlp.dense_h_to_4h", functional.gelu),
    "bloom": Family({"hidden_size": WIDTH, "n_layer": BLOCKS, "n_head": 4}, 4 * WIDTH, "mlp.dense_h_to_4h", tanh_gelu),
    "falcon": Family(
        {"hidden_size": WIDTH, "num_hidden_layers": BLOCKS, "num_attention_heads": 4, "max_position_embeddings": 64},
        4 * WIDTH,
        "mlp.dense_h_to_4h",
        functional.gelu,
    ),
    "opt": Family(
        {
            "hidden_size": WIDTH,
            "word_embed_proj_dim": WIDTH,
            "ffn_dim": NEURONS,
            "num_hidden_layers": BLOCKS,
            "num_attention_heads": 4,
            "max_position_embeddings": 64,
        },
        NEURONS,
        "fc1",
        functional.relu,
    ),
    "xglm": Family(
        {
            "d_model": WIDTH,
            "ffn_dim": NEURONS,
            "num_layers": BLOCKS,
            "attention_heads": 4,
            "max_position_embeddings": 64,
        },
        NEURONS,
        "fc1",
        functional.gelu,
    ),
}
EXPERT_FAMILIES: dict[str, dict[str, Any]] = {
    "mixtral": {**_COMMON, "num_key_value_heads": 2, "num_local_experts": 4},
    "qwen3_moe": {**_GROUPED, "moe_intermediate_size": 24, "num_experts": 4, "num_experts_per_tok": 2},
    "olmoe": {**_COMMON, "num_experts": 4, "num_experts_per_tok": 2},
}


def make_model(family: str, seed: int = 0) -> PreTrainedModel:
    """A random model whose weights, biases too, are large enough for its activations to differ."""
    settings = FAMILIES[family].config if family in FAMILIES else EXPERT_FAMILIES[family]
    config = AutoConfig.for_model(family, vocab_size=len(byte_tokenizer()), **settings, **_IDS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config)
        with torch.no_grad():
            for name, parameter in sorted(model.named_parameters()):
                if parameter.ndim > 1 or name.endswith("bias"):
                    parameter.normal_(0.0, 0.25)
    return model.float().eval()


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
