"""The part of a page that shows what freezing does, by pairs of runs with the same source and seed."""

from __future__ import annotations

from collections.abc import Sequence

from bridgex.records.relations import FreezeComparison, FreezeDifference
from bridgex.report.markup import Html, tag
from bridgex.report.strips import Strip, strips
from bridgex.report.tables import MISSING, Column, Row, interval, number, probability, table

_WORDS = {"better": "helps", "worse": "hurts", "no evidence": "no evidence"}
_NOTE = (
    "Runs are paired by source and seed. Interval and p: paired t over seeds, which takes the items for fixed. "
    "Bootstrap: seeds and groups of items drawn at once, which is narrow with few seeds. Holm over the four of one "
    "freezing, times the number of comparisons. Helps or hurts: p < .05 after that, and 0 outside of the bootstrap "
    "interval. Of gaps, smaller is better."
)


def freezing(found: Sequence[FreezeComparison]) -> list[str]:
    """Every comparison with its sentence, a chart of seeds and a table."""
    parts: list[str] = [tag("p", _NOTE, class_="small")]
    for one in found:
        parts += [tag("h3", _title(one)), tag("p", f"{one.sentence[:1].upper()}{one.sentence[1:]}.")]
        if one.outcomes:
            parts += [_chart(one), _table(one)]
        parts += [tag("p", f"Note: {note}.", class_="small") for note in one.notes]
    return parts


def _title(one: FreezeComparison) -> str:
    return f"{one.freeze} frozen, against {one.against}"


def _chart(one: FreezeComparison) -> Html:
    rows = [
        Strip(
            outcome.outcome,
            outcome.difference,
            outcome.ci95,
            outcome.bootstrap95,
            outcome.by_seed,
            outcome.verdict != "no evidence",
        )
        for outcome in one.outcomes
    ]
    return strips(
        f"{one.freeze} frozen less {one.against}: a dot a seed (n = {len(one.seeds)}), below them the mean with the t "
        "interval over seeds, dashed the bootstrap of seeds and items. Blue: holds.",
        rows,
    )


def _table(one: FreezeComparison) -> Html:
    columns = [
        Column("outcome", False),
        Column("difference", hint="mean over seeds"),
        Column("t interval"),
        Column("bootstrap"),
        Column("p"),
        Column("p, Holm"),
        Column("verdict", False),
        *(Column(f"seed {seed}") for seed in one.seeds),
    ]
    rows = [_row(outcome, one.seeds) for outcome in one.outcomes]
    return table(f"freezing {one.freeze} against {one.against}", columns, rows, caption=_languages(one))


def _row(one: FreezeDifference, seeds: Sequence[int]) -> Row:
    return Row(
        [
            one.outcome,
            number(one.difference, is_signed=True),
            interval(one.ci95, is_signed=True),
            interval(one.bootstrap95, is_signed=True),
            probability(one.p),
            probability(one.p_holm),
            tag("span", _WORDS[one.verdict], class_="verdict-word"),
            *(number(one.by_seed[seed], is_signed=True) if seed in one.by_seed else MISSING for seed in seeds),
        ],
        is_strong=one.verdict != "no evidence",
    )


def _languages(one: FreezeComparison) -> str:
    text = f"Targets: {', '.join(one.languages) or 'none'}."
    if not one.far:
        return f"{text} No kind of distance varies over them, so that none is far."
    named = [f"from {source} {', '.join(codes)}" for source, codes in one.far.items()]
    return f"{text} Far ({one.kind} distance above the median, or at it where none is above): {'; '.join(named)}."
