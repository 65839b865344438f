"""Exit statuses, and how what goes wrong becomes lines on stderr and one of them."""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from sysconfig import get_paths
from types import FrameType
from typing import Any, NoReturn

from bridgex.errors import UserError
from bridgex.shown import LastResort, say, shown_lines

# What torch says where an allocation fails: torch itself is not imported here.
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
# Full, over a quota, too large a file, not to be written, broken, gone from the network, not ours.
_OF_DISKS = (
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.ESTALE, errno.EACCES, errno.EPERM
)  # fmt: skip

USER_MISTAKE, OUR_BUG, INTERRUPTED, TERMINATED = 1, 70, 130, 143
_LAST_RESORT = LastResort()
# For a destructor in which a signal came.
_SECONDS_TO_LEAVE = 0.05


def guard(run: Callable[[], object], errors: list[str] | None = None, cell: str = "") -> int:
    """Runs, and turns what goes wrong into lines on stderr and an exit status.

    Args:
        run: what to run.
        errors: gets the lines too, each without its beginning.
        cell: what is run, one of many: the lines begin with it, and a traceback is not for the terminal.
    """
    begin = f"error: {cell}: " if cell else "error: "
    errors = [] if errors is None else errors
    logging.lastResort = _LAST_RESORT
    previous = signal.getsignal(signal.SIGTERM)
    # A scheduler's own handler stays: it puts the job back into its queue. Another thread cannot have one.
    is_ours = previous in (signal.SIG_DFL, _terminate) and threading.current_thread() is threading.main_thread()
    if is_ours:
        signal.signal(signal.SIGTERM, _terminate)
    try:
        with _heard():
            run()
        return 0
    except KeyboardInterrupt:
        say("interrupted; a run goes on with the same hydra.run.dir, a sweep with the same command", is_error=True)
        return INTERRUPTED
    except _Terminated:
        return TERMINATED
    except Exception as error:
        lines = error.problems if isinstance(error, UserError) else _lines_of_machine(error)
        if lines:
            errors += lines
            for line in lines:
                say(f"{begin}{line}", is_error=True)
            if os.environ.get("BRIDGEX_TRACEBACK"):
                _show_traceback()
            return USER_MISTAKE
        told = f"{type(error).__name__}: {error}"
        place = _place_outside(error)
        errors.append(told if place is None else f"{place}: {told}")
        whose = "a fault in bridgex" if place is None else f"a fault at {place}"
        report = ". Please report it with this" if place is None else ""
        is_shown = not cell or bool(os.environ.get("BRIDGEX_TRACEBACK"))
        say(f"{begin}{whose}: {told}{report}{':' if is_shown else ' (log.jsonl says where)'}", is_error=True)
        if is_shown:
            _show_traceback()
        return OUR_BUG
    finally:
        if is_ours:
            signal.signal(signal.SIGTERM, previous)


def _show_traceback() -> None:
    sys.stderr.write(shown_lines(traceback.format_exc()))


def _lines_of_machine(error: Exception) -> tuple[str, ...]:
    """What to do where memory or a disk fails in a place that expects no failure; empty: it is another error."""
    words = " ".join(str(error).split())[:200]
    is_runtime = isinstance(error, RuntimeError) and any(said in words for said in _OUT_OF_MEMORY)
    if isinstance(error, MemoryError) or is_runtime:
        reason = words or type(error).__name__
        return (
            f"memory does not suffice ({reason}). Give more of it, a smaller model, model.dtype=bfloat16 or a lower "
            f"task.limit; the same command goes on with the run",
        )
    if isinstance(error, OSError) and error.errno in _OF_DISKS:
        place = error.filename or "a disk"
        return (f"{place}: {error.strerror}. Put that right, and the same command goes on with the run",)
    return ()


def _place_outside(error: BaseException) -> str | None:
    """File and line of a user's own code, if that is where an error comes from; None: it comes from here."""
    here, installed = Path(__file__).resolve().parent, {Path(path).resolve() for path in get_paths().values()}
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename).resolve()
        if here in file.parents:
            return None
        if file.is_file() and not installed & set(file.parents):
            return f"{frame.filename}:{frame.lineno}"
    return None


class _Terminated(BaseException):
    """SIGTERM arrived; not an Exception, so that nothing on the way takes it for a failure."""


@contextmanager
def _heard() -> Iterator[None]:
    """Has Ctrl-C and SIGTERM arrive again where they came within a destructor, out of which Python lets no error."""
    before = sys.unraisablehook

    def again(lost: Any) -> None:
        which = {KeyboardInterrupt: signal.SIGINT, _Terminated: signal.SIGTERM}.get(lost.exc_type)
        if which is None:
            before(lost)
        else:
            threading.Timer(_SECONDS_TO_LEAVE, os.kill, (os.getpid(), which)).start()

    sys.unraisablehook = again
    try:
        yield
    finally:
        sys.unraisablehook = before


def _terminate(signum: int, frame: FrameType | None) -> NoReturn:
    raise _Terminated("stopped by SIGTERM")
