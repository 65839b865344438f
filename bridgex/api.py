"""bridgex from Python: keyword arguments equal to the config keys, records returned."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridgex.config import command, settings, train_settings
from bridgex.errors import UserError
from bridgex.records.files import read_json
from bridgex.records.measures import read_measures
from bridgex.records.predictions import read_predictions
from bridgex.records.schema import MeasureRow, Metrics, Prediction, Ranking, Status
from bridgex.records.store import read_metrics, read_status
from bridgex.records.train_files import is_train_run, read_answers, read_drift, read_train_metrics
from bridgex.records.train_schema import DriftRecord, LabelRecord, TrainMetrics


@dataclass(frozen=True)
class Run:
    """What a run left in its folder.

    Attributes:
        folder: where it lies.
        config: the resolved config.
        status: state, versions, notes.
        ranking: every strategy's scores, None without a ranking.
        metrics: scores and verdict, None until the run is done.
        predictions: every item by every route.
        measures: the long table.
    """

    folder: Path
    config: dict[str, Any]
    status: Status
    ranking: Ranking | None
    metrics: Metrics | None
    predictions: list[Prediction]
    measures: list[MeasureRow]


@dataclass(frozen=True)
class TrainRun:
    """What a run of `train` left in its folder.

    Attributes:
        folder: where it lies.
        config: the resolved config.
        status: state, versions, notes.
        metrics: transfer, drift, controls, relations; None until the run is done, and for recipes that make a model.
        answers: every item in every language, by the fine-tuned model and the controls.
        drift: by language, step and pooling.
    """

    folder: Path
    config: dict[str, Any]
    status: Status
    metrics: TrainMetrics | None
    answers: list[LabelRecord]
    drift: list[DriftRecord]


def evaluate(folder: str | Path | None = None, **keys: Any) -> Run:
    """Evaluates a model on a pair of languages, directly and through a bridge.

    Args:
        folder: where the run writes, and goes on if one was begun there; default: as the command line does.
        keys: config keys; a key below a group has two underscores for the dot, e.g. `model__path="me/mine"`.

    Returns:
        The run's records.

    Raises:
        UserError: with one line for every mistake in the keys.

    Example:
        >>> from bridgex import evaluate
        >>> run = evaluate(model="toy", pair="qaa-qaf", bridge="compare")  # doctest: +SKIP
        >>> run.metrics.chosen, run.metrics.paired.verdict  # doctest: +SKIP
    """
    found, config, place = _prepared(folder, keys)
    from bridgex import pipeline

    pipeline.evaluate(found, config, place)
    _mirror(place, found.logger)
    return load_run(place)


def rank_bridges(folder: str | Path | None = None, **keys: Any) -> Ranking:
    """Ranks candidate bridges for a pair, and evaluates nothing unless the strategy looks at labels.

    Args:
        folder: as for `evaluate`.
        keys: as for `evaluate`.

    Returns:
        Every strategy's scores with their uncertainty.

    Raises:
        UserError: with one line for every mistake in the keys.
    """
    found, config, place = _prepared(folder, keys)
    from bridgex import pipeline

    return pipeline.rank(found, config, place)


def train(folder: str | Path | None = None, **keys: Any) -> TrainRun:
    """Fine-tunes a model on one language, and measures drift and transfer for every other.

    Args:
        folder: where it writes, and goes on if a run was begun there; default: as the command line does.
        keys: config keys, as for `evaluate`.

    Returns:
        The run's records.

    Raises:
        UserError: with one line for every mistake in the keys.

    Example:
        >>> from bridgex import train
        >>> run = train(source="qaa", seed=1)  # doctest: +SKIP
        >>> run.metrics.transfer["qaf"].gap, run.metrics.survives  # doctest: +SKIP
    """
    from bridgex.preflight import agree_train

    (cell,) = command.check("train", _overrides(keys), train_settings.validate_train, agree_train)
    from bridgex import training

    place = cell.folder if folder is None else Path(folder).absolute()
    found = train_settings.validate_train(cell.config)
    if isinstance(found, train_settings.TrainSettings):
        training.train(found, cell.config, place)
        _mirror(place, found.logger)
    else:
        training.make(found, cell.config, place)
    return load_train_run(place)


def load_run(folder: str | Path) -> Run:
    """Reads what a run left, finished or not.

    Raises:
        UserError: no run lies there, or a file is damaged.
    """
    place, config, status = _opened(folder)
    if is_train_run(place):
        raise UserError(f"{place}: holds a run of train.py. Use load_train_run")
    ranking = place / "ranking.json"
    return Run(
        folder=place,
        config=config,
        status=status,
        ranking=read_json(ranking, Ranking) if ranking.is_file() else None,
        metrics=read_metrics(place) if (place / "metrics.json").is_file() else None,
        predictions=read_predictions(place),
        measures=read_measures(place),
    )


def load_train_run(folder: str | Path) -> TrainRun:
    """Reads what a run of `train` left, finished or not.

    Raises:
        UserError: no run lies there, or a file is damaged.
    """
    place, config, status = _opened(folder)
    if not is_train_run(place):
        raise UserError(f"{place}: holds a run of evaluate.py. Use load_run")
    return TrainRun(
        folder=place,
        config=config,
        status=status,
        metrics=read_train_metrics(place) if (place / "metrics.json").is_file() else None,
        answers=read_answers(place),
        drift=read_drift(place),
    )


def _opened(folder: str | Path) -> tuple[Path, dict[str, Any], Status]:
    """A run's folder and what every run writes there first."""
    place = Path(folder)
    status = read_status(place)
    if status is None:
        raise UserError(f"{place}: no run lies there (status.json is missing or damaged)")
    return place, settings.from_yaml(place / "config.yaml"), status


def _mirror(folder: Path, logger: settings.LoggerSettings) -> None:
    """Mirrors the run, and says where to, if `logger` asks for it."""
    if logger.name == "wandb":
        from bridgex.lit.wandb_logger import say_mirrored

        say_mirrored(folder, logger)


def _prepared(folder: str | Path | None, keys: dict[str, Any]) -> tuple[settings.Settings, dict[str, Any], Path]:
    from bridgex.preflight import agree

    (cell,) = command.check("evaluate", _overrides(keys), settings.validate, agree)
    return settings.validate(cell.config), cell.config, cell.folder if folder is None else Path(folder).absolute()


def _overrides(keys: dict[str, Any]) -> list[str]:
    """Config keys as the overrides that the command line knows."""
    overrides = []
    for key, value in keys.items():
        dotted = key.replace("__", ".")
        mark = "++" if dotted.startswith("data.text.") else ""
        overrides.append(
            f"{mark}{dotted}={value if _is_bare(value) else json.dumps(value, ensure_ascii=False, default=str)}"
        )
    return overrides


def _is_bare(value: object) -> bool:
    """Whether Hydra reads the value's own text as that value: names of choices, languages and pairs."""
    return isinstance(value, str) and value.replace("-", "").replace("_", "").isalnum()
