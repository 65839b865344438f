"""Exit statuses, and how what goes wrong becomes lines on stderr and one of them."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from bridgex.errors import UserError

USER_MISTAKE, OUR_BUG, INTERRUPTED, TERMINATED = 1, 70, 130, 143


def guard(run: Callable[[], object], errors: list[str] | None = None) -> int:
    """Runs, and turns what goes wrong into lines on stderr (and on a list) and an exit status."""
    errors = [] if errors is None else errors
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        run()
        return 0
    except UserError as error:
        errors += error.problems
        for line in error.problems:
            print(f"error: {line}", file=sys.stderr)
        if os.environ.get("BRIDGEX_TRACEBACK"):
            traceback.print_exc()
        return USER_MISTAKE
    except KeyboardInterrupt:
        print("interrupted; a run goes on with the same hydra.run.dir, a sweep with the same command", file=sys.stderr)
        return INTERRUPTED
    except _Terminated:
        return TERMINATED
    except Exception as error:
        errors.append(f"{type(error).__name__}: {error}")
        print(
            f"error: a fault in bridgex: {type(error).__name__}: {error}. Please report it with this:", file=sys.stderr
        )
        traceback.print_exc()
        return OUR_BUG
    finally:
        signal.signal(signal.SIGTERM, previous)


class _Terminated(BaseException):
    """SIGTERM arrived; not an Exception, so that nothing on the way takes it for a failure."""


def _terminate(signum: int, frame: FrameType | None) -> NoReturn:
    raise _Terminated("stopped by SIGTERM")
