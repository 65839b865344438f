"""Exit statuses, and how what goes wrong becomes lines on stderr and one of them."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from sysconfig import get_paths
from types import FrameType
from typing import NoReturn

from bridgex.errors import UserError

USER_MISTAKE, OUR_BUG, INTERRUPTED, TERMINATED = 1, 70, 130, 143


def guard(run: Callable[[], object], errors: list[str] | None = None, cell: str = "") -> int:
    """Runs, and turns what goes wrong into lines on stderr and an exit status.

    Args:
        run: what to run.
        errors: gets the lines too, each without its beginning.
        cell: what is run, one of many: the lines begin with it, and a traceback is not for the terminal.
    """
    begin = f"error: {cell}: " if cell else "error: "
    errors = [] if errors is None else errors
    previous = signal.getsignal(signal.SIGTERM)
    # A scheduler's own handler stays: it puts the job back into its queue. Another thread cannot have one.
    is_ours = previous in (signal.SIG_DFL, _terminate) and threading.current_thread() is threading.main_thread()
    if is_ours:
        signal.signal(signal.SIGTERM, _terminate)
    try:
        run()
        return 0
    except UserError as error:
        errors += error.problems
        for line in error.problems:
            print(f"{begin}{line}", file=sys.stderr)
        if os.environ.get("BRIDGEX_TRACEBACK"):
            traceback.print_exc()
        return USER_MISTAKE
    except KeyboardInterrupt:
        print("interrupted; a run goes on with the same hydra.run.dir, a sweep with the same command", file=sys.stderr)
        return INTERRUPTED
    except _Terminated:
        return TERMINATED
    except Exception as error:
        told = f"{type(error).__name__}: {error}"
        place = _place_outside(error)
        errors.append(told if place is None else f"{place}: {told}")
        whose = "a fault in bridgex" if place is None else f"a fault at {place}"
        report = ". Please report it with this" if place is None else ""
        is_shown = not cell or bool(os.environ.get("BRIDGEX_TRACEBACK"))
        print(f"{begin}{whose}: {told}{report}{':' if is_shown else ' (log.jsonl says where)'}", file=sys.stderr)
        if is_shown:
            traceback.print_exc()
        return OUR_BUG
    finally:
        if is_ours:
            signal.signal(signal.SIGTERM, previous)


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


def _terminate(signum: int, frame: FrameType | None) -> NoReturn:
    raise _Terminated("stopped by SIGTERM")
