"""The files of a training: parts whole or not there, lines read back, nothing left over."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridgex.errors import UserError
from bridgex.records.measures import train_measure_rows
from bridgex.records.schema import Status
from bridgex.records.store import RunFolder
from bridgex.records.train_files import (
    CHECKPOINTS,
    clean_up,
    has_begun,
    is_train_run,
    keep_measured,
    read_answers,
    read_drift,
    read_measured,
    read_train_metrics,
    write_answers,
    write_drift,
)
from bridgex.records.train_schema import Controls, DriftRecord, LabelRecord, Measured, TrainMetrics, TransferScore

DRIFT = DriftRecord(
    language="de", step=3, pooling="mean", n=9, unbiased=[None, 0.25], biased=[None, 0.2], top_row_share=[None, 0.1]
)
ANSWER = LabelRecord(language="de", model="fine-tuned", id="1", group="0", answer=2, gold=1)
METRICS = TrainMetrics(
    task="xnli", model="tiny", source="en", seed=0, freeze="none", steps=3, loss=1.0,
    transfer={
        "en": TransferScore(score=0.8, ci95=(0.7, 0.9), n=9, gap=None),
        "de": TransferScore(score=0.6, ci95=(0.5, 0.7), n=9, gap=0.2, gap_ci95=(0.1, 0.3)),
    },
    pooling="mean", drift={"en": {1: 0.5}, "de": {1: 0.25}},
    controls=Controls(
        chance=0.3, majority=0.3, untrained={"de": 0.3}, hypothesis_only={"de": 0.4}, fertility={"de": 30.0},
        num_cut={}, alignment={"de": {1: 0.7}}, profile_similarity={"de": 0.5}, hsic={"de": 0.2},
    ),
    distances={"syntactic": {"de": 0.1}}, base_fingerprint="ab", survives="nothing",
)  # fmt: skip


def test_what_was_measured_is_read_back_by_model_step_and_language(tmp_path: Path) -> None:
    part = Measured(language="de", model="fine-tuned", step=3, answers=[ANSWER], drift=[DRIFT])
    assert not has_begun(tmp_path)
    keep_measured(tmp_path, part)
    assert has_begun(tmp_path)
    assert read_measured(tmp_path, "fine-tuned", 3, "de") == part
    for key in (("untrained", 3, "de"), ("fine-tuned", 4, "de"), ("fine-tuned", 3, "en")):
        assert read_measured(tmp_path, *key) is None
    (path,) = (tmp_path / "measured").iterdir()
    path.write_bytes(path.read_bytes()[:40])
    assert read_measured(tmp_path, "fine-tuned", 3, "de") is None


def test_lines_are_read_back_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    assert read_answers(tmp_path) == read_drift(tmp_path) == []
    write_answers(tmp_path, [ANSWER])
    write_drift(tmp_path, [DRIFT, DRIFT])
    assert read_answers(tmp_path) == [ANSWER]
    assert read_drift(tmp_path) == [DRIFT, DRIFT]
    (tmp_path / "drift.jsonl").write_text("{}\n")
    with pytest.raises(UserError, match=r"drift\.jsonl:1: damaged"):
        read_drift(tmp_path)
    with pytest.raises(UserError, match=r"metrics\.json: not there"):
        read_train_metrics(tmp_path)
    (tmp_path / "metrics.json").write_text("{}")
    with pytest.raises(UserError, match=r"metrics\.json: damaged"):
        read_train_metrics(tmp_path)


def test_cleaning_up_leaves_only_results(tmp_path: Path) -> None:
    keep_measured(tmp_path, Measured(language="de", model="fine-tuned", step=3, answers=[], drift=[]))
    for name in CHECKPOINTS.values():
        (tmp_path / name).write_text("x")
    write_drift(tmp_path, [DRIFT])
    clean_up(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["drift.jsonl"]
    assert not has_begun(tmp_path)


def test_a_begun_run_refuses_other_files_of_the_same_name(tmp_path: Path) -> None:
    config = {"finetune": {"name": "default"}, "seed": 0}
    with RunFolder.open(tmp_path / "run", config) as run:
        run.identify({"model": "a"})
        run.identify({"model": "b"})  # nothing was measured yet
        keep_measured(run.folder, Measured(language="de", model="fine-tuned", step=3, answers=[], drift=[]))
        with pytest.raises(UserError, match="was begun with other files of model"):
            run.identify({"model": "c"})
    assert is_train_run(tmp_path / "run")
    assert isinstance(run.status, Status)


def test_the_long_table_has_every_measure_once(tmp_path: Path) -> None:
    rows = train_measure_rows(METRICS, [DRIFT])
    found = {(row.measure, row.target, row.block, row.estimator): row.value for row in rows}
    assert len(found) == len(rows)
    assert found["drift", "de", 1, "unbiased"] == 0.25
    assert found["drift", "de", 1, "biased"] == 0.2
    assert found["transfer_gap", "de", None, None] == 0.2
    assert found["alignment", "de", 1, "unbiased"] == 0.7
    assert found["distance_syntactic", "de", None, None] == 0.1
    measures = {row.measure for row in rows}
    assert measures == {
        "transfer", "transfer_gap", "drift", "untrained", "hypothesis_only", "fertility", "profile_similarity", "hsic",
        "alignment", "distance_syntactic",
    }  # fmt: skip
    assert {row.freeze for row in rows} == {"none"}
    assert not any(row.block == 0 for row in rows)  # missing
