"""A page's files: answers that are gone from predictions.jsonl are missed, whatever else is whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridgex.report.html import write_run_page
from bridgex.report.run_files import read_run
from tests.report import made_up


@pytest.mark.parametrize("num_lost", [0, 1, 7])
def test_lost_answers_are_counted(tmp_path: Path, num_lost: int) -> None:
    right = [True] * 10
    folder = made_up.compare_run(tmp_path / "run", predictions=made_up.answers(right, {"en": right, "it": right}))
    path = folder / "predictions.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    metrics = read_run(folder).metrics
    assert metrics is not None
    assert sum(route.n for route in metrics.routes.values()) == len(lines)
    path.write_text("".join(lines[num_lost:]), encoding="utf-8")
    said = f"predictions.jsonl lacks {num_lost} of the {len(lines)} answers that metrics.json counts"
    assert read_run(folder).problems == ((said,) if num_lost else ())
    assert (said in write_run_page(folder).read_text(encoding="utf-8")) is bool(num_lost)
