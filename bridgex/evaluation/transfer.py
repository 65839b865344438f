"""From what was measured in every language to scores, gaps, relations and what of them survives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import get_args

import numpy as np

from bridgex.data.typology import KindDistances
from bridgex.records.relation_families import relation_families
from bridgex.records.train_schema import (
    Controls,
    DriftRecord,
    Measured,
    RelationName,
    RelationRecord,
    TrainMetrics,
    TransferScore,
)
from bridgex.stats.paired import ALPHA, difference_interval, share_interval
from bridgex.stats.relate import Vector, depth_correlation, relate_family


@dataclass(frozen=True)
class Training:
    """What a training was, for its metrics.

    Attributes:
        task: its name.
        model: its name.
        sources: codes.
        seed: of the run.
        freeze: none, or what was frozen.
        steps: optimiser steps.
        loss: over the last of them.
        num_classes: of the task.
        majority: number of the class that is most frequent in training.
        base_fingerprint: of the model before.
        unreported: languages that chose something, and are left out of every relation.
    """

    task: str
    model: str
    sources: Sequence[str]
    seed: int
    freeze: str
    steps: int
    loss: float
    num_classes: int
    majority: int
    base_fingerprint: str
    unreported: Sequence[str] = ()


@dataclass(frozen=True)
class Beside:
    """What stands beside scores and drift, by language.

    Attributes:
        untrained: answers of the new head.
        hypothesis_only: answers of a model that sees no premise; None: not trained.
        fertility: mean tokens of a pair.
        num_cut: pairs that were cut.
        alignment: CKA with the source before fine-tuning, by block.
        profile_similarity: share of language neurons in common with the source.
        hsic: dependence of language neurons on the source's.
    """

    untrained: Mapping[str, Measured]
    hypothesis_only: Mapping[str, Measured] | None
    fertility: Mapping[str, float]
    num_cut: Mapping[str, int]
    alignment: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    profile_similarity: Mapping[str, float] = field(default_factory=dict)
    hsic: Mapping[str, float] = field(default_factory=dict)


def summarise_training(
    training: Training, measured: Mapping[str, Measured], beside: Beside, distances: KindDistances | None
) -> TrainMetrics:
    """Scores, gaps, drift, controls and relations of one fine-tuned model.

    Args:
        training: what it was.
        measured: the fine-tuned model in every language, sources first.
        beside: the controls.
        distances: of the targets from the sources; None: there are none.
    """
    transfer = transfer_scores(measured, training.sources, training.seed)
    poolings = [record.pooling for record in next(iter(measured.values())).drift]
    targets = [code for code in measured if code not in training.sources and code not in training.unreported]
    relations = relations_of(
        targets,
        {pooling: drift_table(measured, pooling) for pooling in poolings},
        {code: score.score for code, score in transfer.items()},
        {} if distances is None else distances.values,
        beside.fertility,
        training.seed,
    )
    drift = drift_table(measured, poolings[0])
    golds = [record.gold for record in next(iter(measured.values())).answers]
    hypothesis = beside.hypothesis_only
    return TrainMetrics(
        task=training.task,
        model=training.model,
        source="+".join(training.sources),
        seed=training.seed,
        freeze=training.freeze,
        steps=training.steps,
        loss=training.loss,
        transfer=transfer,
        pooling=poolings[0],
        drift={code: dict(blocks) for code, blocks in drift.items()},
        controls=Controls(
            chance=1 / training.num_classes,
            majority=sum(gold == training.majority for gold in golds) / len(golds),
            untrained={code: _accuracy(found) for code, found in beside.untrained.items()},
            hypothesis_only=None if hypothesis is None else {code: _accuracy(one) for code, one in hypothesis.items()},
            fertility=dict(beside.fertility),
            num_cut=dict(beside.num_cut),
            alignment={code: dict(blocks) for code, blocks in beside.alignment.items()},
            profile_similarity=dict(beside.profile_similarity),
            hsic=dict(beside.hsic),
        ),
        distances={} if distances is None else {kind: dict(found) for kind, found in distances.values.items()},
        distances_origin=None if distances is None else distances.origin,
        relations=relations,
        depth=depth_correlation(_mean_curve(drift)),
        unreported=list(training.unreported),
        base_fingerprint=training.base_fingerprint,
        survives=survivors(relations, poolings),
    )


def transfer_scores(measured: Mapping[str, Measured], sources: Sequence[str], seed: int) -> dict[str, TransferScore]:
    """Score of every language with its gap to the source; of several sources, to their mean."""
    groups = [record.group for record in next(iter(measured.values())).answers]
    right = {
        code: np.array([record.answer == record.gold for record in found.answers], dtype=np.float64)
        for code, found in measured.items()
    }
    source = np.mean([right[code] for code in sources], axis=0)
    scores = {}
    for code, hits in right.items():
        gap = source - hits
        scores[code] = TransferScore(
            score=float(hits.mean()),
            ci95=share_interval(hits, groups, seed=seed),
            n=len(hits),
            gap=None if code in sources else float(gap.mean()),
            gap_ci95=None if code in sources else difference_interval(gap, groups, seed=seed),
        )
    return scores


def drift_table(measured: Mapping[str, Measured], pooling: str) -> dict[str, dict[int, float]]:
    """Unbiased drift by language and block; missing blocks left out."""
    return {
        code: {block: value for block, value in enumerate(_of(found.drift, pooling).unbiased) if value is not None}
        for code, found in measured.items()
    }


def _mean_curve(drift: Mapping[str, Mapping[int, float]]) -> dict[int, float]:
    """Mean over languages of the blocks that all of them have."""
    blocks = set.intersection(*(set(found) for found in drift.values()))
    return {block: float(np.mean([found[block] for found in drift.values()])) for block in sorted(blocks)}


def relations_of(
    targets: Sequence[str],
    drift: Mapping[str, Mapping[str, Mapping[int, float]]],
    transfer: Mapping[str, float],
    distances: Mapping[str, Mapping[str, float]],
    fertility: Mapping[str, float],
    seed: int,
) -> list[RelationRecord]:
    """Drift, distance and transfer over the targets, two at a time; a family is one relation and pooling.

    Args:
        targets: codes.
        drift: by pooling, language and block.
        transfer: score by language.
        distances: by kind and language.
        fertility: by language, which partial correlations hold fixed.
        seed: of the permutations.

    Returns:
        One record for each test that can be made.
    """

    def column(values: Mapping[str, float]) -> list[float]:
        return [values.get(code, np.nan) for code in targets]

    # An order of its own: sampled permutations depend on it.
    targets = sorted(targets)
    kinds = {kind: column(values) for kind, values in distances.items()}
    scores, control = column(transfer), column(fertility)
    found: list[RelationRecord] = []
    for pooling, table in drift.items():
        blocks = sorted({block for code in targets for block in table[code]})
        moved = {
            block: column({code: table[code][block] for code in targets if block in table[code]}) for block in blocks
        }
        for relation, tests in relation_families(moved, scores, kinds).items():
            if relation == "distance ~ transfer":
                continue  # knows no pooling
            found += _records(relation, pooling, tests, control, seed)
    name: RelationName = "distance ~ transfer"
    return found + _records(name, None, relation_families({}, scores, kinds)[name], control, seed)


def _records(
    relation: RelationName,
    pooling: str | None,
    tests: Mapping[tuple[str, int | None], tuple[Vector, Vector]],
    control: Vector,
    seed: int,
) -> list[RelationRecord]:
    """One family of tests."""
    results = relate_family(list(tests.values()), seed=seed, control=control) if tests else []
    return [
        RelationRecord(relation=relation, kind=kind, block=block, pooling=pooling, **result._asdict())
        for (kind, block), result in zip(tests, results, strict=True)
        if result is not None
    ]


def survivors(relations: Sequence[RelationRecord], poolings: Sequence[str]) -> str:
    """One sentence: what of each relation holds after the correction over its family."""
    if not relations:
        return "Nothing could be related: fewer than four target languages, or no distances and no spread."
    parts = []
    names: tuple[RelationName, ...] = get_args(RelationName)
    for relation in names:
        for pooling in poolings if relation != "distance ~ transfer" else [None]:
            tests = [one for one in relations if one.relation == relation and one.pooling in (pooling, None)]
            if tests:
                parts.append(_survivors_of(relation, tests, pooling if len(poolings) > 1 else None))
    return "; ".join(parts) + "."


def _survivors_of(relation: RelationName, tests: Sequence[RelationRecord], pooling: str | None) -> str:
    held = sorted((one for one in tests if one.p_corrected < ALPHA), key=lambda one: -abs(one.spearman))
    name = relation if pooling is None else f"{relation} ({pooling})"
    count = f"{len(tests)} correlation{'' if len(tests) == 1 else 's'}"
    if not held:
        strongest = max(tests, key=lambda one: abs(one.spearman))
        return (
            f"{name}: none of {count} over {strongest.n} languages survives correction, the strongest is "
            f"{_told(strongest)}"
        )
    return (
        f"{name}: {len(held)} of {count} over {held[0].n} languages survive correction, the strongest {_told(held[0])}"
    )


def _told(one: RelationRecord) -> str:
    what = "" if one.kind == "transfer" else f"{one.kind} "
    where = "" if one.block is None else f"block {one.block} "
    return f"{what}{where}{one.spearman:+.2f} (corrected p = {one.p_corrected:.2g})"


def _of(records: Sequence[DriftRecord], pooling: str) -> DriftRecord:
    return next(record for record in records if record.pooling == pooling)


def _accuracy(found: Measured) -> float:
    return sum(record.answer == record.gold for record in found.answers) / len(found.answers)
