"""The files of a run of train.py: languages measured so far, answers, drift, metrics."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from bridgex.config.settings import from_yaml
from bridgex.errors import UserError
from bridgex.records.files import write_json, write_text, writing
from bridgex.records.schema import Record
from bridgex.records.train_schema import DriftRecord, LabelRecord, Measured, TrainMetrics

R = TypeVar("R", bound=Record)

CHECKPOINTS = {"fine-tuned": "checkpoint.ckpt", "hypothesis-only": "checkpoint-hypothesis.ckpt"}
"""Weights, optimiser and step of the models of a run that is not finished."""
_PARTS = "measured"


def is_train_run(folder: Path) -> bool:
    """Whether the run that lies in a folder is one of train.py."""
    return "finetune" in from_yaml(folder / "config.yaml")


def has_begun(folder: Path) -> bool:
    """Whether a run of train.py has left anything in a folder that another model or other data would spoil."""
    return any((folder / name).exists() for name in (*CHECKPOINTS.values(), _PARTS))


def read_train_metrics(folder: Path) -> TrainMetrics:
    """metrics.json of a finished run.

    Raises:
        UserError: it is not there or damaged.
    """
    path = folder / "metrics.json"
    try:
        return TrainMetrics.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path}: not there. The run is not finished; the same command goes on with it") from None
    except ValidationError:
        raise UserError(f"{path}: damaged. Delete it, and the same command makes it again") from None


def keep_measured(folder: Path, found: Measured) -> None:
    """Keeps what one model did in one language, whole or not at all.

    Raises:
        UserError: the folder cannot be written.
    """
    path = _part(folder, found.model, found.step, found.language)
    with writing(path):
        path.parent.mkdir(exist_ok=True)
    write_json(path, found)


def read_measured(folder: Path, model: str, step: int, code: str) -> Measured | None:
    """What `keep_measured` kept; None: nothing."""
    try:
        return Measured.model_validate_json(_part(folder, model, step, code).read_bytes())
    except (OSError, ValidationError):
        return None


def write_answers(folder: Path, rows: Iterable[LabelRecord]) -> None:
    """Writes answers.jsonl whole."""
    write_text(folder / "answers.jsonl", "".join(row.model_dump_json() + "\n" for row in rows))


def write_drift(folder: Path, rows: Iterable[DriftRecord]) -> None:
    """Writes drift.jsonl whole."""
    write_text(folder / "drift.jsonl", "".join(row.model_dump_json() + "\n" for row in rows))


def read_answers(folder: Path) -> list[LabelRecord]:
    """answers.jsonl; empty where it is not there.

    Raises:
        UserError: a line is damaged.
    """
    return _read_lines(folder / "answers.jsonl", LabelRecord)


def read_drift(folder: Path) -> list[DriftRecord]:
    """drift.jsonl; empty where it is not there.

    Raises:
        UserError: a line is damaged.
    """
    return _read_lines(folder / "drift.jsonl", DriftRecord)


def clean_up(folder: Path) -> None:
    """Removes what only an unfinished run needs."""
    for name in CHECKPOINTS.values():
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / _PARTS, ignore_errors=True)


def _part(folder: Path, model: str, step: int, code: str) -> Path:
    return folder / _PARTS / f"{model}-{step}-{code}.json"


def _read_lines(path: Path, record: type[R]) -> list[R]:
    if not path.is_file():
        return []
    found = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            found.append(record.model_validate_json(line))
        except ValidationError:
            raise UserError(f"{path}:{number}: damaged. Delete the file; the same command makes it again") from None
    return found
