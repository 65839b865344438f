"""Memory that runs out at random calls: halves where that can be, one line where it cannot, the same numbers after."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import LlamaModel

from bench.stress.commands import (
    EVALUATE,
    TRAIN,
    Command,
    cache_of,
    differences,
    errors_of,
    manner_problems,
    unbroken,
)
from bench.stress.inside import run_inside
from bench.stress.outcomes import Bench, Outcome

_ERRORS: tuple[Callable[[], Exception], ...] = (
    lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    MemoryError,
    lambda: RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
)
# Of so few texts are the passes that try out what a model allows, and that fail only where nothing fits.
_TRIED_OUT = 6
# Of numbers that follow from float32 passes of other sizes.
_ROUNDING = 1e-4
ASKED = replace(EVALUATE, name="asking", overrides=("pair=qac-qad", "task.limit=12", "bridge.hsic.orders=1"))
SCORED = replace(
    EVALUATE,
    name="scoring",
    overrides=(
        "task=nli", "pair=qac-qad", "task.limit=9", "bridge=fixed", "bridge.language=qaa"
    ),
)  # fmt: skip


@dataclass
class Calls:
    """Calls of a function, some of which fail.

    Attributes:
        count: so far.
        failed: of these.
    """

    count: int = 0
    failed: int = 0


def run_out(bench: Bench) -> Outcome:
    """Memory runs out in asking, in reading neurons, in reading representations and in training."""
    outcome, chance = Outcome("out of memory"), random.Random(bench.seed)
    for command in (ASKED, SCORED):
        for number in range(bench.trials(5)):
            told = f"{command.name}, one pass in {2 + number}"
            outcome.count(told, _halved(bench, command, chance, number))
    for command in (ASKED, SCORED, TRAIN):
        for number in range(bench.trials(3)):
            outcome.count(f"{command.name}, every pass from one on", _refused(bench, command, chance, number))
    return outcome


def _halved(bench: Bench, command: Command, chance: random.Random, number: int) -> list[str]:
    """Passes of more than a few texts fail, the first and more now and then; answers are as in an undisturbed run."""
    place = _fresh(bench)
    with _failing(
        lambda calls, texts: texts > _TRIED_OUT and (not calls.failed or chance.random() < 1 / (2 + number)), number
    ) as calls:
        ended = run_inside(command, place, cache_of(place))
    if not calls.failed:
        return [f"nothing failed in {calls.count} passes"]
    return manner_problems(ended, 0) or _other_answers(bench, command, place)


def _other_answers(bench: Bench, command: Command, place: Path) -> list[str]:
    """Which files say something else; numbers may differ in the last digits, which depend on the size of a batch."""
    whole = unbroken(bench, command).place
    found = []
    for name in ("metrics.json", "ranking.json", "predictions.jsonl"):
        expected, got = (
            [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]
            if name.endswith("l")
            else json.loads((folder / name).read_bytes())
            for folder in (whole, place)
        )
        if (key := _unlike(expected, got)) is not None:
            found.append(f"{name} differs from an undisturbed run's at {key}")
    return found


def _unlike(one: Any, other: Any, key: str = "") -> str | None:
    """Where two records differ, but for their checksums, seconds and rounding; None: nowhere."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        parts = [(f"{key}.{name}", one[name], other[name]) for name in one if name not in ("check", "seconds")]
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        parts = [(f"{key}[{number}]", *pair) for number, pair in enumerate(zip(one, other, strict=True))]
    elif isinstance(one, float) and isinstance(other, float):
        return None if abs(one - other) <= _ROUNDING * max(1.0, abs(one)) else key
    else:
        return None if one == other else key
    return next((found for part in parts if (found := _unlike(part[1], part[2], part[0])) is not None), None)


def _refused(bench: Bench, command: Command, chance: random.Random, number: int) -> list[str]:
    """From a random pass on nothing fits: one line, and the same command goes on when it does."""
    whole, place = unbroken(bench, command).place, _fresh(bench)
    first = chance.randrange(20)
    with _failing(lambda calls, texts: calls.count > first, number) as calls:
        ended = run_inside(command, place, cache_of(place))
    if not calls.failed:
        return [f"nothing failed in {calls.count} passes"]
    problems = manner_problems(ended, 1)
    if not problems and (len(errors_of(ended)) != 1 or "memory" not in ended.err):
        problems.append(f"not one line that speaks of memory: {ended.err}")
    ended = run_inside(command, place, cache_of(place))
    return problems + (manner_problems(ended, 0) or differences(command, whole, place))


@contextmanager
def _failing(is_failing: Callable[[Calls, int], bool], number: int) -> Iterator[Calls]:
    """Lets passes through the toy world's model fail.

    Args:
        is_failing: gets the calls so far, this one counted, and how many texts are in it.
        number: of the trial, which chooses the error.
    """
    calls, forward = Calls(), LlamaModel.forward

    def disturbed(self: nn.Module, *given: Any, **named: Any) -> Any:
        ids = named.get("input_ids", given[0] if given else None)
        positions = named.get("position_ids")
        texts = len(ids) if ids is not None else 1
        if positions is not None and texts == 1:  # texts that are packed in one row begin at 0
            texts = int((positions == 0).sum())
        calls.count += 1
        if is_failing(calls, texts):
            calls.failed += 1
            raise _ERRORS[number % len(_ERRORS)]()
        return forward(self, *given, **named)

    LlamaModel.forward = disturbed  # type: ignore[method-assign]
    try:
        yield calls
    finally:
        LlamaModel.forward = forward  # type: ignore[method-assign]


def _fresh(bench: Bench) -> Path:
    place = bench.home / "memory" / "run"
    shutil.rmtree(place, ignore_errors=True)
    shutil.rmtree(cache_of(place), ignore_errors=True)
    return place
