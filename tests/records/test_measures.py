"""The long table: a line for every score, every block's score, and every set's size."""

from __future__ import annotations

import json
from pathlib import Path

from bridgex.records.measures import measure_rows, write_measures
from bridgex.records.schema import CandidateRecord, MeasureRow, StrategyRecord

RANKINGS = {
    "hsic": StrategyRecord(
        scores={
            "en": CandidateRecord(score=0.2, raw=0.5, rank=1, block_scores={2: 0.4, 3: 0.6}),
            "fr": CandidateRecord(score=0.1, raw=0.3, rank=2, block_scores={2: 0.2, 3: 0.4}),
        },
        num_samples=96,
        blocks=[2, 3],
        set_sizes={"overlap": {2: 7, 3: 9, 4: 0}, "en": {2: 5, 3: 4, 4: 1}, "fr": {2: 3, 3: 2, 4: 1}},
    ),
    "lexical": StrategyRecord(scores={"en": CandidateRecord(score=-0.0, raw=-0.0, rank=1)}),
    "cosine": StrategyRecord(scores={}, missing="no reason"),
}


def rows() -> list[MeasureRow]:
    return measure_rows(RANKINGS, "toy", "de", "sw", {"hsic": "normalised"}, 3)


def test_every_number_has_its_line() -> None:
    found = {(row.measure, row.bridge, row.block): row for row in rows()}
    assert len(found) == len(rows()) == 2 + 4 + 9 + 1
    assert {key: row.value for key, row in found.items() if key[0] == "hsic"} == {
        ("hsic", "en", None): 0.2,
        ("hsic", "fr", None): 0.1,
    }
    assert [found["hsic_raw", "fr", block].value for block in (2, 3)] == [0.2, 0.4]
    # The overlap is no bridge's.
    assert [found["num_neurons", None, block].value for block in (2, 3, 4)] == [7.0, 9.0, 0.0]
    assert found["num_neurons", "en", 3].value == 4.0
    assert not any(row.measure == "cosine" for row in rows()), "what is missing measured nothing"


def test_every_line_says_what_it_is() -> None:
    assert all((row.model, row.source, row.target, row.seed) == ("toy", "de", "sw", 3) for row in rows())
    by_measure = {row.measure: row for row in rows()}
    assert {name: row.estimator for name, row in by_measure.items()} == {
        "hsic": "normalised",
        "hsic_raw": "normalised",
        "num_neurons": None,
        "lexical": None,
    }
    assert {name: row.n for name, row in by_measure.items()} == {
        "hsic": 96,
        "hsic_raw": 96,
        "num_neurons": None,
        "lexical": None,
    }
    # Only what was read from activations names a site.
    assert {name: (row.site, row.pooling) for name, row in by_measure.items()} == {
        "hsic": ("mlp_act", "mean"),
        "hsic_raw": ("mlp_act", "mean"),
        "num_neurons": ("mlp_act", "mean"),
        "lexical": ("none", "none"),
    }


def test_the_file_holds_the_rows_and_is_written_anew(tmp_path: Path) -> None:
    for _ in range(2):
        write_measures(tmp_path, rows())
    lines = (tmp_path / "measures.jsonl").read_text(encoding="utf-8").splitlines()
    assert [MeasureRow.model_validate_json(line) for line in lines] == rows()
    assert set(json.loads(lines[0])) >= {
        "model", "source", "target", "bridge", "block", "site", "pooling", "measure", "estimator", "value", "n", "seed",
    }  # fmt: skip


def test_nothing_ranked_leaves_an_empty_table(tmp_path: Path) -> None:
    write_measures(tmp_path, measure_rows({}, "toy", "de", "sw", {}, 0))
    assert (tmp_path / "measures.jsonl").read_bytes() == b""
