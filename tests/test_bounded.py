"""A function in a process of its own: its answer, its end, and its limit."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import psutil
import pytest

from bridgex import bounded

SLOW = float(os.environ.get("BRIDGEX_SLOW_MACHINE", "1"))


def shout(request: str) -> str:
    print("noise on stdout")
    print("noise on stderr", file=sys.stderr)
    return f"{request.upper()} in {os.environ['BRIDGEX_BOUNDED_DIR']}"


def stumble(request: str) -> str:
    raise ValueError(f"no {request}\nin two lines")


def leave(request: str) -> str:
    os._exit(3)


def hang(request: str) -> str:
    import subprocess

    subprocess.Popen([sys.executable, "-c", f"import time; marker = {request!r}; time.sleep(60)"])
    time.sleep(60)
    return "never"


def test_the_answer_comes_back_and_nothing_else_does(capfd: pytest.CaptureFixture[str]) -> None:
    outcome = bounded.call(f"{__name__}:shout", "héllo\n", dict(os.environ), 30 * SLOW)
    assert outcome.answer is not None
    said, _, place = outcome.answer.partition(" in ")
    assert said == "HÉLLO\n"
    assert not Path(place).exists(), "its folder goes with it"
    assert (outcome.trouble, outcome.is_late) == ("", False)
    assert capfd.readouterr() == ("", "")


def test_an_end_without_an_answer_is_told_in_its_last_words() -> None:
    assert bounded.call(f"{__name__}:stumble", "luck", dict(os.environ), 30 * SLOW).trouble == "in two lines"
    assert bounded.call(f"{__name__}:leave", "", dict(os.environ), 30 * SLOW).trouble == "exit status 3"


def test_the_limit_ends_it_and_what_it_has_started() -> None:
    marker, start = f"bounded-{os.getpid()}-{time.time_ns()}", time.perf_counter()
    outcome = bounded.call(f"{__name__}:hang", marker, dict(os.environ), 2.0)
    assert time.perf_counter() - start < 10 * SLOW
    assert outcome == bounded.Outcome(None, "not done after 2 s", is_late=True)
    deadline = time.perf_counter() + 10
    while left := [process for process in psutil.process_iter() if has(process, marker)]:
        assert time.perf_counter() < deadline, left
        time.sleep(0.1)


def has(process: psutil.Process, marker: str) -> bool:
    try:
        return any(marker in part for part in process.cmdline())
    except psutil.Error:
        return False
