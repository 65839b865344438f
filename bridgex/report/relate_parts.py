"""Parts of the page of several fine-tuning runs: seeds, relations, and all measures against each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from bridgex.records.relations import (
    MatrixRelations,
    MatrixTest,
    MeasureTable,
    OverSources,
    RunGroup,
    SeedAverage,
    SourceRelations,
    Spread,
)
from bridgex.records.train_schema import RelationRecord
from bridgex.report.markup import Html, join, tag
from bridgex.report.plots import Axes, Line, lines
from bridgex.report.run_files import described
from bridgex.report.tables import MISSING, Cell, Column, Row, interval, number, probability, table
from bridgex.report.train_words import RELATIONS
from bridgex.report.words import ALPHA

_MAX_NAIVE = 200
K = TypeVar("K")


def seeds(group: RunGroup) -> list[str]:
    """Drift by block and transfer by language over seeds, a part for each freezing."""
    parts: list[str] = []
    for freeze in dict.fromkeys(average.freeze for average in group.averages):
        averages = [average for average in group.averages if average.freeze == freeze]
        content = [*_curves(averages), _transfer(averages, group.metric)]
        if freeze == group.freeze:
            parts += content
        else:
            parts.append(tag("details", tag("summary", f"with frozen {freeze}"), *content))
    return parts


def of_sources(group: RunGroup) -> list[str]:
    """Fewer than six sources: each by itself, and their mean."""
    parts: list[str] = [
        tag(
            "p",
            "Fewer than six sources: relations over the target languages of each source, on means over its seeds. p: "
            "languages permuted; corrected over the blocks and kinds of one relation (Westfall and Young), not over "
            "sources. Bold: corrected p < .05.",
            class_="small",
        )
    ]
    parts += _over_sources(group.over_sources)
    for source in group.sources:
        if not source.relations:
            parts.append(tag("p", f"Source {described(source.source)}: too few targets, or nothing varies."))
            continue
        content = [*_of_source(source), _details(source)]
        if len(group.sources) == 1:
            parts += content
        else:
            parts.append(tag("details", tag("summary", f"source {described(source.source)}"), *content))
    return parts


def of_matrices(found: MatrixRelations) -> list[str]:
    """Six sources or more: MRQAP, and beside it the published way."""
    parts: list[str] = [
        tag(
            "p",
            f"Rows are sources, columns targets, {len(found.languages)} languages that are both "
            f"({', '.join(found.languages)}); the diagonal is left out. MRQAP with double semi-partialing on ranks: "
            "standardised coefficients beside the other predictors, p by moving languages, rows and columns together. "
            "Bold: p < .05 after Holm over all blocks and predictors of the relation.",
            class_="small",
        )
    ]
    for relation in dict.fromkeys(test.relation for test in found.tests):
        tests = [test for test in found.tests if test.relation == relation]
        sizes = sorted({(test.num_languages, test.num_cells) for test in tests})
        counted = "; ".join(f"{languages} languages, {cells} cells" for languages, cells in sizes)
        grid = _grid(
            relation,
            {(test.predictor, test.block): (test.coefficient, "", test.p_holm < ALPHA) for test in tests},
            f"{relation}: coefficients, {len(tests)} tests over {counted}.",
        )
        parts += [tag("h3", relation), grid, _matrix_details(relation, tests)]
    if found.untested:
        parts.append(tag("ul", *(tag("li", f"Not tested: {why}.") for why in found.untested), class_="small"))
    parts.append(_naive(found))
    return parts


def measures(found: MeasureTable) -> list[str]:
    """A heat table of correlations between all measures."""
    known = {(one.first, one.second): one for one in found.pairs}
    known |= {(second, first): one for (first, second), one in known.items()}
    rows = []
    for first in found.measures:
        cells: list[str | Cell] = [first]
        for second in found.measures:
            one = known.get((first, second))
            if one is None:
                cells.append(Cell(MISSING))
                continue
            shown = number(one.correlation, is_signed=True)
            cells.append(Cell(shown, one.correlation, abs(one.correlation), one.p_corrected < ALPHA))
        rows.append(Row(cells))
    sizes = sorted({one.n for one in found.pairs})
    n = f"n = {sizes[0]}" if len(sizes) == 1 else f"n = {sizes[0]} to {sizes[-1]}"
    how = (
        f"Mantel's test over matrices of sources and targets, Spearman, {n} cells, Holm over {len(found.pairs)} pairs"
        if found.source is None
        else f"Source {described(found.source)}: Spearman, {n} target languages, corrected over {len(found.pairs)} "
        "pairs (Westfall and Young)"
    )
    label = "measures" if found.source is None else f"measures, source {found.source}"
    columns = [Column("measure", False), *(Column(name) for name in found.measures)]
    caption = f"{how}. Bold: corrected p < .05. The deeper the colour, the stronger, whatever the sign."
    pairs = [
        Row(
            [
                f"{one.first} – {one.second}",
                number(one.correlation, is_signed=True),
                probability(one.p),
                probability(one.p_corrected),
                str(one.n),
            ],
            is_strong=one.p_corrected < ALPHA,
        )
        for one in sorted(found.pairs, key=lambda one: one.p_corrected)
    ]
    heading = [Column("pair", False), Column("Spearman"), Column("p"), Column("p, corrected"), Column("n")]
    listed = table(f"{label}, all pairs", heading, pairs)
    return [table(label, columns, rows, caption=caption), tag("details", tag("summary", f"{label}: p"), listed)]


def _curves(averages: Sequence[SeedAverage]) -> list[str]:
    blocks = _ordered(block for average in averages for block in average.drift)
    if not blocks:
        return [tag("p", "No drift is on record.")]
    rows: list[Line] = []
    for average in averages:
        kind: str = "chosen" if len(averages) == 1 else "plain"
        rows.append(_line(average, "mean", average.source, blocks, kind))
        if len(averages) == 1 and len(average.seeds) > 1:
            rows += [_line(average, end, f"{end} of seeds", blocks, "plain") for end in ("min", "max")]
    spread = " Thin: least and greatest of the seeds." if len(rows) > len(averages) else ""
    title = f"Drift by block: mean over languages and seeds, one line a source.{spread}"
    columns = [
        Column("source", False),
        Column("seeds"),
        *(Column(str(block), hint=f"block {block}") for block in blocks),
    ]
    columns.append(Column("depth", hint="Spearman of block (1..L) and mean drift"))
    values = [found.mean for average in averages for found in average.drift.values()]
    largest = max(values, default=0.0) or 1.0
    body = [
        Row(
            [
                described(average.source),
                str(len(average.seeds)),
                *(_spread(average.drift.get(block), largest) for block in blocks),
                number(average.depth, is_signed=True),
            ]
        )
        for average in averages
    ]
    caption = "Drift by block, mean over languages ± standard deviation over seeds."
    name = f"drift over seeds, {averages[0].freeze}"
    chart: list[str] = [lines(title, Axes("block", "drift"), rows)] if len(blocks) > 1 else []
    return [*chart, table(name, columns, body, caption=caption)]


def _line(average: SeedAverage, of: str, name: str, blocks: Sequence[int], kind: str) -> Line:
    points = [(float(block), getattr(average.drift[block], of) if block in average.drift else None) for block in blocks]
    hint = f"{described(average.source)}, {_seeds(average)}, {of}"
    return Line(name, hint, points, "chosen" if kind == "chosen" else "plain")


def _transfer(averages: Sequence[SeedAverage], metric: str) -> Html:
    codes = list(dict.fromkeys(code for average in averages for code in average.transfer))
    columns = [Column("language", False)]
    columns += [Column(average.source, hint=f"fine-tuned on {described(average.source)}") for average in averages]
    rows = [
        Row(
            [
                described(code),
                *(
                    _spread(average.transfer.get(code), None, is_strong=code in average.source.split("+"))
                    for average in averages
                ),
            ]
        )
        for code in codes
    ]
    counted = ", ".join(f"{average.source} {len(average.seeds)}" for average in averages)
    caption = (
        f"Transfer: {metric} ± standard deviation over seeds, a column a source (seeds: {counted}). Bold: fine-tuned "
        "on."
    )
    return table(f"transfer over seeds, {averages[0].freeze}", columns, rows, caption=caption)


def _spread(found: Spread | None, largest: float | None, is_strong: bool = False) -> Cell:
    if found is None:
        return Cell(MISSING)
    text = number(found.mean) + ("" if found.sd is None else f" ± {number(found.sd)}")
    tint = None if largest is None else max(0.0, found.mean) / largest
    return Cell(text, round(found.mean, 6), tint, is_strong)


def _seeds(average: SeedAverage) -> str:
    return f"{len(average.seeds)} seed{'' if len(average.seeds) == 1 else 's'}"


def _over_sources(rows: Sequence[OverSources]) -> list[str]:
    parts: list[str] = []
    for relation in RELATIONS:
        own = [row for row in rows if row.relation == relation]
        if own:
            counts = sorted({row.n for row in own})
            shown = {(row.kind, row.block): (row.spearman, interval(row.range, True), False) for row in own}
            sources = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
            caption = f"Mean Spearman over {sources} sources, and its least and greatest."
            parts += [tag("h3", relation), _grid(f"{relation} over sources", shown, caption)]
    return parts


def _of_source(source: SourceRelations) -> list[str]:
    parts: list[str] = []
    for relation in RELATIONS:
        rows = [row for row in source.relations if row.relation == relation]
        if rows:
            sizes = sorted({row.n for row in rows})
            n = f"n = {sizes[0]}" if len(sizes) == 1 else f"n = {sizes[0]} to {sizes[-1]}"
            shown = {(row.kind, row.block): (row.spearman, "", row.p_corrected < ALPHA) for row in rows}
            caption = f"{relation}: Spearman over {n} languages."
            parts.append(_grid(f"{relation}, source {source.source}", shown, caption))
    return parts


def _grid(label: str, values: Mapping[tuple[str, K], tuple[float, str, bool]], caption: str) -> Html:
    """Kinds or predictors down, blocks across: value, what stands below it, whether it holds."""
    names = list(dict.fromkeys(name for name, _ in values))
    blocks = list(dict.fromkeys(block for _, block in values))
    columns = [Column("", False), *(Column("" if block is None else str(block)) for block in blocks)]
    rows = []
    for name in names:
        cells: list[str | Cell] = [name]
        for block in blocks:
            if (name, block) not in values:
                cells.append(Cell(MISSING))
                continue
            value, below, is_strong = values[name, block]
            text: str = number(value, is_signed=True)
            if below:
                text = join(text, tag("span", below, style="display:block;font-size:.86em"))
            cells.append(Cell(text, value, abs(value), is_strong))
        rows.append(Row(cells))
    return table(label, columns, rows, caption=caption)


def _details(source: SourceRelations) -> Html:
    columns = [
        Column("relation", False),
        Column("kind", False),
        Column("block"),
        Column("Spearman"),
        Column("95 % interval"),
        Column("p"),
        Column("p, Westfall-Young"),
        Column("p, Holm"),
        Column("one left out"),
        Column("partial", hint="given tokens per pair"),
        Column("Pearson"),
        Column("n"),
    ]
    label = f"all tests, source {source.source}"
    rows = [_detail(row) for row in source.relations]
    return tag("details", tag("summary", label), table(label, columns, rows))


def _detail(row: RelationRecord) -> Row:
    return Row(
        [
            row.relation,
            row.kind,
            MISSING if row.block is None else str(row.block),
            number(row.spearman, is_signed=True),
            interval(row.ci95, is_signed=True),
            *map(probability, (row.p, row.p_corrected, row.p_holm)),
            interval(row.range, is_signed=True),
            number(row.partial, is_signed=True),
            number(row.pearson, is_signed=True),
            str(row.n),
        ],
        is_strong=row.p_corrected < ALPHA,
    )


def _matrix_details(relation: str, tests: Sequence[MatrixTest]) -> Html:
    columns = [
        Column("predictor", False),
        Column("block"),
        Column("coefficient"),
        Column("Spearman", hint="over the cells, the other predictors left aside"),
        Column("p"),
        Column("p, Holm"),
        Column("languages"),
        Column("cells"),
    ]
    rows = [
        Row(
            [
                test.predictor,
                MISSING if test.block is None else str(test.block),
                number(test.coefficient, is_signed=True),
                number(test.spearman, is_signed=True),
                probability(test.p),
                probability(test.p_holm),
                str(test.num_languages),
                str(test.num_cells),
            ],
            is_strong=test.p_holm < ALPHA,
        )
        for test in tests
    ]
    label = f"{relation}: all tests"
    return tag("details", tag("summary", label), table(label, columns, rows))


def _naive(found: MatrixRelations) -> Html:
    columns = [
        Column("relation", False),
        Column("kind", False),
        Column("block"),
        Column("Pearson"),
        Column("naive p"),
        Column("Spearman"),
        Column("naive p"),
        Column("pairs"),
    ]
    rows = [
        Row(
            [
                one.relation,
                one.kind,
                MISSING if one.block is None else str(one.block),
                number(one.pearson, is_signed=True),
                probability(one.pearson_p),
                number(one.spearman, is_signed=True),
                probability(one.spearman_p),
                str(one.n),
            ]
        )
        for one in found.naive[:_MAX_NAIVE]
    ]
    caption = (
        "For comparison only: all pairs taken as independent observations, one correlation at a time, nothing "
        "corrected. Pairs share sources and targets, so these p are too small."
    )
    label = "the published way: pairs taken as independent"
    return tag("details", tag("summary", label), table(label, columns, rows, caption=caption))


def _ordered(blocks: Iterable[int]) -> list[int]:
    return sorted(set(blocks))
