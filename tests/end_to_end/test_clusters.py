"""Sweeps by a cluster's scheduler: jobs of several cells, taken away and begun again."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.conftest import Run
from tests.end_to_end.test_sweep import bridgex, read, recorded, tables
from tests.fakes.slurm import fail_node, make_slurm, reach_time_limit

SWEEP = ("-m", "pair=qaa-qaf,qac-qad", "bridge=overlap,hsic", "engine.batch_tokens=60")


@pytest.fixture(scope="module")
def unbroken(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sweep as one process runs it."""
    place = tmp_path_factory.mktemp("unbroken")
    subprocess.run(
        [sys.executable, str(repository / "evaluate.py"), *SWEEP, f"hydra.sweep.dir={place / 'sweep'}",
         f"cache.dir={place / 'cache'}"],
        check=True, cwd=place, capture_output=True,
    )  # fmt: skip
    return place / "sweep"


def differences(found: Any, expected: Any, place: str = "") -> list[str]:
    """Where two records differ by more than the order in which processes add up what they read."""
    if isinstance(expected, dict) and isinstance(found, dict) and found.keys() == expected.keys():
        return [line for key in expected for line in differences(found[key], expected[key], f"{place}/{key}")]
    if isinstance(expected, list) and isinstance(found, list) and len(found) == len(expected):
        pairs = enumerate(zip(found, expected, strict=True))
        return [line for number, pair in pairs for line in differences(*pair, f"{place}[{number}]")]
    is_same = math.isclose(found, expected, rel_tol=1e-6, abs_tol=1e-9) if isinstance(expected, float) else False
    return [] if is_same or found == expected else [f"{place}: {found} and not {expected}"]


@pytest.mark.slow
def test_jobs_of_several_cells_come_to_what_one_process_comes_to(command: Run, unbroken: Path, tmp_path: Path) -> None:
    arguments = [*SWEEP, "hydra/launcher=submitit_local", "sweep.cells_per_job=2", "sweep.name=local"]
    done = command(*arguments, f"cache.dir={tmp_path / 'own'}")
    assert "2 jobs for 4 cells; how far they are: bridgex status" in done.stdout
    assert "4 cells: 4 done" in done.stdout
    sweep = tmp_path / "outputs" / "sweeps" / "local"
    assert differences(tables(sweep), tables(unbroken)) == []
    pids = {read(path)["pid"] for path in sweep.glob("*/status.json")}
    assert len(pids) == 2, "two processes, each with two cells"
    again = command(*arguments, f"cache.dir={tmp_path / 'own'}")
    assert "4 cells: 4 done" in again.stdout


@pytest.mark.slow
@pytest.mark.parametrize("take_away", [fail_node, reach_time_limit])
def test_slurm_takes_a_machine_away_and_nothing_is_lost(
    take_away: Callable[[Path, str], None],
    unbroken: Path,
    repository: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slurm = tmp_path / "slurm"
    monkeypatch.setenv("PATH", f"{make_slurm(slurm)}{os.pathsep}{os.environ['PATH']}")
    sweep = tmp_path / "sweep"
    line = [
        sys.executable, str(repository / "evaluate.py"), *SWEEP, "hydra/launcher=slurm", "sweep.cells_per_job=2",
        "hydra.launcher.partition=gpu", f"hydra.sweep.dir={sweep}", f"cache.dir={tmp_path / 'own'}",
    ]  # fmt: skip
    with subprocess.Popen(line, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            limit = time.monotonic() + 120
            while recorded(sweep) < 4000 and time.monotonic() < limit:
                time.sleep(0.01)
            shown = ""
            while "running" not in shown and time.monotonic() < limit:  # between two cells nothing is
                shown = bridgex("status", str(sweep)).stdout
            take_away(slurm, "1000_0")
            out, _ = process.communicate(timeout=240)
        finally:
            process.kill()
    assert process.returncode == 0, out
    assert "4 cells: 4 done" in out
    assert "running" in shown
    assert json.loads((slurm / "1000_0.running").read_text())[1] == 1, "it was begun again"
    assert differences(tables(sweep), tables(unbroken)) == []
    for path in sweep.glob("*/predictions.jsonl"):
        keys = [(found["route"], found["id"]) for found in map(json.loads, path.read_text().splitlines())]
        assert len(keys) == len(set(keys))
    script = next((sweep / ".submitit").rglob("*.sh")).read_text()
    assert "--partition=gpu" in script
    assert "--signal=USR2@120" in script


def test_a_launcher_that_is_not_there_is_one_line(command: Run, tmp_path: Path) -> None:
    done = command("-m", "pair=qaa-qaf,qac-qad", "hydra/launcher=slum", status=1)
    assert done.stderr == (
        "error: hydra/launcher=slum: not allowed (nearest: slurm). Allowed: basic, ray, slurm, submitit_local, "
        "submitit_slurm\n"
    )
    done = command("-m", "pair=qaa-qaf,qac-qad", "hydra/launcher=slurm", status=1)
    assert done.stderr.startswith("error: hydra/launcher=slurm: RuntimeError: Could not detect")
    assert not (tmp_path / "outputs" / "sweeps" / "default" / "summary.json").exists()


@pytest.mark.slow
def test_ray_comes_to_the_same(command: Run, unbroken: Path, tmp_path: Path) -> None:
    """Opt-in: pip install 'bridgex[ray]'."""
    pytest.importorskip("hydra_plugins.hydra_ray_launcher", reason="ray is not installed")
    done = command(
        *SWEEP, "hydra/launcher=ray", "+hydra.launcher.ray.init.num_cpus=2", "sweep.cells_per_job=2", "sweep.name=ray",
        f"cache.dir={tmp_path / 'own'}",
    )  # fmt: skip
    assert "4 cells: 4 done" in done.stdout
    assert differences(tables(tmp_path / "outputs" / "sweeps" / "ray"), tables(unbroken)) == []


@pytest.mark.slow
def test_two_processes_and_torchruns_come_to_what_one_comes_to(command: Run, repository: Path, tmp_path: Path) -> None:
    """Ranking to 1e-4 relative and in the same order, predictions and metrics equal."""
    one, ddp, torchrun = (tmp_path / name for name in ("one", "ddp", "torchrun"))
    own = ["bridge=hsic", "trainer.accelerator=cpu"]
    command(*own, f"hydra.run.dir={one}", f"cache.dir={tmp_path / 'c1'}")
    command(*own, "trainer=ddp", f"hydra.run.dir={ddp}", f"cache.dir={tmp_path / 'c2'}")
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", str(repository / "evaluate.py"), *own,
         f"hydra.run.dir={torchrun}", f"cache.dir={tmp_path / 'c3'}"],
        cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for other in (ddp, torchrun):
        assert read(other / "status.json")["device"] == "cpu, 2 processes"
        assert read(other / "metrics.json") == read(one / "metrics.json")
        first, second = (read(folder / "ranking.json")["strategies"]["hsic"]["scores"] for folder in (one, other))
        assert list(first) == list(second)
        for code, score in first.items():
            assert score["rank"] == second[code]["rank"]
            assert second[code]["score"] == pytest.approx(score["score"], rel=1e-4)
        answers = [
            sorted(
                (found["route"], found["id"], found["answer"])
                for found in map(json.loads, (folder / "predictions.jsonl").read_text().splitlines())
            )
            for folder in (one, other)
        ]
        assert answers[0] == answers[1]
    refused = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", str(repository / "train.py")],
        cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert refused.returncode != 0
    assert "error: torchrun: fine-tuning runs on one device" in refused.stderr
