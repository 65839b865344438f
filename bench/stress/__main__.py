"""Breaks runs in every way that can be thought of, and counts what is lost: one JSON line a kind of trouble.

Ends with status 1 if anything was lost. On two quiet cores all of it takes under 15 minutes.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# Before torch is imported: what is measured against each other runs with one thread.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from bench.stress.commands import EVALUATE, PROCESSES, SWEEP, TRAIN, run, unbroken
from bench.stress.outcomes import Bench, Outcome

# Module and function, imported when a kind's turn comes. The longest first: two run at a time.
KINDS = {
    "damage": ("damage", "damage"),
    "signals": ("signals", "interrupt"),
    "together": ("together", "start_together"),
    "full-disk": ("full_disk", "fill"),
    "kill-train": ("kills", "kill_train"),
    "kill-sweep": ("kills", "kill_sweep"),
    "kill-evaluate": ("kills", "kill_evaluate"),
    "memory": ("memory", "run_out"),
    "read-only": ("read_only", "protect"),
    "kill-writers": ("writers", "kill_writers"),
}
FIELDS = """\
Fields of a JSON line:
  kind      of trouble
  tried     how often
  survived  how often everything was as promised: nothing recorded is gone or asked again, the same command goes on and
            ends with the numbers of an unbroken run, or one line says what to do
  lost      tried - survived
  seconds   that it took
  findings  what was not as promised, a line each
  skipped   what could not be tried here, and why; null: all was
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.stress",
        description=__doc__,
        epilog=FIELDS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=0, help="of what is random (default: 0)")
    parser.add_argument("--only", choices=KINDS, help="one kind")
    parser.add_argument("--share", type=float, default=1.0, help="of the trials of each kind (default: 1, all)")
    parser.add_argument("--home", type=Path, help="folder for what is broken, kept; not given: a temporary one")
    options = parser.parse_args()
    slow = float(os.environ.get("BRIDGEX_SLOW_MACHINE", "1"))
    with tempfile.TemporaryDirectory(prefix="bridgex-stress-") as temporary:
        home = Path(options.home or temporary).absolute()
        home.mkdir(parents=True, exist_ok=True)
        bench = Bench(home, options.seed, options.share, slow)
        if options.only:
            outcome = _kind(options.only)(bench)
            print(outcome.line(), flush=True)
            return 1 if outcome.lost else 0
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda command: unbroken(bench, command), (TRAIN, EVALUATE, SWEEP, PROCESSES)))
            return max(pool.map(lambda kind: _in_process(kind, bench), KINDS))


def _kind(name: str) -> Callable[[Bench], Outcome]:
    module, function = KINDS[name]
    found: Callable[[Bench], Outcome] = getattr(importlib.import_module(f"bench.stress.{module}"), function)
    return found


def _in_process(kind: str, bench: Bench) -> int:
    """Runs one kind in a process of its own, and passes its line on."""
    options = ["--seed", str(bench.seed), "--share", str(bench.share), "--home", str(bench.home)]
    ended = run([sys.executable, "-m", "bench.stress", "--only", kind, *options], patience=None)
    if not ended.out.strip():
        failed = Outcome(kind)
        failed.count("the bench itself", [ended.err[-3000:]])
        print(failed.line(), flush=True)
        return 1
    print(ended.out.strip(), flush=True)
    return ended.status


if __name__ == "__main__":
    sys.exit(main())
