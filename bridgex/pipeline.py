"""The main path: one call a stage, reads like a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import ProgressBar

from bridgex.config.settings import Settings, TrainSettings
from bridgex.evaluation.preview import preview
from bridgex.evaluation.scores import summarise
from bridgex.evaluation.tasks.base import Items, Task, route_name
from bridgex.extract.loading import LoadedModel, load_encoder, load_model, model_fingerprint, model_folder
from bridgex.languages import language
from bridgex.lit.callbacks import RecordPredictions
from bridgex.lit.data import SampleData
from bridgex.lit.modules import ICLModule, Sample
from bridgex.records.predictions import merge_predictions, read_predictions
from bridgex.records.schema import Metrics, Prediction, Preview
from bridgex.records.store import RunFolder, read_metrics, read_status


def evaluate(settings: Settings, config: Mapping[str, Any], folder: Path) -> Metrics:
    """Evaluates a model on a pair of languages.

    Args:
        settings: the validated config.
        config: the same config as plain data, for the record.
        folder: the run's folder; a run that was begun there goes on.

    Raises:
        UserError: what the user can mend.
    """
    status = read_status(folder)
    if status is not None and status.state == "done":
        return read_metrics(folder)
    task = settings.task.build(Task)
    with RunFolder.open(folder, config) as run:
        items = task.items(settings)
        loaded = _load(settings, run, items)
        samples = [Sample(item, bridge=None) for item in items.items]
        predictions = _ask(settings, run, task, loaded, samples)
        metrics = summarise(task, settings.pair.pair, loaded.name, items.items, predictions)
        run.finish(metrics)
        return metrics


def dry_run(settings: Settings) -> Preview:
    """What `evaluate` would ask and cost; loads the tokenizer only and writes nothing.

    Raises:
        UserError: what the user can mend.
    """
    task = settings.task.build(Task)
    where = model_folder(settings.model, _cache(settings), settings.seed)
    source, target = language(settings.pair.source), language(settings.pair.target)
    return preview(task, task.items(settings).items, source, target, load_encoder(settings.model, where), where)


def train(settings: TrainSettings, config: Mapping[str, Any], folder: Path) -> None:
    """Makes a toy world and trains its model."""
    from bridgex.lit.toy_training import train_toy_world

    with RunFolder.open(folder, config) as run:
        losses = train_toy_world(settings.finetune, settings.seed, folder)
        run.set(state="done", notes=[f"{name}: {value:.3f}" for name, value in losses.items()])


def _load(settings: Settings, run: RunFolder, items: Items) -> LoadedModel:
    cache = _cache(settings)
    for note in items.notes:
        run.note(note)
    where = model_folder(settings.model, cache, settings.seed)
    run.identify({"model": model_fingerprint(settings.model, where, cache), "data": items.fingerprint})
    loaded = load_model(settings.model, where)
    for note in loaded.encoder.notes():
        run.note(note)
    return loaded


def _ask(
    settings: Settings, run: RunFolder, task: Task, loaded: LoadedModel, samples: Sequence[Sample]
) -> list[Prediction]:
    """Asks what is not yet on record and returns all of it, in the samples' order."""
    seed_everything(settings.seed, verbose=False)
    known = {(prediction.route, prediction.id) for prediction in read_predictions(run.folder)}
    order = [(route_name(sample.bridge), sample.item.id) for sample in samples]
    missing = [sample for sample, key in zip(samples, order, strict=True) if key not in known]
    if missing:
        source, target = language(settings.pair.source), language(settings.pair.target)
        trainer = _trainer(settings, [RecordPredictions(run.folder)])
        module = ICLModule(loaded, task, source, target)
        data = SampleData(missing, module.cost, settings.engine.batch_tokens)
        run.set(device=str(trainer.strategy.root_device))
        trainer.predict(module, datamodule=data, return_predictions=False)
    return merge_predictions(run.folder, order)


def _cache(settings: Settings) -> Path:
    return Path(settings.cache.dir).expanduser().resolve()


def _trainer(settings: Settings, callbacks: Sequence[Callback]) -> Trainer:
    own = [target.build(Callback) for target in settings.callbacks.values()]
    return Trainer(
        accelerator=settings.trainer.accelerator,
        devices=settings.trainer.devices,
        strategy=settings.trainer.strategy,
        callbacks=[*own, *callbacks],
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in own),
    )
