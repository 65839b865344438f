"""What drift and transfer must be seen beside: how near languages are in the model before any training."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np
import numpy.typing as npt
import torch

from bridgex.config.train_settings import TrainSettings
from bridgex.data.sentences import Sentences, running_text
from bridgex.errors import UserError
from bridgex.extract.loading import LoadedModel
from bridgex.extract.profiles import Profile
from bridgex.lit.probe import collect_profiles
from bridgex.lit.trainer import MakeTrainer
from bridgex.records.cache import ArrayCache
from bridgex.select.evidence import LanguageProfile
from bridgex.select.neurons import language_neurons, overlap_neurons
from bridgex.stats.cka import cka


def alignment(
    sources: Sequence[str], codes: Sequence[str], states: Callable[[str], npt.NDArray[np.float32]]
) -> dict[str, dict[int, float]]:
    """CKA of every language's representations with the source's, the same items in both, before any training.

    Args:
        sources: codes; of several sources, the mean.
        codes: all languages.
        states: gives a language's representations `[N, L + 1, D]`.

    Returns:
        By language that is no source and by block; blocks on which a side does not vary are missing.
    """
    of_sources = [torch.from_numpy(states(code)) for code in sources]
    found: dict[str, dict[int, float]] = {}
    for code in codes:
        if code in sources:
            continue
        own = torch.from_numpy(states(code))
        found[code] = {}
        for block in range(own.shape[1]):
            values = [cka(source[:, block], own[:, block]) for source in of_sources]
            known = [value for value in values if value is not None]
            if len(known) == len(values):
                found[code][block] = sum(known) / len(known)
    return found


def profile_similarity(
    settings: TrainSettings,
    codes: Sequence[str],
    loaded: LoadedModel,
    fingerprint: str,
    *,
    barred: Collection[str],
    cache: ArrayCache,
    make_trainer: MakeTrainer,
    note: Callable[[str], None],
) -> dict[str, float]:
    """Share of the source's language neurons that are each language's too, before any training.

    Profiles are those of the first study, over the same text, and kept for both.

    Args:
        settings: of the run; `model.neuron_share` says how many neurons are a language's.
        codes: all languages.
        loaded: the model before training.
        fingerprint: of its files.
        barred: texts that are evaluated, which profiles must not see.
        cache: of profiles.
        make_trainer: makes the trainer that reads them.
        note: gets why there is no similarity.

    Returns:
        By language that is no source and has text, of several sources the mean; empty where the neurons cannot be
        read or a source has no text.
    """
    try:
        texts = {code: text for code in codes if (text := running_text(settings, code, barred)) is not None}
        lacking = [code for code in settings.source if code not in texts]
        if lacking:
            note(f"no neuron-profile similarity: no text in {', '.join(lacking)} (ntrex/, flores/ or belebele/)")
            return {}
        profiles = _profiles(texts, loaded, fingerprint, cache, make_trainer)
    except UserError as error:
        note(f"no neuron-profile similarity: {error}")
        return {}
    share = settings.model.neuron_share
    sets = {code: language_neurons(LanguageProfile(found.share, found.mean), share) for code, found in profiles.items()}
    counts = {code: sum(int(mask.sum()) for mask in masks) for code, masks in sets.items()}
    return {
        code: float(
            np.mean(
                [
                    sum(int(mask.sum()) for mask in overlap_neurons(sets[source], sets[code])) / counts[source]
                    for source in settings.source
                ]
            )
        )
        for code in sets
        if code not in settings.source and all(counts[source] for source in settings.source)
    }


def _profiles(
    texts: dict[str, Sentences], loaded: LoadedModel, fingerprint: str, cache: ArrayCache, make_trainer: MakeTrainer
) -> dict[str, Profile]:
    keys = {
        code: {
            "model": fingerprint,
            "dtype": str(loaded.model.dtype),
            "site": "mlp_act",
            "language": code,
            "text": text.fingerprint,
        }
        for code, text in texts.items()
    }
    found = {code: kept for code, key in keys.items() if (kept := cache.get(key)) is not None}
    lacking = {code: text.texts for code, text in texts.items() if code not in found}
    fresh = collect_profiles(loaded, lacking, make_trainer, batch_tokens=None)
    for code, profile in fresh.items():
        cache.put(keys[code], profile.arrays())
    return {code: Profile.from_arrays(arrays) for code, arrays in found.items()} | fresh
