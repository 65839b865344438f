"""What a fine-tuning run found, in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple, get_args

from bridgex.records.train_schema import RelationName, RelationRecord, TrainMetrics
from bridgex.report.run_files import described
from bridgex.report.tables import interval, number, p_equals, probability
from bridgex.report.train_run import TrainRun
from bridgex.report.words import ALPHA, SIGNS, unfinished

RELATIONS: tuple[RelationName, ...] = get_args(RelationName)
STEADY = 0.8
"""Spearman of block and drift above which drift is said to grow with depth."""


class Finding(NamedTuple):
    """What a run found.

    Attributes:
        kind: what it comes to, a class of the style sheet.
        sign: the same as one character.
        sentence: the same in words.
        remarks: what must be known beside it.
    """

    kind: str
    sign: str
    sentence: str
    remarks: tuple[str, ...]


def finding(run: TrainRun) -> Finding:
    """What a run found, in whatever state it is."""
    metrics = run.metrics
    if metrics is None or not run.is_done:
        found = unfinished(run.status, _on_record(run))
        return Finding(found.kind, SIGNS[found.kind], found.sentence, found.remarks)
    kind, sign = "none", SIGNS["none"]
    if metrics.relations:
        kind, sign = ("found", "●") if survivors(metrics.relations) else ("open", SIGNS["open"])
    return Finding(kind, sign, metrics.survives, (transfer_sentence(metrics), depth_sentence(metrics)))


def transfer_sentence(metrics: TrainMetrics) -> str:
    """Scores of the sources, of the best and the worst target, and the mean gap."""
    codes = metrics.source.split("+")
    sources = [
        f"{described(code)} {number(metrics.transfer[code].score)} {interval(metrics.transfer[code].ci95)}"
        for code in codes
        if code in metrics.transfer
    ]
    targets = targets_of(metrics)
    text = (
        f"Transfer: {metrics.metric} in the source{'s' if len(codes) > 1 else ''}: {', '.join(sources) or 'not read'}"
    )
    if not targets:
        return f"{text}; there is no target language."
    order = sorted(targets, key=lambda code: -metrics.transfer[code].score)
    ends = list(dict.fromkeys([order[0], order[-1]]))
    named = [f"{described(code)} {number(metrics.transfer[code].score)}" for code in ends]
    text += f"; best target {named[0]}, worst {named[1]}" if len(named) > 1 else f"; the only target {named[0]}"
    gaps = [gap for code in targets if (gap := metrics.transfer[code].gap) is not None]
    return f"{text}; mean transfer gap {number(fmean(gaps))} (n = {len(gaps)} languages)." if gaps else f"{text}."


def depth_sentence(metrics: TrainMetrics) -> str:
    """Whether drift grows with depth, and what was read."""
    read = f"{metrics.pooling} pooling, {metrics.estimator} CKA"
    if not any(metrics.drift.values()):
        return f"Drift: none could be measured ({read})."
    if metrics.depth is None and not any(value for v in metrics.drift.values() for value in v.values()):
        return f"Drift: nothing moved, since {metrics.freeze} was frozen ({read})."
    if metrics.depth is None:
        return f"Drift: too few blocks to say whether it grows with depth ({read})."
    if metrics.depth > STEADY:
        return f"Drift grows with depth: Spearman of block and mean drift {number(metrics.depth)} ({read})."
    return (
        f"Drift does not grow with depth here: Spearman of block and mean drift is {number(metrics.depth)}, read with "
        f"{read}."
    )


def targets_of(metrics: TrainMetrics) -> list[str]:
    """Languages that were not fine-tuned on and chose no frozen block, in the record's order."""
    left_out = [*metrics.source.split("+"), *metrics.unreported]
    return [code for code in metrics.transfer if code not in left_out]


def families(metrics: TrainMetrics, relation: RelationName) -> dict[str | None, list[RelationRecord]]:
    """Correlations that are corrected together, by pooling, the reported one first."""
    found: dict[str | None, list[RelationRecord]] = {}
    rows = [row for row in metrics.relations if row.relation == relation]
    for row in sorted(rows, key=lambda row: row.pooling not in (None, metrics.pooling)):
        found.setdefault(row.pooling, []).append(row)
    return found


def kinds(rows: Sequence[RelationRecord]) -> dict[str, list[RelationRecord]]:
    """Correlations by kind of distance, each in the order of blocks."""
    found: dict[str, list[RelationRecord]] = {}
    for row in sorted(rows, key=lambda row: -1 if row.block is None else row.block):
        found.setdefault(row.kind, []).append(row)
    return found


def strongest(rows: Sequence[RelationRecord]) -> RelationRecord:
    """The correlation that is farthest from 0."""
    return max(rows, key=lambda row: abs(row.spearman))


def survivors(rows: Sequence[RelationRecord]) -> list[RelationRecord]:
    """Correlations that hold after the correction over their family."""
    return [row for row in rows if row.p_corrected < ALPHA]


def correlation(row: RelationRecord) -> str:
    """A correlation with its interval, its p and that corrected in both ways."""
    bounds = "" if row.ci95 is None else f" {interval(row.ci95, is_signed=True)}"
    return (
        f"Spearman {number(row.spearman, is_signed=True)}{bounds}, {p_equals(row.p)}, corrected "
        f"{p_equals(row.p_corrected)} (Westfall-Young), {probability(row.p_holm)} (Holm), n = {row.n}"
    )


def family_sentence(rows: Sequence[RelationRecord]) -> str:
    """What of a family survives the correction."""
    held = survivors(rows)
    by_holm = sum(row.p_holm < ALPHA for row in rows)
    tests = f"{len(rows)} tests"
    if not held:
        best = min(rows, key=lambda row: row.p_corrected)
        what = (
            "The only test does not hold: "
            if len(rows) == 1
            else f"Of {tests}, none survives the correction; the smallest "
        )
        return f"{what}corrected {p_equals(best.p_corrected)}{_where(best)}."
    named = []
    for kind, found in kinds(held).items():
        blocks = [str(row.block) for row in found if row.block is not None]
        signs = {row.spearman > 0 for row in found}
        sign = "in both directions" if len(signs) > 1 else "positive" if signs == {True} else "negative"
        named.append(f"{kind}{_in_blocks(blocks)} ({sign})")
    if len(rows) == 1:
        return f"The only test holds: {named[0]}, corrected {p_equals(rows[0].p_corrected)}."
    return (
        f"Of {tests}, {len(held)} survive{'s' if len(held) == 1 else ''} the correction (Westfall-Young p < .05): "
        f"{'; '.join(named)}. By Holm {by_holm}."
    )


def _where(row: RelationRecord) -> str:
    return f" ({row.kind}{_in_blocks([] if row.block is None else [str(row.block)])})"


def _in_blocks(blocks: Sequence[str]) -> str:
    return f" in block{'s' if len(blocks) > 1 else ''} {', '.join(blocks)}" if blocks else ""


def _on_record(run: TrainRun) -> str:
    drift = len({row.language for row in run.drift})
    if not run.num_answers and not drift:
        return "No answer and no drift is on record yet."
    return f"On record: {run.num_answers} answers, drift of {drift} languages."
