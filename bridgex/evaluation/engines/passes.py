"""What scoring and generation have in common: a shared beginning computed once, and trust that is earned by numbers."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bridgex.extract.extractor import is_out_of_memory
from bridgex.extract.limits import text_config
from bridgex.extract.sites import backbone, input_device

# A beginning of fewer tokens is not worth a pass of its own.
_SHORTEST_PREFIX = 32
# What log-probabilities of a token may differ by, nats, before a faster way counts as another computation.
_TOLERANCES = {torch.float64: 1e-4, torch.float32: 1e-3, torch.float16: 2e-2}
_TOLERANCE_ELSE = 1e-1
# Under these names configs say how far back a token sees.
_WINDOW_KEYS = ("sliding_window", "window_size", "attention_window", "attention_chunk_size", "local_attention_window")
_POSITION_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len")


class Trust:
    """Remembers which faster ways of computing the same a model allows, each tried out before it is used.

    Attributes:
        notes: what a reader of results must know.
    """

    def __init__(self) -> None:
        self.notes: list[str] = []
        self._found: dict[str, bool] = {}

    def allows(self, way: str, difference: Callable[[], float], tolerance: float, otherwise: str) -> bool:
        """Whether a way may be used; tried out when first asked for.

        Args:
            way: what it is, as in `options of one item go in one row`.
            difference: tries it out: the largest difference from the plain way, of one token, nats.
            tolerance: what the difference may be.
            otherwise: what is done without it.
        """
        if way not in self._found:
            reason = None
            try:
                found = difference()
                if not found <= tolerance:
                    reason = f"log-probabilities of a token differ by {found:.1g}"
            except Exception as error:  # whatever a model's code makes of what it was not written for
                if is_out_of_memory(error):
                    raise
                reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
            self._found[way] = reason is None
            if reason is not None:
                self.note(f"{otherwise}, since with this model one cannot {way}: {reason}")
        return self._found[way]

    def note(self, text: str) -> None:
        """Says something once."""
        if text not in self.notes:
            self.notes.append(text)


def tolerance_of(model: Any) -> float:
    """What log-probabilities of one token may differ by between two ways of computing them, nats."""
    return _TOLERANCES.get(model.dtype, _TOLERANCE_ELSE)


def free_length(model: Any) -> int:
    """Tokens that may stand in one row in any arrangement: no window or position of the model ends among them."""
    config = text_config(model)
    found = [getattr(config, key, None) for key in (*_WINDOW_KEYS, *_POSITION_KEYS)]
    return min((value for value in found if isinstance(value, int) and value > 0), default=2**31 - 1)


def switch_length(model: Any) -> int | None:
    """From how many tokens on the model turns its positions in another way; None: from none.

    Such a model turns those of all rows of a batch so as soon as one of them is that long.
    """
    config = text_config(model)
    given = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    if "longrope" not in (given.get("rope_type"), given.get("type")):
        return None
    found = given.get("original_max_position_embeddings") or getattr(config, "original_max_position_embeddings", None)
    return found if isinstance(found, int) else None


def num_shared(rows: Sequence[tuple[int, ...]]) -> int:
    """Length of the beginning that all rows have in common."""
    first, last = min(rows), max(rows)  # of sorted rows these two differ first
    for place, (a, b) in enumerate(zip(first, last, strict=False)):
        if a != b:
            return place
    return min(len(first), len(last))


@dataclass(frozen=True)
class _Kept:
    ids: tuple[int, ...]
    cache: Any
    stamp: tuple[object, ...]


class PrefixKeeper:
    """Keys and values of the beginning that many rows share, computed once and kept for the next batch.

    Args:
        model: the model.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._kept: _Kept | None = None

    def length(self, rows: Sequence[tuple[int, ...]]) -> int:
        """Tokens of the shared beginning that is worth being computed once; 0: none.

        Args:
            rows: token ids; at least one of each is left for the row itself.
        """
        shared = min(num_shared(rows), min(map(len, rows)) - 1)
        if shared < _SHORTEST_PREFIX:
            return 0
        if self._kept is not None and self._kept.stamp == self._stamp():
            known = min(num_shared([self._kept.ids, rows[0]]), shared)
            # What is kept may end a little earlier: each row computing the rest costs less than computing it all again.
            if known >= _SHORTEST_PREFIX and len(rows) * (shared - known) <= shared:
                return known
        return shared if len(rows) > 1 else 0

    def expanded(self, ids: tuple[int, ...], num_rows: int) -> Any:
        """The beginning's keys and values for so many rows, the caller's own."""
        kept = self._kept
        known = 0 if kept is None or kept.stamp != self._stamp() else num_shared([kept.ids, ids])
        if kept is None or known < len(ids):
            given = torch.tensor([ids], device=input_device(backbone(self._model)))
            made = backbone(self._model)(input_ids=given, use_cache=True).past_key_values
            kept = self._kept = _Kept(ids, made, self._stamp())
        found = copy.deepcopy(kept.cache)
        if len(kept.ids) > len(ids):
            found.crop(len(ids) - len(kept.ids))
        if num_rows > 1:
            found.batch_repeat_interleave(num_rows)
        return found

    def forget(self) -> None:
        """Gives the memory back."""
        self._kept = None

    def _stamp(self) -> tuple[object, ...]:
        """Changes when the weights do, or move."""
        weights = list(self._model.parameters())
        return (weights[0].device, sum(0 if weight.is_inference() else weight._version for weight in weights))


def largest_difference(found: Sequence[float], expected: Sequence[float], num_tokens: Sequence[int]) -> float:
    """Largest difference of two lists of sums over tokens, by token; nan where either holds one."""
    worst = 0.0
    for a, b, count in zip(found, expected, num_tokens, strict=True):
        difference = abs(a - b) / count
        if not difference <= worst:
            worst = difference if not math.isnan(worst) else worst
    return worst


def hidden_of(output: Any) -> Tensor:
    """The hidden states among what a body returns."""
    found = output if isinstance(output, Tensor) else output[0]
    assert isinstance(found, Tensor)
    return found
