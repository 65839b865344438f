"""Finds where a model's feed-forward neurons can be read, and proves it with one forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from bridgex.errors import UserError

# What `transformers` calls the activation function of a feed-forward block.
_NAMES = frozenset({"act_fn", "activation_fn", "act", "gelu_impl"})
_EXPERT_NAMES = frozenset({"experts", "router"})
_EXPERT_KEYS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
_WIDTH_KEYS = ("intermediate_size", "ffn_dim", "ffn_hidden_size", "n_inner")
# Two rows of three tokens: the smallest batch in which rows, tokens and their product differ.
_ROWS, _TOKENS = 2, 3


@dataclass(frozen=True)
class Site:
    """Where one block's neurons are read.

    Attributes:
        block: number of the block, 1..L.
        layer: the whole transformer block; a shared activation function is told apart by the layer that is running.
        module: its output, for one forward pass, is the activation `[B, T, I]`, or flattened to `[B*T, I]`.
        num_neurons: I.
        path: name of `module` within the backbone.
    """

    block: int
    layer: nn.Module
    module: nn.Module
    num_neurons: int
    path: str


@dataclass
class _Seen:
    """What one forward pass showed: the blocks in the order in which they ran, and every call of an activation."""

    blocks: list[int] = field(default_factory=list)
    shapes: dict[tuple[int, int], list[tuple[int, ...]]] = field(default_factory=dict)
    running: int = 0


def backbone(model: nn.Module) -> nn.Module:
    """The part of a language model below its head: token ids in, last hidden state out."""
    get_decoder = getattr(model, "get_decoder", None)
    decoder = get_decoder() if callable(get_decoder) else getattr(model, "base_model", model)
    return decoder if isinstance(decoder, nn.Module) else model


def find_sites(model: nn.Module) -> tuple[Site, ...]:
    """Finds the activation function of every feed-forward block and checks each with one small forward pass.

    Args:
        model: a decoder of `transformers`, on any device.

    Returns:
        One site a block, in order.

    Raises:
        UserError: a mixture of experts, or a model whose blocks do not each compute one activation of the expected
            width through a module of a known name.
    """
    body = backbone(model)
    name = type(model).__name__
    list_path, layers = _find_layers(name, body)
    _refuse_experts(name, model, layers)
    found = [_activations(layer, f"{list_path}.{index}") for index, layer in enumerate(layers)]
    seen = _watch(body, layers, found)
    if seen.blocks != list(range(1, len(layers) + 1)):
        raise UserError(
            f"{name}: a forward pass runs its {len(layers)} blocks in the order {_short(seen.blocks)}, not once each "
            f"from first to last. Its neurons cannot be assigned to blocks; choose another model"
        )
    widths = _widths(model, len(layers))
    sites: list[Site] = []
    problems: list[str] = []
    for block, (layer, candidates, width) in enumerate(zip(layers, found, widths, strict=True), start=1):
        calls = {path: seen.shapes.get((block, id(module)), []) for path, module in candidates.items()}
        fitting = [path for path, shapes in calls.items() if len(shapes) == 1 and _fits(shapes[0], width)]
        if len(fitting) == 1:
            sites.append(Site(block, layer, candidates[fitting[0]], width, fitting[0]))
        else:
            problems.append(_describe(name, block, width, calls))
    if problems:
        raise UserError(problems[0] + (f" ({len(problems)} of {len(layers)} blocks)" if len(problems) > 1 else ""))
    return tuple(sites)


def _find_layers(name: str, body: nn.Module) -> tuple[str, list[nn.Module]]:
    """The one list of blocks, each of which has an activation function; lists inside a block do not count."""
    lists: dict[str, nn.ModuleList] = {}
    for path, module in body.named_modules():
        is_inner = any(path.startswith(f"{outer}.") for outer in lists)
        if isinstance(module, nn.ModuleList) and len(module) and not is_inner:
            lists[path] = module
    fitting = {path: list(layers) for path, layers in lists.items() if all(_activations(layer, "") for layer in layers)}
    if len(fitting) != 1:
        raise UserError(
            f"{name}: {len(fitting)} lists of transformer blocks with an activation function "
            f"({', '.join(sorted(_NAMES))}) in {type(body).__name__}, and one is needed; its lists are: "
            f"{', '.join(f'{path} ({len(layers)})' for path, layers in lists.items()) or 'none'}. "
            f"Choose a decoder such as Llama, Qwen, Mistral, Gemma, GPT-2, OPT, BLOOM or XGLM"
        )
    return next(iter(fitting.items()))


def _refuse_experts(name: str, model: nn.Module, layers: Sequence[nn.Module]) -> None:
    config = _text_config(model)
    declared = [key for key in _EXPERT_KEYS if (getattr(config, key, None) or 0) > 1]
    has_experts = any(path.rsplit(".", 1)[-1] in _EXPERT_NAMES for layer in layers for path, _ in layer.named_modules())
    if declared or has_experts:
        raise UserError(
            f"{name}: a mixture of experts. Each token goes through a few experts only, so that no feed-forward "
            f"neuron sees the whole text and none can be compared between languages. Choose a dense model"
        )


def _activations(layer: nn.Module, prefix: str) -> dict[str, nn.Module]:
    """Modules of a known name inside a block, by path."""
    return {f"{prefix}.{path}": module for path, module in layer.named_modules() if path.rsplit(".", 1)[-1] in _NAMES}


def _watch(body: nn.Module, layers: Sequence[nn.Module], found: Sequence[dict[str, nn.Module]]) -> _Seen:
    """Runs two rows of three tokens and notes which block calls which activation with what shape."""
    seen = _Seen()

    def enter(block: int) -> Any:
        def hook(module: nn.Module, args: Any) -> None:
            seen.blocks.append(block)
            seen.running = block

        return hook

    def note(module: nn.Module, args: Any, output: Any) -> None:
        shape = tuple(output.shape) if isinstance(output, Tensor) else ()
        seen.shapes.setdefault((seen.running, id(module)), []).append(shape)

    handles: list[RemovableHandle] = []
    try:
        handles += [layer.register_forward_pre_hook(enter(block)) for block, layer in enumerate(layers, start=1)]
        # By identity: one module that serves several blocks is watched once.
        distinct = {id(module): module for candidates in found for module in candidates.values()}
        handles += [module.register_forward_hook(note) for module in distinct.values()]
        ids = torch.arange(_ROWS * _TOKENS, device=input_device(body)).reshape(_ROWS, _TOKENS)
        with torch.no_grad():
            body(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def input_device(body: nn.Module) -> torch.device:
    """Where token ids must lie: the device of the model's first weights."""
    device = next(body.parameters()).device
    # Weights that are fetched when they are needed have no device, and their owner moves what it is given.
    return torch.device("cpu") if device.type == "meta" else device


def _fits(shape: tuple[int, ...], width: int) -> bool:
    return shape in ((_ROWS, _TOKENS, width), (_ROWS * _TOKENS, width))


def _widths(model: nn.Module, num_blocks: int) -> list[int]:
    config = _text_config(model)
    for key in _WIDTH_KEYS:
        value = getattr(config, key, None)
        if isinstance(value, int):
            return [value] * num_blocks
        if isinstance(value, (list, tuple)) and len(value) == num_blocks:
            return [int(width) for width in value]
    # GPT-2, BLOOM and Falcon leave the width out where it is four times the model's own.
    return [4 * int(config.hidden_size)] * num_blocks


def _text_config(model: nn.Module) -> Any:
    config: Any = model.config
    return config.get_text_config() if hasattr(config, "get_text_config") else config


def _describe(name: str, block: int, width: int, calls: dict[str, list[tuple[int, ...]]]) -> str:
    told = "; ".join(
        f"{path}: {'not called' if not shapes else f'called {len(shapes)} times, shapes {_short(shapes)}'}"
        for path, shapes in calls.items()
    )
    return (
        f"{name}: block {block} does not compute its neurons in one call of one known module. Expected one output of "
        f"({_ROWS}, {_TOKENS}, {width}) or ({_ROWS * _TOKENS}, {width}); found {told}. Where a faster kernel replaces "
        f"the feed-forward code, load the model without it; else choose another model"
    )


def _short(values: Sequence[object]) -> str:
    return ", ".join(map(str, values[:6])) + (", ..." if len(values) > 6 else "")
