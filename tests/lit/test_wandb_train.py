"""What W&B gets of a run of train.py, and that a run of evaluate.py gets none of it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from bridgex.lit.wandb_figures import drift_figure, relation_scatters
from bridgex.lit.wandb_train import drift_by_block, train_sheets, train_summary
from tests.lit.test_wandb_logger import mirror, nobody, place_of, read_back, rows_of, tables  # noqa: F401

RELATION = {"pooling": "mean", "ci95": None, "p": 0.4, "p_corrected": 0.625, "n": 3}
METRICS = {
    "model": "mbert", "source": "en", "pooling": "mean", "metric": "accuracy", "unreported": ["fr"],
    "loss": 0.5, "steps": 9, "freeze": "none", "depth": 0.9, "survives": "nothing", "base_fingerprint": "ab",
    "transfer": {
        "en": {"score": 0.8, "ci95": [0.7, 0.9], "n": 9, "gap": None},
        "de": {"score": 0.6, "ci95": [0.5, 0.7], "n": 9, "gap": 0.2},
        "sw": {"score": 0.4, "ci95": [0.3, 0.5], "n": 9, "gap": 0.4},
        "ur": {"score": 0.5, "ci95": [0.3, 0.5], "n": 9, "gap": 0.3},
        "fr": {"score": 0.5, "ci95": [0.3, 0.5], "n": 9, "gap": 0.9},
    },
    "drift": {
        "en": {"1": 0.1, "2": 0.3}, "de": {"1": 0.2, "2": 0.1}, "sw": {"1": 0.3, "2": 0.2}, "ur": {"1": 0.4},
        "fr": {"1": 0.9, "2": 0.9},
    },
    "controls": {"chance": 0.33, "majority": 0.33, "hypothesis_only": None, "untrained": {"de": 0.3}, "fertility": {}},
    "distances": {"syntactic": {"de": 0.1, "sw": 0.5, "ur": 0.4, "fr": 0.2}},
    "relations": [
        {**RELATION, "relation": "drift ~ distance", "kind": "syntactic", "block": 1, "spearman": -0.5},
        {**RELATION, "relation": "drift ~ distance", "kind": "syntactic", "block": 2, "spearman": 0.4},
        {**RELATION, "relation": "drift ~ distance", "kind": "syntactic", "block": 2, "spearman": -0.9,
         "pooling": "cls"},
        {**RELATION, "relation": "drift ~ transfer", "kind": "transfer", "block": 1, "spearman": 1.0},
        {**RELATION, "relation": "distance ~ transfer", "kind": "syntactic", "block": None, "spearman": -0.25,
         "pooling": None},
    ],
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
    drift = {"en": {"2": 0.3, "1": 0.1}, "de": {"1": 0.2}}
    assert drift_by_block({"drift": drift}) == {1: {"drift/en": 0.1, "drift/de": 0.2}, 2: {"drift/en": 0.3}}


def test_a_scatter_shows_the_targets_at_the_block_that_is_farthest_from_0() -> None:
    first, second, third = relation_scatters(METRICS)
    assert (first.relation, first.block) == ("drift ~ distance", 1)
    assert first.points == {"de": (0.1, 0.2), "sw": (0.5, 0.3), "ur": (0.4, 0.4)}, "distance across, no source, no fr"
    assert first.said == "Spearman -0.50, n = 3, corrected p = 0.625\nthe largest of 2 blocks"
    assert third.points == {"de": (0.1, 0.6), "sw": (0.5, 0.4), "ur": (0.4, 0.5)}
    assert third.said == "Spearman -0.25, n = 3, corrected p = 0.625"
    assert second.points == {"de": (0.2, 0.6), "sw": (0.3, 0.4), "ur": (0.4, 0.5)}, "drift across, the score up"
    few = {**METRICS, "distances": {"syntactic": {"de": 0.1, "sw": 0.5}}}
    assert [scatter.relation for scatter in relation_scatters(few)] == ["drift ~ transfer"]
    assert relation_scatters({"routes": {}}) == []


def test_the_drift_map_has_a_row_a_language_and_gaps_where_blocks_are_missing() -> None:
    figure = drift_figure(METRICS)
    shown = figure.axes[0].images[0].get_array()
    assert shown is not None
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["fr", "ur", "sw", "en", "de"], "what moved most stands above"
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["1", "2"]
    rows = dict(zip(names, np.ma.filled(shown, np.nan).tolist(), strict=True))
    assert rows["sw"] == [0.3, 0.2]
    assert rows["ur"][0] == 0.4
    assert math.isnan(rows["ur"][1])


def test_a_run_is_mirrored_whole(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text("source: en\nmodel:\n  name: mbert\nfreeze:\n  name: none\nfinetune: {}\n")
    (folder / "status.json").write_text(json.dumps({"state": "done"}))
    (folder / "metrics.json").write_text(json.dumps(METRICS))
    place = place_of(mirror(folder))
    found = tables(place)
    assert [row["language"] for row in rows_of(found["transfer"])] == ["en", "de", "sw", "ur", "fr"]
    assert rows_of(found["transfer"])[1]["distance_syntactic"] == 0.1
    assert rows_of(found["relations"])[0]["spearman"] == -0.5
    assert [sheet.name for sheet in train_sheets(folder)] == ["transfer", "relations"]
    history = json.dumps(read_back(place)["history"])
    assert "drift/en" in history
    images = (place / "files" / "media" / "images" / "figures").iterdir()
    assert sorted(path.name.partition("_")[0] for path in images) == ["drift", "relations"]
    logged = {key for record in read_back(place)["summary"] for key in record["update"]}
    assert logged >= {"source_score", "mean_gap", "transfer/en", "transfer/fr"}, "what a report's panels ask for"
