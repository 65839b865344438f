"""Source x target matrices of several runs against each other, and all measures against each other."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
from scipy import stats

from bridgex.records.relations import MatrixName, MatrixRelations, MatrixTest, MeasurePair, MeasureTable, NaiveTest
from bridgex.records.train_schema import RelationName
from bridgex.report.relate_runs import SeedMeans
from bridgex.stats.matrix_relate import MatrixRelation, mrqap
from bridgex.stats.paired import ALPHA, Floats, holm
from bridgex.stats.relate import relate_family

Block = int | Literal["mean"] | None
_FERTILITY = "fertility"
_MIN_PAIRS = 3
_NUM_PERMUTATIONS = 9999


def square_languages(means: Mapping[str, SeedMeans]) -> list[str]:
    """Languages that are sources by themselves and targets of another source."""
    single = [source for source in means if "+" not in source]
    return sorted(code for code in single if any(code in means[source].targets for source in single if source != code))


def relate_matrices(means: Mapping[str, SeedMeans], languages: Sequence[str]) -> MatrixRelations:
    """MRQAP of drift, transfer, alignment and distances, and beside it the published way.

    Rows are sources, columns targets. A family for Holm is one relation: all blocks, their mean, and all predictors.

    Args:
        means: by source.
        languages: that are both, at least 6.
    """
    blocks = sorted({block for code in languages for block in means[code].blocks})
    drift: dict[Block, Floats] = {block: _matrix(means, languages, _drift_of(block)) for block in blocks}
    drift["mean"] = _matrix(means, languages, lambda one: one.mean_drift)
    transfer = _matrix(means, languages, lambda one: one.transfer)
    fertility = {_FERTILITY: _matrix(means, languages, lambda one: one.fertility)}
    alignment = {"alignment": _matrix(means, languages, lambda one: one.middle_alignment)}
    kinds = list(dict.fromkeys(kind for code in languages for kind in means[code].distances))
    far = {kind: _matrix(means, languages, _distance_of(kind)) for kind in kinds}
    families: dict[MatrixName, tuple[dict[Block, Floats], dict[str, Floats]]] = {
        "drift ~ distance + fertility": (drift, {**far, **fertility} if far else {}),
        "drift ~ transfer + fertility": (drift, {"transfer": transfer, **fertility}),
        "transfer ~ distance + fertility": ({None: transfer}, {**far, **fertility} if far else {}),
        "transfer ~ alignment + distance": ({None: transfer}, {**alignment, **far}),
    }
    tests: list[MatrixTest] = []
    untested: list[str] = []
    for name, (outcomes, predictors) in families.items():
        found, why = _family(name, outcomes, predictors)
        tests += found
        untested += why
    naive: list[NaiveTest | None] = []
    for block, moved in drift.items():
        naive += [_naive("drift ~ distance", kind, block, moved, values) for kind, values in far.items()]
        naive.append(_naive("drift ~ transfer", "transfer", block, moved, transfer))
    naive += [_naive("distance ~ transfer", kind, None, values, transfer) for kind, values in far.items()]
    return MatrixRelations(
        languages=list(languages), tests=tests, naive=[one for one in naive if one is not None], untested=untested
    )


def hopeless(found: MatrixRelations) -> list[str]:
    """Relations in which nothing could survive: the least p of so few languages is too much for so many tests."""
    notes = []
    for name, count in Counter(test.relation for test in found.tests).items():
        num_languages = max(test.num_languages for test in found.tests if test.relation == name)
        least = 1 / min(math.factorial(num_languages), _NUM_PERMUTATIONS + 1)
        if least * count >= ALPHA:
            notes.append(
                f"{name}: {num_languages} languages have no p below {least:.2g}, which {count} tests bring to "
                f"{min(1.0, least * count):.2g} by Holm, so that nothing could survive"
            )
    return notes


def measures_of_matrices(means: Mapping[str, SeedMeans], languages: Sequence[str]) -> MeasureTable | None:
    """All measures against each other by Mantel's test, Holm over all pairs; None: fewer than two measures vary."""
    named = {code: means[code].measures() for code in languages}
    names = list(dict.fromkeys(name for code in languages for name in named[code]))
    matrices = {name: _cells(languages, {code: named[code].get(name, {}) for code in languages}) for name in names}
    found: list[tuple[str, str, MatrixRelation]] = []
    for first, second in itertools.combinations(_varying(matrices), 2):
        try:
            one = mrqap(matrices[first], {second: matrices[second]})[second]
        except ValueError:
            continue  # too few cells have both
        if one is not None:
            found.append((first, second, one))
    if not found:
        return None
    corrected = holm([one.p for _, _, one in found])
    pairs = [
        MeasurePair(
            first=first, second=second, correlation=one.correlation, p=one.p, p_corrected=p, n=one.num_cells
        )
        for (first, second, one), p in zip(found, corrected, strict=True)
    ]  # fmt: skip
    return MeasureTable(source=None, measures=_in(names, pairs), pairs=pairs)


def measures_of_source(means: SeedMeans) -> MeasureTable | None:
    """All measures against each other over the targets of one source; None: no two of them can be related."""
    # An order of its own: sampled permutations depend on it.
    codes, values = sorted(means.targets), means.measures()
    vectors = {name: [found.get(code, np.nan) for code in codes] for name, found in values.items()}
    couples = list(itertools.combinations(vectors, 2))
    found = relate_family([(vectors[a], vectors[b]) for a, b in couples]) if couples else []
    pairs = [
        MeasurePair(first=a, second=b, correlation=one.spearman, p=one.p, p_corrected=one.p_corrected, n=one.n)
        for (a, b), one in zip(couples, found, strict=True)
        if one is not None
    ]
    return MeasureTable(source=means.source, measures=_in(list(values), pairs), pairs=pairs) if pairs else None


def _family(
    name: MatrixName, outcomes: Mapping[Block, Floats], predictors: Mapping[str, Floats]
) -> tuple[list[MatrixTest], list[str]]:
    """One relation over its blocks, and what of it could not be tested."""
    varying = set(_varying(predictors))
    known = {key: matrix for key, matrix in predictors.items() if key in varying}
    untested = [
        f"{name}: {key} {'does not vary' if np.isfinite(matrix).any() else 'is not on record'}"
        for key, matrix in predictors.items()
        if key not in known
    ]
    if not known:
        return [], [f"{name}: there are no distances"] if not predictors else untested
    found: list[tuple[Block, str, MatrixRelation]] = []
    for block, outcome in outcomes.items():
        where = "" if block is None else f", block {block}" if block != "mean" else ", mean over blocks"
        if not list(_varying({name: outcome})):
            untested.append(f"{name}{where}: the outcome does not vary")
            continue
        try:
            results = mrqap(outcome, known, num_permutations=_NUM_PERMUTATIONS)
        except ValueError as error:
            untested.append(f"{name}{where}: {error}")
            continue
        for predictor, one in results.items():
            if one is None:
                untested.append(f"{name}{where}: {predictor} does not vary beside the others, or leaves them nothing")
            else:
                found.append((block, predictor, one))
    corrected = holm([one.p for _, _, one in found])
    tests = [
        MatrixTest(
            relation=name,
            block=block,
            predictor=predictor,
            coefficient=one.coefficient,
            spearman=one.correlation,
            p=one.p,
            p_holm=p,
            num_languages=one.num_languages,
            num_cells=one.num_cells,
        )
        for (block, predictor, one), p in zip(found, corrected, strict=True)
    ]
    return tests, untested


def _naive(relation: RelationName, kind: str, block: Block, left: Floats, right: Floats) -> NaiveTest | None:
    """Pearson and Spearman over all pairs; None where fewer than 3 have both or a side does not vary."""
    both = np.isfinite(left) & np.isfinite(right)
    x, y = left[both], right[both]
    if len(x) < _MIN_PAIRS or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    pearson, spearman = stats.pearsonr(x, y), stats.spearmanr(x, y)
    return NaiveTest(
        relation=relation,
        kind=kind,
        block=block,
        pearson=float(pearson.statistic),
        pearson_p=float(pearson.pvalue),
        spearman=float(spearman.statistic),
        spearman_p=float(spearman.pvalue),
        n=len(x),
    )


def _matrix(
    means: Mapping[str, SeedMeans], languages: Sequence[str], values: Callable[[SeedMeans], Mapping[str, float]]
) -> Floats:
    return _cells(languages, {code: values(means[code]) for code in languages})


def _cells(languages: Sequence[str], rows: Mapping[str, Mapping[str, float]]) -> Floats:
    """`[languages, languages]`, row source, column target; NaN on the diagonal and where missing."""
    return np.array(
        [[np.nan if row == column else rows[row].get(column, np.nan) for column in languages] for row in languages]
    )


def _varying(matrices: Mapping[str, Floats]) -> Iterator[str]:
    """Matrices whose cells are not all the same."""
    for name, matrix in matrices.items():
        known = matrix[np.isfinite(matrix)]
        if len(known) and np.ptp(known) > 0:
            yield name


def _in(names: Sequence[str], pairs: Sequence[MeasurePair]) -> list[str]:
    """The measures that are in a pair, in their order."""
    return [name for name in names if any(name in (one.first, one.second) for one in pairs)]


def _drift_of(block: int) -> Callable[[SeedMeans], Mapping[str, float]]:
    return lambda one: {code: values[block] for code, values in one.drift.items() if block in values}


def _distance_of(kind: str) -> Callable[[SeedMeans], Mapping[str, float]]:
    return lambda one: one.distances.get(kind, {})
