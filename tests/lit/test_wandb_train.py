"""What W&B gets of a run of train.py, and that a run of evaluate.py gets none of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bridgex.lit.wandb_train import drift_by_block, train_sheets, train_summary
from tests.lit.test_wandb_logger import mirror, nobody, place_of, read_back, rows_of, tables  # noqa: F401

METRICS = {
    "loss": 0.5, "steps": 9, "freeze": "none", "depth": 0.9, "survives": "nothing", "base_fingerprint": "ab",
    "transfer": {
        "en": {"score": 0.8, "ci95": [0.7, 0.9], "n": 9, "gap": None},
        "de": {"score": 0.6, "ci95": [0.5, 0.7], "n": 9, "gap": 0.2},
        "sw": {"score": 0.4, "ci95": [0.3, 0.5], "n": 9, "gap": 0.4},
    },
    "drift": {"en": {"1": 0.1, "2": 0.3}, "de": {"1": 0.2}},
    "controls": {"chance": 0.33, "majority": 0.33, "hypothesis_only": None, "untrained": {"de": 0.3}, "fertility": {}},
    "distances": {"syntactic": {"de": 0.1}},
    "relations": [{"relation": "drift ~ distance", "kind": "syntactic", "block": 1, "spearman": -0.5, "ci95": None}],
}  # fmt: skip


def test_the_summary_has_scores_gaps_and_their_means() -> None:
    found = train_summary(METRICS)
    assert found["source_score"] == pytest.approx(0.8)
    assert found["mean_gap"] == pytest.approx(0.3)
    assert found["transfer/sw"] == 0.4
    assert found["gap/de"] == 0.2
    assert "gap/en" not in found
    assert train_summary({"routes": {"direct": {"score": 0.5}}}) == {}


def test_drift_is_a_line_a_language_over_blocks() -> None:
    assert drift_by_block(METRICS) == {1: {"drift/en": 0.1, "drift/de": 0.2}, 2: {"drift/en": 0.3}}


def test_a_run_is_mirrored_whole(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text("source: en\nmodel:\n  name: mbert\nfreeze:\n  name: none\nfinetune: {}\n")
    (folder / "status.json").write_text(json.dumps({"state": "done"}))
    (folder / "metrics.json").write_text(json.dumps(METRICS))
    place = place_of(mirror(folder))
    found = tables(place)
    assert [row["language"] for row in rows_of(found["transfer"])] == ["en", "de", "sw"]
    assert rows_of(found["transfer"])[1]["distance_syntactic"] == 0.1
    assert rows_of(found["relations"])[0]["spearman"] == -0.5
    assert [sheet.name for sheet in train_sheets(folder)] == ["transfer", "relations"]
    history = json.dumps(read_back(place)["history"])
    assert "drift/en" in history
