"""The main path: one call a stage, reads like a recipe."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from lightning.pytorch import seed_everything

from bridgex.config.settings import ModelSettings, Settings, TrainSettings
from bridgex.errors import UserError
from bridgex.evaluation.preview import preview
from bridgex.evaluation.scores import summarise
from bridgex.evaluation.tasks.base import Items, Task, route_name
from bridgex.extract.loading import LoadedModel, load_encoder, load_model, model_fingerprint, model_folder
from bridgex.gathering import Gatherer, route_scores
from bridgex.languages import language
from bridgex.lit.callbacks import RecordPredictions
from bridgex.lit.data import SampleData
from bridgex.lit.modules import ICLModule, Sample
from bridgex.lit.toy_training import train_toy_world
from bridgex.lit.trainer import make_trainer
from bridgex.records.files import write_json
from bridgex.records.measures import measure_rows, write_measures
from bridgex.records.predictions import merge_predictions, read_predictions
from bridgex.records.schema import Metrics, Prediction, Preview, Ranking
from bridgex.records.store import RunFolder, check_folder, read_metrics, read_status
from bridgex.select.strategies.base import MissingEvidence, Strategy


def evaluate(settings: Settings, config: Mapping[str, Any], folder: Path) -> Metrics:
    """Ranks bridges for a pair of languages, evaluates directly and through the chosen one, and compares the two.

    Args:
        settings: the validated config.
        config: the same config as plain data, for the record.
        folder: the run's folder; a run that was begun there goes on.

    Raises:
        UserError: what the user can mend.
    """
    status = read_status(folder)
    if status is not None and status.state == "done" and (folder / "metrics.json").is_file():
        check_folder(folder, config)
        return read_metrics(folder)
    task, strategy = settings.task.build(Task), settings.bridge.build(Strategy)
    candidates = strategy.candidates_of(settings.pair.pair)
    with RunFolder.open(folder, config) as run:
        items = task.items(settings, candidates)
        stage = Stage(settings, run, task, items, _load(settings, run, items))
        ranking = _rank(stage, strategy, candidates)
        bridges = candidates if strategy.evaluates_all else [code for code in [ranking.chosen] if code is not None]
        predictions = _ask(stage, [None, *bridges])
        metrics = summarise(
            task,
            settings.pair.pair,
            stage.loaded.name,
            items.items,
            predictions,
            chosen=ranking.chosen,
            chosen_by=ranking.chosen_by,
            uses_labels=strategy.uses_labels,
            candidates=candidates,
            seed=settings.seed,
        )
        run.finish(metrics)
        return metrics


def rank(settings: Settings, config: Mapping[str, Any], folder: Path) -> Ranking:
    """Ranks bridges as `evaluate` does, and stops there; `evaluate` with the same folder goes on.

    Raises:
        UserError: what the user can mend.
    """
    task, strategy = settings.task.build(Task), settings.bridge.build(Strategy)
    candidates = strategy.candidates_of(settings.pair.pair)
    with RunFolder.open(folder, config) as run:
        items = task.items(settings, candidates)
        ranking = _rank(Stage(settings, run, task, items, _load(settings, run, items)), strategy, candidates)
        run.set(state="done")
        return ranking


def dry_run(settings: Settings) -> Preview:
    """What the direct route of `evaluate` would ask and cost; loads the tokenizer only and writes nothing.

    Raises:
        UserError: what the user can mend.
    """
    task = settings.task.build(Task)
    where = model_folder(settings.model, _cache(settings), settings.seed)
    source, target = language(settings.pair.source), language(settings.pair.target)
    return preview(task, task.items(settings).items, source, target, load_encoder(settings.model, where), where)


def train(settings: TrainSettings, config: Mapping[str, Any], folder: Path) -> None:
    """Makes a toy world and trains its model."""
    with RunFolder.open(folder, config) as run:
        found = train_toy_world(settings.finetune, settings.seed, folder)
        for name, value in found.items():
            run.note(f"{name}: {value:.4g}")
        run.set(state="done")


@dataclass(frozen=True)
class Stage:
    """What every later stage of a run needs."""

    settings: Settings
    run: RunFolder
    task: Task
    items: Items
    loaded: LoadedModel


def _load(settings: Settings, run: RunFolder, items: Items) -> LoadedModel:
    seed_everything(settings.seed, verbose=False)
    cache = _cache(settings)
    for note in items.notes:
        run.note(note)
    where = model_folder(settings.model, cache, settings.seed)
    fingerprint = model_fingerprint(settings.model, where, cache)
    run.identify({"model": fingerprint, "data": items.fingerprint})
    loaded = _loaded(settings.model, where, fingerprint)
    for detail in loaded.encoder.notes():
        run.detail(detail)
    return loaded


@lru_cache(maxsize=1)
def _loaded(settings: ModelSettings, where: Path, fingerprint: str) -> LoadedModel:
    """The model, kept for the next cell of a sweep in this process; its files' fingerprint is part of the key."""
    return load_model(settings, where)


def _rank(stage: Stage, strategy: Strategy, candidates: Sequence[str]) -> Ranking:
    """Ranks the candidates and records every strategy's scores."""
    settings = stage.settings
    gatherer = Gatherer(
        settings, stage.run, stage.loaded, stage.items, lambda more: make_trainer(settings, more), _cache(settings)
    )
    evidence = gatherer.evidence(candidates, lambda: route_scores(stage.items, _ask(stage, [None, *candidates])))
    start = time.perf_counter()
    try:
        rankings = strategy.rank_all(evidence)
    except MissingEvidence as reason:
        raise UserError(f"bridge={strategy.name}: {reason}") from None
    if len(rankings) == 1:
        rankings = {
            name: found.model_copy(update={"seconds": time.perf_counter() - start}) for name, found in rankings.items()
        }
    chosen, chosen_by = strategy.choose(rankings)
    pair = settings.pair
    ranking = Ranking(
        pair=pair.name, candidates=list(candidates), chosen=chosen, chosen_by=chosen_by, strategies=rankings
    )
    write_json(stage.run.folder / "ranking.json", ranking)
    rows = measure_rows(
        rankings, stage.loaded.name, pair.source, pair.target, {"hsic": strategy.hsic.estimator}, settings.seed
    )
    write_measures(stage.run.folder, rows)
    return ranking


def _ask(stage: Stage, bridges: Sequence[str | None]) -> list[Prediction]:
    """Asks every item by every route that is not yet on record, and returns the routes' predictions in order."""
    settings, run = stage.settings, stage.run
    languages = [None if code is None else language(code) for code in bridges]
    samples = [Sample(item, bridge) for bridge in languages for item in stage.items.items]
    order = [(route_name(sample.bridge), sample.item.id) for sample in samples]
    known = {(prediction.route, prediction.id): prediction for prediction in read_predictions(run.folder)}
    missing = [sample for sample, key in zip(samples, order, strict=True) if key not in known]
    if missing:
        source, target = language(settings.pair.source), language(settings.pair.target)
        module = ICLModule(stage.loaded, stage.task, source, target)
        data = SampleData(missing, module.cost, settings.engine.batch_tokens)
        trainer = make_trainer(settings, [RecordPredictions(run.folder)])
        run.set(device=str(trainer.strategy.root_device))
        trainer.predict(module, datamodule=data, return_predictions=False)
    return merge_predictions(run.folder, order)


def _cache(settings: Settings) -> Path:
    return Path(settings.cache.dir).expanduser().resolve()
