"""Lines on disk: none lost, none doubled, a cut one dropped."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridgex.errors import UserError
from bridgex.records.predictions import PredictionWriter, merge_predictions, read_predictions
from bridgex.records.schema import Prediction, Step


def prediction(name: str, route: str = "direct", output: str = '"v"') -> Prediction:
    step = Step(kind="answer", prompt=f'S:"{name}"→T:', output=output, num_tokens=3)
    return Prediction(id=name, route=route, steps=[step], answer="v", gold=["w"], correct=False, miss="wrong")


def write(folder: Path, names: str, rank: int = 0) -> None:
    writer = PredictionWriter(folder, rank)
    writer.append(prediction(name) for name in names)
    writer.close()


@given(st.text())
def test_any_text_survives(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.mktemp("run")
    record = prediction("a", output=text)
    writer = PredictionWriter(folder)
    writer.append([record])
    writer.close()
    assert read_predictions(folder) == [record]


def test_every_cut_keeps_the_whole_lines_before_it(tmp_path: Path) -> None:
    write(tmp_path, "abc")
    path = tmp_path / "predictions.jsonl"
    whole = path.read_bytes()
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        kept = [found.id for found in read_predictions(tmp_path)]
        assert kept == list("abc")[: whole[:length].count(b"\n")]
        write(tmp_path, "d")  # a new line never joins the rest of a cut one
        assert [found.id for found in read_predictions(tmp_path)] == [*kept, "d"]


def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path) -> None:
    write(tmp_path, "ab")
    path = tmp_path / "predictions.jsonl"
    path.write_bytes(path.read_bytes().replace(b'{"id":"a"', b'{"id":7xx'))
    with pytest.raises(UserError, match=r"predictions.jsonl:1: damaged, or not a record of bridgex"):
        read_predictions(tmp_path)


def test_several_processes_are_read_as_one_and_merged_in_order(tmp_path: Path) -> None:
    write(tmp_path, "ca", rank=0)
    write(tmp_path, "ba", rank=1)  # a was asked twice, as a restart with another number of processes may do
    assert sorted(found.id for found in read_predictions(tmp_path)) == ["a", "b", "c"]
    merged = merge_predictions(tmp_path, [("direct", name) for name in "abc"])
    assert [found.id for found in merged] == ["a", "b", "c"]
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.jsonl"]
    assert read_predictions(tmp_path) == merged
