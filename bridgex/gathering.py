"""Fills a strategy's evidence: what costs a forward pass is computed when it is first asked for, and once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch

from bridgex.config.settings import Settings
from bridgex.data import parallel, probe_text, sentences, sources, typology
from bridgex.errors import UserError
from bridgex.evaluation.answers import normalise_word
from bridgex.evaluation.engines.remembered import Engine
from bridgex.evaluation.routes import DIRECT, Route, bridge_of
from bridgex.evaluation.scores import item_scores
from bridgex.evaluation.tasks.base import Item, Items, Task
from bridgex.evaluation.tasks.bli import WordTranslation
from bridgex.extract.loading import LoadedModel
from bridgex.languages import Language, Pair, language
from bridgex.lit.callbacks import CollectOutputs
from bridgex.lit.confidence import collect_confidence
from bridgex.lit.data import SampleData
from bridgex.lit.modules import ICLModule, Sample
from bridgex.lit.probe import collect_probe_matrix
from bridgex.lit.probe_data import plain_ids
from bridgex.lit.profiles import cached_profiles
from bridgex.lit.states import collect_states
from bridgex.lit.trainer import MakeTrainer
from bridgex.records.cache import ArrayCache
from bridgex.records.schema import Prediction
from bridgex.records.store import RunFolder
from bridgex.select.evidence import (
    Block,
    Evidence,
    LanguageProfile,
    ProbeActivations,
    RouteConfidence,
    RouteScores,
    SentenceVectors,
    States,
)
from bridgex.select.neurons import middle_blocks
from bridgex.select.strategies.base import MissingEvidence

# What an unbiased HSIC can be computed from.
_MIN_WORDS = 4
# Fewer rightly translated words than this say nothing of how neurons go together.
_MIN_CORRECT_WORDS = 30
# Sentences that stand for a language where it is asked which other one's are the same.
_NUM_SENTENCES = 200
# Among fewer a sentence finds its translation by chance too often for languages to differ.
_MIN_SENTENCES = 20


class Gatherer:
    """Gathers evidence for one run.

    Args:
        settings: of the run.
        run: its folder, for notes.
        loaded: its model.
        engine: asks it.
        items: its items, whose words are kept out of every probe.
        make_trainer: makes the trainers that run the model.
        cache_folder: where profiles are kept for all runs.
    """

    def __init__(
        self,
        settings: Settings,
        run: RunFolder,
        loaded: LoadedModel,
        engine: Engine,
        items: Items,
        make_trainer: MakeTrainer,
        cache_folder: Path,
    ) -> None:
        self._settings, self._run, self._items = settings, run, items
        self._loaded, self._engine = loaded, engine
        self._make_trainer = make_trainer
        self._cache = ArrayCache(cache_folder, "profiles")

    def evidence(self, candidates: Sequence[str], route_scores: Callable[[], RouteScores]) -> Evidence:
        """The evidence for ranking these candidates.

        Args:
            candidates: codes to rank.
            route_scores: evaluates every route; called by strategies that look at labels only.
        """
        pair = self._settings.pair.pair
        codes = (pair.source, pair.target, *candidates)
        profiles = cache(lambda: self._profiles(codes))
        words = cache(self._probe_items)
        sentences_of = cache(lambda: self._parallel(codes))
        known: dict[str, RouteConfidence] = {}

        def confidence(routes: Sequence[str]) -> Mapping[str, RouteConfidence]:
            if missing := [route for route in routes if route not in known]:
                known.update(self._confidence(words(), missing))
            return {route: known[route] for route in routes}

        return Evidence(
            pair=pair,
            candidates=tuple(candidates),
            probe_settings=self._settings.probe,
            seed=self._settings.seed,
            profile=lambda code: profiles()[code],
            probe=lambda neurons: self._probe(words(), neurons),
            dictionary=self._dictionary,
            probe_pairs=lambda: self._probe_pairs(words()),
            confidence=confidence,
            states=self._states,
            sentence_vectors=lambda code: self._sentence_vectors(sentences_of(), code),
            distances=_distances,
            route_scores=cache(route_scores),
            device=_statistics_device(self._settings.trainer.accelerator),
        )

    def _profiles(self, codes: Sequence[str]) -> dict[str, LanguageProfile]:
        texts = {code: sentences.profile_text(self._settings, code, self._evaluated()) for code in codes}
        self._say_where_from(texts.values())
        profiles = cached_profiles(
            self._loaded,
            self._run.status.fingerprints["model"],
            texts,
            self._cache,
            self._make_trainer,
            batch_tokens=self._settings.probe.batch_tokens,
            note=self._run.detail,
        )
        return {code: LanguageProfile(profile.share, profile.mean) for code, profile in profiles.items()}

    def _say_where_from(self, texts: Iterable[sentences.Sentences]) -> None:
        by_origin: dict[str, list[str]] = {}
        for text in texts:
            by_origin.setdefault(text.origin.partition("/")[0], []).append(text.code)
            for note in text.notes:
                self._run.note(note)
        if len(by_origin) > 1:
            parts = "; ".join(f"{origin} ({', '.join(codes)})" for origin, codes in sorted(by_origin.items()))
            self._run.note(f"neuron profiles are made from texts that may differ by more than their language: {parts}")
            return
        (origin,) = by_origin
        say = self._run.note if origin == "dictionary words" else self._run.detail
        say(f"neuron profiles are made from {origin}")

    def _probe_items(self) -> list[Item]:
        """Training words of the pair, none of them evaluated; only rightly translated ones where that is asked for."""
        settings = self._settings
        found = probe_text.probe_text(settings, self._evaluated())
        evaluated = {normalise_word(item.text) for item in self._items.items}
        words = [(word, gold) for word, gold in found.entries.items() if normalise_word(word) not in evaluated]
        if found.note:
            self._run.note(found.note)
        items = [Item(word, word, gold, word) for word, gold in words[: settings.probe.limit]]
        if settings.probe.filter == "correct":
            items = self._understood(items)
        self._run.detail(f"{len(items)} probe {'words' if found.is_words else 'sentences'}")
        if len(items) < _MIN_WORDS:
            raise UserError(
                f"pair {settings.pair.name}: {len(items)} probe words that are not evaluated, and a ranking needs at "
                f"least {_MIN_WORDS}. Give a longer word list, or bridge=overlap, which needs none"
            )
        return items

    def _evaluated(self) -> frozenset[str]:
        """Every text of every item."""
        return frozenset(text for item in self._items.items for text in item.texts())

    def _probe_pairs(self, words: Sequence[Item]) -> list[tuple[str, str]]:
        """Probe words, each with its first translation that is no right answer of an evaluated item."""
        barred = {normalise_word(gold) for item in self._items.items for gold in item.gold}
        allowed = [(item.text, [gold for gold in item.gold if normalise_word(gold) not in barred]) for item in words]
        pairs = [(word, translations[0]) for word, translations in allowed if translations]
        if len(pairs) < len(words):
            self._run.detail(
                f"{len(words) - len(pairs)} probe words whose translations are all right answers of evaluated items "
                f"are not used where a strategy looks at translations"
            )
        return pairs

    def _understood(self, items: Sequence[Item]) -> list[Item]:
        source, target = self._languages()
        module = ICLModule(self._loaded, self._engine, self._task(), source, target)
        collect = CollectOutputs()
        samples = [Sample(item, Route()) for item in items]
        data = SampleData(samples, module.cost, self._settings.engine.batch_tokens, devices=1)
        self._make_trainer([collect]).predict(module, datamodule=data, return_predictions=False)
        predictions: list[Prediction] = collect.found
        right = {prediction.id for prediction in predictions if prediction.correct}
        if len(right) < _MIN_CORRECT_WORDS:
            raise UserError(
                f"probe.filter=correct: the model translates {len(right)} of {len(items)} probe words rightly, and "
                f"{_MIN_CORRECT_WORDS} are needed. Raise probe.limit, or use probe.filter=all"
            )
        self._run.note("probe.filter=correct uses dictionary labels")
        return [item for item in items if item.id in right]

    def _probe(self, items: Sequence[Item], neurons: Sequence[npt.NDArray[Any]]) -> ProbeActivations:
        source, target = self._languages()
        template = self._settings.probe.prompt
        matrix = collect_probe_matrix(
            self._loaded,
            [template.format(source=source.name, target=target.name, word=item.text) for item in items],
            neurons,
            self._make_trainer,
            batch_tokens=self._settings.probe.batch_tokens,
            note=self._run.detail,
        )
        return ProbeActivations(matrix.values, matrix.num_tokens)

    def _confidence(self, items: Sequence[Item], routes: Sequence[str]) -> Mapping[str, RouteConfidence]:
        source, target = self._languages()
        return collect_confidence(
            self._loaded,
            self._engine,
            self._task(),
            items,
            source,
            target,
            [None if route == DIRECT else language(route) for route in routes],
            self._make_trainer,
            batch_tokens=self._settings.engine.batch_tokens,
        )

    def _states(self, prompts: Sequence[str], block: Block) -> States:
        num_blocks = self._num_blocks()
        if block != "last" and block > num_blocks:
            raise MissingEvidence(
                f"bridge.convergence.block={block}: the model has blocks 1 to {num_blocks}. Give one of them, or last"
            )
        found = collect_states(
            self._loaded,
            [self._loaded.encoder.encode(prompt) for prompt in prompts],
            self._make_trainer,
            blocks=[block],
            pooling="last",
            batch_tokens=self._settings.probe.batch_tokens,
        )
        states: States = found[0]
        return states

    def _parallel(self, codes: Sequence[str]) -> parallel.ParallelText:
        try:
            found = parallel.parallel_text(
                self._settings, codes, _NUM_SENTENCES, self._settings.seed, barred=self._evaluated()
            )
        except UserError as error:
            raise MissingEvidence(str(error)) from None
        num_sentences = len(found.texts[codes[0]])
        if num_sentences < _MIN_SENTENCES:
            raise MissingEvidence(
                f"{found.origin} has {num_sentences} lines that are filled in and not repeated in all of "
                f"{', '.join(codes)}, and {_MIN_SENTENCES} are needed. Give a data.root with more parallel text"
            )
        self._run.detail(f"{num_sentences} parallel sentences of {found.origin}")
        return found

    def _sentence_vectors(self, text: parallel.ParallelText, code: str) -> SentenceVectors:
        num_blocks = self._num_blocks()
        blocks = middle_blocks(num_blocks, self._settings.probe.depth)
        if not blocks:
            low, high = self._settings.probe.depth
            raise MissingEvidence(f"probe.depth=[{low:g},{high:g}] holds no block of {num_blocks}. Widen it")
        found = collect_states(
            self._loaded,
            [plain_ids(self._loaded, sentence) for sentence in text.texts[code]],
            self._make_trainer,
            blocks=blocks,
            pooling="mean",
            batch_tokens=self._settings.probe.batch_tokens,
            note=self._run.detail,
        )
        return SentenceVectors(found, blocks, text.origin)

    def _num_blocks(self) -> int:
        config: Any = self._loaded.model.config
        return int((config.get_text_config() if hasattr(config, "get_text_config") else config).num_hidden_layers)

    def _dictionary(self, source: str, target: str) -> Mapping[str, tuple[str, ...]] | None:
        found = sources.known_dictionary(self._settings, Pair(source, target), "train")
        if found is None:
            return None
        if len(found.files) > 1:
            self._run.note("word lists were joined through English, which may favour English as a bridge")
        if found.note:
            self._run.detail(found.note)
        return found.entries

    def _languages(self) -> tuple[Language, Language]:
        return language(self._settings.pair.source), language(self._settings.pair.target)

    def _task(self) -> Task:
        """Word translation with the probe's own prompt, whatever the run's task is."""
        return WordTranslation(name="probe", prompt=self._settings.probe.prompt, chain=self._settings.probe.chain)


def _distances(legs: Sequence[typology.Leg]) -> typology.Distances:
    try:
        return typology.distances(legs)
    except UserError as error:
        raise MissingEvidence(str(error)) from None


def _statistics_device(accelerator: str) -> str:
    """CUDA where the model may run there; else the CPU, on MPS too, which lacks parts of complex arithmetic."""
    return "cuda" if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available() else "cpu"


def route_scores(items: Items, predictions: Sequence[Prediction]) -> RouteScores:
    """Every route's scores as strategies that look at labels want them."""
    scores = item_scores(items.items, predictions)
    via = {code: values for route, values in scores.items() if (code := bridge_of(route)) is not None}
    return RouteScores(scores[DIRECT], via, tuple(item.group for item in items.items))
