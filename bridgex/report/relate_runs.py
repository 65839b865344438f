"""Finished runs of train.py gathered from folders, grouped by what may be related, and averaged over seeds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from bridgex.config.settings import flat_config, from_yaml, hashed_config
from bridgex.config.train_settings import makes_a_model
from bridgex.errors import UserError
from bridgex.records.relations import LeftOut
from bridgex.records.store import read_status
from bridgex.records.sweep import cells_of
from bridgex.records.train_files import is_train_run, read_train_metrics
from bridgex.records.train_schema import TrainMetrics
from bridgex.records.train_sweep import freeze_setting
from bridgex.report.train_run import mean_drift, middle_blocks

NONE = "none"
# What may differ between runs of one group, what the group is named by, and what does not touch a run's numbers.
_FREE = ("source", "seed", "targets", "freeze", "controls", "model.name", "task.name", "drift.pooling", "drift.every")


@dataclass(frozen=True)
class FinishedRun:
    """A run that is done.

    Attributes:
        folder: where it lies.
        name: how it is called in records and pages.
        config: as it was run.
        metrics: of it.
        freeze: what it froze, the same for every seed.
    """

    folder: Path
    name: str
    config: Mapping[str, Any]
    metrics: TrainMetrics
    freeze: str

    @property
    def source(self) -> str:
        """Codes joined with +."""
        return self.metrics.source

    @property
    def seed(self) -> int:
        """Of the run."""
        return self.metrics.seed

    @property
    def sources(self) -> list[str]:
        """Codes of the languages that were fine-tuned on."""
        return self.metrics.source.split("+")

    @property
    def targets(self) -> list[str]:
        """Languages that were not fine-tuned on."""
        return [code for code, found in self.metrics.transfer.items() if found.gap is not None]

    @property
    def choice(self) -> Mapping[str, Any]:
        """The settings of its freezing; empty where the config does not tell."""
        node = self.config.get("freeze")
        return node if isinstance(node, Mapping) else {}

    @property
    def unreported(self) -> list[str]:
        """Languages that chose which blocks are frozen, and are left out of every comparison."""
        return self.metrics.unreported


@dataclass(frozen=True)
class RunsTogether:
    """Runs that may be related with each other.

    Attributes:
        heading: what they have in common.
        runs: by source, freezing and seed, each once.
    """

    heading: str
    runs: tuple[FinishedRun, ...]

    def of(self, freeze: str) -> dict[str, list[FinishedRun]]:
        """By source, the runs with one freezing, in the order of their seeds."""
        found: dict[str, list[FinishedRun]] = {}
        for run in sorted(self.runs, key=lambda run: (run.source, run.seed)):
            if run.freeze == freeze:
                found.setdefault(run.source, []).append(run)
        return found

    @property
    def freezes(self) -> list[str]:
        """What was frozen, `none` first."""
        return sorted({run.freeze for run in self.runs}, key=lambda name: (name != NONE, name))


@dataclass(frozen=True)
class SeedMeans:
    """What runs that differ in their seed only found, on average.

    Attributes:
        source: codes joined with +.
        seeds: of the runs.
        targets: languages that are related: no source, and none that chose what is frozen.
        transfer: score by language.
        drift: by language and block, where all seeds have it.
        distances: by kind and language.
        fertility: by language.
        alignment: by language and block.
        profile_similarity: by language.
        hsic: by language.
    """

    source: str
    seeds: tuple[int, ...]
    targets: tuple[str, ...]
    transfer: Mapping[str, float]
    drift: Mapping[str, Mapping[int, float]]
    distances: Mapping[str, Mapping[str, float]]
    fertility: Mapping[str, float]
    alignment: Mapping[str, Mapping[int, float]]
    profile_similarity: Mapping[str, float]
    hsic: Mapping[str, float]

    @property
    def blocks(self) -> list[int]:
        """Blocks of which a language has a drift."""
        return sorted({block for values in self.drift.values() for block in values})

    @property
    def mean_drift(self) -> dict[str, float]:
        """Mean over blocks 1..L by language."""
        return mean_drift(self.drift)

    @property
    def middle_alignment(self) -> dict[str, float]:
        """Mean over the middle blocks by language."""
        middle = middle_blocks(sorted({block for values in self.alignment.values() for block in values}))
        found = {code: [v[block] for block in middle if block in v] for code, v in self.alignment.items()}
        return {code: fmean(values) for code, values in found.items() if values}

    def measures(self) -> dict[str, dict[str, float]]:
        """Every measure that there is, by name and target."""
        offered: dict[str, Mapping[str, float]] = {
            "profile similarity": self.profile_similarity,
            "HSIC": self.hsic,
            "alignment": self.middle_alignment,
            **{f"{kind} distance": values for kind, values in self.distances.items()},
            "drift": self.mean_drift,
            "transfer": self.transfer,
            "fertility": self.fertility,
        }
        found = {
            name: {code: values[code] for code in self.targets if code in values} for name, values in offered.items()
        }
        return {name: values for name, values in found.items() if values}


def gather(paths: Sequence[Path]) -> tuple[list[RunsTogether], list[LeftOut]]:
    """The finished runs in some folders, in groups, and what was left out.

    Args:
        paths: each the folder of a run, or that of a sweep, whose subfolders are runs.

    Raises:
        UserError: no such folder, one without runs, or a run of evaluate.py.
    """
    problems: list[str] = []
    folders: list[Path] = []
    for path in paths:
        if not path.is_dir():
            problems.append(f"{path}: no such folder. Give the folder of a run of train.py, or that of a sweep")
            continue
        found = [path] if (path / "status.json").is_file() else cells_of(path)
        if not found:
            problems.append(
                f"{path}: holds no run (status.json) and no sweep (folders that hold one). Give the folder of a run of "
                f"train.py, or that of a sweep"
            )
        folders += found
        others = [folder for folder in found if from_yaml(folder / "config.yaml") and not is_train_run(folder)]
        if others:
            more = f"{path}: {others[0].name} and {len(others) - 1} more are runs"
            told = f"{others[0]}: is a run" if len(others) == 1 else more
            problems.append(f"{told} of evaluate.py, which fine-tunes nothing. Give runs of train.py")
    if problems:
        raise UserError(*problems)
    return gather_cells({str(folder): folder for folder in folders})


def gather_cells(folders: Mapping[str, Path]) -> tuple[list[RunsTogether], list[LeftOut]]:
    """The same of folders that are known to be runs, each with the name that it is called by."""
    left_out: list[LeftOut] = []
    runs: dict[str, dict[tuple[str, str, int], FinishedRun]] = {}
    seen: set[Path] = set()
    for name, folder in folders.items():
        if folder.resolve() in seen:
            continue
        seen.add(folder.resolve())
        found = _finished(name, folder)
        if isinstance(found, str):
            left_out.append(LeftOut(run=name, reason=found))
            continue
        together = runs.setdefault(_recipe(found), {})
        identity = (found.source, found.freeze, found.seed)
        if identity in together:
            reason = f"the same source, seed, freezing and settings as {together[identity].name}"
            left_out.append(LeftOut(run=name, reason=reason))
        else:
            together[identity] = found
    headings = _headings({key: next(iter(together.values())) for key, together in runs.items()})
    return [RunsTogether(headings[key], tuple(together.values())) for key, together in runs.items()], left_out


def averaged(runs: Sequence[FinishedRun]) -> SeedMeans:
    """Runs that differ in their seed only, averaged over what all of them have."""
    metrics = [run.metrics for run in runs]
    drift = {
        code: _mean_of([one.drift[code] for one in metrics])
        for code in metrics[0].drift
        if all(code in one.drift for one in metrics)
    }
    unreported = {code for run in runs for code in run.unreported}
    transfer = _mean_of([{code: found.score for code, found in one.transfer.items()} for one in metrics])
    return SeedMeans(
        source=runs[0].source,
        seeds=tuple(run.seed for run in runs),
        targets=tuple(code for code in runs[0].targets if code in transfer and code not in unreported),
        transfer=transfer,
        drift=drift,
        distances=_mean_of_maps([one.distances for one in metrics]),
        fertility=_mean_of([one.controls.fertility for one in metrics]),
        alignment=_mean_of_maps([one.controls.alignment for one in metrics]),
        profile_similarity=_mean_of([one.controls.profile_similarity for one in metrics]),
        hsic=_mean_of([one.controls.hsic for one in metrics]),
    )


def _finished(name: str, folder: Path) -> FinishedRun | str:
    """A run, or why it cannot be counted."""
    status, config = read_status(folder), from_yaml(folder / "config.yaml")
    if status is None:
        return "status.json is missing or damaged"
    if not config:
        return status.error or "config.yaml is missing or damaged"
    if "finetune" not in config:
        return "is a run of evaluate.py"
    if makes_a_model(config):
        return "makes a model from nothing, and measures no transfer"
    if status.state != "done":
        return f"{status.state}: {status.error}" if status.error else f"not finished ({status.state})"
    try:
        metrics = read_train_metrics(folder)
    except UserError:
        is_there = (folder / "metrics.json").exists()
        return f"metrics.json is {'damaged' if is_there else 'missing'}"
    return FinishedRun(folder, name, config, metrics, freeze_setting(config, metrics.freeze))


def _recipe(run: FinishedRun) -> str:
    """What runs of one group have in common."""
    metrics, node = run.metrics, run.config.get("model")
    is_drawn = isinstance(node, Mapping) and node.get("kind") == "random"  # by the seed, so that seeds differ in it
    found = {
        **_settings(run.config),
        "task": metrics.task,
        "model": metrics.model,
        "pooling": metrics.pooling,
        "base model": "" if is_drawn else metrics.base_fingerprint,
    }
    return json.dumps(found, sort_keys=True)


def _settings(config: Mapping[str, Any]) -> dict[str, str]:
    return {
        key: value
        for key, value in flat_config(hashed_config(config)).items()
        if not any(key == free or key.startswith(f"{free}.") for free in _FREE)
    }


def _headings(firsts: Mapping[str, FinishedRun]) -> dict[str, str]:
    """Model, task and pooling, and where groups have these in common, what sets them apart."""
    plain = {
        key: f"{run.metrics.task}, {run.metrics.model}, {run.metrics.pooling} pooling" for key, run in firsts.items()
    }
    found = {}
    for key, heading in plain.items():
        alike = [json.loads(other) for other in firsts if plain[other] == heading]
        own = json.loads(key)
        telling = sorted({name for one in alike for name in one if len({other.get(name) for other in alike}) > 1})
        told = [f"{name}={str(own.get(name, ''))[:12] if name == 'base model' else own.get(name)}" for name in telling]
        found[key] = ", ".join([heading, *told])
    return found


def _mean_of(maps: Sequence[Mapping[Any, float]]) -> dict[Any, float]:
    """Means of what all maps have."""
    return {key: fmean(one[key] for one in maps) for key in maps[0] if all(key in one for one in maps)}


def _mean_of_maps(maps: Sequence[Mapping[str, Mapping[Any, float]]]) -> dict[str, dict[Any, float]]:
    return {
        key: values
        for key in maps[0]
        if all(key in one for one in maps) and (values := _mean_of([one[key] for one in maps]))
    }
