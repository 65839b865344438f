"""SIGTERM and Ctrl-C at random moments: gone within seconds, with everything that was started, and gone on with."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import psutil

from bench.stress.commands import (
    EVALUATE,
    PROCESSES,
    SWEEP,
    TRAIN,
    Command,
    Ended,
    asked_twice,
    cache_of,
    differences,
    manner_problems,
    run,
    start,
    unbroken,
)
from bench.stress.outcomes import Bench, Outcome

_SECONDS_TO_END = 5.0
# From the last thing that is done to the end of the process.
_SECONDS_OF_LAST = 1.0
_STATUS = {signal.SIGTERM: 143, signal.SIGINT: 130}


def interrupt(bench: Bench) -> Outcome:
    """Each command, by both signals in turn, again and again."""
    outcome = Outcome("SIGTERM and Ctrl-C")
    for command in (EVALUATE, TRAIN, SWEEP, PROCESSES):
        for told, problems in _interrupted(bench, command):
            outcome.count(told, problems)
    return outcome


def _interrupted(bench: Bench, command: Command) -> list[tuple[str, list[str]]]:
    whole, place = unbroken(bench, command), bench.home / "signals" / command.name.replace(" ", "-")
    chance = random.Random(f"{bench.seed} {command.name}")
    wanted, found, sent = bench.trials(6), list[tuple[str, list[str]]](), 0
    for attempt in range(3 * wanted):
        if sent == wanted:
            break
        which = (signal.SIGTERM, signal.SIGINT)[sent % 2]
        after = chance.uniform(0.1, 0.9) * whole.seconds
        ended, seconds, left = _signalled(command.line(place, cache_of(place)), which, after)
        if seconds is None:  # it was done before the moment came
            place = place.with_name(f"{command.name.replace(' ', '-')}-{attempt}")
            continue
        sent += 1
        problems = _manners(ended, which) + [f"still there: {name}" for name in left]
        if seconds > _SECONDS_TO_END * bench.slow:
            problems.append(f"gone after {seconds:.1f} s")
        problems += _states(command, place) + asked_twice(command, place, cache_of(place))
        found.append((f"{command.name}, {which.name} after {after:.2f} s", problems))
    ended = run(command.line(place, cache_of(place)))
    problems = manner_problems(ended, 0) or differences(command, whole.place, place)
    if problems:
        found.append((f"{command.name} after {sent} signals", problems))
    return found


def _signalled(line: list[str], which: signal.Signals, after: float) -> tuple[Ended, float | None, list[str]]:
    """Sends a signal after some time: how it ended, how long that took, and which of its processes are left."""
    process = start(line)
    try:
        out, err = process.communicate(timeout=after)
        return Ended(process.returncode, out, err, after), None, []
    except subprocess.TimeoutExpired:
        pass
    others = psutil.Process(process.pid).children(recursive=True)
    begun = time.monotonic()
    if which is signal.SIGINT:
        os.killpg(process.pid, which)  # as a terminal sends it
    else:
        process.send_signal(which)
    try:
        out, err = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        err += "\nstill running after 60 s"
    seconds = time.monotonic() - begun
    _, alive = psutil.wait_procs(others, timeout=2)
    left = [f"{other.pid} {' '.join(other.cmdline())[:80]}" for other in alive]
    for other in alive:
        other.kill()
    return Ended(process.returncode, out, err, seconds), seconds, left


def _manners(ended: Ended, which: signal.Signals) -> list[str]:
    """Before a command has read its keys Python itself ends it; a shell shows the same status for both."""
    status = 128 - ended.status if ended.status < 0 else ended.status
    if status == 0 and ended.seconds < _SECONDS_OF_LAST:  # it came after the last thing was done
        return []
    return manner_problems(Ended(status, ended.out, ended.err, ended.seconds), _STATUS[which])


def _states(command: Command, place: Path) -> list[str]:
    """A run that no process is at work at must not say that it runs."""
    problems = []
    for cell in command.cells(place):
        path = cell / "status.json"
        state = json.loads(path.read_bytes())["state"] if path.is_file() else None
        if state not in (None, "interrupted", "done"):
            problems.append(f"{cell.name}/status.json says {state}")
        problems += [f"{cell.name} is still claimed by {path.name}" for path in cell.glob(".owner.*")]
    return problems
