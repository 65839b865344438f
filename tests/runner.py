"""Runs commands, each in a process of its own that has the heavy imports behind it.

Reads one job a line from standard input, a `Job` as JSON, and answers each with its exit status.
"""

from __future__ import annotations

import atexit
import json
import os
import runpy
import signal
import sys
import traceback
from pathlib import Path
from typing import TypedDict


class Job(TypedDict):
    """One command: its words, where it runs and with what environment, and the files that it prints to."""

    words: list[str]
    folder: str
    environment: dict[str, str]
    output: str
    errors: str


def run(words: list[str]) -> None:
    """A command, as the console would run it."""
    from bridgex import cli, commands

    if words[0] == "bridgex":
        sys.argv = words
        commands.main()
    assert words[0] == "python", words
    sys.argv = words[1:]
    entries = {"evaluate.py": cli.evaluate, "train.py": cli.train}
    if (name := Path(words[1]).name) in entries:
        entries[name]()
    runpy.run_path(words[1], run_name="__main__")


def child(job: Job) -> int:
    """One job, in a process that ends with it."""
    signal.alarm(280)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, job["output"]), (2, job["errors"])):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.chdir(job["folder"])
    os.environ.clear()
    os.environ.update(job["environment"])
    sys.path[:0] = [os.path.abspath(place) for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place]
    try:
        run(job["words"])
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
        return 70
    return 0


def main() -> None:
    """Serves until its input ends."""
    import matplotlib.figure
    import transformers.models.llama.modeling_llama

    import bridgex.pipeline
    import bridgex.report.html
    import bridgex.report.terminal
    import bridgex.training

    assert matplotlib.figure, transformers
    assert bridgex
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            status = child(json.loads(line))
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
