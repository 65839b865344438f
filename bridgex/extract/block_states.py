"""Reads the hidden states of every block in one forward pass, a vector for each text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from bridgex.errors import UserError
from bridgex.extract.classifier import PairInput
from bridgex.extract.sites import find_layers

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Pooling = Literal["cls", "mean", "last"]
"""Tokens to one vector: the first token, the mean over tokens that stand for text, the last token."""


class Read(NamedTuple):
    """What one pass gave.

    Attributes:
        logits: of the classes `[B, C]`, float32.
        states: by pooling `[B, L + 1, D]`, float32: of block l what block l + 1 is given, of the last one what it
            gives, before any final norm; block 0 is the embeddings' output.
    """

    logits: Tensor
    states: Mapping[Pooling, Tensor]


class BlockReader:
    """Runs a classifier on pairs and keeps every block's pooled states.

    Args:
        model: the classifier; it is run in evaluation mode and left in the mode it was in.
        poolings: how tokens become one vector.

    Attributes:
        num_blocks: L.

    Raises:
        UserError: the model's blocks cannot be told apart.
    """

    def __init__(self, model: PreTrainedModel, poolings: Sequence[Pooling]) -> None:
        self._model, self._poolings = model, tuple(poolings)
        self._layers = find_layers(model)
        self.num_blocks = len(self._layers)

    @torch.no_grad()
    def read(self, batch: PairInput) -> Read:
        """One pass, on the device of the batch, which is the model's.

        Raises:
            UserError: the blocks do not run once each.
        """
        found: list[dict[Pooling, Tensor]] = []

        def given(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            found.append(self._pooled(args[0] if args else kwargs["hidden_states"], batch))

        def gave(module: nn.Module, args: Any, output: Any) -> None:
            found.append(self._pooled(output[0] if isinstance(output, tuple) else output, batch))

        handles = [layer.register_forward_pre_hook(given, with_kwargs=True) for layer in self._layers]
        handles.append(self._layers[-1].register_forward_hook(gave))
        was_training = self._model.training
        self._model.eval()
        try:
            logits: Tensor = self._model(**batch.arguments()).logits
        finally:
            self._model.train(was_training)
            for handle in handles:
                handle.remove()
        if len(found) != self.num_blocks + 1:
            raise UserError(
                f"{type(self._model).__name__}: a pass does not run its {self.num_blocks} blocks once each: blocks "
                f"share weights, and none can be read by its number. Choose another model"
            )
        states = {pooling: torch.stack([pooled[pooling] for pooled in found], dim=1) for pooling in self._poolings}
        return Read(logits.float(), states)

    def _pooled(self, states: Tensor, batch: PairInput) -> dict[Pooling, Tensor]:
        """`[B, T, D]` to `[B, D]` in each way."""
        pooled: dict[Pooling, Tensor] = {}
        for pooling in self._poolings:
            if pooling == "cls":
                pooled[pooling] = states[:, 0].float()
            elif pooling == "last":
                ends = batch.mask.sum(dim=1) - 1
                pooled[pooling] = states[torch.arange(len(ends), device=states.device), ends].float()
            else:
                # An input of special tokens only has a mean over these.
                counted = torch.where(batch.counted.any(dim=1, keepdim=True), batch.counted, batch.mask.bool())
                weights = counted.to(torch.float32)
                total = torch.einsum("btd,bt->bd", states.float(), weights)
                pooled[pooling] = total / weights.sum(dim=1, keepdim=True)
        return pooled
