"""A run is mirrored when it ends, well or not; its own error and exit status stand whatever the mirror does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bridgex
from bridgex import jobs, pipeline, training
from bridgex.config import command, settings
from bridgex.config.train_settings import validate_train
from bridgex.errors import UserError
from bridgex.exits import INTERRUPTED, OUR_BUG, USER_MISTAKE
from bridgex.lit import wandb_logger
from bridgex.records.mirror import Identity
from bridgex.records.store import RunFolder, read_status

Mirror = Callable[..., str]


@pytest.fixture
def mirrored(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, str | None]]:
    """Which folders were mirrored, in what state."""
    calls: list[tuple[Path, str | None]] = []

    def mirror(folder: Path, options: settings.LoggerSettings, identity: Identity | None) -> str:
        assert options.name == "wandb"
        assert identity is not None
        status = read_status(folder)
        calls.append((folder, status and status.state))
        return "W&B: there"

    monkeypatch.setattr(wandb_logger, "mirror_run", mirror)
    return calls


def config_of(entry: str, *overrides: str) -> dict[str, Any]:
    check = settings.validate if entry == "evaluate" else validate_train
    return command.check(entry, ["logger=wandb", *overrides], check)[0].config


def fails(error: BaseException | None) -> Callable[..., None]:
    def run(found: object, config: dict[str, Any], folder: Path) -> None:
        with RunFolder.open(folder, config) as opened:
            if error is not None:
                raise error
            opened.set(state="done")

    return run


@pytest.mark.parametrize("is_cell", [False, True], ids=["run", "cell"])
@pytest.mark.parametrize("entry", ["evaluate", "train"])
@pytest.mark.parametrize(
    ("error", "status"), [(UserError("mend it"), USER_MISTAKE), (RuntimeError("broke"), OUR_BUG)], ids=["user", "bug"]
)
def test_a_failed_run_is_mirrored(
    entry: jobs.Entry, is_cell: bool, error: Exception, status: int, tmp_path: Path,
    mirrored: list[tuple[Path, str | None]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    folder = tmp_path / "run"
    monkeypatch.setattr(*((pipeline, "evaluate") if entry == "evaluate" else (training, "train")), fails(error))
    assert jobs.run_job(entry, config_of(entry), folder, tmp_path if is_cell else None) == status
    assert mirrored == [(folder, "failed")]
    captured = capsys.readouterr()
    assert str(error) in captured.err
    assert captured.out == "W&B: there\n"


def test_what_has_no_mirror_or_no_folder_is_not(
    tmp_path: Path, mirrored: list[tuple[Path, str | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "evaluate", fails(RuntimeError("broke")))
    assert jobs.run_job("evaluate", config_of("evaluate", "logger=none"), tmp_path / "a") == OUR_BUG
    monkeypatch.setattr(pipeline, "evaluate", fails(KeyboardInterrupt()))
    assert jobs.run_job("evaluate", config_of("evaluate"), tmp_path / "b") == INTERRUPTED
    assert jobs.run_job("evaluate", config_of("evaluate", "seed=1"), tmp_path / "a") == USER_MISTAKE, "another run's"
    monkeypatch.setattr(pipeline, "evaluate", lambda *given: 1 / 0)
    assert jobs.run_job("evaluate", config_of("evaluate"), tmp_path / "c") == OUR_BUG
    assert mirrored == []


@pytest.mark.parametrize("trouble", [RuntimeError("no W&B"), UserError("no W&B")])
def test_a_mirror_in_trouble_hides_nothing(
    trouble: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def mirror(*given: object) -> str:
        raise trouble

    monkeypatch.setattr(wandb_logger, "mirror_run", mirror)
    monkeypatch.setattr(pipeline, "evaluate", fails(UserError("mend it")))
    assert jobs.run_job("evaluate", config_of("evaluate"), tmp_path / "run") == USER_MISTAKE
    assert capsys.readouterr().err.startswith("error: mend it\n")
    status = read_status(tmp_path / "run")
    assert status is not None
    assert status.error == "mend it"


def test_who_interrupts_a_mirror_ends_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def mirror(*given: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(wandb_logger, "mirror_run", mirror)
    monkeypatch.setattr(pipeline, "evaluate", fails(UserError("mend it")))
    assert jobs.run_job("evaluate", config_of("evaluate"), tmp_path / "run", tmp_path) == INTERRUPTED


def test_from_python_a_run_is_mirrored_too(
    tmp_path: Path, mirrored: list[tuple[Path, str | None]], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    keys = {"cache__dir": str(tmp_path / "cache")}
    monkeypatch.setattr(pipeline, "evaluate", fails(None))
    monkeypatch.setattr(training, "train", fails(None))
    bridgex.evaluate(tmp_path / "a", logger="wandb", **keys)
    bridgex.train(tmp_path / "b", logger="wandb", **keys)
    assert capsys.readouterr().out == "W&B: there\n" * 2
    bridgex.evaluate(tmp_path / "c", **keys)
    assert mirrored == [(tmp_path / "a", "done"), (tmp_path / "b", "done")]
