"""Profiles of languages, kept for all runs: a language is read once a model and text."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bridgex.data.sentences import Sentences
from bridgex.extract.loading import LoadedModel
from bridgex.extract.profiles import Profile
from bridgex.lit.probe import collect_profiles
from bridgex.lit.trainer import MakeTrainer
from bridgex.records.cache import ArrayCache


def cached_profiles(
    loaded: LoadedModel,
    fingerprint: str,
    texts: Mapping[str, Sentences],
    cache: ArrayCache,
    make_trainer: MakeTrainer,
    *,
    batch_tokens: int | None = None,
    note: Callable[[str], None] | None = None,
) -> dict[str, Profile]:
    """Profiles of languages over text, from the cache where they are there; the others are read and put there.

    Args:
        loaded: the model and its encoder.
        fingerprint: of the model's files.
        texts: the text of each language.
        cache: of profiles.
        make_trainer: makes the trainer that reads what is not there.
        batch_tokens: tokens in one batch at most; None: by device. Where memory does not suffice, fewer.
        note: gets what a reader of the results must know of what is read.

    Returns:
        One profile a language, those from the cache first.

    Raises:
        UserError: a language has no text, the model's neurons cannot be read, or the cache cannot be written.
    """
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
    fresh = collect_profiles(loaded, lacking, make_trainer, batch_tokens=batch_tokens, note=note)
    for code, profile in fresh.items():
        cache.put(keys[code], profile.arrays())
    return {code: Profile.from_arrays(arrays) for code, arrays in found.items()} | fresh
