"""The main path of train.py: fine-tune on one language, and see how every language moves; reads like a recipe."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from lightning.pytorch import seed_everything

from bridgex import controls
from bridgex.config.train_settings import EncoderSettings, ToyWorldSettings, TrainSettings
from bridgex.controls import NeuronRelations
from bridgex.data import typology
from bridgex.data.encoder_text import encoder_text
from bridgex.data.typology import KindDistances
from bridgex.errors import UserError
from bridgex.evaluation.freezing import Frozen, choose_frozen
from bridgex.evaluation.tasks.base import LabelledPairs, PairTask, Task
from bridgex.evaluation.transfer import Beside, Training, summarise_training
from bridgex.extract.block_states import BlockReader, Pooling
from bridgex.extract.classifier import EncodedPair, PairEncoder, load_classifier, load_pair_encoder
from bridgex.extract.freezing import freeze
from bridgex.extract.loading import LoadedModel, load_encoder, model_fingerprint, model_folder
from bridgex.lit.drift import (
    Collect,
    KeepBase,
    MeasureAlong,
    MeasuredPairs,
    MeasureDrift,
    ReadModule,
    read_base,
    read_languages,
)
from bridgex.lit.encoder_training import train_encoder
from bridgex.lit.finetune import finetune
from bridgex.lit.pairs import Pair, ReadData, TrainBatches, num_steps
from bridgex.lit.toy_training import train_toy_world
from bridgex.lit.trainer import make_fit_trainer, make_trainer
from bridgex.records.cache import ArrayCache
from bridgex.records.files import writing
from bridgex.records.measures import train_measure_rows, write_measures
from bridgex.records.store import RunFolder, check_folder, read_status
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

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FINE_TUNED, UNTRAINED, HYPOTHESIS_ONLY = "fine-tuned", "untrained", "hypothesis-only"
_TEST = "test"


def train(settings: TrainSettings, config: Mapping[str, Any], folder: Path) -> TrainMetrics:
    """Fine-tunes a model, and measures drift and transfer for every language.

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
        return read_train_metrics(folder)
    task = pair_task(settings)
    test = test_pairs(settings, task)
    rows, notes = training_rows(settings, task)
    with RunFolder.open(folder, config) as run:
        stage = _stage(settings, run, task, test, rows, notes)
        model = stage.new_model()
        _read_base(stage, model)
        neurons = _neuron_relations(stage, model)
        frozen = stage.freeze(model)
        loss = _finetune(stage, model)
        measured = _measure(stage, model)
        _keep_model(stage, model)
        beside = _beside(stage, neurons, _hypothesis_only(stage))
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
        run.set(state="done")


def make_small_encoder(settings: EncoderSettings, config: Mapping[str, Any], folder: Path) -> None:
    """Trains a small encoder on the user's own text; a folder in which that is done stays as it is."""
    status = read_status(folder)
    if status is not None and status.state == "done" and (folder / "model").is_dir():
        check_folder(folder, config)
        return
    text = encoder_text(settings.data, settings.finetune.text.held_out_share)
    with RunFolder.open(folder, config) as run:
        run.identify({"text": text.fingerprint})
        figures = train_encoder(settings.finetune, text, settings.seed, folder)
        for note in (*text.notes, *figures.notes):
            run.note(note)
        run.set(state="done")


def pair_task(settings: TrainSettings) -> PairTask:
    """The task, if a model can be fine-tuned on it.

    Raises:
        UserError: it cannot.
    """
    task = settings.task.build(Task)
    if not isinstance(task, PairTask):
        raise UserError(f"task={task.name}: has no pairs of texts with classes to fine-tune on. Use task=xnli or nli")
    return task


def test_pairs(settings: TrainSettings, task: PairTask) -> LabelledPairs:
    """The test part in every language that is measured, sources first, cut to `task.limit`.

    Raises:
        UserError: the data lack a language, or are too few.
    """
    targets = settings.targets if settings.targets is not None else task.pair_languages(settings, _TEST)
    codes = list(dict.fromkeys([*settings.source, *targets]))
    found = task.pairs(settings, codes, _TEST)
    limit = settings.task.arguments.get("limit")
    if limit is not None:
        cut = {code: texts[:limit] for code, texts in found.texts.items()}
        found = replace(
            found, ids=found.ids[:limit], groups=found.groups[:limit], labels=found.labels[:limit], texts=cut
        )
    if len(found.ids) < 4:
        raise UserError(
            f"{len(found.ids)} test pairs that all of {', '.join(codes)} have, and CKA needs at least 4. Raise "
            f"task.limit, or choose other targets"
        )
    return found


def training_rows(settings: TrainSettings, task: PairTask) -> tuple[list[Pair], list[str]]:
    """The rows to train on, of every source, and what a reader must know of them.

    Raises:
        UserError: a source has no such part.
    """
    rows: list[Pair] = []
    notes: list[str] = []
    for code in settings.source:
        found = task.pairs(settings, [code], settings.finetune.split)
        pairs = list(zip(found.texts[code], found.labels, strict=True))[: settings.finetune.limit]
        rows += [Pair(code, first, second, label) for (first, second), label in pairs]
        notes += found.notes
    return rows, notes


@dataclass(frozen=True)
class Stage:
    """What every later stage of a run needs."""

    settings: TrainSettings
    run: RunFolder
    task: PairTask
    test: LabelledPairs
    rows: Sequence[Pair]
    where: Path
    fingerprint: str
    encoder: PairEncoder
    poolings: tuple[Pooling, ...]
    steps: int
    states: ArrayCache
    heads: ArrayCache
    profiles: ArrayCache

    @property
    def codes(self) -> list[str]:
        """The languages, sources first."""
        return list(self.test.texts)

    def new_model(self) -> PreTrainedModel:
        """The model before fine-tuning, with a new head."""
        settings = self.settings
        return load_classifier(settings.model, self.where, self.encoder, len(self.task.class_names), settings.seed)

    def freeze(self, model: PreTrainedModel) -> Frozen:
        """Freezes what the settings say."""
        frozen = choose_frozen(self.settings, BlockReader(model, ()).num_blocks)
        freeze(model, frozen.blocks, embeddings=frozen.embeddings)
        for note in frozen.notes:
            self.run.note(note)
        return frozen

    def encoded(self, code: str, encoder: PairEncoder) -> list[EncodedPair]:
        """A language's test pairs as inputs."""
        firsts, seconds = zip(*self.test.texts[code], strict=True)
        return encoder.encode(code, firsts, seconds)

    def pairs(self) -> MeasuredPairs:
        """What is read of every language."""
        keys = {code: self.key(code) for code in self.codes}
        return MeasuredPairs(self.test.ids, self.test.groups, self.test.labels, keys)

    def key(self, code: str) -> dict[str, str]:
        """What a language's representations before fine-tuning follow from."""
        texts = json.dumps(self.test.texts[code], ensure_ascii=False).encode("utf-8", "surrogatepass")
        return {
            "model": self.fingerprint,
            "dtype": self.settings.model.dtype,
            "site": "hidden",
            "pooling": "+".join(self.poolings),
            "language": code,
            "text": hashlib.sha256(texts).hexdigest(),
            "input": str(self.encoder.template),
            "max_length": str(self.encoder.max_length),
        }

    def head_key(self, code: str) -> dict[str, str]:
        """What the answers of a new head follow from."""
        return {**self.key(code), "seed": str(self.settings.seed), "classes": str(len(self.task.class_names))}

    def missing(self, model: str, step: int) -> list[str]:
        """Languages that a model was not yet measured in."""
        return [code for code in self.codes if read_measured(self.run.folder, model, step, code) is None]

    def measured(self, model: str, step: int) -> dict[str, Measured]:
        """What a model did in every language."""
        found = {code: read_measured(self.run.folder, model, step, code) for code in self.codes}
        assert all(one is not None for one in found.values()), "every language was measured"
        return {code: one for code, one in found.items() if one is not None}

    def data(self, codes: Sequence[str], encoder: PairEncoder) -> ReadData:
        """The test pairs of some languages, to be read."""
        pairs = {code: (self.encoded(code, encoder), self.test.labels) for code in codes}
        return ReadData(pairs, encoder, self.settings.drift.batch_tokens)

    def read(self, model: PreTrainedModel, codes: Sequence[str], collect: Collect, encoder: PairEncoder) -> None:
        """Runs some languages' test pairs through a model."""
        if not codes:
            return
        poolings = self.poolings if encoder.with_first else ()
        settings = self.settings
        read_languages(model, poolings, self.data(codes, encoder), collect, lambda more: make_trainer(settings, more))

    def training(self, frozen: Frozen, loss: float) -> Training:
        """What the training was, for its metrics."""
        settings = self.settings
        counts = Counter(row.label for row in self.rows)
        return Training(
            task=str(settings.task.arguments.get("name", "")),
            model=settings.model.name,
            sources=settings.source,
            seed=settings.seed,
            freeze=frozen.name,
            steps=self.steps,
            loss=loss,
            num_classes=len(self.task.class_names),
            majority=max(sorted(counts), key=lambda label: counts[label]),
            base_fingerprint=self.fingerprint,
            unreported=frozen.unreported,
        )


def _stage(
    settings: TrainSettings,
    run: RunFolder,
    task: PairTask,
    test: LabelledPairs,
    rows: Sequence[Pair],
    notes: Sequence[str],
) -> Stage:
    seed_everything(settings.seed, verbose=False)
    for note in (*test.notes, *notes):
        run.note(note)
    origins = "; ".join(f"{code}: {origin}" for code, origin in test.origins.items())
    run.detail(f"test pairs from {origins}")
    run.detail(f"{len(rows)} rows of {settings.finetune.split} to train on")
    cache = Path(settings.cache.dir).expanduser().resolve()
    where = model_folder(settings.model, cache, settings.seed)
    fingerprint = model_fingerprint(settings.model, where, cache)
    text = json.dumps([[row.code, row.first, row.second, row.label] for row in rows], ensure_ascii=False)
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass"))
    run.identify({"model": fingerprint, "test data": test.fingerprint, "training data": digest.hexdigest()})
    encoder = load_pair_encoder(settings.model, where, settings.finetune.max_length)
    auto: Pooling = "cls" if encoder.has_cls else "mean"
    poolings = tuple(dict.fromkeys(auto if pooling == "auto" else pooling for pooling in settings.drift.pooling))
    finetune_settings = settings.finetune
    return Stage(
        settings=settings,
        run=run,
        task=task,
        test=test,
        rows=rows,
        where=where,
        fingerprint=fingerprint,
        encoder=encoder,
        poolings=poolings,
        steps=finetune_settings.steps or num_steps(len(rows), finetune_settings.batch_size, finetune_settings.epochs),
        states=ArrayCache(cache, "states"),
        heads=ArrayCache(cache, "heads"),
        profiles=ArrayCache(cache, "profiles"),
    )


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
    return finetune(
        model,
        batches,
        how,
        stage.steps,
        settings.seed,
        stage.run.folder / checkpoint,
        lambda more: make_fit_trainer(settings, more),
        along,
    )


def _measure(stage: Stage, model: PreTrainedModel) -> dict[str, Measured]:
    """The fine-tuned model in every language: answers, and drift against the representations before."""
    collect = MeasureDrift(stage.pairs(), stage.steps, stage.run.folder, stage.states)
    stage.read(model, stage.missing(FINE_TUNED, stage.steps), collect, stage.encoder)
    return stage.measured(FINE_TUNED, stage.steps)


def _hypothesis_only(stage: Stage) -> dict[str, Measured] | None:
    """A second model, by the same recipe, that never sees a premise: what it knows is in the hypotheses alone."""
    if not stage.settings.controls.hypothesis_only:
        return None
    missing = stage.missing(HYPOTHESIS_ONLY, stage.steps)
    if missing:
        encoder = replace(stage.encoder, with_first=False)
        model = stage.new_model()
        stage.freeze(model)
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
    encoded = {code: stage.encoded(code, stage.encoder) for code in stage.codes}
    num_cut = {code: sum(pair.is_cut for pair in pairs) for code, pairs in encoded.items()}
    if any(num_cut.values()):
        told = ", ".join(f"{code} {count}" for code, count in num_cut.items() if count)
        stage.run.note(
            f"test pairs cut to finetune.max_length={stage.encoder.max_length} tokens: {told} of {len(stage.test.ids)}"
        )
    pooling = stage.poolings[0]
    return Beside(
        untrained=stage.measured(UNTRAINED, 0),
        hypothesis_only=hypothesis_only,
        fertility={code: float(np.mean([len(pair.ids) for pair in pairs])) for code, pairs in encoded.items()},
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
            codes,
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
    with writing(target):
        temporary = Path(tempfile.mkdtemp(dir=stage.run.folder, prefix=".model."))
        try:
            model.save_pretrained(temporary)
            stage.encoder.tokenizer.save_pretrained(temporary)
            os.rename(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


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
