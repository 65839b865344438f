"""What several finished runs of train.py say together: from their records to relations.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev

import numpy as np

from bridgex.errors import UserError
from bridgex.records.files import write_bytes, writing
from bridgex.records.relation_families import relation_families
from bridgex.records.relations import (
    RELATIONS_FILE,
    LeftOut,
    OverSources,
    RelatedRun,
    Relations,
    RunGroup,
    SeedAverage,
    SourceRelations,
    Spread,
)
from bridgex.records.train_schema import RelationName, RelationRecord
from bridgex.report.freezing import freeze_comparisons
from bridgex.report.relate_findings import finding_of_freezing, findings_of_matrices, findings_of_sources, survivors
from bridgex.report.relate_matrices import (
    hopeless,
    measures_of_matrices,
    measures_of_source,
    relate_matrices,
    square_languages,
)
from bridgex.report.relate_page import relate_page
from bridgex.report.relate_runs import NONE, FinishedRun, RunsTogether, SeedMeans, averaged, gather, gather_cells
from bridgex.report.train_run import mean_drift
from bridgex.stats.matrix_relate import MIN_LANGUAGES
from bridgex.stats.relate import depth_correlation, relate_family

PAGE = "relations.html"


def relate(paths: Sequence[Path]) -> Relations:
    """Relates the finished runs in some folders.

    Args:
        paths: each the folder of a run, or that of a sweep, whose subfolders are runs.

    Raises:
        UserError: no such folder, one without runs, or a run of evaluate.py.
    """
    groups, left_out = gather(paths)
    return related(groups, left_out)


def relate_cells(cells: Sequence[Path]) -> Relations:
    """Relates the finished cells of a sweep, each called by its folder's name; there may be none."""
    groups, left_out = gather_cells({cell.name: cell for cell in cells})
    return related(groups, left_out)


def related(groups: Sequence[RunsTogether], left_out: Sequence[LeftOut]) -> Relations:
    """Relates groups of runs, each by itself."""
    return Relations(groups=[relate_group(group) for group in groups], left_out=list(left_out))


def write_relations(folder: Path, found: Relations) -> Path:
    """Writes relations.json and relations.html.

    Args:
        folder: made where it is not there.
        found: what they say.

    Returns:
        The page.

    Raises:
        UserError: the folder cannot be written, or nothing could be related.
    """
    if not found.groups:
        raise UserError(
            *(f"{one.run}: left out: {one.reason}" for one in found.left_out),
            "no finished run of train.py is left, and at least one is needed",
        )
    with writing(folder, "--out"):
        folder.mkdir(parents=True, exist_ok=True)
    page = folder / PAGE
    write_bytes(folder / RELATIONS_FILE, (found.model_dump_json(indent=2) + "\n").encode(), "--out")
    write_bytes(page, relate_page(found).encode(), "--out")
    return page


def relate_group(together: RunsTogether) -> RunGroup:
    """Everything about runs of one model, task and pooling."""
    notes: list[str] = []
    freeze = NONE
    if NONE not in together.freezes:
        freeze = max(together.freezes, key=lambda name: sum(run.freeze == name for run in together.runs))
        notes.append(f"there is no run without freezing: the runs related are those that froze {freeze}")
    means = {source: averaged(runs) for source, runs in together.of(freeze).items()}
    square = square_languages(means)
    matrices, measures, sources, over = None, [], [], []
    if len(square) >= MIN_LANGUAGES:
        matrices = relate_matrices(means, square)
        notes += hopeless(matrices)
        table = measures_of_matrices(means, square)
        measures = [] if table is None else [table]
        if others := [source for source in means if source not in square]:
            notes.append(f"not in the matrices, because they are no targets of another run: {', '.join(others)}")
    else:
        sources = [
            SourceRelations(source=source, num_seeds=len(one.seeds), relations=relations_of(one))
            for source, one in means.items()
        ]
        over = over_sources(sources)
        measures = [table for one in means.values() if (table := measures_of_source(one)) is not None]
    first = together.runs[0].metrics
    notes += _remarks(together)
    freezing = freeze_comparisons(together)
    if len(together.freezes) > 1 and NONE not in together.freezes:
        notes.append("freezing is not tested against none: there is no run without")
    findings = findings_of_matrices(matrices) if matrices is not None else findings_of_sources(sources, over)
    findings += [finding_of_freezing(one) for one in freezing]
    return RunGroup(
        heading=together.heading,
        task=first.task,
        model=first.model,
        pooling=first.pooling,
        metric=first.metric,
        freeze=freeze,
        runs=[RelatedRun(run=one.name, source=one.source, seed=one.seed, freeze=one.freeze) for one in together.runs],
        averages=[
            seed_average(runs) for name in together.freezes for runs in together.of(name).values()
        ],
        sources=sources,
        over_sources=over,
        matrices=matrices,
        measures=measures,
        freezing=freezing,
        notes=notes,
        distances_origin=first.distances_origin,
        findings=findings,
        survives=survivors(findings),
    )  # fmt: skip


def seed_average(runs: Sequence[FinishedRun]) -> SeedAverage:
    """Scores by language and drift by block, over seeds.

    Args:
        runs: that differ in their seed only.
    """
    codes = [code for code in runs[0].metrics.transfer if all(code in run.metrics.transfer for run in runs)]
    curves = [_curve(run, codes) for run in runs]
    blocks = [block for block in curves[0] if all(block in curve for curve in curves)]
    drift = {block: spread([curve[block] for curve in curves]) for block in blocks}
    return SeedAverage(
        source=runs[0].source,
        freeze=runs[0].freeze,
        seeds=[run.seed for run in runs],
        transfer={code: spread([run.metrics.transfer[code].score for run in runs]) for code in codes},
        drift=drift,
        depth=depth_correlation({block: found.mean for block, found in drift.items()}),
    )


def spread(values: Sequence[float]) -> Spread:
    """Mean, standard deviation (n - 1), least and greatest."""
    return Spread(
        mean=fmean(values), sd=stdev(values) if len(values) > 1 else None, min=min(values), max=max(values)
    )  # fmt: skip


def relations_of(means: SeedMeans) -> list[RelationRecord]:
    """Drift, distance and transfer over the targets of one source, as a single run relates them, on seed means.

    A family is one relation over its blocks and kinds; fertility is held fixed by the partial correlations.
    """
    # An order of its own: sampled permutations depend on it.
    targets = sorted(means.targets)

    def column(values: Mapping[str, float]) -> list[float]:
        return [values.get(code, np.nan) for code in targets]

    kinds = {kind: column(values) for kind, values in means.distances.items()}
    scores, control = column(means.transfer), column(means.fertility)
    moved = {
        block: column({code: values[block] for code, values in means.drift.items() if block in values})
        for block in means.blocks
    }
    return [
        RelationRecord(relation=relation, kind=kind, block=block, pooling=None, **found._asdict())
        for relation, tests in relation_families(moved, scores, kinds).items()
        if tests
        for (kind, block), found in zip(tests, relate_family(list(tests.values()), control=control), strict=True)
        if found is not None
    ]


def over_sources(sources: Sequence[SourceRelations]) -> list[OverSources]:
    """Of each correlation the mean and the range over the sources that have it; empty with one source."""
    if len(sources) < 2:
        return []
    found: dict[tuple[RelationName, str, int | None], list[float]] = {}
    for source in sources:
        for row in source.relations:
            found.setdefault((row.relation, row.kind, row.block), []).append(row.spearman)
    return [
        OverSources(
            relation=relation,
            kind=kind,
            block=block,
            spearman=fmean(values),
            range=(min(values), max(values)),
            n=len(values),
        )
        for (relation, kind, block), values in found.items()
    ]


def _curve(run: FinishedRun, codes: Sequence[str]) -> dict[int, float]:
    """Mean over languages by block, of blocks that all languages have."""
    drift = {code: run.metrics.drift[code] for code in codes if code in run.metrics.drift}
    shared = sorted(set.intersection(*(set(values) for values in drift.values()))) if drift else []
    return {block: fmean(values[block] for values in drift.values()) for block in shared}


def _remarks(together: RunsTogether) -> list[str]:
    runs = together.runs
    found = []
    if len({run.metrics.steps for run in runs}) > 1:
        found.append(f"runs have {', '.join(map(str, sorted({run.metrics.steps for run in runs})))} steps")
    if len({run.metrics.distances_origin for run in runs}) > 1:
        found.append("runs have their distances from different places")
    if len({run.metrics.base_fingerprint for run in runs}) > 1:
        found.append("the model before fine-tuning differs from seed to seed")
    if all(not mean_drift(run.metrics.drift) for run in runs):
        found.append("no drift is on record")
    return found
