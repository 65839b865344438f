from __future__ import annotations

import os
import socket
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from bridgex.records import store
from bridgex.records.claim import SILENCE, Owner
from bridgex.records.plan import Plan, PlannedCell, planned_cells, read_plan, write_plan
from bridgex.records.progress import progress_of
from bridgex.records.schema import Status
from bridgex.records.sweep import cells_of


def plan(*names: str, **owner: Any) -> Plan:
    cells = [PlannedCell(cell=name, model="m", overrides=[f"pair={name}"], problems=[]) for name in names]
    return Plan(entry="evaluate", owner=Owner.here().model_copy(update=owner), cells=cells)


def stamp(ago: float) -> str:
    return (datetime.now(timezone.utc) - timedelta(seconds=ago)).isoformat(timespec="milliseconds")


def cell(sweep: Path, name: str, state: str, began: float = 100.0, ended: float | None = None, **more: Any) -> Path:
    folder = sweep / name
    folder.mkdir(parents=True)
    start = stamp(began)
    fields: dict[str, Any] = {
        "state": state, "config_hash": "0" * 8, "start": start, "resumed": start, "host": "node7",
        "pid": 12, "end": None if ended is None else stamp(ended), **more,
    }  # fmt: skip
    (folder / "status.json").write_text(Status(**fields).model_dump_json())
    return folder


def beat(folder: Path, ago: float = 0.0, host: str = "node7") -> None:
    owner = Owner.here().model_copy(update={"host": host})
    path = folder / ".owner.1"
    path.write_text(owner.model_dump_json())
    os.utime(path, (time.time() - ago, time.time() - ago))


def test_a_command_has_one_plan_however_often_it_is_given(tmp_path: Path) -> None:
    first = write_plan(tmp_path / "sweep", plan("a", "b"))
    assert write_plan(tmp_path / "sweep", plan("a", "b", host="other", start="2027")) == first
    assert write_plan(tmp_path / "sweep", plan("a", "c")) != first
    found = read_plan(first)
    assert found is not None
    assert ([c.cell for c in found.cells], found.owner.host) == (["a", "b"], "other")
    first.write_text("{")
    assert read_plan(first) is None


def test_cells_of_an_earlier_command_count_once_begun_or_while_it_runs(tmp_path: Path) -> None:
    cell(tmp_path, "begun", "failed", ended=1.0)
    write_plan(tmp_path, plan("begun", "never", start="2026-01-01", pid_start=1.0))
    write_plan(tmp_path, plan("also", start="2026-01-02"))  # this process: it lives
    write_plan(tmp_path, plan("new", start="2026-01-03", pid_start=1.0))
    assert sorted(planned_cells(tmp_path, cells_of(tmp_path))) == ["also", "begun", "new"]


def test_every_planned_cell_has_a_state_also_those_of_other_machines(tmp_path: Path) -> None:
    write_plan(tmp_path, plan("done", "runs", "gone", "failed", "left", "damaged", pid_start=1.0))
    cell(tmp_path, "done", "done", began=100, ended=40)
    beat(cell(tmp_path, "runs", "running", began=30), ago=5)
    beat(cell(tmp_path, "gone", "running"), ago=SILENCE + 60)
    cell(tmp_path, "failed", "failed", ended=1.0, error="no such file")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "status.json").write_text("{")
    found = progress_of(tmp_path)
    assert [(c.cell, c.state) for c in found.cells] == [
        ("done", "done"), ("runs", "running"), ("gone", "interrupted"), ("failed", "failed"), ("left", "left"),
        ("damaged", "interrupted"),
    ]  # fmt: skip
    assert found.counts == {"done": 1, "running": 1, "interrupted": 2, "failed": 1, "left": 1}
    assert not found.is_over


def test_the_end_is_expected_at_the_rate_of_what_is_done(tmp_path: Path) -> None:
    """Two done in 60 s each, one of five running for 20 s: 40 + 4 x 60 s of work for one process."""
    names = [f"left{number}" for number in range(4)]
    write_plan(tmp_path, plan("one", "two", "runs", *names, pid_start=1.0))
    cell(tmp_path, "one", "done", began=200, ended=140)
    cell(tmp_path, "two", "done", began=100, ended=40)
    beat(cell(tmp_path, "runs", "running", began=20))
    found = progress_of(tmp_path).expected_end()
    assert found is not None
    end, num_cells = found
    assert num_cells == 2
    assert (end - datetime.now(timezone.utc)).total_seconds() == pytest.approx(280, abs=5)


def test_a_run_that_was_gone_on_with_says_nothing_of_the_rate(tmp_path: Path) -> None:
    write_plan(tmp_path, plan("one", "runs", pid_start=1.0))
    cell(tmp_path, "one", "done", began=9000, ended=140, resumed=stamp(150))
    beat(cell(tmp_path, "runs", "running"))
    assert progress_of(tmp_path).expected_end() is None


def test_what_fails_before_it_begins_has_its_config_and_its_reason(tmp_path: Path) -> None:
    config = {"pair": {"name": "en-de"}}
    store.write_failure(tmp_path / "cell", config, "no such language")
    status = store.read_status(tmp_path / "cell")
    assert status is not None
    assert (status.state, status.error, status.host) == ("failed", "no such language", socket.gethostname())
    assert (tmp_path / "cell" / "config.yaml").read_text() == "pair:\n  name: en-de\n"
    before = status
    time.sleep(0.002)
    store.write_failure(tmp_path / "cell", config, "another reason")
    status = store.read_status(tmp_path / "cell")
    assert status is not None
    assert status.error == "another reason"
    assert (status.end or "") > (before.end or ""), "this failure is a new one"
