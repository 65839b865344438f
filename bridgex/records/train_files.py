"""The files of a run of train.py: languages measured so far, answers, drift, metrics."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from bridgex.config.settings import from_yaml
from bridgex.records.files import as_lines, read_json, read_lines, write_json, write_text, writing
from bridgex.records.train_schema import DriftRecord, LabelRecord, Measured, TrainMetrics

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
    return read_json(folder / "metrics.json", TrainMetrics)


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
    write_text(folder / "answers.jsonl", as_lines(rows))


def write_drift(folder: Path, rows: Iterable[DriftRecord]) -> None:
    """Writes drift.jsonl whole."""
    write_text(folder / "drift.jsonl", as_lines(rows))


def read_answers(folder: Path) -> list[LabelRecord]:
    """answers.jsonl; empty where it is not there.

    Raises:
        UserError: a line is damaged.
    """
    return read_lines(folder / "answers.jsonl", LabelRecord)


def read_drift(folder: Path) -> list[DriftRecord]:
    """drift.jsonl; empty where it is not there.

    Raises:
        UserError: a line is damaged.
    """
    return read_lines(folder / "drift.jsonl", DriftRecord)


def clean_up(folder: Path) -> None:
    """Removes what only an unfinished run needs."""
    for name in CHECKPOINTS.values():
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / _PARTS, ignore_errors=True)


def _part(folder: Path, model: str, step: int, code: str) -> Path:
    return folder / _PARTS / f"{model}-{step}-{code}.json"
