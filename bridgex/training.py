"""The main path of train.py: fine-tune on one language, and see how every language moves; reads like a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from lightning.pytorch import Callback, Trainer

from bridgex import controls
from bridgex.config.train_settings import EncoderSettings, ToyWorldSettings, TrainSettings
from bridgex.controls import NeuronRelations
from bridgex.data import typology
from bridgex.data.encoder_text import encoder_text
from bridgex.data.typology import KindDistances
from bridgex.errors import UserError
from bridgex.evaluation.freezing import Frozen
from bridgex.evaluation.tasks.base import pair_task
from bridgex.evaluation.transfer import Beside, summarise_training
from bridgex.extract.classifier import PairEncoder
from bridgex.extract.freezing import freeze
from bridgex.extract.loading import LoadedModel, load_encoder, model_folder
from bridgex.lit.drift import (
    Collect,
    KeepBase,
    MeasureAlong,
    MeasureDrift,
    ReadModule,
    read_base,
)
from bridgex.lit.encoder_training import train_encoder
from bridgex.lit.finetune import finetune
from bridgex.lit.pairs import TrainBatches
from bridgex.lit.toy_training import train_toy_world
from bridgex.lit.trainer import make_fit_trainer, make_trainer
from bridgex.records.files import whole_folder, writing
from bridgex.records.measures import train_measure_rows, write_measures
from bridgex.records.store import RunFolder, is_done
from bridgex.records.train_files import (
    CHECKPOINTS,
    clean_up,
    keep_measured,
    read_measured,
    read_train_metrics,
    write_answers,
    write_drift,
)
from bridgex.records.train_schema import LabelRecord, Measured, TrainMetrics
from bridgex.train_stage import Stage, input_fingerprints, open_stage, test_pairs, training_rows

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FINE_TUNED, UNTRAINED, HYPOTHESIS_ONLY = "fine-tuned", "untrained", "hypothesis-only"


def train(settings: TrainSettings, config: Mapping[str, Any], folder: Path) -> TrainMetrics:
    """Fine-tunes a model, and measures drift and transfer for every language.

    Args:
        settings: the validated config.
        config: the same config as plain data, for the record.
        folder: the run's folder; a run that was begun there goes on.

    Raises:
        UserError: what the user can mend.
    """
    task = pair_task(settings.task)
    read = cache(lambda: (test_pairs(settings, task), *training_rows(settings, task)))
    if is_done(folder, config, lambda: input_fingerprints(settings, config, *read()[:2])):
        return read_train_metrics(folder)
    test, rows, notes = read()
    with RunFolder.open(folder, config) as run:
        stage = open_stage(settings, config, run, task, test, rows, notes)
        model = stage.new_model()
        frozen = stage.frozen(model)
        _read_base(stage, model)
        neurons = _neuron_relations(stage, model)
        freeze(model, frozen.blocks, embeddings=frozen.embeddings)
        loss = _finetune(stage, model)
        measured = _measure(stage, model)
        _keep_model(stage, model)
        beside = _beside(stage, neurons, _hypothesis_only(stage, frozen))
        metrics = summarise_training(
            stage.training(frozen, loss), measured, beside, _distances(settings, run, list(test.texts))
        )
        _write(stage, metrics, measured, beside)
        run.finish(metrics)
        clean_up(folder)
        return metrics


def make(settings: ToyWorldSettings | EncoderSettings, config: Mapping[str, Any], folder: Path) -> None:
    """Makes what a recipe says, a model from nothing."""
    if isinstance(settings, EncoderSettings):
        make_small_encoder(settings, config, folder)
    else:
        make_toy_world(settings, config, folder)


def make_toy_world(settings: ToyWorldSettings, config: Mapping[str, Any], folder: Path) -> None:
    """Makes a toy world and trains its model."""
    with RunFolder.open(folder, config) as run:
        found = train_toy_world(settings.finetune, settings.seed, folder)
        for name, value in found.items():
            run.note(f"{name}: {value:.4g}")
        run.finish()


def make_small_encoder(settings: EncoderSettings, config: Mapping[str, Any], folder: Path) -> None:
    """Trains a small encoder on the user's own text; a folder in which that is done stays as it is."""
    read = cache(lambda: encoder_text(settings.data, settings.finetune.text.held_out_share))
    if is_done(folder, config, lambda: {"text": read().fingerprint}):
        return
    text = read()
    with RunFolder.open(folder, config) as run:
        run.identify({"text": text.fingerprint})
        figures = train_encoder(settings.finetune, text, settings.seed, folder)
        for note in (*text.notes, *figures.notes):
            run.note(note)
        run.finish()


def _read_base(stage: Stage, model: PreTrainedModel) -> None:
    """Reads every language before any training: representations, kept for all runs, and what a new head answers."""
    folder, pairs = stage.run.folder, stage.pairs()
    for code in stage.missing(UNTRAINED, 0):
        known = stage.heads.get(stage.head_key(code)) if stage.states.has(stage.key(code)) else None
        if known is not None:
            answers = [
                LabelRecord(language=code, model=UNTRAINED, id=item, group=group, answer=int(answer), gold=gold)
                for item, group, answer, gold in zip(
                    pairs.ids, pairs.groups, known["answers"], pairs.labels, strict=True
                )
            ]
            keep_measured(folder, Measured(language=code, model=UNTRAINED, step=0, answers=answers, drift=[]))
    lacking = [code for code in stage.codes if not stage.states.has(stage.key(code))]
    missing = list(dict.fromkeys([*stage.missing(UNTRAINED, 0), *lacking]))
    stage.read(model, missing, KeepBase(pairs, folder, stage.states), stage.encoder)
    for code in missing:
        found = read_measured(folder, UNTRAINED, 0, code)
        assert found is not None, "every language was read"
        stage.heads.put(stage.head_key(code), {"answers": np.array([record.answer for record in found.answers])})


def _finetune(stage: Stage, model: PreTrainedModel) -> float:
    """Trains the model in place, measuring drift along the way where that is asked for."""
    settings, folder = stage.settings, stage.run.folder
    along: tuple[MeasureAlong, ...] = ()
    if settings.drift.every is not None:
        pairs = stage.pairs()
        along = (
            MeasureAlong(
                settings.drift.every,
                settings.finetune.accumulate,
                stage.steps,
                ReadModule(model, stage.poolings),
                stage.data(stage.codes, stage.encoder),
                lambda step: MeasureDrift(pairs, step, folder, stage.states, with_answers=False),
                lambda step: not stage.missing(FINE_TUNED, step),
            ),
        )
    return _train(stage, model, stage.encoder, CHECKPOINTS[FINE_TUNED], along)


def _train(
    stage: Stage, model: PreTrainedModel, encoder: PairEncoder, checkpoint: str, along: tuple[MeasureAlong, ...] = ()
) -> float:
    settings = stage.settings
    how = settings.finetune
    batches = TrainBatches(stage.rows, encoder, how.batch_size, how.accumulate, stage.steps, settings.seed)

    def make(more: Sequence[Callback]) -> Trainer:
        trainer = make_fit_trainer(settings, more)
        stage.run.set(device=str(trainer.strategy.root_device))
        return trainer

    return finetune(
        model,
        batches,
        how,
        stage.steps,
        settings.seed,
        stage.run.folder / checkpoint,
        make,
        along,
    )


def _measure(stage: Stage, model: PreTrainedModel) -> dict[str, Measured]:
    """The fine-tuned model in every language: answers, and drift against the representations before."""
    collect = MeasureDrift(stage.pairs(), stage.steps, stage.run.folder, stage.states)
    stage.read(model, stage.missing(FINE_TUNED, stage.steps), collect, stage.encoder)
    return stage.measured(FINE_TUNED, stage.steps)


def _hypothesis_only(stage: Stage, frozen: Frozen) -> dict[str, Measured] | None:
    """A second model, by the same recipe, that never sees a premise: what it knows is in the hypotheses alone."""
    if not stage.settings.controls.hypothesis_only:
        return None
    missing = stage.missing(HYPOTHESIS_ONLY, stage.steps)
    if missing:
        encoder = replace(stage.encoder, with_first=False)
        model = stage.new_model()
        freeze(model, frozen.blocks, embeddings=frozen.embeddings)
        _train(stage, model, encoder, CHECKPOINTS[HYPOTHESIS_ONLY])
        stage.read(model, missing, Collect(stage.pairs(), HYPOTHESIS_ONLY, stage.steps, stage.run.folder), encoder)
    return stage.measured(HYPOTHESIS_ONLY, stage.steps)


def _neuron_relations(stage: Stage, model: PreTrainedModel) -> NeuronRelations:
    """How near languages are to the source by the first study's neurons, before any training."""
    settings = stage.settings
    return controls.neuron_relations(
        settings,
        stage.codes,
        LoadedModel(settings.model.name, stage.where, model, load_encoder(settings.model, stage.where), ()),
        stage.fingerprint,
        barred=[text for texts in stage.test.texts.values() for pair in texts for text in pair],
        cache=stage.profiles,
        make_trainer=lambda more: make_trainer(settings, more),
        note=stage.run.note,
    )


def _beside(stage: Stage, neurons: NeuronRelations, hypothesis_only: Mapping[str, Measured] | None) -> Beside:
    num_cut = {code: sum(pair.is_cut for pair in pairs) for code, pairs in stage.inputs.items()}
    if any(num_cut.values()):
        told = ", ".join(f"{code} {count}" for code, count in num_cut.items() if count)
        stage.run.note(
            f"test pairs cut to finetune.max_length={stage.encoder.max_length} tokens: {told} of {len(stage.test.ids)}"
        )
    pooling = stage.poolings[0]
    return Beside(
        untrained=stage.measured(UNTRAINED, 0),
        hypothesis_only=hypothesis_only,
        fertility={code: float(np.mean([pair.num_tokens for pair in pairs])) for code, pairs in stage.inputs.items()},
        num_cut=num_cut,
        alignment=controls.alignment(
            stage.settings.source, stage.codes, lambda code: read_base(stage.states, stage.key(code))[pooling]
        ),
        profile_similarity=neurons.profile_similarity,
        hsic=neurons.hsic,
    )


def _distances(settings: TrainSettings, run: RunFolder, codes: Sequence[str]) -> KindDistances | None:
    table = settings.drift.distances
    toy_model = None
    if settings.model.kind == "toy":
        toy_model = model_folder(settings.model, Path(settings.cache.dir), settings.seed)
    try:
        return typology.distances_by_kind(
            settings.source,
            [code for code in codes if code not in settings.source],
            table=None if table is None else Path(table).expanduser(),
            toy_model=toy_model,
        )
    except UserError as error:
        if table is not None:
            raise
        run.note(f"no distances, so that nothing is related to them: {error}")
        return None


def _keep_model(stage: Stage, model: PreTrainedModel) -> None:
    """Leaves the fine-tuned model as a folder that transformers reads, where that is asked for."""
    target = stage.run.folder / "model"
    if not stage.settings.finetune.keep_model or target.exists():
        return
    with writing(target), whole_folder(target, is_own=True) as place:
        model.save_pretrained(place)
        stage.encoder.tokenizer.save_pretrained(place)


def _write(stage: Stage, metrics: TrainMetrics, measured: Mapping[str, Measured], beside: Beside) -> None:
    """Writes what was measured whole, before the run counts as done."""
    folder = stage.run.folder
    groups = [measured, beside.untrained, beside.hypothesis_only or {}]
    write_answers(folder, [record for group in groups for found in group.values() for record in found.answers])
    last = [record for found in measured.values() for record in found.drift]
    every = stage.settings.drift.every
    earlier = [
        record
        for step in range(every, stage.steps, every)
        for found in stage.measured(FINE_TUNED, step).values()
        for record in found.drift
    ] if every is not None else []  # fmt: skip
    write_drift(folder, [*earlier, *last])
    write_measures(folder, train_measure_rows(metrics, last))
