"""What drift and transfer must be seen beside: how near languages are in the model before any training."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from bridgex.config.train_settings import TrainSettings
from bridgex.data.sentences import running_text
from bridgex.errors import UserError
from bridgex.extract.loading import LoadedModel
from bridgex.lit.probe import collect_probe_matrix
from bridgex.lit.profiles import cached_profiles
from bridgex.lit.trainer import MakeTrainer
from bridgex.records.cache import ArrayCache
from bridgex.select.evidence import LanguageProfile, Mask
from bridgex.select.neurons import language_neurons, middle_blocks, overlap_neurons
from bridgex.stats.candidates import NoUsableBlockError, candidate_scores
from bridgex.stats.cka import cka
from bridgex.stats.kernels import residualise_length

# As many as probe words in the first study; fewer than so many leave next to nothing beside what length does.
_NUM_SENTENCES, _MIN_BY_LENGTH = 256, 20


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


@dataclass(frozen=True)
class NeuronRelations:
    """How near languages are to the source by the neurons of the first study, before any training.

    Attributes:
        profile_similarity: share of the source's language neurons that are the language's too.
        hsic: dependence of the language's neurons on the source's over sentences of the source, less what chance gives.
    """

    profile_similarity: Mapping[str, float] = field(default_factory=dict)
    hsic: Mapping[str, float] = field(default_factory=dict)


def neuron_relations(
    settings: TrainSettings,
    codes: Sequence[str],
    loaded: LoadedModel,
    fingerprint: str,
    *,
    barred: Collection[str],
    cache: ArrayCache,
    make_trainer: MakeTrainer,
    note: Callable[[str], None],
) -> NeuronRelations:
    """Relates every language to the source by their neurons; of several sources, the mean.

    Profiles are those of the first study, over the same text, and kept for both. The HSIC score is the first study's
    too (normalised, chance-corrected, mean over the blocks of `model.depth`), between all language neurons of the
    source and all of the other language, since there is no pair to choose an overlap from; none matches itself.

    Args:
        settings: of the run; `model.neuron_share` says how many neurons are a language's.
        codes: all languages.
        loaded: the model before training.
        fingerprint: of its files.
        barred: texts that are evaluated, which neither must see.
        cache: of profiles.
        make_trainer: makes the trainer that reads them.
        note: gets why there is no relation.

    Returns:
        By language that is no source and has text; empty where neurons cannot be read or a source has no text.
    """
    try:
        texts = {code: text for code in codes if (text := running_text(settings, code, barred)) is not None}
        lacking = [code for code in settings.source if code not in texts]
        if lacking:
            note(f"no neuron-profile similarity: no text in {', '.join(lacking)} (ntrex/, flores/ or belebele/)")
            return NeuronRelations()
        profiles = cached_profiles(loaded, fingerprint, texts, cache, make_trainer)
    except UserError as error:
        note(f"no neuron-profile similarity: {error}")
        return NeuronRelations()
    share = settings.model.neuron_share
    sets = {code: language_neurons(LanguageProfile(found.share, found.mean), share) for code, found in profiles.items()}
    shared: dict[str, list[float]] = {code: [] for code in sets if code not in settings.source}
    dependent: dict[str, list[float]] = {code: [] for code in shared}
    for source in settings.source:
        count = sum(int(mask.sum()) for mask in sets[source])
        for code, found in shared.items():
            both = sum(int(mask.sum()) for mask in overlap_neurons(sets[source], sets[code]))
            found.append(both / max(1, count))
        try:
            scores = _dependence(settings, loaded, texts[source].texts, sets[source], sets, list(shared), make_trainer)
        except (UserError, NoUsableBlockError) as error:
            note(f"no HSIC score with {source}: {error}")
            continue
        for code, score in scores.items():
            dependent[code].append(score)
    return NeuronRelations(
        {code: float(np.mean(found)) for code, found in shared.items()},
        {code: float(np.mean(found)) for code, found in dependent.items() if len(found) == len(settings.source)},
    )


def _dependence(
    settings: TrainSettings,
    loaded: LoadedModel,
    sentences: Sequence[str],
    own: Sequence[Mask],
    sets: Mapping[str, Sequence[Mask]],
    codes: Sequence[str],
    make_trainer: MakeTrainer,
) -> dict[str, float]:
    """HSIC score of every language's neurons with the source's, over sentences of the source."""
    middle = middle_blocks(len(own), settings.model.depth)
    blocks = [block for block in middle if all(sets[code][block - 1].any() for code in codes) and own[block - 1].any()]
    unions = [np.logical_or.reduce([sets[code][place] for code in codes]) for place in range(len(own))]
    wanted = [
        np.flatnonzero(unions[place] | own[place]) if place + 1 in blocks else np.array([], dtype=np.int64)
        for place in range(len(own))
    ]
    if not codes or not blocks:
        raise UserError("no middle block has neurons of every language; raise model.neuron_share")
    matrix = collect_probe_matrix(loaded, list(sentences[:_NUM_SENTENCES]), wanted, make_trainer, batch_tokens=None)
    lengths = torch.from_numpy(matrix.num_tokens).float()
    x, y, columns = [], [], [list[torch.Tensor]() for _ in codes]
    excluded: list[torch.Tensor | None] = []
    for block in blocks:
        index = wanted[block - 1]
        values = torch.from_numpy(matrix.values[block - 1])
        if len(lengths) >= _MIN_BY_LENGTH:
            values = residualise_length(values, lengths)
        of_any = np.flatnonzero(unions[block - 1][index])
        rows = np.flatnonzero(own[block - 1][index])
        x.append(values[rows])
        y.append(values[of_any])
        # A neuron of both languages would match itself, and the score count what they share once more.
        excluded.append(torch.from_numpy(rows[:, None] == of_any[None]))
        for found, code in zip(columns, codes, strict=True):
            found.append(torch.from_numpy(np.flatnonzero(sets[code][block - 1][index][of_any])))
    scored = candidate_scores(
        x, y, columns, excluded_blocks=excluded, num_replicates=0, num_draws=0, seed=settings.seed
    )
    return {code: score.score for code, score in zip(codes, scored.candidates, strict=True)}
