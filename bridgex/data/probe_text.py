"""What a pair is probed with: training words of its dictionary, or parallel sentences where it has none."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from bridgex.config.settings import Settings
from bridgex.data import parallel, sources
from bridgex.errors import UserError


@dataclass(frozen=True)
class ProbeText:
    """What probe prompts are made of.

    Attributes:
        entries: translations by source word or sentence.
        note: what a reader of results must know of it; empty for the pair's own dictionary.
        is_words: whether they are words.
    """

    entries: Mapping[str, tuple[str, ...]]
    note: str
    is_words: bool


def problems(settings: Settings) -> list[str]:
    """Whether the pair can be probed with anything, without reading sentences."""
    pair = settings.pair.pair
    found = sources.problems(settings, ("train",))
    if not found or sources.has_list(settings, pair, "train"):
        return found
    if parallel.common_data_sets(settings, (pair.source, pair.target)):
        return []
    return [
        f"{line} (or a data.root with ntrex/ or flores/ in both languages, for probing with sentences)"
        for line in found
    ]


def probe_text(settings: Settings, barred: Collection[str]) -> ProbeText:
    """Words of the dictionary's training part; without a dictionary, parallel sentences.

    Args:
        settings: of the run.
        barred: texts that are evaluated; no sentence is one of them.

    Raises:
        UserError: there is neither, or a file is damaged.
    """
    pair = settings.pair.pair
    if sources.has_list(settings, pair, "train"):
        found = sources.dictionary(settings, pair, "train")
        return ProbeText(found.entries, found.note, is_words=True)
    try:
        text = parallel.parallel_text(
            settings, (pair.source, pair.target), settings.probe.limit, settings.seed, barred=barred
        )
    except UserError as error:
        sources.dictionary(settings, pair, "train")  # says which word lists there are
        raise error from None
    sentences = zip(text.texts[pair.source], text.texts[pair.target], strict=True)
    note = f"there is no dictionary {pair}: it is probed with sentences of {text.origin}"
    return ProbeText({source: (target,) for source, target in sentences}, note, is_words=False)
