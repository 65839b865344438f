from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bridgex.errors import UserError
from bridgex.records import store
from bridgex.records.schema import Metrics, RouteScore
from bridgex.records.sweep import cells_of, write_summary


def config(pair: str) -> dict[str, Any]:
    return {"model": {"name": "m"}, "pair": {"name": pair}, "task": {"name": "bli"}, "bridge": {"name": "hsic"}}


def test_every_cell_has_a_row_whatever_became_of_it(tmp_path: Path) -> None:
    score = RouteScore(score=0.5, ci95=(0.1, 0.9), n=2, misses={})
    with store.RunFolder.open(tmp_path / "a", config("en-de")) as run:
        run.finish(
            Metrics(
                task="bli", pair="en-de", model="m", n=2, metric="accuracy", chance=None, majority=0.5,
                routes={"direct": score},
            )
        )  # fmt: skip
    with pytest.raises(UserError), store.RunFolder.open(tmp_path / "b", config("en-fr")):
        raise UserError("file.txt:3: broken")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "status.json").write_text("{")
    (tmp_path / "not a cell").mkdir()
    cells = cells_of(tmp_path)
    assert [cell.name for cell in cells] == ["a", "b", "c"]
    rows = write_summary(tmp_path, cells).cells
    assert [(row.state, row.pair, row.scores, row.error) for row in rows] == [
        ("done", "en-de", {"direct": 0.5}, None),
        ("failed", "en-fr", {}, "file.txt:3: broken"),
        ("interrupted", "", {}, "status.json is missing or damaged"),
    ]
    assert rows[0].seconds is not None
    assert rows[0].seconds >= 0
    assert (tmp_path / "summary.json").is_file()
