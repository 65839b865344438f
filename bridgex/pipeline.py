"""The main path: one call a stage, reads like a recipe."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, seed_everything

from bridgex.config.settings import Settings
from bridgex.errors import UserError
from bridgex.evaluation.ablation import last_prompt, summarise_ablation
from bridgex.evaluation.dialogue import Request
from bridgex.evaluation.engines.hf import HFEngine
from bridgex.evaluation.engines.make import make_engine
from bridgex.evaluation.engines.remembered import RememberingEngine
from bridgex.evaluation.preview import preview
from bridgex.evaluation.routes import DIRECT, Route
from bridgex.evaluation.scores import summarise
from bridgex.evaluation.tasks.base import Items, Task
from bridgex.extract.loading import LoadedModel, load_encoder, model_fingerprint, model_folder
from bridgex.extract.model_config import code_notes
from bridgex.gathering import Gatherer, route_scores
from bridgex.languages import Language, language
from bridgex.lit.ablation import GoldSample, collect_ablation
from bridgex.lit.callbacks import CountAnswers, RecordPredictions
from bridgex.lit.crew import Crew, ModelKey, crew_of, keep_model
from bridgex.lit.data import SampleData
from bridgex.lit.metrics import with_route_metrics
from bridgex.lit.modules import ICLModule, Sample
from bridgex.lit.parity import compare_engines
from bridgex.lit.trainer import CrewTrainer, Predictor, device_name, make_trainer, run_callbacks
from bridgex.records.files import write_json
from bridgex.records.inputs import file_fingerprints
from bridgex.records.measures import measure_rows, write_measures
from bridgex.records.predictions import merge_predictions, read_predictions
from bridgex.records.schema import Ablation, Metrics, Prediction, Preview, Ranking
from bridgex.records.store import RunFolder, is_done, read_metrics
from bridgex.select.ablation import AblationSets, ablation_sets
from bridgex.select.evidence import Evidence
from bridgex.select.strategies.base import MissingEvidence, Strategy, chose_direct
from bridgex.shown import say


def evaluate(settings: Settings, config: Mapping[str, Any], folder: Path) -> Metrics:
    """Ranks bridges for a pair of languages, evaluates directly and through the chosen one, and compares the two.

    Args:
        settings: the validated config.
        config: the same config as plain data, for the record.
        folder: the run's folder; a run that was begun there goes on.

    Raises:
        UserError: what the user can mend.
    """
    task, strategy = settings.task.build(Task), settings.bridge.build(Strategy)
    candidates = strategy.candidates_of(settings.pair.pair)
    read_items = cache(lambda: task.items(settings, candidates))
    if is_done(folder, config, lambda: _fingerprints(settings, config, read_items())):
        return read_metrics(folder)
    items = read_items()
    with RunFolder.open(folder, config) as run:
        stage = _stage(settings, config, run, task, items)
        evidence = _evidence(stage, strategy, candidates)
        ranking = _rank(stage, strategy, evidence)
        sets = _ablation_sets(stage, strategy, evidence, ranking.chosen)
        bridges = candidates if strategy.evaluates_all else [code for code in [ranking.chosen] if code is not None]
        predictions = _ask(stage, routes_of(task, items, strategy, bridges))
        metrics = summarise(
            task,
            settings.pair.pair,
            stage.loaded.name,
            items.items,
            predictions,
            chosen=ranking.chosen,
            chosen_by=ranking.chosen_by,
            chose_direct=ranking.chose_direct,
            uses_labels=strategy.uses_labels,
            candidates=candidates,
            seed=settings.seed,
        )
        metrics = with_route_metrics(metrics, predictions, language(settings.pair.target))
        if sets is not None and ranking.chosen is not None:
            ablation = _ablate(stage, sets, language(ranking.chosen), predictions)
            metrics = metrics.model_copy(update={"ablation": ablation})
        run.finish(metrics)
        return metrics


def rank(settings: Settings, config: Mapping[str, Any], folder: Path) -> Ranking:
    """Ranks bridges as `evaluate` does, and stops there; `evaluate` with the same folder goes on.

    Raises:
        UserError: what the user can mend.
    """
    task, strategy = settings.task.build(Task), settings.bridge.build(Strategy)
    candidates = strategy.candidates_of(settings.pair.pair)
    items = task.items(settings, candidates)
    with RunFolder.open(folder, config) as run:
        stage = _stage(settings, config, run, task, items)
        ranking = _rank(stage, strategy, _evidence(stage, strategy, candidates))
        run.finish()
        return ranking


def dry_run(settings: Settings) -> Preview:
    """What `evaluate` would ask and cost; loads the tokenizer only and writes nothing.

    Where the bridge is still to be chosen, the first candidate stands for it.

    Raises:
        UserError: what the user can mend.
    """
    task, strategy = settings.task.build(Task), settings.bridge.build(Strategy)
    where = model_folder(settings.model, _cache(settings), settings.seed)
    source, target = language(settings.pair.source), language(settings.pair.target)
    candidates = strategy.candidates_of(settings.pair.pair)
    bridges = candidates if strategy.evaluates_all else candidates[: 0 if strategy.name == "none" else 1]
    items = task.items(settings, bridges)
    routes = routes_of(task, items, strategy, bridges)
    return preview(task, items.items, source, target, routes, load_encoder(settings.model, where), where)


@dataclass(frozen=True)
class Stage:
    """What every later stage of a run needs."""

    settings: Settings
    run: RunFolder
    task: Task
    items: Items
    key: ModelKey
    loaded: LoadedModel
    engine: RememberingEngine
    crew: Crew | None

    def trainer(self, callbacks: Sequence[Callback]) -> Predictor:
        """What predicts, with these callbacks beside the run's own: one process, or all of them."""
        if self.crew is None:
            return make_trainer(self.settings, callbacks)
        return CrewTrainer(
            self.crew,
            self.key,
            self.loaded,
            self.settings.trainer.accelerator,
            run_callbacks(self.settings, callbacks),
        )


def _stage(settings: Settings, config: Mapping[str, Any], run: RunFolder, task: Task, items: Items) -> Stage:
    key, loaded = _load(settings, config, run, items)
    engine = make_engine(settings.engine, loaded, key.fingerprint, _cache(settings))
    crew = crew_of(settings.trainer.devices)
    run.set(device=device_name(settings, crew))
    return Stage(settings, run, task, items, key, loaded, engine, crew)


def _fingerprints(settings: Settings, config: Mapping[str, Any], items: Items) -> dict[str, str]:
    """What a run's inputs are: the model, the items, and each file that the config names."""
    where = model_folder(settings.model, _cache(settings), settings.seed)
    model = model_fingerprint(settings.model, where, _cache(settings))
    return {"model": model, "data": items.fingerprint, **file_fingerprints(config)}


def _load(settings: Settings, config: Mapping[str, Any], run: RunFolder, items: Items) -> tuple[ModelKey, LoadedModel]:
    seed_everything(settings.seed, verbose=False)
    for note in [*items.notes, *code_notes(settings.model)]:
        run.note(note)
    if items.origins:
        run.detail(f"items from {'; '.join(f'{code}: {origin}' for code, origin in items.origins.items())}")
    found = _fingerprints(settings, config, items)
    run.identify(found)
    where = model_folder(settings.model, _cache(settings), settings.seed)
    key = ModelKey(settings.model, where, found["model"])
    loaded = keep_model(key)
    for detail in loaded.encoder.notes():
        run.detail(detail)
    return key, loaded


def _evidence(stage: Stage, strategy: Strategy, candidates: Sequence[str]) -> Evidence:
    settings = stage.settings
    gatherer = Gatherer(
        settings,
        stage.run,
        stage.loaded,
        stage.engine,
        stage.items,
        stage.trainer,
        _cache(settings),
    )
    every_route = [Route(), *(Route.to(language(code), strategy.translate) for code in candidates)]
    return gatherer.evidence(candidates, lambda: route_scores(stage.items, _ask(stage, every_route)))


def _rank(stage: Stage, strategy: Strategy, evidence: Evidence) -> Ranking:
    """Ranks the candidates and records every strategy's scores."""
    settings = stage.settings
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
        pair=pair.name,
        candidates=list(evidence.candidates),
        chosen=chosen,
        chosen_by=chosen_by,
        chose_direct=chosen_by is not None and chose_direct(rankings[chosen_by]),
        strategies=rankings,
    )
    write_json(stage.run.folder / "ranking.json", ranking)
    own = strategy.hsic.estimator
    estimators = {"hsic": own, "hsic_or_direct": own, "convergence": "unbiased"}
    rows = measure_rows(rankings, stage.loaded.name, pair.source, pair.target, estimators, settings.seed)
    write_measures(stage.run.folder, rows)
    return ranking


def routes_of(task: Task, items: Items, strategy: Strategy, bridges: Sequence[str]) -> list[Route]:
    """The routes of a run: direct; with bridges also the opponent without one, and what the data's own texts give."""
    routes = [Route()]
    if bridges and task.has_context:
        routes.append(Route("translated"))
    routes += [Route.to(language(code), strategy.translate) for code in bridges]
    return routes + [
        Route("gold", language(code), strategy.translate) for code in bridges if code in items.gold_bridges
    ]


def _ask(stage: Stage, routes: Sequence[Route]) -> list[Prediction]:
    """Asks every item on every route that is not yet on record, and returns the routes' predictions in order."""
    settings, run = stage.settings, stage.run
    samples = [Sample(item, route) for route in routes for item in stage.items.items]
    order = [(sample.route.name, sample.item.id) for sample in samples]
    known = {(prediction.route, prediction.id): prediction for prediction in read_predictions(run.folder)}
    missing = [sample for sample, key in zip(samples, order, strict=True) if key not in known]
    if missing:
        source, target = language(settings.pair.source), language(settings.pair.target)
        module = ICLModule(stage.loaded, stage.engine, stage.task, source, target)
        _compare_engines(stage, [next(module.dialogue(sample)) for sample in missing[: settings.engine.parity]])
        num_processes = stage.crew.place.world_size if stage.crew is not None else 1
        data = SampleData(missing, module.cost, settings.engine.batch_tokens, num_processes)
        count = CountAnswers(stage.engine)
        stage.trainer([RecordPredictions(run.folder), count]).predict(module, datamodule=data, return_predictions=False)
        for note in count.notes:
            run.detail(note)
        if stage.engine.num_remembered:
            old, new = stage.engine.num_remembered, stage.engine.num_asked
            run.detail(f"{old} answers were known from the cache, {new} were asked for")
    return merge_predictions(run.folder, order)


def _compare_engines(stage: Stage, requests: Sequence[Request]) -> None:
    """Says how far another engine than transformers agrees with it, before the run rests on it."""
    settings = stage.settings
    if settings.engine.name == "hf" or not requests:
        return
    hf = HFEngine(stage.loaded, settings.engine.boundary, settings.engine.batch_tokens)
    found = compare_engines(stage.loaded, stage.engine, hf, requests, lambda more: make_trainer(settings, more))
    say(found.note())
    stage.run.note(found.note())


def _ablation_sets(stage: Stage, strategy: Strategy, evidence: Evidence, chosen: str | None) -> AblationSets | None:
    """The neurons to hold, found before anything is asked; None: none are wanted, or no bridge was chosen."""
    which = stage.task.ablate
    if which is None:
        return None
    if chosen is None:
        stage.run.note(f"task.ablate={which}: no bridge was chosen, so there are no two routes to compare")
        return None
    try:
        return ablation_sets(evidence, chosen, which, strategy.neurons)
    except MissingEvidence as reason:
        raise UserError(str(reason)) from None


def _ablate(stage: Stage, sets: AblationSets, bridge: Language, predictions: Sequence[Prediction]) -> Ablation | None:
    """Weighs the right answers of both routes, with the bridge texts on record, while neurons are held."""
    settings, task = stage.settings, stage.task
    source, target = language(settings.pair.source), language(settings.pair.target)
    via = Route.to(bridge)
    by_id = {item.id: item for item in stage.items.items}
    samples = []
    for prediction in predictions:
        if prediction.route in (DIRECT, via.name):
            item, through = by_id[prediction.id], via if prediction.route == via.name else Route()
            prompt = last_prompt(task.dialogue(item, source, target, through), prediction)
            if prompt is not None:
                samples.append(GoldSample(item.id, prediction.route, prompt, task.gold_texts(item)))
    if not any(sample.route == via.name for sample in samples):
        stage.run.note(f"task.ablate={task.ablate}: the model gave no bridge text, so there is no route to compare")
        return None
    logprobs = collect_ablation(
        stage.loaded,
        sets,
        samples,
        stage.trainer,
        batch_tokens=settings.engine.batch_tokens,
    )
    return summarise_ablation(
        logprobs,
        stage.items.items,
        via.name,
        ablated=str(task.ablate),
        num_neurons=sets.num_neurons,
        num_matched=sets.num_matched,
        seed=settings.seed,
    )


def _cache(settings: Settings) -> Path:
    return Path(settings.cache.dir).expanduser().resolve()
