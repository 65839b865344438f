"""Runs commands of the pages, each in a process of its own that has the heavy imports behind it.

Reads one job a line from standard input (JSON: words, folder, variables, output), answers each with its exit status.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import traceback
from typing import Any


def run(words: list[str]) -> None:
    """A command, as the console would run it."""
    from bridgex import cli, commands

    if words[0] == "bridgex":
        sys.argv = words
        commands.main()
    assert words[0] == "python", words
    sys.argv = words[1:]
    entries = {"evaluate.py": cli.evaluate, "train.py": cli.train}
    if words[1] in entries:
        entries[words[1]]()
    runpy.run_path(words[1], run_name="__main__")


def child(job: dict[str, Any]) -> int:
    """One job, in a process that ends with it."""
    output = os.open(job["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(job["folder"])
    os.environ.update(job["variables"])
    sys.path[:0] = [str(os.path.abspath(place)) for place in job["variables"].get("PYTHONPATH", "").split(":") if place]
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
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
