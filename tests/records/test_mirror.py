"""A run has one name in W&B, made from its own files: copied, gone on with, or alone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from bridgex.config.settings import config_hash, to_yaml
from bridgex.errors import UserError
from bridgex.records.files import write_json
from bridgex.records.mirror import identity_of, options_of, runs_of
from bridgex.records.store import RunFolder, read_status

CONFIG = {"pair": {"name": "en-sw"}, "seed": 0, "sweep": {"name": "default"}, "logger": {"name": "none"}}


def begin(folder: Path, /, **changes: Any) -> Path:
    """A run as the store begins it."""
    with RunFolder.open(folder, {**CONFIG, **changes}):
        pass
    return folder


def cell(sweep: Path, /, **changes: Any) -> Path:
    folder = sweep / f"toy_en-sw_bli_hsic_{config_hash({**CONFIG, **changes})}"
    begin(folder, **changes)
    (sweep / "plan.0a1b2c3d.json").write_text("{}")
    return folder


def change_status(folder: Path, **changes: Any) -> None:
    status = read_status(folder)
    assert status is not None
    write_json(folder / "status.json", status.model_copy(update=changes))


def test_a_copy_and_what_goes_on_with_it_are_the_same_run(tmp_path: Path) -> None:
    first = begin(tmp_path / "20260101-000000")
    found = identity_of(first)
    assert found is not None
    assert (found.group, found.job_type, len(found.run_id)) == ("single", "evaluate", 16)
    copy = shutil.copytree(first, tmp_path / "elsewhere" / "renamed")
    assert identity_of(copy) == found
    begin(copy)
    change_status(copy, host="other")
    assert identity_of(copy) == found
    begin(copy, logger={"name": "wandb"})
    assert identity_of(copy) == found, "where it is mirrored to is not what it is"


def test_runs_that_are_two_have_two_ids(tmp_path: Path) -> None:
    once, again = begin(tmp_path / "one"), begin(tmp_path / "two")
    other = begin(tmp_path / "three", seed=1)
    found = [identity_of(folder) for folder in (once, again, other)]
    assert len({one.run_id for one in found if one is not None}) == 3


def test_a_sweep_is_a_group_by_its_name_and_else_by_its_folders(tmp_path: Path) -> None:
    named = {"sweep": {"name": "grid"}}
    in_named = cell(tmp_path / "x17", **named)
    places = {
        cell(tmp_path / "default"): "default",
        cell(tmp_path / "my grid's"): "my-grid-s",
        in_named: "grid",
        shutil.copytree(in_named, tmp_path / "alone" / in_named.name): "grid",
    }
    for folder, group in places.items():
        assert identity_of(folder).group == group  # type: ignore[union-attr]
    other = tmp_path / "hydra" / "0"  # of a sweeper that runs itself and names folders otherwise
    begin(other)
    (other.parent / "multirun.yaml").write_text("")
    assert identity_of(other).group == "hydra"  # type: ignore[union-attr]


def test_a_run_of_train_is_told_apart(tmp_path: Path) -> None:
    folder = begin(tmp_path / "run")
    (folder / "config.yaml").write_text(to_yaml({"source": "en", "finetune": {"steps": 3}}))
    found = identity_of(folder)
    assert found is not None
    assert found.job_type == "train"


def test_what_cannot_be_told_is_said(tmp_path: Path) -> None:
    folder = begin(tmp_path / "run")
    change_status(folder, config_hash="")
    assert identity_of(folder) is None
    (folder / "status.json").write_text("{")
    with pytest.raises(UserError, match="run: status.json is missing or damaged, so this run cannot be told"):
        identity_of(folder)


def test_options_are_the_runs_own_or_the_defaults(tmp_path: Path) -> None:
    assert options_of(begin(tmp_path / "none")).project == "bridgex"
    own = begin(tmp_path / "own", logger={"name": "wandb", "project": "mine", "max_rows": 7})
    assert (options_of(own).project, options_of(own).max_rows, options_of(own).name) == ("mine", 7, "wandb")
    (own / "config.yaml").write_text("logger:\n  name: wandb\n  colour: red\n")
    assert options_of(own).project == "bridgex"


def test_a_path_stands_for_a_run_or_for_all_cells(tmp_path: Path) -> None:
    cells = [cell(tmp_path / "sweep", seed=seed) for seed in (1, 2)]
    assert runs_of(tmp_path / "sweep") == sorted(cells)
    assert runs_of(cells[0]) == [cells[0]]
    with pytest.raises(UserError, match="holds no run \\(status.json\\) and no sweep"):
        runs_of(tmp_path)
