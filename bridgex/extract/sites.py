"""Finds where a model's feed-forward neurons can be read, by what its modules do in one small forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bridgex.errors import UserError
from bridgex.extract.behaviour import BlockCalls, Call, Watch, is_activation, is_projection, is_repeatable, is_same

_EXPERT_NAMES = frozenset({"experts", "router"})
_EXPERT_KEYS = ("num_local_experts", "num_experts", "n_routed_experts", "num_routed_experts", "moe_num_experts")
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
        projection: name, within the backbone, of the projection whose output, or one half of it, `module` is given.
        is_gated: whether the activation is multiplied by a second projection before the block's last one.
    """

    block: int
    layer: nn.Module
    module: nn.Module
    num_neurons: int
    path: str
    projection: str
    is_gated: bool


def backbone(model: nn.Module) -> nn.Module:
    """The part of a language model below its head: token ids in, last hidden state out."""
    get_decoder = getattr(model, "get_decoder", None)
    decoder = get_decoder() if callable(get_decoder) else None
    # Some models call the projection to the vocabulary their decoder.
    if isinstance(decoder, nn.Module) and any(isinstance(module, nn.ModuleList) for module in decoder.modules()):
        return decoder
    body = getattr(model, "base_model", model)
    return body if isinstance(body, nn.Module) else model


def find_sites(model: nn.Module) -> tuple[Site, ...]:
    """Finds the activation function of every feed-forward block by its behaviour, whatever it is called.

    A module is a block's site if all of this holds, seen in one forward pass of two rows of three tokens:

    - it acts on each entry alone, the same on all, and bends (dropout, norms and projections do not pass);
    - the block calls it exactly once, on every token, and called again with the same input it gives the same output;
    - its input is the output, or one half of the output, of a projection of the same block: an affine map with weights;
    - its output, alone or multiplied by another projection's output, is the input of a later projection of the same
      block back to the width of the hidden states;
    - its width is the one that the model's config states, if it states one.

    A module inside another that passes too (a wrapper) counts as that one.

    Args:
        model: a decoder of `transformers`, on any device, in evaluation mode.

    Returns:
        One site a block, in order.

    Raises:
        UserError: an encoder-decoder, a mixture of experts, or a model in which not exactly one module of each block
            passes; the line says what each candidate lacks.
    """
    body = backbone(model)
    name = type(model).__name__
    _refuse_kinds(name, model, body)
    list_path, layers, candidates = _find_layers(name, body)
    seen = _run(name, body, layers)
    widths = _declared_widths(model, len(layers))
    sites: list[Site] = []
    problems: list[str] = []
    for block, (layer, paths, width) in enumerate(zip(layers, candidates, widths, strict=True), start=1):
        prefix = f"{list_path}.{block - 1}"
        chains, lacks = _find_chains(seen.blocks[block], paths, width)
        if len(chains) == 1:
            path, num_neurons, projection, is_gated = chains[0]
            module = layer.get_submodule(path)
            sites.append(
                Site(block, layer, module, num_neurons, f"{prefix}.{path}", f"{prefix}.{projection}", is_gated)
            )
        elif chains:
            told = ", ".join(f"{prefix}.{chain.path} ({chain.width} wide)" for chain in chains)
            problems.append(
                f"{name}: block {block} has {len(chains)} modules that do what the activation function of a "
                f"feed-forward part does: {told}. Which of them makes its neurons cannot be told; choose another model"
            )
        else:
            told = "; ".join(f"{prefix}.{path}: {lack}" for path, lack in lacks.items())
            problems.append(_describe(name, block, seen.blocks[block].hidden_size, told))
    if problems:
        raise UserError(problems[0] + (f" ({len(problems)} of {len(layers)} blocks)" if len(problems) > 1 else ""))
    return tuple(sites)


def find_layers(model: nn.Module) -> list[nn.Module]:
    """The transformer blocks of a model, the first one block 1; their neurons need not be readable.

    A mixture of experts has blocks as other models have. Where there are several lists of modules, the blocks are those
    with an activation function in every one.

    Raises:
        UserError: there is no such list, or more than one; names what there is.
    """
    body = backbone(model)
    lists = list(_outer_lists(body).values())
    if len(lists) == 1:
        return list(lists[0])
    _, layers, _ = _find_layers(type(model).__name__, body)
    return layers


def input_device(body: nn.Module) -> torch.device:
    """Where token ids must lie: the device of the model's first weights."""
    device = next(body.parameters()).device
    # Weights that are fetched when they are needed have no device, and their owner moves what it is given.
    return torch.device("cpu") if device.type == "meta" else device


class _Chain(NamedTuple):
    """An activation function between two projections; names are those within the block."""

    path: str
    width: int
    projection: str
    is_gated: bool


def _find_chains(seen: BlockCalls, paths: Sequence[str], declared: int | None) -> tuple[list[_Chain], dict[str, str]]:
    """The activation functions of a block that pass, and what each of the others lacks."""
    chains: list[_Chain] = []
    lacks: dict[str, str] = {}
    for path in paths:
        if any(path.startswith(f"{chain.path}.") for chain in chains):
            continue
        found = _find_chain(seen, path)
        if isinstance(found, str):
            lacks[path] = found
        elif declared is not None and found.width != declared:
            lacks[path] = f"{found.width} wide, and the model's config says {declared}"
        else:
            chains.append(found)
    return chains, lacks


def _find_chain(seen: BlockCalls, path: str) -> _Chain | str:
    """The chain of one activation function, or what it lacks."""
    calls = seen.of(path)
    if len(calls) != 1:
        return f"called {len(calls)} times" if calls else "not called"
    call = calls[0]
    if call.given is None or call.gave is None:
        return "not one tensor in and one out"
    if len(_flat(call.gave)) != _ROWS * _TOKENS:
        return f"gives {tuple(call.gave.shape)}, not one row for each of {_ROWS * _TOKENS} tokens"
    if not is_repeatable(call):
        return "gives something else when it is called again on the same input"
    width = call.gave.shape[-1]
    given, gave = _flat(call.given), _flat(call.gave)
    # The last to end first: the projection as the block calls it, with the adapter around it.
    first = next(
        (
            other
            for other in reversed(seen.calls)
            if any(is_same(part, given) for part in _parts(other, width)) and is_projection(other)
        ),
        None,
    )
    if first is None:
        return "its input is not the output of a projection"
    for last in seen.calls:
        if last.given is None or last.given.shape[-1] != width:
            continue
        if last.gave is None or last.gave.shape[-1] != seen.hidden_size:
            continue
        is_plain = is_same(_flat(last.given), gave)
        if (is_plain or _is_product(seen, gave, last)) and is_projection(last):
            return _Chain(path, width, first.path, not is_plain)
    return f"no projection back to {seen.hidden_size} takes its output, alone or times another projection"


def _is_product(seen: BlockCalls, activation: Tensor, last: Call) -> bool:
    """Whether a projection is given the activation times the output of another projection."""
    assert last.given is not None
    product = _flat(last.given)
    return any(
        any(is_same(activation * part, product) for part in _parts(other, activation.shape[-1]))
        and is_projection(other)
        for other in seen.calls
    )


def _parts(call: Call, width: int) -> Sequence[Tensor]:
    """A call's output as `[B*T, width]`: whole, or in halves where two projections are kept as one; else nothing."""
    if call.gave is None or call.gave.shape[-1] not in (width, 2 * width):
        return ()
    if call.gave.shape[:-1].numel() != _ROWS * _TOKENS:
        return ()
    values = _flat(call.gave)
    return [values[:, start : start + width] for start in range(0, values.shape[-1], width)]


def _flat(values: Tensor) -> Tensor:
    return values.reshape(-1, values.shape[-1])


def _run(name: str, body: nn.Module, layers: Sequence[nn.Module]) -> Watch:
    """Runs two rows of three tokens under watch."""
    ids = torch.arange(_ROWS * _TOKENS, device=input_device(body)).reshape(_ROWS, _TOKENS)
    with torch.no_grad(), Watch(layers) as seen:
        try:
            body(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
        except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(f"{name}: a forward pass on {_ROWS} rows of {_TOKENS} tokens fails ({reason})") from error
    if seen.order != list(range(1, len(layers) + 1)):
        raise UserError(
            f"{name}: a forward pass runs its {len(layers)} blocks in the order {_short(seen.order)}, not once each "
            f"from first to last. Its neurons cannot be assigned to blocks; choose another model"
        )
    return seen


def _find_layers(name: str, body: nn.Module) -> tuple[str, list[nn.Module], list[list[str]]]:
    """The one list of blocks, and the activation functions inside each; lists inside a block do not count."""
    lists = _outer_lists(body)
    device = input_device(body)
    found = {path: [_activations(layer, device) for layer in layers] for path, layers in lists.items()}
    fitting = [path for path in lists if all(found[path])]
    if len(fitting) != 1:
        told = ", ".join(f"{path} ({sum(map(bool, found[path]))} of {len(lists[path])})" for path in lists)
        raise UserError(
            f"{name}: {len(fitting)} lists of transformer blocks with an activation function in every block, and one "
            f"is needed; blocks with one, by list: {told or 'no lists'}. A function that the code calls by itself "
            f"(torch.nn.functional.silu) cannot be read: make it a module (self.act_fn = torch.nn.SiLU()), or choose "
            f"a dense decoder; bridgex models lists some"
        )
    path = fitting[0]
    return path, list(lists[path]), found[path]


def _outer_lists(body: nn.Module) -> dict[str, nn.ModuleList]:
    """Lists of modules by name, less those inside another."""
    lists: dict[str, nn.ModuleList] = {}
    for path, module in body.named_modules():
        is_inner = any(path.startswith(f"{outer}.") for outer in lists)
        if isinstance(module, nn.ModuleList) and len(module) and not is_inner:
            lists[path] = module
    return lists


def _activations(layer: nn.Module, device: torch.device) -> list[str]:
    """Names of the activation functions inside a block."""
    return [path for path, module in layer.named_modules() if path and is_activation(module, device)]


def _refuse_kinds(name: str, model: nn.Module, body: nn.Module) -> None:
    """Refuses what has no neurons in the sense of `Site`, by its config or the names of its parts."""
    config = _text_config(model)
    if getattr(config, "is_encoder_decoder", False):
        raise UserError(
            f"{name}: an encoder-decoder. It reads a prompt in one stack of blocks and answers in another, so that no "
            f"one list of blocks holds its neurons. Choose a model that is a decoder only"
        )
    declared = any((getattr(config, key, None) or 0) > 1 for key in _EXPERT_KEYS)
    if declared or any(path.rsplit(".", 1)[-1] in _EXPERT_NAMES for path, _ in body.named_modules()):
        raise UserError(
            f"{name}: a mixture of experts. Each token goes through a few experts only, so that no feed-forward "
            f"neuron sees the whole text and none can be compared between languages. Choose a dense model"
        )


def _declared_widths(model: nn.Module, num_blocks: int) -> list[int | None]:
    """Each block's I by the model's config; None where it says nothing, as GPT-2's, BLOOM's and MPT's."""
    config = _text_config(model)
    for key in _WIDTH_KEYS:
        value = getattr(config, key, None)
        if isinstance(value, int):
            return [value] * num_blocks
        if isinstance(value, (list, tuple)) and len(value) == num_blocks:
            return [int(width) for width in value]
    return [None] * num_blocks


def _text_config(model: nn.Module) -> Any:
    config: Any = getattr(model, "config", None)
    return config.get_text_config() if hasattr(config, "get_text_config") else config


def _describe(name: str, block: int, hidden_size: int, told: str) -> str:
    return (
        f"{name}: block {block} has no module that makes its neurons: an activation function, called once, between a "
        f"projection and a projection back to {hidden_size}. Found {told}. A kernel that replaces the feed-forward "
        f"code must be left out when the model is loaded, and a plain function (torch.nn.functional.silu) must become "
        f"a module (self.act_fn = torch.nn.SiLU()); a block without a feed-forward part has no neurons: choose a dense "
        f"decoder, bridgex models lists some"
    )


def _short(values: Sequence[object]) -> str:
    return ", ".join(map(str, values[:6])) + (", ..." if len(values) > 6 else "")
