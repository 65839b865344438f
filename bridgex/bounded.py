"""A function in a process of its own that a time limit ends: for libraries that print, wait or never come back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

# The child finds the same modules as this process, however this one was started.
_CODE = "import json, sys; sys.path[:] = json.loads(sys.argv[3]); from bridgex.bounded import serve; serve()"


class Outcome(NamedTuple):
    """What came of a call.

    Attributes:
        answer: what the function returned; None: it did not come to an end.
        trouble: why not, in words of one line; of a call that ended, empty.
        is_late: whether the time limit ended it.
    """

    answer: str | None
    trouble: str = ""
    is_late: bool = False


def call(function: str, request: str, environment: Mapping[str, str], limit: float) -> Outcome:
    """Calls a function of one text that returns a text, in a new process; nothing that it prints is shown.

    Args:
        function: `module:name`.
        request: its argument.
        environment: of the process, beside which it has a folder of its own, named by `BRIDGEX_BOUNDED_DIR`.
        limit: seconds after which the process and all that it has started are ended.
    """
    with tempfile.TemporaryDirectory(prefix="bridgex-", ignore_cleanup_errors=True) as place:
        said, answer = Path(place, "said"), Path(place, "answer")
        with said.open("wb") as output:  # not a pipe: what the child has started may hold it open for longer
            process = subprocess.Popen(
                [sys.executable, "-c", _CODE, function, str(answer), json.dumps([str(path) for path in sys.path])],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env={**environment, "BRIDGEX_BOUNDED_DIR": place},
                start_new_session=True,  # no terminal to ask on, and no Ctrl-C that was not meant for it
            )
            try:
                process.communicate(request.encode(), timeout=limit)
            except subprocess.TimeoutExpired:
                return Outcome(None, f"not done after {limit:.0f} s", is_late=True)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        if answer.exists():
            return Outcome(answer.read_text(encoding="utf-8"))
        last = said.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        return Outcome(None, " ".join(last) or f"exit status {process.returncode}")


def serve() -> None:
    """What the new process does: the request comes by stdin, the answer goes to the file that it is told."""
    module, _, name = sys.argv[1].partition(":")
    function: Callable[[str], str] = getattr(import_module(module), name)
    answer = function(sys.stdin.buffer.read().decode())
    # Written whole: the process may be ended at any point.
    Path(sys.argv[2] + ".part").write_text(answer, encoding="utf-8")
    os.replace(sys.argv[2] + ".part", sys.argv[2])
