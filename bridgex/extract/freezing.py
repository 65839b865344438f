"""Keeps parts of a model from being trained: blocks, and what lies below the first one."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from bridgex.errors import UserError
from bridgex.extract.sites import backbone, find_layers, input_device

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def freeze(model: PreTrainedModel, blocks: Collection[int], *, embeddings: bool) -> int:
    """Freezes blocks and, where asked, everything that they are given.

    Args:
        model: a classifier, changed in place.
        blocks: numbers from 1.
        embeddings: whether what lies below block 1 is frozen: every parameter outside of the blocks that is not part of
            a module which runs after the last block (final norm, pooler, head). What blocks share, such as DeBERTa's
            relative positions, is therefore frozen too.

    Returns:
        How many parameters are frozen.

    Raises:
        UserError: a block that the model does not have.
    """
    layers = find_layers(model)
    beyond = sorted(block for block in blocks if not 1 <= block <= len(layers))
    if beyond:
        raise UserError(f"freeze: block {beyond[0]}, and the model has blocks 1 to {len(layers)}. Give one of these")
    frozen = [parameter for block in blocks for parameter in layers[block - 1].parameters()]
    if embeddings:
        frozen += _below(model, layers)
    for parameter in frozen:
        parameter.requires_grad_(False)
    return sum(parameter.numel() for parameter in frozen)


def _below(model: PreTrainedModel, layers: list[nn.Module]) -> list[nn.Parameter]:
    inside = {id(parameter) for layer in layers for parameter in layer.parameters()}
    above = {id(parameter) for module in after_last_block(model) for parameter in module.parameters()}
    body = backbone(model)
    return [parameter for parameter in body.parameters() if id(parameter) not in inside | above]


def after_last_block(model: PreTrainedModel) -> list[nn.Module]:
    """Modules that begin to run after the last block has (final norm, pooler, head), seen in one small forward pass.

    Raises:
        UserError: the model's blocks cannot be told apart.
    """
    layers = find_layers(model)
    found: list[nn.Module] = []
    is_past = False

    def past(module: nn.Module, args: Any, output: Any) -> None:
        nonlocal is_past
        is_past = True

    def seen(module: nn.Module, args: Any) -> None:
        if is_past:
            found.append(module)

    handles = [layers[-1].register_forward_hook(past)]
    handles += [module.register_forward_pre_hook(seen) for module in model.modules()]
    was_training = model.training
    model.eval()
    ids = torch.arange(6, device=input_device(model)).reshape(2, 3)
    try:
        with torch.no_grad():
            model(input_ids=ids, attention_mask=torch.ones_like(ids))
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    return found
