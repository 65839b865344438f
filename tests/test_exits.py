"""What goes wrong becomes lines and an exit status; what memory or a disk did is no fault of ours."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import time

import hydra
import pytest

from bridgex import cli, sweeping
from bridgex.errors import UserError
from bridgex.exits import INTERRUPTED, OUR_BUG, TERMINATED, USER_MISTAKE, guard
from bridgex.signals import HeldSignals


def raising(error: BaseException) -> int:
    def run() -> None:
        raise error

    return guard(run)


class OutOfMemoryError(RuntimeError):
    """As torch's."""


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("one", "two"), "error: one\nerror: two\n"),
        (MemoryError(), "error: memory does not suffice (MemoryError). Give more of it"),
        (
            OutOfMemoryError("CUDA out of memory. Tried\nto allocate"),
            "error: memory does not suffice (CUDA out of memory. T",
        ),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
            "error: memory does not suffice ([enforce fail] DefaultCPUAllocator",
        ),
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/x.json"),
            "error: /data/x.json: No space left on device. Put that right, and the same command goes on with the run\n",
        ),
        (OSError(errno.EIO, os.strerror(errno.EIO)), "error: a disk: Input/output error. Put that right"),
    ],
)
def test_what_the_user_can_mend_is_lines(capsys: pytest.CaptureFixture[str], error: Exception, line: str) -> None:
    assert raising(error) == USER_MISTAKE
    said = capsys.readouterr().err
    assert said.startswith(line)
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "error", [RuntimeError("size mismatch"), FileNotFoundError(errno.ENOENT, "No such file", "x"), ValueError("x")]
)
def test_other_errors_are_ours(capsys: pytest.CaptureFixture[str], error: Exception) -> None:
    assert raising(error) == OUR_BUG
    assert "error: a fault" in capsys.readouterr().err


def test_ctrl_c_says_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert raising(KeyboardInterrupt()) == INTERRUPTED
    assert capsys.readouterr().err.startswith("interrupted; a run goes on with the same hydra.run.dir")


class Swallowing:
    """An object in whose destructor a signal arrives."""

    def __init__(self, which: signal.Signals) -> None:
        self._which = which

    def __del__(self) -> None:
        signal.raise_signal(self._which)


@pytest.mark.parametrize(("which", "status"), [(signal.SIGINT, INTERRUPTED), (signal.SIGTERM, TERMINATED)])
def test_a_signal_within_a_destructor_is_heard(which: signal.Signals, status: int) -> None:
    hook, went_on = sys.unraisablehook, []

    def run() -> None:
        Swallowing(which)
        went_on.append(True)  # Python lets no error out of a destructor
        time.sleep(30)

    begun = time.monotonic()
    assert guard(run) == status
    assert went_on
    assert time.monotonic() - begun < 10
    assert sys.unraisablehook is hook


def test_another_thread_leaves_held_signals_as_they_are() -> None:
    with HeldSignals() as held:
        keeps = signal.getsignal(signal.SIGINT)

        def run() -> None:
            with held.released():
                found.append(signal.getsignal(signal.SIGINT))

        found: list[object] = []
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        assert found == [keeps] == [signal.getsignal(signal.SIGINT)]


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_held_signals_arrive_at_the_end(which: signal.Signals) -> None:
    before, done = signal.getsignal(which), []

    def run() -> None:
        with HeldSignals() as held:
            os.kill(os.getpid(), which)
            done.append("first")
            with held.released():
                done.append("never")

    assert guard(run) == {signal.SIGINT: INTERRUPTED, signal.SIGTERM: TERMINATED}[which]
    assert done == ["first"]
    assert signal.getsignal(which) == before


def test_ctrl_c_between_check_and_job_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def compose() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            raise AttributeError("as OmegaConf does") from None

    monkeypatch.setattr(sys, "argv", ["evaluate.py"])
    monkeypatch.setattr(cli, "_check", lambda entry, arguments: None)
    monkeypatch.setattr(sweeping, "is_ours", lambda command: False)
    monkeypatch.setattr(hydra, "main", lambda **keys: lambda job: compose)
    with pytest.raises(SystemExit) as stop:
        cli.evaluate()
    assert stop.value.code == 130
    assert capsys.readouterr().err.startswith("interrupted; a run goes on")
