"""A SLURM of one machine: as much of sbatch, srun, sacct, scontrol and scancel as submitit uses."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import psutil

_COMMON = """#!{python}
import json, os, re, signal, subprocess, sys, time
from pathlib import Path
place = Path({place!r})
"""
_SBATCH = """
script = Path(sys.argv[-1])
job = str(1000 + len(list(place.glob("*.job"))))
(place / (job + ".job")).write_text(str(script))
found = re.search(r"#SBATCH --array=0-(\\d+)", script.read_text())
for task in range(int(found[1]) + 1 if found else 1):
    subprocess.Popen([sys.executable, str(place / "bin" / "slurmd"), job, str(task), str(script)],
                     stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                     start_new_session=True)
print("Submitted batch job " + job)
"""
# Runs one task, and again as often as it is put back into the queue: by scontrol, or by a node that fails.
_SLURMD = """
job, task, script = sys.argv[1:]
name = place / (job + "_" + task)
restarts = 0
while True:
    number = str(int(job) * 100 + int(task))
    told = dict(SLURM_JOB_ID=number, SLURM_ARRAY_JOB_ID=job, SLURM_ARRAY_TASK_ID=task, SLURM_ARRAY_TASK_COUNT="2",
                SLURM_NTASKS="1", SLURM_PROCID="0", SLURM_LOCALID="0", SLURM_NODEID="0", SLURM_JOB_NUM_NODES="1",
                SLURM_JOB_NODELIST="node", SLURM_JOB_NAME="evaluate")
    if restarts:
        told["SLURM_RESTART_COUNT"] = str(restarts)
    process = subprocess.Popen(["bash", script], env={**os.environ, **told}, start_new_session=True)
    name.with_suffix(".running").write_text(json.dumps([process.pid, restarts]))
    status = process.wait()
    again = name.with_suffix(".again")
    if again.exists():
        again.unlink()
        restarts += 1
        continue
    name.with_suffix(".ended").write_text("COMPLETED" if status == 0 else "FAILED")
    break
"""
_SRUN = """
rest = sys.argv[1:]
while rest[0].startswith("-"):
    rest = rest[1:] if "=" in rest[0] or rest[0] in ("--unbuffered",) else rest[2:]
os.execvp(rest[0], rest)
"""
_SACCT = """
print("JobID|State|NodeList")
for path in sorted(place.glob("*.running")):
    ended = path.with_suffix(".ended")
    print(path.stem + "|" + (ended.read_text() if ended.exists() else "RUNNING") + "|node")
"""
_SCONTROL = """
assert sys.argv[1] == "requeue"
(place / (sys.argv[2] + ".again")).write_text("")
"""


def make_slurm(place: Path) -> Path:
    """Makes the commands; returns the folder that belongs in front of PATH."""
    binaries = place / "bin"
    binaries.mkdir(parents=True)
    head = _COMMON.format(python=sys.executable, place=str(place))
    for name, body in {
        "sbatch": _SBATCH, "slurmd": _SLURMD, "srun": _SRUN, "sacct": _SACCT, "scontrol": _SCONTROL, "scancel": ""
    }.items():  # fmt: skip
        path = binaries / name
        path.write_text(head + body)
        path.chmod(0o755)
    return binaries


def fail_node(place: Path, name: str) -> None:
    """What SLURM does when it takes a machine away: the task's processes are killed, and it begins again."""
    (place / f"{name}.again").write_text("")
    os.killpg(_pid(place, name), signal.SIGKILL)


def reach_time_limit(place: Path, name: str) -> None:
    """What SLURM does some time before the limit: the task gets a signal, upon which it has itself put back."""
    psutil.Process(_pid(place, name)).children(recursive=True)[-1].send_signal(signal.SIGUSR2)


def _pid(place: Path, name: str) -> int:
    pid, _ = json.loads((place / f"{name}.running").read_text())
    assert isinstance(pid, int)
    return pid
