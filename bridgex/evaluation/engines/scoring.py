"""Log-probabilities of options: all options of an item in one row, the head only where it is needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bridgex.evaluation.engines.passes import (
    PrefixKeeper,
    Trust,
    free_length,
    hidden_of,
    largest_difference,
    num_shared,
    switch_length,
    tolerance_of,
)
from bridgex.evaluation.engines.prompts import OptionIds
from bridgex.extract.extractor import is_out_of_memory
from bridgex.extract.limits import TokenBudget
from bridgex.extract.sites import backbone, input_device

# A row's mask grows with the square of its length; beyond this, repeating the prompt costs less.
_LONGEST_TREE = 4096
# Entries of float32 logits at once.
_LOGITS_AT_ONCE = 2**24
# What all rows share costs memory in each of them, but no time.
_SHARED_AT_ONCE = 16
# Of a prompt that trees are tried out on, and of each option made up for that.
_CHECKED_TOKENS, _OPTION_TOKENS = 256, 4


@dataclass(frozen=True)
class _Row:
    """What goes through the model in one row: a trunk, then branches that see the trunk and themselves.

    Attributes:
        item: number of the item.
        numbers: of the options within the item.
        options: the options.
        ids: token ids, the last of each option left out, which predicts nothing.
        branches: for each token, 0 in the trunk, else the number of its branch, counted from 1.
        positions: of each token, going on from the trunk's end in every branch.
        wanted: for each token of an option: the option's number, the token, and the place that predicts it.
    """

    item: int
    numbers: tuple[int, ...]
    options: tuple[OptionIds, ...]
    ids: tuple[int, ...]
    branches: npt.NDArray[np.int16]
    positions: npt.NDArray[np.int64]
    wanted: tuple[tuple[int, int, int], ...]

    @property
    def has_branches(self) -> bool:
        """Whether more than causality says what its tokens see."""
        return bool(self.branches.any())

    @property
    def first(self) -> int:
        """The first place that predicts something wanted."""
        return min(place for _, _, place in self.wanted)

    def apart(self) -> list[_Row]:
        """One row an option."""
        return [_row(self.item, [number], [option]) for number, option in zip(self.numbers, self.options, strict=True)]


def _row(item: int, numbers: Sequence[int], options: Sequence[OptionIds]) -> _Row:
    """One row of options of one item.

    Args:
        item: the item's number.
        numbers: the options' numbers within the item.
        options: the options.
    """
    trunk = min(num_shared([option.ids for option in options]), min(len(option.ids) for option in options) - 1)
    ids = list(options[0].ids[:trunk])
    branches, positions = [0] * trunk, list(range(trunk))
    wanted = []
    for branch, (number, option) in enumerate(zip(numbers, options, strict=True), start=1):
        begin = len(ids)
        own = option.ids[trunk:-1]
        ids += own
        # A single branch is the trunk's own continuation.
        branches += [branch if len(options) > 1 else 0] * len(own)
        positions += range(trunk, trunk + len(own))
        for place in range(option.start, len(option.ids)):
            before = place - 1
            wanted.append((number, option.ids[place], before if before < trunk else begin + before - trunk))
    return _Row(
        item=item,
        numbers=tuple(numbers),
        options=tuple(options),
        ids=tuple(ids),
        branches=np.array(branches, np.int16),
        positions=np.array(positions),
        wanted=tuple(wanted),
    )


def num_row_tokens(options: Sequence[OptionIds]) -> int:
    """Tokens that go through the model for the options of one item, at best."""
    return len(_row(0, range(len(options)), options).ids)


def _telling(item: int, prompt: tuple[int, ...], num_options: int) -> _Row:
    """A row for a check: options made of the prompt's own tokens, so long and different that mistaking one shows."""
    known = sorted({*prompt, 0, 1, 2})
    ids = [
        tuple(known[(number * len(known) // num_options + place) % len(known)] for place in range(_OPTION_TOKENS))
        for number in range(num_options)
    ]
    options = [OptionIds((*prompt, *own), len(prompt), False) for own in ids]
    return _row(item, range(num_options), options)


@dataclass(frozen=True)
class _Batch:
    rows: tuple[_Row, ...]
    num_shared: int

    @cached_property
    def width(self) -> int:
        """Tokens of the longest row beyond what all share."""
        return max(len(row.ids) for row in self.rows) - self.num_shared

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens that each row takes, padding included."""
        return (self.width,) * len(self.rows)


class Scorer:
    """Weighs options with a transformers model.

    Args:
        model: the model.
        batch_tokens: tokens in one pass at most, padding included; None: by device.
    """

    def __init__(self, model: Any, batch_tokens: int | None = None) -> None:
        self._model, self._batch_tokens = model, batch_tokens
        self._body = backbone(model)
        self._trust = Trust()
        self._prefix = PrefixKeeper(model)
        self._free, self._switch = free_length(model), switch_length(model)
        self._budget: TokenBudget | None = None

    @property
    def notes(self) -> list[str]:
        """What a reader of results must know."""
        return self._trust.notes

    @torch.inference_mode()
    def logprobs(self, items: Sequence[Sequence[OptionIds]]) -> list[list[float]]:
        """Log-probability of each option of each item: sum over its tokens, nats.

        Args:
            items: options, each with its prompt in front.

        Raises:
            UserError: memory does not suffice for one row.
        """
        if self._budget is None:
            device = input_device(self._body)
            self._budget = TokenBudget(self._batch_tokens, device)
            if device.type == "cpu":  # more than its cache holds only takes longer
                self._budget.tokens = min(self._budget.tokens, TokenBudget(None, device).tokens)
        rows = [row for number, options in enumerate(items) for row in self._rows(number, options)]
        found = self._run_all(rows)
        return [[found[number, option] for option in range(len(options))] for number, options in enumerate(items)]

    def _rows(self, item: int, options: Sequence[OptionIds]) -> list[_Row]:
        """One row where the model allows it, else one an option."""
        tree = _row(item, range(len(options)), options)
        longest = min(self._free, _LONGEST_TREE)
        if not tree.has_branches or (len(tree.ids) <= longest and self._allows_trees(tree)):
            return [tree]
        if len(tree.ids) > longest:
            self._trust.note(f"each option has a row of its own where one row would hold more than {longest} tokens")
        return tree.apart()

    def _run_all(self, rows: Sequence[_Row]) -> dict[tuple[int, int], float]:
        """Every option's log-probability, in as many passes as memory takes."""
        assert self._budget is not None
        found: dict[tuple[int, int], float] = {}
        # The longest first: what does not fit into memory shows at once, not after an hour.
        waiting = sorted(rows, key=lambda row: -len(row.ids))
        shared = self._shared(waiting)
        while waiting:
            batch = _Batch(tuple(waiting[: self._num_together(waiting, shared)]), shared)
            try:
                found.update(self._run(batch))
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            else:
                waiting = waiting[len(batch.rows) :]
                continue
            # Outside of the except clause, whose error holds on to the pass and its memory.
            self._prefix.forget()
            self._budget.halve(batch)
        return found

    def _shared(self, rows: Sequence[_Row]) -> int:
        """Tokens at the beginning of all rows that are computed once."""
        if not rows or len(rows[0].ids) > min(self._free, self._switch or self._free):
            return 0
        shared = self._prefix.length([row.ids[: row.first + 1] for row in rows])
        if not shared:
            return 0
        has_branches = any(row.has_branches for row in rows)
        return shared if self._allows_prefix(rows[0].ids, shared, has_branches) else 0

    def _num_together(self, rows: Sequence[_Row], shared: int) -> int:
        """How many of the rows, which are sorted, go into the next pass."""
        assert self._budget is not None
        width = len(rows[0].ids) - shared
        tokens = self._budget.tokens
        count = max(1, min(len(rows), tokens // width, _SHARED_AT_ONCE * tokens // (width + shared)))
        if self._switch is not None and len(rows[0].ids) > self._switch:
            count = min(count, sum(len(row.ids) > self._switch for row in rows))
        return count

    def _allows_trees(self, tree: _Row) -> bool:
        trunk = tree.ids[: tree.first + 1][:_CHECKED_TOKENS]
        rows = [_telling(number, trunk[: max(1, len(trunk) // number)], 3) for number in (1, 2)]
        return self._trust.allows(
            "put the options of an item in one row",
            lambda: self._difference(rows, 0),
            tolerance_of(self._model),
            "each option has a row of its own",
        )

    def _allows_prefix(self, ids: tuple[int, ...], shared: int, has_branches: bool) -> bool:
        rows = [_telling(number, ids[: shared + number], 3 if has_branches else 1) for number in (1, 3)]
        return self._trust.allows(
            "compute the prompts' common beginning once" + (" and go on in several ways" if has_branches else ""),
            lambda: self._difference(rows, shared),
            tolerance_of(self._model),
            "each prompt is computed whole",
        )

    def _difference(self, rows: Sequence[_Row], shared: int) -> float:
        """Largest difference, of one token, between these rows in one batch and their options one by one."""
        plain = [alone for row in rows for alone in row.apart()]
        expected = [value for alone in plain for value in self._run(_Batch((alone,), 0)).values()]
        found = self._run(_Batch(tuple(rows), shared))
        return largest_difference(
            [found[alone.item, alone.numbers[0]] for alone in plain], expected, [len(alone.wanted) for alone in plain]
        )

    def _run(self, batch: _Batch) -> dict[tuple[int, int], float]:
        """One pass: log-probability of each option in it, by item and option."""
        device, width, shared = input_device(self._body), batch.width, batch.num_shared
        ids = torch.full((len(batch.rows), width), batch.rows[0].ids[-1])
        positions = torch.zeros((len(batch.rows), width), dtype=torch.long)
        branches = np.full((len(batch.rows), width), -1, dtype=np.int16)
        for number, row in enumerate(batch.rows):
            length = len(row.ids) - shared
            ids[number, :length] = torch.tensor(row.ids[shared:])
            positions[number, :length] = torch.from_numpy(row.positions[shared:])
            branches[number, :length] = row.branches[shared:]
        given: dict[str, Any] = {"input_ids": ids.to(device), "use_cache": False}
        # Without branches nothing but causality is needed, of which the model has its own faster way; what rows are
        # filled up with stands behind all that counts.
        if any(row.has_branches for row in batch.rows):
            given["position_ids"] = positions.to(device)
            given["attention_mask"] = self._mask(torch.from_numpy(branches).to(device), shared)
        if shared:
            given["past_key_values"] = self._prefix.expanded(batch.rows[0].ids[:shared], len(batch.rows))
            given["use_cache"] = True
        keys = [(row.item, option) for row in batch.rows for option, _, _ in row.wanted]
        tokens = torch.tensor([token for row in batch.rows for _, token, _ in row.wanted])
        places = torch.tensor(
            [number * width + place - shared for number, row in enumerate(batch.rows) for _, _, place in row.wanted]
        )
        chosen, inverse = torch.unique(places, return_inverse=True)
        logits = self._logits(given, chosen, ids.shape)
        values = _logprobs(logits, inverse.to(logits.device), tokens.to(logits.device)).tolist()
        found: dict[tuple[int, int], float] = {}
        for key, value in zip(keys, values, strict=True):
            found[key] = found.get(key, 0.0) + value
        return found

    def _mask(self, branches: Tensor, shared: int) -> Tensor:
        """What each token adds to its scores for each token before it, `[B, 1, T, shared + T]`.

        Args:
            branches: number of each token's branch, 0: the trunk, below 0: fills a row up `[B, T]`.
            shared: tokens in front that all see.
        """
        count, length = branches.shape
        causal = torch.ones((length, length), dtype=torch.bool, device=branches.device).tril()
        visible = (branches[:, None, :] == 0) | (branches[:, None, :] == branches[:, :, None])
        visible &= causal
        dtype = self._model.dtype
        mask = torch.zeros((count, 1, length, shared + length), dtype=dtype, device=branches.device)
        mask[:, 0, :, shared:].masked_fill_(~visible, torch.finfo(dtype).min)
        return mask

    def _logits(self, given: dict[str, Any], places: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The model's logits at some places only, `[N, V]`.

        Args:
            given: what goes into the model.
            places: of the tokens, counted through all rows `[N]`.
            shape: of the token ids.
        """
        with _only(self._body, places, shape):
            logits: Tensor = self._model(**given).logits
        if logits.shape[:2] == (1, len(places)):
            return logits[0]
        # The head saw all of them: its model is built in another way.
        return logits.flatten(0, 1)[places.to(logits.device)]


@contextmanager
def _only(body: torch.nn.Module, places: Tensor, shape: tuple[int, ...]) -> Iterator[None]:
    """While open, what follows a model's body sees the hidden states of these places only.

    So the head, and whatever else a model does to its logits, stays the model's own code.
    """

    def keep(module: torch.nn.Module, args: Any, output: Any) -> Any:
        hidden = hidden_of(output)
        if hidden.shape[:2] != torch.Size(shape):
            return output
        chosen = hidden.flatten(0, 1)[places.to(hidden.device)][None]
        if isinstance(output, Tensor):
            return chosen
        if isinstance(output, tuple):
            return (chosen, *output[1:])
        output.last_hidden_state = chosen
        return output

    handle = body.register_forward_hook(keep)
    try:
        yield
    finally:
        handle.remove()


def _logprobs(logits: Tensor, rows: Tensor, tokens: Tensor) -> Tensor:
    """Log-probability of each token, float64 on the CPU `[M]`.

    Args:
        logits: `[N, V]`.
        rows: for each token the row of logits that predicts it `[M]`.
        tokens: ids `[M]`.
    """
    wide = torch.promote_types(logits.dtype, torch.float32)
    step = max(1, _LOGITS_AT_ONCE // logits.shape[1])
    sizes = torch.cat([part.to(wide).logsumexp(dim=1) for part in torch.split(logits, step)])
    return (logits[rows, tokens].to(wide) - sizes[rows]).double().cpu()
