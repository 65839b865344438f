"""How long a text a model can read, and how many tokens memory takes at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch

from bridgex.errors import UserError
from bridgex.extract.loading import LoadedModel

# Tokens in one pass, at first and at most, where no number is asked for. On the CPU: what its cache holds.
_TOKENS = {"cuda": (16_384, 65_536)}
_TOKENS_ELSEWHERE = (1024, 1024)
# Positions that a model can read, under the names that configs give it.
_LENGTH_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")


class Batch(Protocol):
    """Texts that go through a model together."""

    @property
    def lengths(self) -> Sequence[int]:
        """Tokens of each text."""


class TokenBudget:
    """How many tokens go through the model at once: grows while there is plenty of memory, halves where there is not.

    Args:
        asked: a number; None: by device.
        device: where the model runs.

    Attributes:
        tokens: at most so many now.
        largest: it will not grow beyond.
    """

    def __init__(self, asked: int | None, device: torch.device) -> None:
        self._device = device
        self.tokens, self.largest = (asked, asked) if asked else _TOKENS.get(device.type, _TOKENS_ELSEWHERE)

    def halve(self, batch: Batch) -> None:
        """After a pass for which memory did not suffice.

        Raises:
            UserError: it held one text only.
        """
        num_tokens = sum(batch.lengths)
        if len(batch.lengths) == 1:
            raise UserError(
                f"memory on {self._device} does not suffice for one text of {num_tokens} tokens beside the model. Use "
                f"model.dtype=bfloat16, model.quantization=8bit, model.device_map=auto or shorter texts"
            )
        self.tokens = self.largest = max(1, num_tokens // 2)
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def grow(self, num_tokens: int, has_room: Callable[[], bool]) -> None:
        """After a pass of so many tokens that went through; `has_room` says whether twice as many would, too."""
        if 2 * self.tokens <= self.largest and 2 * num_tokens > self.tokens and has_room():
            self.tokens *= 2


def longest_input(loaded: LoadedModel) -> int:
    """Tokens that the model can read: its positions, else what its tokenizer says."""
    found = num_positions(loaded.model)
    return found if found is not None else int(min(loaded.encoder.tokenizer.model_max_length, 2**31 - 1))


def num_positions(model: Any) -> int | None:
    """Tokens that a model has positions for; None: its config sets no limit.

    Where positions are counted from beyond the padding's own, as RoBERTa does, those up to it are no token's.
    """
    config = text_config(model)
    for key in _LENGTH_KEYS:
        value = getattr(config, key, None)
        if isinstance(value, int) and value > 0:
            table = next((m for name, m in model.named_modules() if name.endswith("position_embeddings")), None)
            padding = getattr(table, "padding_idx", None)
            return value if padding is None else value - padding - 1
    return None


def text_config(model: Any) -> Any:
    """The part of a model's config that is about text."""
    config = model.config
    return config.get_text_config() if hasattr(config, "get_text_config") else config
