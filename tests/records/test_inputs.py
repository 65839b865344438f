from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from bridgex.config.settings import to_yaml
from bridgex.records import store
from bridgex.records.inputs import file_fingerprints, signature


def config(folder: Path, **more: Any) -> dict[str, Any]:
    return {
        "model": {"path": str(folder / "model"), "name": "m"},
        "data": {"root": str(folder / "data"), "text": {"sw": str(folder / "sw.txt")}, "dictionary": None},
        **more,
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "data" / "xnli").mkdir(parents=True)
    for name in ("model/config.json", "data/xnli/sw.jsonl", "sw.txt"):
        (tmp_path / name).write_text("x")
    return tmp_path


@pytest.mark.parametrize("name", ["model/config.json", "data/xnli/sw.jsonl", "sw.txt"])
def test_a_touched_file_shows(folder: Path, name: str) -> None:
    before = signature(config(folder))
    assert signature(config(folder, seed=3)) == before
    os.utime(folder / name, (1.0, 1.0))
    assert signature(config(folder)) != before


def test_files_that_come_and_go_show(folder: Path) -> None:
    before = signature(config(folder))
    (folder / "data" / "new").write_text("")
    assert signature(config(folder)) != before
    (folder / "data" / "new").unlink()
    assert signature(config(folder)) == before
    (folder / "sw.txt").unlink()
    assert signature(config(folder)) != before


def test_only_files_that_are_named_have_a_fingerprint(folder: Path) -> None:
    assert list(file_fingerprints(config(folder))) == ["data.text.sw"]
    (folder / "table.csv").write_text("a")
    found = file_fingerprints(config(folder, drift={"distances": str(folder / "table.csv")}))
    assert sorted(found) == ["data.text.sw", "drift.distances"]
    assert found["drift.distances"] == "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
    assert file_fingerprints({"model": "odd", "data": None}) == {}


def finished(folder: Path) -> dict[str, Any]:
    """A run that is done in `folder / "run"`."""
    found = config(folder)
    with store.RunFolder.open(folder / "run", found) as run:
        run.identify({"data": "one"})
        (folder / "run" / "metrics.json").write_text("{}")
        run.set(state="done")
    return found


def test_a_done_run_is_looked_at_again_only_if_a_file_was_touched(folder: Path) -> None:
    found, asked = finished(folder), []

    def fingerprints() -> dict[str, str]:
        asked.append(1)
        return {"data": "one"}

    run = folder / "run"
    assert store.is_done(run, found, fingerprints)
    assert store.is_finished(run)
    assert not asked
    os.utime(folder / "sw.txt", (1.0, 1.0))
    assert not store.is_finished(run)
    assert store.is_done(run, found, fingerprints)
    assert asked == [1]
    assert store.is_finished(run)  # what was found out is kept
    assert store.is_done(run, found, fingerprints)
    assert asked == [1]


def test_a_done_run_of_changed_files_is_named_with_them(folder: Path) -> None:
    found = finished(folder)
    (folder / "sw.txt").write_text("other")
    with pytest.raises(store.ChangedInputs, match="was begun with other files of data") as caught:
        store.is_done(folder / "run", found, lambda: {"data": "two"})
    assert caught.value.names == ("data",)
    aside = store.put_aside(folder / "run")
    assert aside == folder / "replaced" / "run.1"
    assert (aside / "config.yaml").read_text() == to_yaml(found)
    assert not store.is_done(folder / "run", found, lambda: {"data": "two"})
    finished(folder)
    assert store.put_aside(folder / "run").name == "run.2"


def test_data_beside_a_toy_model_show(tmp_path: Path) -> None:
    for name in ("world/model/config.json", "world/muse/qaa-qab.txt", "world/other/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("x")
    toy = {"model": {"kind": "toy", "path": str(tmp_path / "world" / "model")}, "data": {}}
    before = signature(toy)
    (tmp_path / "world" / "other" / "notes.txt").write_text("y and more")
    assert signature(toy) == before, "only what a toy world is made of"
    (tmp_path / "world" / "muse" / "qaa-qab.txt").write_text("y and more")
    assert signature(toy) != before
    assert signature({**toy, "model": {"kind": "toy", "path": None}}) == signature({})
