"""The part of a fine-tuning run's page that shows correlations over languages, block by block."""

from __future__ import annotations

from collections.abc import Sequence

from bridgex.records.train_schema import RelationName, RelationRecord
from bridgex.report.charts import Dot, Mark, dots
from bridgex.report.markup import Html, Section, join, section, tag
from bridgex.report.tables import MISSING, Column, Row, interval, number, probability, table
from bridgex.report.train_run import TrainRun
from bridgex.report.train_words import RELATIONS, families, family_sentence, kinds, strongest, survivors

_SAID: dict[RelationName, str] = {
    "drift ~ distance": "Drift and distance",
    "drift ~ transfer": "Drift and transfer",
    "distance ~ transfer": "Distance and transfer",
}
_NOTE = (
    "Spearman over target languages with 95 % intervals (Bonett and Wright). p: two-sided, languages permuted. "
    "Corrected: over all blocks and kinds of one relation and pooling, by Westfall and Young's maximum and by Holm. "
    "One left out: least and greatest Spearman when one language is left out. Partial: given tokens per pair "
    "(fertility). Languages are related to each other, so n languages are fewer than n independent observations."
)


def relations(run: TrainRun) -> Section | None:
    """Each relation with what survives the correction, a chart and a table; None: there is no run to show."""
    metrics = run.metrics
    if metrics is None:
        return None
    if not metrics.relations:
        why = (
            "No correlation is on record: one needs at least 4 target languages with values that vary"
            + ("" if metrics.distances else ", and there are no distances")
            + "."
        )
        return section("relations", "Relations", tag("p", why))
    parts: list[str] = [tag("p", _NOTE, class_="small")]
    for relation in RELATIONS:
        for pooling, rows in families(metrics, relation).items():
            parts += _family(relation, pooling, rows, is_first=pooling in (None, metrics.pooling))
    return section("relations", "Relations", *parts)


def _family(relation: RelationName, pooling: str | None, rows: Sequence[RelationRecord], is_first: bool) -> list[Html]:
    name = _SAID[relation] + (f", {pooling} pooling" if pooling is not None else "")
    sentence = tag("p", family_sentence(rows))
    if all(row.block is None for row in rows):
        return [tag("h3", name), sentence, _table(name, rows, is_by_kind=True)]
    found = kinds(rows)
    first = strongest(rows).kind
    order = [first, *(kind for kind in found if kind != first)]
    if is_first:
        shown = [_by_block(_label(name, kind), found[kind], is_open=kind == first) for kind in order]
        return [tag("h3", name), sentence, *shown]
    folded: list[Html] = []
    for kind in order:
        folded += [tag("h3", kind)] if len(order) > 1 else []
        folded.append(_table(_label(name, kind), found[kind], is_by_kind=False))
    return [tag("details", tag("summary", name), sentence, *folded)]


def _label(name: str, kind: str) -> str:
    return name if kind == "transfer" else f"{name}, {kind}"


def _by_block(label: str, rows: Sequence[RelationRecord], is_open: bool) -> Html:
    """One kind of distance as a chart and a table, folded where it is not the one with the strongest correlation."""
    held = survivors(rows)
    marks = [
        Dot(f"block {row.block}", row.spearman, row.ci95, "chosen" if row in held else "plain") for row in rows
    ]  # fmt: skip
    title = f"{label}: Spearman by block with 95 % intervals. Diamond: survives the correction (Westfall-Young)."
    content = join(dots(title, marks, [Mark("", 0.0)]), _table(label, rows, is_by_kind=False))
    return content if is_open else tag("details", tag("summary", label), content)


def _table(label: str, rows: Sequence[RelationRecord], is_by_kind: bool) -> Html:
    columns = [
        Column("kind" if is_by_kind else "block", not is_by_kind),
        Column("Spearman"),
        Column("95 % interval"),
        Column("p", hint="of this test by itself"),
        Column("p, Westfall-Young", hint="corrected over the family by the maximum |Spearman|"),
        Column("p, Holm", hint="corrected over the family by Holm"),
        Column("one left out", hint="least and greatest Spearman when one language is left out"),
        Column("partial", hint="Spearman given tokens per pair"),
        Column("Pearson"),
        Column("n", hint="languages"),
    ]
    lines = [
        Row(
            [
                row.kind if is_by_kind else MISSING if row.block is None else str(row.block),
                number(row.spearman, is_signed=True),
                interval(row.ci95, is_signed=True),
                *map(probability, (row.p, row.p_corrected, row.p_holm)),
                interval(row.range, is_signed=True),
                number(row.partial, is_signed=True),
                number(row.pearson, is_signed=True),
                str(row.n),
            ],
            is_strong=bool(survivors([row])),
        )
        for row in rows
    ]
    return table(label, columns, lines)
