"""`bridgex sync`, and a sweep as a user mirrors it: runs, copies, a report, against a server on a loopback port."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bridgex.errors import UserError
from bridgex.lit.wandb_sync import sync
from bridgex.records.mirror import identity_of
from bridgex.records.schema import Status
from tests.fakes.wandb_server import WandbServer
from tests.lit.test_wandb_logger import KEY, make_run, nobody, place_of, read_back  # noqa: F401

FILES = {
    "config.yaml", "log.jsonl", "measures.jsonl", "metrics.json", "predictions.jsonl", "ranking.json", "report.html",
    "status.json",
}  # fmt: skip


def bridgex(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = "from bridgex.commands import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": str(repository)}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def end(folder: Path, **fields: Any) -> Path:
    """A folder whose status.json is as the store writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    known = {"config_hash": "0a1b2c3d", "start": f"2026-01-01T00:00:00.{len(folder.name):03d}+00:00", "host": "h"}
    (folder / "status.json").write_text(Status(**{**known, "pid": 1, **fields}).model_dump_json())  # type: ignore[arg-type]
    return folder


def test_runs_in_any_state_are_mirrored_wherever_the_flags_say(tmp_path: Path) -> None:
    sweep = tmp_path / "grid"
    dead = end(make_run(sweep / "dead_0a1b2c3d"), state="running")
    with (dead / "config.yaml").open("a") as config:
        config.write("logger:\n  name: wandb\n  mode: disabled\n  project: theirs\n  entity: them\n  dir: /not/here\n")
    end(sweep / "failed_0a1b2c3d", state="failed", error="out of memory")
    end(sweep / "never_began", state="failed", config_hash="", error="no such model")
    (sweep / "plan.0a1b2c3d.json").write_text("{}")
    lines = list(sync([sweep], project="mine"))
    assert lines[2] == f"{sweep / 'never_began'}: W&B: nothing was mirrored (the run ended before it began)"
    found = {}
    for line in lines[:2]:
        folder, _, told = line.partition(": ")
        assert told.startswith(f"W&B: offline (no API key), send it with: wandb sync grid/{Path(folder).name}/wandb/")
        (run,) = read_back(place_of(told))["run"]
        found[Path(folder).name] = (run["project"], run.get("entity"), run["run_group"], run["job_type"])
        assert run["run_id"] == identity_of(Path(folder)).run_id  # type: ignore[union-attr]
    assert found == {
        "dead_0a1b2c3d": ("mine", "them", "grid", "evaluate"), "failed_0a1b2c3d": ("mine", None, "grid", "train")
    }  # fmt: skip
    records = read_back(place_of(lines[0].partition(": ")[2]))
    summary = {key: value for record in records["summary"] for key, value in record["update"].items()}
    assert (summary["state"], summary["score/direct"]) == ("interrupted", 0.5)
    assert [record["exit_code"] for record in records["exit"]] == [1]


def test_paths_that_are_no_runs_are_named_and_nothing_is_mirrored(tmp_path: Path, repository: Path) -> None:
    good = end(make_run(tmp_path / "good"), state="done")
    (tmp_path / "empty").mkdir()
    damaged = end(tmp_path / "damaged", state="done")
    (damaged / "status.json").write_text("{")
    with pytest.raises(UserError) as error:
        sync([good, tmp_path / "empty", damaged, tmp_path / "nowhere"])
    assert [problem.partition(": ")[0] for problem in error.value.problems] == [
        str(tmp_path / "empty"), str(damaged), str(tmp_path / "nowhere")
    ]  # fmt: skip
    assert not (good / "wandb").exists()
    done = bridgex(repository, "sync", "good", "empty")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        "error: empty: holds no run (status.json) and no sweep (folders that hold one). "
        "Give the folder of a run, or that of a sweep"
    ]


@pytest.mark.slow
def test_a_sweep_arrives_and_a_copy_of_it_is_the_same(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    command = [
        sys.executable, str(repository / "evaluate.py"), "-m", "pair=qaa-qaf,qab-qac", "task.limit=8",
        "logger=wandb", "logger.entity=someone", "sweep.name=grid", "hydra.sweep.dir=sweep", "cache.dir=cache",
    ]  # fmt: skip
    with WandbServer() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        done = subprocess.run(command, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
        cells = sorted(path.parent for path in Path("sweep").glob("*/status.json"))
        ids = {identity_of(cell).run_id for cell in cells}  # type: ignore[union-attr]
        assert {line for line in done.stdout.splitlines() if "W&B" in line} == {
            f"W&B: {server.url}/someone/bridgex/runs/{run_id}" for run_id in ids
        }
        assert all({path.name for path in cell.iterdir()} >= FILES for cell in cells)
        assert set(server.runs) == ids
        assert {(run["groupName"], run["jobType"]) for run in server.runs.values()} == {("grid", "evaluate")}
        before = {key: len(rows) for key, rows in server.history.items()}

        shutil.copytree("sweep", "laptop/renamed", ignore=shutil.ignore_patterns("wandb"))
        copy = Path("laptop/renamed") / cells[0].name
        synced = bridgex(repository, "sync", str(copy))
        assert (synced.returncode, synced.stderr) == (0, "")
        run_id = identity_of(cells[0]).run_id  # type: ignore[union-attr]
        assert synced.stdout == f"{copy}: W&B: {server.url}/someone/bridgex/runs/{run_id}\n"
        assert set(server.runs) == ids, "a copy is the same run"
        blocks = {key: [row for row in rows if "block" in row] for key, rows in server.history.items()}
        assert all(len(rows) == len({row["block"] for row in rows}) for rows in blocks.values()), "no row is doubled"
        assert before.keys() == server.history.keys()

        told = bridgex(repository, "report", "sweep", "--wandb")
        assert (told.returncode, told.stderr) == (0, "")
    *pages, line = told.stdout.splitlines()
    assert pages[-1] == "sweep/report.html"
    assert line == f"W&B: {server.url}/someone/bridgex/reports/bridgex-sweep-grid--report-1 (a new report)"
    panels = [panel["config"] for panel in panels_of(server.reports["report-1"]["spec"])]
    keys = {key for config in panels for key in [*config.get("metrics", []), *config.get("mediaKeys", [])]}
    assert {"score/direct", "difference", "figures/ranking", "figures/blocks_hsic"} <= keys
    logged = {key for run in server.runs.values() for key in run["summary"]}
    assert keys <= logged, "every panel shows what a run has"
    assert "qaa-qaf" in json.dumps(server.reports["report-1"]["spec"])


def panels_of(spec: dict[str, Any]) -> list[dict[str, Any]]:
    grids = [block for block in spec["blocks"] if block["type"] == "panel-grid"]
    return [panel for grid in grids for panel in grid["metadata"]["panelBankSectionConfig"]["panels"]]
