"""Greedy continuation of many prompts at once; rows that have ended leave the batch."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bridgex.evaluation.engines.passes import (
    PrefixKeeper,
    Trust,
    free_length,
    largest_difference,
    tolerance_of,
)
from bridgex.extract.extractor import is_out_of_memory
from bridgex.extract.limits import TokenBudget
from bridgex.extract.loading import Encoder, LoadedModel
from bridgex.extract.sites import backbone, input_device

# Prompt and answer tokens of what is answered at once, on the CPU: a step of few rows takes about as long as of many.
_TOKENS_ON_CPU = 16_384
# Prompt tokens that begin at once, there: what its cache holds, and prompts of like length only.
_CHUNK_ON_CPU = 512
# Of a prompt that a way of generating is tried out on.
_CHECKED_TOKENS = 256
# Tokens that one character may be made of.
_LONGEST_CHARACTER = 8
_NEVER = re.compile(r"(?!)")


@dataclass(frozen=True)
class Task:
    """A prompt to be continued.

    Attributes:
        ids: its token ids.
        max_tokens: generated tokens at most.
        stop: generation ends as soon as this is found in the generated text.
    """

    ids: tuple[int, ...]
    max_tokens: int
    stop: re.Pattern[str]


@dataclass
class Said:
    """What a row has said so far.

    Attributes:
        ids: generated tokens.
        logprobs: of each, nats.
        is_complete: it ended at its stop pattern or an end token.
    """

    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    is_complete: bool = False


class Stream:
    """Text of a growing list of tokens, of which only the last few are decoded again.

    Args:
        encoder: decodes.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._ids: list[int] = []
        self._done, self._known = "", ""
        # Tokens before `_start` are done with; those from there on that `_known` is the text of give what follows its
        # form, as a word's first token decides on the space before it.
        self._start = self._read = 0

    def add(self, token: int) -> str:
        """The text with one more token."""
        self._ids.append(token)
        text = self._encoder.decode(self._ids[self._start :])
        new = text[len(self._known) :]
        is_whole = not text.endswith("\ufffd") or len(self._ids) - self._read > _LONGEST_CHARACTER
        if not new or not is_whole:
            return self._done + new
        self._done += new
        self._start, self._read = self._read, len(self._ids)
        self._known = self._encoder.decode(self._ids[self._start :])
        return self._done


class Row:
    """A prompt that is being continued.

    A stop pattern that matches the end of a line would end at once an answer that begins with one, as those of chat
    models do: after a chat template, patterns are searched for behind the white space that an answer begins with.

    Args:
        number: of the task among all.
        task: the task.
        loaded: decodes, and knows which tokens end an answer.

    Attributes:
        said: what has been said.
    """

    def __init__(self, number: int, task: Task, loaded: LoadedModel) -> None:
        self.number, self.task, self.said = number, task, Said()
        self._stream, self._ends = Stream(loaded.encoder), loaded.end_ids
        self._is_chat = loaded.encoder.uses_chat_template

    def add(self, token: int, logprob: float) -> bool:
        """Takes the next token, and says whether it is the last one."""
        said = self.said
        said.ids.append(token)
        said.logprobs.append(logprob)
        text = self._stream.add(token)
        text = text.lstrip() if self._is_chat else text
        said.is_complete = token in self._ends or self.task.stop.search(text) is not None
        return said.is_complete or len(said.ids) >= self.task.max_tokens


@dataclass(frozen=True)
class _Sizes:
    """Tokens that each row of a batch takes, padding included."""

    lengths: tuple[int, ...]


@dataclass
class _State:
    """What goes into the model next.

    Attributes:
        ids: token ids `[B, T]`: those not yet computed, or all where nothing is kept.
        mask: 1 for what counts, 0 for what fills rows up, of all tokens so far `[B, length]`; None: all count.
        positions: of `ids` `[B, T]`; None: the model counts itself.
        length: tokens so far, what fills rows up among them.
        cache: keys and values of what is computed; None: nothing yet, or nothing is kept.
        is_kept: what is computed is kept.
        alive: places of the rows that go on, where the others cannot be taken out; None: all go on.
    """

    ids: Tensor
    mask: Tensor | None
    positions: Tensor | None
    length: int
    cache: Any
    is_kept: bool
    alive: Tensor | None = None

    def keep(self, places: list[int]) -> None:
        """Goes on with these rows only, counted among those that go on so far."""
        chosen = torch.tensor(places, device=self.ids.device)
        layers = getattr(self.cache, "layers", [self.cache])
        if self.is_kept and not all(hasattr(layer, "batch_select_indices") for layer in layers):
            self.alive = chosen if self.alive is None else self.alive[chosen]
            return
        if self.is_kept:
            self.cache.batch_select_indices(chosen)
        self.ids = self.ids[chosen]
        self.mask = None if self.mask is None else self.mask[chosen]
        self.positions = None if self.positions is None else self.positions[chosen]

    def append(self, tokens: Tensor) -> None:
        """Adds a token to each row that goes on `[B]`."""
        if self.alive is not None:
            tokens = self.ids.new_zeros(len(self.ids)).index_copy(0, self.alive, tokens)
        new = tokens[:, None]
        self.length += 1
        if self.mask is not None:
            self.mask = torch.cat([self.mask, torch.ones_like(new)], dim=1)
        following = None if self.positions is None else self.positions[:, -1:] + 1
        if self.is_kept:
            self.ids, self.positions = new, following
            return
        self.ids = torch.cat([self.ids, new], dim=1)
        if following is not None:
            assert self.positions is not None
            self.positions = torch.cat([self.positions, following], dim=1)

    @property
    def can_absorb(self) -> bool:
        """Whether other rows can come in: keys and values lie open, one for each token."""
        if not self.is_kept:
            return True
        layers = getattr(self.cache, "layers", [None])
        return self.alive is None and all(type(layer).__name__ == "DynamicLayer" for layer in layers)

    def absorb(self, other: _State) -> None:
        """Goes on with the other's rows, too, which come last."""
        first, second = self._explicit(), other._explicit()
        length = max(self.length, other.length)
        mask = torch.cat([_pad_left(part[1], length) for part in (first, second)])
        begin = int(mask.any(dim=0).nonzero()[0, 0])  # what fills up all rows is let go
        own = 1 if self.is_kept else length  # tokens of a row that are still to be computed
        ids, positions = (
            torch.cat([_pad_left(part[kind], own) for part in (first, second)])[:, 0 if self.is_kept else begin :]
            for kind in (0, 2)
        )
        if self.is_kept:
            merged = []
            for mine, others in zip(self.cache.layers, other.cache.layers, strict=True):
                for name in ("keys", "values"):
                    parts = [_pad_left(getattr(layer, name), length - 1, dim=2) for layer in (mine, others)]
                    merged.append((mine, name, torch.cat(parts)[:, :, begin:]))
            for layer, name, states in merged:  # not before all of them have found room
                setattr(layer, name, states)
        self.ids, self.mask, self.positions, self.length = ids, mask[:, begin:], positions, length - begin

    def _explicit(self) -> tuple[Tensor, Tensor, Tensor]:
        """Ids, mask and positions, also where the model would count itself."""
        count, num_ids = self.ids.shape
        mask = self.ids.new_ones(count, self.length) if self.mask is None else self.mask
        positions = torch.arange(self.length - num_ids, self.length, device=self.ids.device).expand(count, num_ids)
        return self.ids, mask, positions if self.positions is None else self.positions


def _pad_left(values: Tensor, length: int, dim: int = 1) -> Tensor:
    """Filled up with zeros in front, along one dimension."""
    missing = length - values.shape[dim]
    if missing == 0:
        return values
    shape = [*values.shape[:dim], missing, *values.shape[dim + 1 :]]
    return torch.cat([values.new_zeros(shape), values], dim=dim)


@dataclass
class _Live:
    """Rows that are being continued together."""

    rows: list[Row]
    state: _State


class Generator:
    """Continues prompts greedily with a transformers model.

    Args:
        loaded: model and encoder.
        pad_id: the id that rows are filled up with.
        batch_tokens: prompt and answer tokens in one batch at most, padding included; None: by device.
    """

    def __init__(self, loaded: LoadedModel, pad_id: int, batch_tokens: int | None = None) -> None:
        self._model: Any = loaded.model
        self._loaded, self._pad_id = loaded, pad_id
        self._batch_tokens = batch_tokens
        self._body = backbone(loaded.model)
        self._trust = Trust()
        self._prefix = PrefixKeeper(loaded.model)
        self._free = free_length(loaded.model)
        self._takes = frozenset(inspect.signature(loaded.model.forward).parameters)
        self._keeps = self._joins = True
        self._chunk_tokens = 0
        self._budget: TokenBudget | None = None

    @property
    def notes(self) -> list[str]:
        """What a reader of results must know."""
        return self._trust.notes

    @torch.inference_mode()
    def complete(self, tasks: Sequence[Task]) -> list[Said]:
        """Continues every prompt until its stop pattern, an end token, or its number of tokens.

        Raises:
            UserError: memory does not suffice for one row.
        """
        if self._budget is None:
            device = input_device(self._body)
            is_cpu = device.type == "cpu"
            self._budget = TokenBudget(self._batch_tokens or (_TOKENS_ON_CPU if is_cpu else None), device)
            self._chunk_tokens = _CHUNK_ON_CPU if is_cpu else self._budget.tokens
        found: dict[int, Said] = {}
        # The longest first: what does not fit into memory shows at once, not after an hour.
        waiting = sorted(range(len(tasks)), key=lambda number: -len(tasks[number].ids))
        shared = self._shared([tasks[number] for number in waiting])
        live: _Live | None = None
        while waiting or live is not None:
            chunk: Sequence[Task] = ()
            tried = _Sizes((len(tasks[waiting[0]].ids),) if live is None else (live.state.length,) * len(live.rows))
            try:
                chunk = self._chunk([tasks[number] for number in waiting], shared, live)
                if chunk:
                    tried = _sizes(chunk, shared)
                    live = _joined(live, self._begin(waiting[: len(chunk)], chunk, shared, found))
                elif live is not None:
                    live = self._advance(live, found)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            else:
                waiting = waiting[len(chunk) :]
                continue
            # Outside of the except clause, whose error holds on to the pass and its memory. What was being continued
            # begins anew: its keys and values may be half of one step and half of the next.
            if live is not None:
                if chunk:
                    tried = _Sizes((*tried.lengths, *(live.state.length for _ in live.rows)))
                again = [*waiting, *(row.number for row in live.rows)]
                waiting, live = sorted(again, key=lambda number: -len(tasks[number].ids)), None
            self._prefix.forget()
            self._budget.halve(tried)
        return [found[number] for number in range(len(tasks))]

    def _shared(self, tasks: Sequence[Task]) -> int:
        """Tokens at the beginning of all prompts that are computed once."""
        if not tasks or max(len(task.ids) + task.max_tokens for task in tasks) > self._free:
            return 0
        shared = self._prefix.length([task.ids for task in tasks])
        if not shared or not self._allows_cache(tasks[0]):
            return 0
        ids = tasks[0].ids
        rows = [_checked(ids[: shared + 3], 1), _checked(ids[: shared + 1], 3)]
        is_right = self._allows(
            "compute the prompts' common beginning once", [rows], "each prompt is computed whole", shared
        )
        return shared if is_right else 0

    def _chunk(self, tasks: Sequence[Task], shared: int, live: _Live | None) -> Sequence[Task]:
        """Which of the waiting tasks, sorted by the length of their prompts, begin next; none: not now.

        Prompts of like length begin together, and then join those that are being answered.
        """
        assert self._budget is not None
        if not tasks:
            return tasks
        self._allows_cache(tasks[0])
        width = len(tasks[0].ids) - shared
        most = max(1, min(self._chunk_tokens if self._joins else self._budget.tokens, self._budget.tokens) // width)
        count = 0
        for task in tasks[:most]:
            if len(task.ids) != len(tasks[0].ids) and not self._allows_padding(tasks[0], task):
                break
            count += 1
        answer = max(task.max_tokens for task in tasks[:count])
        if live is None:
            return tasks[: max(1, min(count, self._budget.tokens // (width + answer)))]
        length = max(live.state.length, shared + width) + max(answer, *(row.task.max_tokens for row in live.rows))
        self._joins = self._joins and live.state.can_absorb and self._allows_joining(tasks[0])
        has_room = (len(live.rows) + count) * length <= self._budget.tokens
        return tasks[:count] if self._joins and has_room else tasks[:0]

    def _allows_cache(self, task: Task) -> bool:
        rows = [_checked(task.ids[:_CHECKED_TOKENS], 3)]
        self._keeps = self._allows("go on from what is computed", [rows], "each token takes a pass over all before it")
        return self._keeps

    def _allows_padding(self, longer: Task, shorter: Task) -> bool:
        ids = longer.ids[:_CHECKED_TOKENS]
        rows = [_checked(ids, 1), _checked(shorter.ids[: max(1, len(ids) // 2)], 3)]
        return self._allows("fill prompts up to one length", [rows], "prompts of one length only go together")

    def _allows_joining(self, task: Task) -> bool:
        ids = task.ids[:_CHECKED_TOKENS]
        if len(ids) < 2 or "position_ids" not in self._takes:
            return False
        half = ids[: len(ids) // 2]
        chunks = [[_checked(half, 2), _checked(half, 4)], [_checked(ids, 1), _checked(ids, 3)], [_checked(half, 3)]]
        return self._allows("begin prompts while others are answered", chunks, "a batch is answered before the next")

    def _allows(self, way: str, chunks: Sequence[Sequence[Task]], otherwise: str, shared: int = 0) -> bool:
        return self._trust.allows(
            way, lambda: self._difference(chunks, shared), tolerance_of(self._model), f"generation: {otherwise}"
        )

    def _difference(self, chunks: Sequence[Sequence[Task]], shared: int) -> float:
        """Largest difference of a token's log-probability from each prompt alone, all its tokens in one pass.

        Args:
            chunks: prompts that begin one chunk after the other, a token apart.
            shared: tokens at the beginning of all.
        """
        said: dict[int, Said] = {}
        live: _Live | None = None
        tasks = [task for chunk in chunks for task in chunk]
        for place, chunk in enumerate(chunks):
            start = sum(map(len, chunks[:place]))
            live = _joined(live, self._begin(range(start, start + len(chunk)), chunk, shared, said))
            live = None if live is None else self._advance(live, said)
        while live is not None:
            live = self._advance(live, said)
        found, expected = list[float](), list[float]()
        for number, task in enumerate(tasks):
            ids = torch.tensor([[*task.ids, *said[number].ids]], device=input_device(self._body))
            logits = self._model(input_ids=ids, use_cache=False).logits[0, len(task.ids) - 1 : -1].double()
            tokens = torch.tensor(said[number].ids, device=logits.device)
            expected += (logits.gather(1, tokens[:, None])[:, 0] - logits.logsumexp(dim=1)).tolist()
            found += said[number].logprobs
        return largest_difference(found, expected, [1] * len(found))

    def _begin(
        self, numbers: Sequence[int], tasks: Sequence[Task], shared: int, found: dict[int, Said]
    ) -> _Live | None:
        """Computes prompts and the first token of each; None: none goes on.

        Args:
            numbers: of the tasks.
            tasks: what begins.
            shared: tokens at the beginning of all.
            found: takes what is said by those that end.
        """
        device = input_device(self._body)
        rows = [task.ids[shared:] for task in tasks]
        width = max(map(len, rows))
        ids = torch.tensor([[self._pad_id] * (width - len(row)) + list(row) for row in rows], device=device)
        mask = positions = None
        if any(len(row) < width for row in rows):
            mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
            positions = shared + (mask.cumsum(dim=1) - 1).clamp(min=0)
            mask = torch.cat([mask.new_ones(len(rows), shared), mask], dim=1)
        cache = self._prefix.expanded(tasks[0].ids[:shared], len(rows)) if shared else None
        state = _State(ids, mask, positions, shared + width, cache, is_kept=self._keeps)
        live = [Row(number, task, self._loaded) for number, task in zip(numbers, tasks, strict=True)]
        return self._advance(_Live(live, state), found)

    def _advance(self, live: _Live, found: dict[int, Said]) -> _Live | None:
        """One token more for each row; None: none goes on."""
        best, logprobs = self._step(live.state)
        said = zip(live.rows, best.tolist(), logprobs.tolist(), strict=True)
        going = [place for place, (row, *new) in enumerate(said) if not row.add(*new)]
        rows = [live.rows[place] for place in going]
        found.update((row.number, row.said) for place, row in enumerate(live.rows) if place not in set(going))
        if not rows:
            return None
        if len(rows) < len(live.rows):
            live.state.keep(going)
            best = best[going]
        live.state.append(best)
        return _Live(rows, live.state)

    def _step(self, state: _State) -> tuple[Tensor, Tensor]:
        """The best next token of each row that goes on, and its log-probability, both `[B]`."""
        given: dict[str, Any] = {"input_ids": state.ids, "use_cache": state.is_kept}
        if state.cache is not None:
            given["past_key_values"] = state.cache
        if state.mask is not None:
            given["attention_mask"] = state.mask
        if state.positions is not None and "position_ids" in self._takes:
            given["position_ids"] = state.positions
        if "logits_to_keep" in self._takes:
            given["logits_to_keep"] = 1
        output = self._model(**given)
        if state.is_kept:
            state.cache = output.past_key_values
        logits = output.logits[:, -1] if state.alive is None else output.logits[state.alive, -1]
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        highest, best = wide.max(dim=-1)
        return best.to(state.ids.device), highest - wide.logsumexp(dim=-1)


def _joined(live: _Live | None, new: _Live | None) -> _Live | None:
    """Both together."""
    if live is None or new is None:
        return new if live is None else live
    live.state.absorb(new.state)
    return _Live([*live.rows, *new.rows], live.state)


def _sizes(tasks: Sequence[Task], shared: int) -> _Sizes:
    width = max((len(task.ids) + task.max_tokens for task in tasks), default=0)
    return _Sizes((width - shared,) * len(tasks))


def _checked(ids: tuple[int, ...], max_tokens: int) -> Task:
    """A prompt that a way of generating is tried out on."""
    return Task(ids, max_tokens, _NEVER)
