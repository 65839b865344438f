"""relations.json: what several finished runs of train.py say together, field by field."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from bridgex.records.files import read_json
from bridgex.records.schema import Record
from bridgex.records.train_schema import RelationName, RelationRecord

Interval = tuple[float, float]
MatrixName = Literal[
    "drift ~ distance + fertility",
    "drift ~ transfer + fertility",
    "transfer ~ distance + fertility",
    "transfer ~ alignment + distance",
]
Outcome = Literal["source score", "mean target score", "mean transfer gap", "far target score"]
FreezeVerdict = Literal["better", "worse", "no evidence"]
RELATIONS_FILE = "relations.json"


class LeftOut(Record):
    """A folder that was given and not counted."""

    run: str
    reason: str


class RelatedRun(Record):
    """A finished run that was counted."""

    run: str = Field(description="its folder")
    source: str
    seed: int
    freeze: str = Field(description="none, or the setting: of random blocks their number, not which ones")


class Spread(Record):
    """A quantity over seeds."""

    mean: float
    sd: float | None = Field(description="over seeds, with n - 1; null: one seed")
    min: float
    max: float


class SeedAverage(Record):
    """Runs that differ in their seed only, averaged."""

    source: str
    freeze: str
    seeds: list[int]
    transfer: dict[str, Spread] = Field(description="score by language, sources first")
    drift: dict[int, Spread] = Field(description="by block, of the mean over languages")
    depth: float | None = Field(description="Spearman of block (1..L) and mean drift; null: fewer than 3 blocks")


class SourceRelations(Record):
    """The relations of one source, on the means over its seeds."""

    source: str
    num_seeds: int
    relations: list[RelationRecord]


class OverSources(Record):
    """One correlation over several sources."""

    relation: RelationName
    kind: str
    block: int | None
    spearman: float = Field(description="mean over the sources")
    range: Interval = Field(description="least and greatest of them")
    n: int = Field(description="sources")


class MatrixTest(Record):
    """One predictor of a source x target matrix beside the others: MRQAP with double semi-partialing."""

    relation: MatrixName
    block: int | Literal["mean"] | None = Field(
        description="of the drift; mean: over blocks 1..L; null: no drift in this relation"
    )
    predictor: str
    coefficient: float = Field(description="standardised, of the regression of ranks on all predictors")
    spearman: float = Field(description="over the cells, the other predictors left aside")
    p: float = Field(description="two-sided, languages permuted, rows and columns together")
    p_holm: float = Field(description="Holm over all blocks and predictors of the relation")
    num_languages: int
    num_cells: int


class NaiveTest(Record):
    """A correlation over all pairs taken as independent, as published: its p is too small."""

    relation: RelationName
    kind: str
    block: int | Literal["mean"] | None
    pearson: float
    pearson_p: float
    spearman: float
    spearman_p: float
    n: int = Field(description="pairs of source and target")


class MatrixRelations(Record):
    """What source x target matrices say."""

    languages: list[str]
    tests: list[MatrixTest]
    naive: list[NaiveTest]
    untested: list[str] = Field(default_factory=list, description="what could not be tested, and why")


class MeasurePair(Record):
    """How two measures go together."""

    first: str
    second: str
    correlation: float = Field(description="Spearman")
    p: float
    p_corrected: float = Field(description="over all pairs: Westfall-Young over languages, Holm over matrices")
    n: int = Field(description="languages, or cells of the matrices")


class MeasureTable(Record):
    """All measures against each other."""

    source: str | None = Field(description="of one source, over languages; null: matrices over all sources (Mantel)")
    measures: list[str]
    pairs: list[MeasurePair]


class FreezeDifference(Record):
    """One score with blocks frozen less the same without, or less that with other blocks frozen."""

    outcome: Outcome
    difference: float = Field(description="mean over seeds")
    by_seed: dict[int, float] = Field(description="mean over sources")
    ci95: Interval | None = Field(description="t interval over seeds; null: the differences do not vary")
    p: float | None = Field(description="paired t test over seeds; null: they do not vary, and are not 0")
    p_holm: float | None = Field(description="Holm over the four outcomes, times the number of comparisons")
    bootstrap95: Interval | None = Field(
        description="bootstrap of seeds and groups of items at once; null: answers.jsonl does not tell"
    )
    verdict: FreezeVerdict = Field(
        description="better, worse: p_holm < .05, and 0 outside of bootstrap95 where there is one"
    )


class FreezeComparison(Record):
    """What freezing does, by pairs of runs with the same source and seed."""

    freeze: str
    against: str = Field(description="none, or the control")
    sources: list[str]
    seeds: list[int] = Field(description="that all these sources have on both sides")
    languages: list[str] = Field(description="targets that are compared: those that no run chose its blocks by")
    far: dict[str, list[str]] = Field(description="by source, those of them that are far from it")
    kind: str | None = Field(description="kind of distance that says so; null: none varies")
    outcomes: list[FreezeDifference] = Field(description="empty: not tested")
    notes: list[str] = Field(default_factory=list, description="what a reader must know beside it")
    sentence: str


class Finding(Record):
    """What one relation or one freezing comes to."""

    name: str
    held: list[str] = Field(description="what of it holds after correction; empty: nothing, or not tested")
    is_tested: bool
    sentence: str


class RunGroup(Record):
    """Runs of one model, task and pooling."""

    heading: str
    task: str
    model: str
    pooling: str
    metric: str
    freeze: str = Field(description="the setting whose runs are related: none, where there are such runs")
    runs: list[RelatedRun]
    averages: list[SeedAverage]
    sources: list[SourceRelations] = Field(description="fewer than 6 sources; empty: see matrices")
    over_sources: list[OverSources]
    matrices: MatrixRelations | None = Field(None, description="6 sources or more that are targets too")
    measures: list[MeasureTable]
    freezing: list[FreezeComparison]
    notes: list[str] = Field(default_factory=list, description="what a reader must know")
    distances_origin: str | None = None
    findings: list[Finding]
    survives: str = Field(description="one sentence: what holds after correction")


class Relations(Record):
    """relations.json."""

    groups: list[RunGroup]
    left_out: list[LeftOut]


def read_relations(folder: Path) -> Relations:
    """relations.json of a folder.

    Raises:
        UserError: it is not there or damaged.
    """
    return read_json(
        folder / RELATIONS_FILE,
        Relations,
        maker="bridgex relate",
        absent="bridgex relate makes it from the folders of finished runs",
    )
