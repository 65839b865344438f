"""Which blocks are not trained: as named, at random, or by the relations of an earlier run."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bridgex.config.train_settings import TrainSettings
from bridgex.errors import UserError
from bridgex.evaluation.tasks.base import Task
from bridgex.records.train_files import read_train_metrics
from bridgex.records.train_schema import TrainMetrics

_MIN_LANGUAGES = 4


@dataclass(frozen=True)
class Frozen:
    """What is not trained.

    Attributes:
        blocks: numbers from 1, in order.
        embeddings: whether what lies below block 1 is frozen, too.
        unreported: languages that chose the blocks.
        notes: what a reader of the results must know.
    """

    blocks: tuple[int, ...] = ()
    embeddings: bool = False
    unreported: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """`none`, `embeddings`, `blocks 1 2`, `embeddings, blocks 1 2`."""
        parts = ["embeddings"] if self.embeddings else []
        if self.blocks:
            parts.append("blocks " + " ".join(map(str, self.blocks)))
        return ", ".join(parts) or "none"


def choose_frozen(settings: TrainSettings, num_blocks: int, fingerprint: str | None = None) -> Frozen:
    """What the settings freeze of a model.

    Args:
        settings: of the run.
        num_blocks: of its model.
        fingerprint: of its model before fine-tuning, which must be that of the relations; None: not compared.

    Raises:
        UserError: a block or a number of blocks that the model does not have, or relations that cannot choose.
    """
    given = settings.freeze
    beyond = [block for block in (*given.layers, given.bottom) if block > num_blocks]
    if beyond:
        key = "freeze.bottom" if given.bottom > num_blocks else "freeze.layers"
        raise UserError(f"{key}={beyond[0]}: the model has blocks 1 to {num_blocks}. Give one of these")
    blocks = {*given.layers, *range(1, given.bottom + 1)}
    unreported: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    if given.name in ("random", "by_correlation") and given.num_layers > num_blocks:
        raise UserError(f"freeze.num_layers={given.num_layers}: the model has {num_blocks} blocks. Give fewer")
    if given.name == "random":
        blocks |= set(random.Random(settings.seed).sample(range(1, num_blocks + 1), given.num_layers))
    if given.name == "by_correlation":
        earlier = _earlier(settings)
        if fingerprint is not None and earlier.base_fingerprint != fingerprint:
            raise UserError(
                f"freeze.relations={given.relations}: is of another model ({earlier.model}) than this run's. Give "
                f"a run of the same one"
            )
        unreported = development_languages(settings, earlier)
        correlations = correlations_over(earlier, given.kind, unreported)
        if len(correlations) < given.num_layers:
            raise UserError(
                f"freeze.num_layers={given.num_layers}: {len(correlations)} blocks have a correlation of drift with "
                f"{given.kind} distance over the development languages. Give fewer"
            )
        chosen = sorted(correlations, key=lambda block: correlations[block])[: given.num_layers]
        blocks |= set(chosen)
        told = ", ".join(f"{block} ({correlations[block]:+.2f})" for block in chosen)
        notes = (
            f"blocks frozen by the relations of {given.relations}: {told}, Spearman of drift and {given.kind} distance "
            f"over {', '.join(unreported)}, which are left out of this run's relations",
        )
    return Frozen(tuple(sorted(blocks)), given.embeddings or given.bottom > 0, unreported, notes)


def freeze_problems(settings: TrainSettings) -> list[str]:
    """What of the settings' freezing cannot be, as far as shows without the model."""
    given = settings.freeze
    idle = [
        f"freeze.{key}={value}: is for freeze={own}, and freeze={given.name} was given. Leave it out"
        for key, value, own in (("layers", given.layers, "layers"), ("bottom", given.bottom, "bottom"))
        if value and given.name != own
    ]
    if given.embeddings and given.name not in ("embeddings", "layers", "bottom"):
        idle.append(f"freeze.embeddings=true: is not for freeze={given.name}. Use freeze=embeddings, or leave it out")
    if idle:
        return idle
    if given.name == "layers" and not given.layers:
        return ["freeze.layers: empty, and freeze=layers freezes the blocks it names. Write freeze.layers=[1,2]"]
    if given.name == "bottom" and not given.bottom:
        return ["freeze.bottom=0: freezes nothing. Give the highest block to freeze, or freeze=none"]
    if given.name != "by_correlation":
        return []
    try:
        earlier = _earlier(settings)
        correlations_over(earlier, given.kind, development_languages(settings, earlier))
    except UserError as error:
        return list(error.problems)
    return []


def development_languages(settings: TrainSettings, earlier: TrainMetrics) -> tuple[str, ...]:
    """The languages that choose the blocks: the named ones, or every second target of the earlier run by code.

    Raises:
        UserError: too few of them, or too few others.
    """
    targets = sorted(code for code, score in earlier.transfer.items() if score.gap is not None)
    chosen = tuple(settings.freeze.development or targets[::2])
    lacking = [code for code in chosen if code not in targets]
    if lacking:
        raise UserError(
            f"freeze.development: {', '.join(lacking)} was no target of {settings.freeze.relations}, which had "
            f"{', '.join(targets)}"
        )
    rest = len(targets) - len(chosen)
    if min(len(chosen), rest) < _MIN_LANGUAGES:
        raise UserError(
            f"freeze.development: {len(chosen)} languages choose the blocks and {rest} are left to report, and each "
            f"needs at least {_MIN_LANGUAGES}. Give freeze.relations a run with more targets"
        )
    return chosen


def correlations_over(earlier: TrainMetrics, kind: str, codes: Sequence[str]) -> dict[int, float]:
    """Spearman of drift and one kind of distance over some languages, by block from 1.

    Raises:
        UserError: the run has no such distances, or they do not vary.
    """
    far = earlier.distances.get(kind, {})
    known = [code for code in codes if code in far]
    if len(known) < _MIN_LANGUAGES or len({far[code] for code in known}) < 2:
        raise UserError(
            f"freeze.kind={kind}: not known, or without differences, for {', '.join(codes)}. The earlier run has "
            f"{', '.join(earlier.distances) or 'no distances'}"
        )
    from scipy import stats  # a second that no other check of a command needs

    blocks = set.intersection(*(set(earlier.drift[code]) for code in known)) - {0}
    found = {
        block: float(stats.spearmanr([earlier.drift[code][block] for code in known], [far[c] for c in known]).statistic)
        for block in sorted(blocks)
    }
    return {block: value for block, value in found.items() if math.isfinite(value)}


def _earlier(settings: TrainSettings) -> TrainMetrics:
    given = settings.freeze.relations
    if given is None:
        raise UserError(
            "freeze.relations: not set. freeze=by_correlation needs the folder of a finished run without freezing"
        )
    folder = Path(given).expanduser()
    if not folder.is_dir():
        raise UserError(f"freeze.relations={given}: no such folder")
    found = read_train_metrics(folder)
    if found.freeze != "none":
        raise UserError(f"freeze.relations={given}: froze {found.freeze}. Give a run with freeze=none")
    task = settings.task.build(Task).name
    if found.task != task:
        raise UserError(f"freeze.relations={given}: was trained on task {found.task}, and this run is on {task}")
    if found.source != settings.sources:
        raise UserError(
            f"freeze.relations={given}: was trained on {found.source}, and this run is on {settings.sources}"
        )
    return found
