"""Two and four processes started at once: on one run's folder, on one sweep, and on one cache."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from bench.stress.commands import (
    EVALUATE,
    PATIENCE,
    SWEEP,
    TRAIN,
    Command,
    Ended,
    asked_twice,
    cache_of,
    differences,
    errors_of,
    manner_problems,
    run,
    start,
    unbroken,
)
from bench.stress.outcomes import Bench, Outcome

_OTHERS = ("qac-qad", "qab-qac", "qaa-qaf", "qab-qai")


def start_together(bench: Bench) -> Outcome:
    """Processes that are started within a moment of each other."""
    outcome, chance = Outcome("processes at once"), random.Random(bench.seed)
    for number in (2, 4):
        for command in (EVALUATE, TRAIN) if number == 2 else (EVALUATE,):
            outcome.count(f"{number} processes, one run of {command.name}", _one_run(bench, command, number, chance))
        outcome.count(f"{number} processes, one sweep", _one_sweep(bench, number, chance))
        for told, problems in _one_cache(bench, number, chance):
            outcome.count(f"{number} processes, one cache: {told}", problems)
    return outcome


def _at_once(lines: Sequence[list[str]], chance: random.Random) -> list[Ended]:
    begun, processes = time.monotonic(), []
    for line in lines:
        processes.append(start(line))
        time.sleep(chance.uniform(0, 0.3))
    told = [process.communicate(timeout=PATIENCE) for process in processes]
    seconds = time.monotonic() - begun
    return [Ended(process.returncode, out, err, seconds) for process, (out, err) in zip(processes, told, strict=True)]


def _one_run(bench: Bench, command: Command, number: int, chance: random.Random) -> list[str]:
    place = bench.home / "together" / f"{command.name}-{number}"
    found = _at_once([command.line(place, cache_of(place))] * number, chance)
    problems = [problem for ended in found for problem in manner_problems(ended, 0, 1)]
    winners = [ended for ended in found if ended.status == 0]
    if len(winners) != 1:
        problems.append(f"{len(winners)} of {number} processes ran it")
    for ended in found:
        lines = errors_of(ended)
        if ended.status and not (len(lines) == 1 and "is writing to it" in lines[0]):
            problems.append(f"a process that came too late says {ended.err}")
    return (
        problems
        or differences(command, unbroken(bench, command).place, place)
        or asked_twice(command, place, cache_of(place))
    )


def _one_sweep(bench: Bench, number: int, chance: random.Random) -> list[str]:
    place = bench.home / "together" / f"sweep-{number}"
    line = SWEEP.line(place, cache_of(place))
    found = _at_once([line] * number, chance)
    problems = [problem for ended in found for problem in manner_problems(ended, 0)]
    unfinished = [cell.name for cell in SWEEP.cells(place) if not (cell / "metrics.json").is_file()]
    problems += [f"{name} was left undone by all" for name in unfinished]
    problems += manner_problems(run(line), 0)  # sums up what all of them did
    # Two processes may ask the same prompt at the same moment: cells share prompts, not samples.
    return problems or differences(SWEEP, unbroken(bench, SWEEP).place, place)


def _one_cache(bench: Bench, number: int, chance: random.Random) -> Iterator[tuple[str, list[str]]]:
    """Different runs; what they have in common, such as profiles, is made by whoever comes first."""
    commands = [
        replace(EVALUATE, name=f"evaluate {pair}", overrides=(f"pair={pair}", *EVALUATE.overrides[1:]))
        for pair in _OTHERS[:number]
    ]
    home = bench.home / "together" / f"cache-{number}"
    places: list[Path] = [home / command.name.replace(" ", "-") for command in commands]
    lines = [command.line(place, home / "cache") for command, place in zip(commands, places, strict=True)]
    for command, place, ended in zip(commands, places, _at_once(lines, chance), strict=True):
        whole = unbroken(bench, EVALUATE if command.overrides == EVALUATE.overrides else command).place
        yield command.name, manner_problems(ended, 0) or differences(command, whole, place)
