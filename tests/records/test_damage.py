"""A run's folder with a damaged or left-over file: made again, gone on with or refused; never another run's."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bridgex.config.settings import from_yaml
from bridgex.errors import UserError
from bridgex.records import store
from bridgex.records.files import read_lines, write_json
from bridgex.records.log import LogFile
from bridgex.records.measures import read_measures
from bridgex.records.predictions import PredictionWriter, read_predictions
from bridgex.records.schema import Prediction
from tests.records.test_store import CONFIG, metrics

OTHER: dict[str, Any] = {**CONFIG, "seed": 1}
RECORDED = [Prediction(id=name, route="direct", steps=[], gold=[], correct=False, miss="wrong") for name in "xy"]


def never() -> dict[str, str]:
    raise AssertionError("nothing was touched, so nothing is to be read")


@pytest.fixture
def done(tmp_path: Path) -> Path:
    """A finished run with a record."""
    with store.RunFolder.open(tmp_path, CONFIG) as run:
        writer = PredictionWriter(tmp_path)
        writer.append(
            Prediction(id=name, route="direct", steps=[], gold=[], correct=False, miss="wrong") for name in "xy"
        )
        writer.close()
        write_json(tmp_path / "ranking.json", metrics())
        run.finish(metrics())
    assert store.is_finished(tmp_path)
    return tmp_path


def damage(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize("name", ["metrics.json", "ranking.json"])
@pytest.mark.parametrize("change", [damage, lambda path: path.write_text(path.read_text().replace("0.5", "0.6"))])
def test_a_run_whose_results_are_damaged_is_not_done(done: Path, name: str, change: Callable[[Path], None]) -> None:
    change(done / name)
    assert not store.is_finished(done)
    assert not store.is_done(done, CONFIG, never)
    assert len(read_predictions(done)) == 2


def test_a_model_beside_what_else_a_training_leaves_does_not_make_it_done(done: Path) -> None:
    (done / "metrics.json").unlink()
    (done / "model").mkdir()
    assert store.is_finished(done), "a model made from nothing has no metrics"
    (done / "drift.jsonl").touch()
    assert not store.is_finished(done)


def test_a_damaged_config_is_written_again_by_the_command_that_knows_it(done: Path) -> None:
    damage(done / "config.yaml")
    assert not store.is_finished(done)
    assert store.is_done(done, CONFIG, never)
    assert from_yaml(done / "config.yaml") == CONFIG
    assert store.is_finished(done)


@pytest.mark.parametrize("spoil", [damage, Path.unlink])
def test_without_a_status_records_belong_to_the_config_that_lies_there(
    done: Path, spoil: Callable[[Path], None]
) -> None:
    spoil(done / "status.json")
    for begin in (store.check_folder, store.RunFolder.open):
        with pytest.raises(
            UserError, match=r"status.json is missing or damaged, and config.yaml differs in seed\. Give"
        ):
            begin(done, OTHER)
    with store.RunFolder.open(done, CONFIG):
        assert len(read_predictions(done)) == 2


def test_without_a_status_a_folder_without_records_is_anyones(tmp_path: Path) -> None:
    with store.RunFolder.open(tmp_path, CONFIG):
        pass
    (tmp_path / "status.json").unlink()  # as a kill leaves it, between the two first files
    with store.RunFolder.open(tmp_path, OTHER):
        pass


def test_what_kills_leave_half_written_is_cleared_up_and_nothing_else(done: Path) -> None:
    left = [".status.json.ab12_x9z", ".predictions.jsonl.aaaaaaaa", ".config.yaml.abcdefgh"]
    # A page may be in the middle of being written, and a claim too.
    kept = [".report.html.abcdefgh", ".claim.abcdefgh", ".json", ".notes.json", ".status.json.bak"]
    for name in [*left, *kept]:
        (done / name).touch()
    with store.RunFolder.open(done, CONFIG):
        assert {path.name for path in done.iterdir()} & {*left, *kept} == set(kept)


def test_a_damaged_line_is_named_with_what_to_do(done: Path) -> None:
    path = done / "predictions.jsonl"
    path.write_text(path.read_text().replace('"correct":false', '"correct":true'))
    with pytest.raises(UserError, match=r"predictions.jsonl:1: damaged, or not a record of bridgex. Delete this line"):
        read_predictions(done)
    (done / "measures.jsonl").write_text('{"model": ')
    with pytest.raises(UserError, match=r"measures.jsonl:1: damaged. Delete it and metrics.json beside it"):
        read_measures(done)
    assert read_lines(done / "nothing.jsonl", Prediction) == []


def test_a_log_that_does_not_fit_on_the_disk_ends_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fail_on_it() -> None:
        with LogFile(tmp_path / "log.jsonl") as log:
            handler: Any = log._handler
            handler._file.close()
            handler._file = type("Full", (io.StringIO,), {"flush": full, "close": full})()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_on_it()
    (tmp_path / "folder").mkdir()
    log = LogFile(tmp_path / "folder")
    with pytest.raises(UserError, match=r"folder: cannot be written \(Is a directory\)"):
        log.__enter__()


def test_a_done_run_fails_only_if_what_it_read_was_touched(tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("a b\n")
    config: dict[str, Any] = {**CONFIG, "data": {"dictionary": str(words)}}
    with store.RunFolder.open(tmp_path / "run", config) as run:
        run.identify({"data.dictionary": "1"})
        writer = PredictionWriter(run.folder)
        writer.append(
            Prediction(id=name, route="direct", steps=[], gold=[], correct=False, miss="wrong") for name in "xy"
        )
        writer.close()
        run.finish(metrics())
    store.write_failure(run.folder, config, "its page cannot be written")
    assert store.is_finished(run.folder)
    words.unlink()
    store.write_failure(run.folder, OTHER, "holds another run")
    untouched = store.read_status(run.folder)
    assert untouched is not None
    assert untouched.state == "done", "a failure of another config is not this run's"
    store.write_failure(run.folder, config, "words.txt: not there")
    status = store.read_status(run.folder)
    assert status is not None
    assert (status.state, status.error) == ("failed", "words.txt: not there")
    assert len(read_predictions(run.folder)) == 2
    with store.RunFolder.open(run.folder, config) as again, pytest.raises(store.ChangedInputs):
        again.identify({"data.dictionary": "2"})


def test_a_run_that_lost_answers_is_not_done(done: Path) -> None:
    path = done / "predictions.jsonl"
    path.write_text(path.read_text().splitlines(keepends=True)[0])
    assert not store.is_finished(done)
    assert not store.is_done(done, CONFIG, never)
    path.unlink()
    assert not store.is_finished(done)


def test_seconds_are_those_that_processes_worked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter(f"2026-01-01T{hour}:00.000+00:00" for hour in ("00:00", "00:01", "09:00", "09:02"))
    monkeypatch.setattr(store, "now", lambda: next(moments))
    with pytest.raises(ZeroDivisionError), store.RunFolder.open(tmp_path, CONFIG):
        raise ZeroDivisionError
    with store.RunFolder.open(tmp_path, CONFIG) as run:
        run.finish()
    status = store.read_status(tmp_path)
    assert status is not None
    assert (status.start[11:16], status.seconds) == ("00:00", 180.0)
