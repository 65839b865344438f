"""A run's files as a page needs them: what is not there yet, or damaged, is said and not fatal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from bridgex.errors import UserError
from bridgex.languages import language
from bridgex.records.predictions import num_lost, read_predictions
from bridgex.records.schema import MeasureRow, Metrics, Prediction, Ranking, Record
from bridgex.report.folder_files import FolderFiles, read_head, text_of

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class RunFiles(FolderFiles):
    """What the folder of a run of evaluate.py holds.

    Attributes:
        ranking: None where there is none yet.
        metrics: None where there are none yet.
        predictions: all that are recorded, however far the run got.
        estimators: estimator by strategy, from measures.jsonl.
    """

    ranking: Ranking | None
    metrics: Metrics | None
    predictions: tuple[Prediction, ...]
    estimators: Mapping[str, str]

    @property
    def pair(self) -> str:
        """`source-target`; empty where no file tells."""
        if self.metrics is not None:
            return self.metrics.pair
        return self.name("pair") or (self.ranking.pair if self.ranking is not None else "")


def read_run(folder: Path, with_predictions: bool = True) -> RunFiles:
    """Reads a run's folder.

    Args:
        folder: of the run.
        with_predictions: whether predictions and measures are wanted too.
    """
    problems: list[str] = []
    status, config, config_text = read_head(folder, problems)
    metrics = _record(folder / "metrics.json", Metrics, problems)
    if metrics is None and status is not None and status.state == "done" and not problems:
        problems.append("metrics.json is missing: this run compared no routes")
    predictions = _predictions(folder, problems) if with_predictions else ()
    if metrics is not None and not problems:
        lost = _num_lacking(metrics, predictions) if with_predictions else num_lost(folder)
        counted = sum(route.n for route in metrics.routes.values())
        problems += (
            [f"predictions.jsonl lacks {lost} of the {counted} answers that metrics.json counts"] if lost else []
        )
    return RunFiles(
        folder=folder,
        status=status,
        config=config,
        config_text=config_text,
        ranking=_record(folder / "ranking.json", Ranking, problems),
        metrics=metrics,
        predictions=predictions,
        estimators=_estimators(folder, problems) if with_predictions else {},
        problems=tuple(problems),
    )


def described(code: str) -> str:
    """A language's code with its English name: `sw Swahili`; the code alone where the table lacks it."""
    return f"{code} {english(code)}" if english(code) != code else code


def english(code: str) -> str:
    """A language's English name; the code itself where the table lacks it."""
    try:
        return language(code).english
    except UserError:
        return code


def _record(path: Path, kind: type[R], problems: list[str]) -> R | None:
    try:
        return kind.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError):
        problems.append(f"{path.name} is damaged")
        return None


def _predictions(folder: Path, problems: list[str]) -> tuple[Prediction, ...]:
    try:
        return tuple(read_predictions(folder))
    except UserError as error:
        problems.append(str(error).replace(f"{folder}/", ""))
    except OSError:
        problems.append("predictions.jsonl cannot be read")
    return ()


def _num_lacking(metrics: Metrics, predictions: tuple[Prediction, ...]) -> int:
    """How many answers metrics.json counts and predictions.jsonl no longer holds."""
    found = Counter(row.route for row in predictions)
    return sum(max(0, score.n - found[route]) for route, score in metrics.routes.items())


def _estimators(folder: Path, problems: list[str]) -> dict[str, str]:
    found = {}
    try:
        for line in text_of(folder / "measures.jsonl").splitlines():
            row = MeasureRow.model_validate_json(line)
            if row.estimator is not None:
                found[row.measure] = row.estimator
    except ValidationError:
        problems.append("measures.jsonl is damaged")
    return found
