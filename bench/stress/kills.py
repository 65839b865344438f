"""kill -9 of whole commands, at random moments of their whole life."""

from __future__ import annotations

import random
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator

from bench.stress.commands import (
    EVALUATE,
    SWEEP,
    TRAIN,
    Command,
    asked_twice,
    cache_of,
    differences,
    manner_problems,
    recorded,
    run,
    start,
    unbroken,
)
from bench.stress.outcomes import Bench, Outcome


def kill_evaluate(bench: Bench) -> Outcome:
    """A run of evaluate.py."""
    return _kill(bench, EVALUATE)


def kill_train(bench: Bench) -> Outcome:
    """A run of train.py."""
    return _kill(bench, TRAIN)


def kill_sweep(bench: Bench) -> Outcome:
    """A sweep of six cells."""
    return _kill(bench, SWEEP)


def _kill(bench: Bench, command: Command) -> Outcome:
    """A whole command, killed over its whole life, each time followed by the same command."""
    outcome = Outcome(f"kill -9 of {command.name}")
    for told, problems in _killed(bench, command, bench.trials(10)):
        outcome.count(told, problems)
    return outcome


def _killed(bench: Bench, command: Command, wanted: int) -> Iterator[tuple[str, list[str]]]:
    whole = unbroken(bench, command)
    chance = random.Random(f"{bench.seed} {command.name}")
    killed = folder = 0
    while killed < wanted:
        place = bench.home / "killed" / f"{command.name}-{folder}"
        folder += 1
        before: Counter[tuple[str, bytes]] = Counter()
        is_over = False
        while not is_over and killed < wanted:
            after = chance.uniform(0, whole.seconds)
            process = start(command.line(place, cache_of(place)))
            try:
                _, err = process.communicate(timeout=after)
                if process.returncode != -signal.SIGKILL:
                    is_over = True
                    if process.returncode:
                        yield f"{command.name} after {killed} kills", [err[-1500:]]
                    continue
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
            killed += 1
            now = recorded(command, place)
            problems = [f"{cell}: a recorded line is gone: {line[:80]!r}" for cell, line in before - now]
            yield f"{command.name} killed after {after:.2f} s", problems + asked_twice(command, place, cache_of(place))
            before = now
        ended = run(command.line(place, cache_of(place)))
        problems = manner_problems(ended, 0) or differences(command, whole.place, place)
        if problems := problems + asked_twice(command, place, cache_of(place)):
            yield f"{command.name} after {killed} kills", problems
