"""What a fine-tuning works on: its rows, its test pairs, the model as it was, and what is kept of each."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch import seed_everything

from bridgex.config.train_settings import TrainSettings
from bridgex.errors import UserError
from bridgex.evaluation.freezing import Frozen, choose_frozen
from bridgex.evaluation.tasks.base import LabelledPairs, PairTask
from bridgex.evaluation.transfer import Training
from bridgex.extract.block_states import Pooling
from bridgex.extract.classifier import EncodedPair, PairEncoder, load_classifier, load_pair_encoder
from bridgex.extract.loading import model_fingerprint, model_folder
from bridgex.extract.model_config import code_notes
from bridgex.extract.sites import find_layers
from bridgex.lit.drift import Collect, MeasuredPairs, read_languages
from bridgex.lit.pairs import Pair, ReadData, num_steps
from bridgex.lit.trainer import make_trainer
from bridgex.records.cache import ArrayCache
from bridgex.records.inputs import file_fingerprints
from bridgex.records.store import RunFolder
from bridgex.records.train_files import read_measured
from bridgex.records.train_schema import Measured

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_TEST = "test"


def test_pairs(settings: TrainSettings, task: PairTask) -> LabelledPairs:
    """The test part in every language that is measured, sources first, cut to `task.limit`.

    Raises:
        UserError: the data lack a language, or are too few.
    """
    targets = settings.targets if settings.targets is not None else task.pair_languages(settings, _TEST)
    codes = list(dict.fromkeys([*settings.source, *targets]))
    found = task.pairs(settings, codes, _TEST)
    limit = task.limit
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

    def frozen(self, model: PreTrainedModel) -> Frozen:
        """What is not trained.

        Raises:
            UserError: the model lacks a block, or the relations cannot choose.
        """
        found = choose_frozen(self.settings, len(find_layers(model)), self.fingerprint)
        for note in found.notes:
            self.run.note(note)
        return found

    @cached_property
    def inputs(self) -> dict[str, list[EncodedPair]]:
        """Every language's test pairs as inputs, which several stages read."""
        return {code: self._encoded(code, self.encoder) for code in self.codes}

    def _encoded(self, code: str, encoder: PairEncoder) -> list[EncodedPair]:
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
        inputs = self.inputs if encoder is self.encoder else {code: self._encoded(code, encoder) for code in codes}
        pairs = {code: (inputs[code], self.test.labels) for code in codes}
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
            task=self.task.name,
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


def input_fingerprints(
    settings: TrainSettings, config: Mapping[str, Any], test: LabelledPairs, rows: Sequence[Pair]
) -> dict[str, str]:
    """What a run's inputs are: the model, its rows, and each file that the config names."""
    cache = Path(settings.cache.dir).expanduser().resolve()
    model = model_fingerprint(settings.model, model_folder(settings.model, cache, settings.seed), cache)
    text = json.dumps([[row.code, row.first, row.second, row.label] for row in rows], ensure_ascii=False)
    trained_on = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return {"model": model, "test data": test.fingerprint, "training data": trained_on, **file_fingerprints(config)}


def open_stage(
    settings: TrainSettings,
    config: Mapping[str, Any],
    run: RunFolder,
    task: PairTask,
    test: LabelledPairs,
    rows: Sequence[Pair],
    notes: Sequence[str],
) -> Stage:
    """Opens what every later stage needs: fingerprints recorded, tokenizer loaded, pooling and steps decided.

    Args:
        settings: of the run.
        config: the same as plain data.
        run: its folder.
        task: what is fine-tuned on.
        test: pairs that are measured.
        rows: to train on.
        notes: on these rows.

    Raises:
        UserError: no such model, or the folder was begun with other files.
    """
    seed_everything(settings.seed, verbose=False)
    for note in (*test.notes, *notes):
        run.note(note)
    origins = "; ".join(f"{code}: {origin}" for code, origin in test.origins.items())
    run.detail(f"test pairs from {origins}")
    run.detail(f"{len(rows)} rows of {settings.finetune.split} to train on")
    cache = Path(settings.cache.dir).expanduser().resolve()
    where = model_folder(settings.model, cache, settings.seed)
    found = input_fingerprints(settings, config, test, rows)
    run.identify(found)
    for note in code_notes(settings.model):
        run.note(note)
    encoder = load_pair_encoder(settings.model, where, settings.finetune.max_length)
    if "cls" in settings.drift.pooling and not encoder.has_cls:
        raise UserError(
            f"drift.pooling=cls: the inputs of {settings.model.name} begin with no token that stands for all of them. "
            f"Use mean or last"
        )
    auto: Pooling = "cls" if encoder.has_cls else "mean"
    poolings = tuple(dict.fromkeys(auto if pooling == "auto" else pooling for pooling in settings.drift.pooling))
    finetune_settings = settings.finetune
    steps = finetune_settings.steps or num_steps(len(rows), finetune_settings.batch_size, finetune_settings.epochs)
    if finetune_settings.warmup_steps >= steps:
        raise UserError(
            f"finetune.warmup_steps={finetune_settings.warmup_steps}: the training has {steps} steps, so that the full "
            f"rate is never reached. Give fewer, or more steps"
        )
    return Stage(
        settings=settings,
        run=run,
        task=task,
        test=test,
        rows=rows,
        where=where,
        fingerprint=found["model"],
        encoder=encoder,
        poolings=poolings,
        steps=steps,
        states=ArrayCache(cache, "states"),
        heads=ArrayCache(cache, "heads"),
        profiles=ArrayCache(cache, "profiles"),
    )
