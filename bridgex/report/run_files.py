"""A run's files as a page needs them: what is not there yet, or damaged, is said and not fatal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from bridgex.config.settings import from_yaml
from bridgex.errors import UserError
from bridgex.languages import language
from bridgex.records.predictions import read_predictions
from bridgex.records.schema import MeasureRow, Metrics, Prediction, Ranking, Record, Status
from bridgex.records.store import read_status

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class RunFiles:
    """What a run's folder holds.

    Attributes:
        folder: where it lies.
        status: None where status.json is missing or damaged.
        config: empty where config.yaml is missing or damaged.
        config_text: config.yaml as it is.
        ranking: None where there is none yet.
        metrics: None where there are none yet.
        predictions: all that are recorded, however far the run got.
        estimators: estimator by strategy, from measures.jsonl.
        problems: which files could not be read.
    """

    folder: Path
    status: Status | None
    config: Mapping[str, Any]
    config_text: str
    ranking: Ranking | None
    metrics: Metrics | None
    predictions: tuple[Prediction, ...]
    estimators: Mapping[str, str]
    problems: tuple[str, ...]

    @property
    def is_done(self) -> bool:
        """Whether the run ended well."""
        return self.status is not None and self.status.state == "done"

    @property
    def pair(self) -> str:
        """`source-target`; empty where no file tells."""
        if self.metrics is not None:
            return self.metrics.pair
        return self.name("pair") or (self.ranking.pair if self.ranking is not None else "")

    def name(self, group: str) -> str:
        """The name of a config group's choice; empty where the config does not tell."""
        node = self.config.get(group)
        return str(node.get("name", "")) if isinstance(node, Mapping) else ""


def read_run(folder: Path, with_predictions: bool = True) -> RunFiles:
    """Reads a run's folder.

    Args:
        folder: of the run.
        with_predictions: whether predictions and measures are wanted too.
    """
    problems: list[str] = []
    status, config = read_status(folder), from_yaml(folder / "config.yaml")
    if status is None:
        problems.append("status.json is missing or damaged")
    if not config:
        problems.append("config.yaml is missing or damaged")
    metrics = _record(folder / "metrics.json", Metrics, problems)
    if metrics is None and status is not None and status.state == "done" and not problems:
        problems.append("metrics.json is missing: this run compared no routes")
    return RunFiles(
        folder=folder,
        status=status,
        config=config,
        config_text=_text(folder / "config.yaml"),
        ranking=_record(folder / "ranking.json", Ranking, problems),
        metrics=metrics,
        predictions=_predictions(folder, problems) if with_predictions else (),
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


def _estimators(folder: Path, problems: list[str]) -> dict[str, str]:
    found = {}
    try:
        for line in _text(folder / "measures.jsonl").splitlines():
            row = MeasureRow.model_validate_json(line)
            if row.estimator is not None:
                found[row.measure] = row.estimator
    except ValidationError:
        problems.append("measures.jsonl is damaged")
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
