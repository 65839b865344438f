"""What several fine-tuning runs found, in sentences: each relation and each freezing, and what of all survives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from bridgex.records.relations import (
    Finding,
    FreezeComparison,
    MatrixRelations,
    MatrixTest,
    OverSources,
    SourceRelations,
)
from bridgex.records.train_schema import RelationName, RelationRecord
from bridgex.report.train_words import RELATIONS
from bridgex.stats.paired import ALPHA

_FREEZING = "freezing "


def survivors(findings: Sequence[Finding]) -> str:
    """One sentence: what holds after correction, and what does not."""
    found = [one for one in findings if one.held]
    held = [f"{one.name} ({', '.join(one.held)})" for one in found if not one.name.startswith(_FREEZING)]
    does = [f"{one.name} {' and '.join(one.held)}" for one in found if one.name.startswith(_FREEZING)]
    open_ones = [one.name for one in findings if one.is_tested and not one.held]
    others = [name for name in open_ones if not name.startswith(_FREEZING)]
    frozen = [name for name in open_ones if name.startswith(_FREEZING)]
    untested = [one.name for one in findings if not one.is_tested]
    parts = [f"after correction {', '.join(held)} hold{'s' if len(held) == 1 else ''}" if held else ""]
    if others:
        parts.append(f"{'nothing' if held else 'after correction nothing'} holds of {', '.join(others)}")
    parts += does
    if frozen:
        parts.append(f"no evidence of what {' or '.join(frozen)} does")
    if untested:
        parts.append(f"not tested: {', '.join(untested)}")
    text = "; ".join(filter(None, parts)) or "nothing could be related"
    return f"{text[:1].upper()}{text[1:]}."


def findings_of_sources(sources: Sequence[SourceRelations], over: Sequence[OverSources]) -> list[Finding]:
    """Fewer than six sources: each relation, corrected within each source."""
    found = []
    for relation in RELATIONS:
        by_source = {
            source.source: rows
            for source in sources
            if (rows := [row for row in source.relations if row.relation == relation])
        }
        if not by_source:
            why = "fewer than four target languages, no distances, or no spread"
            found.append(Finding(name=relation, held=[], is_tested=False, sentence=f"{relation}: not tested: {why}"))
        elif len(by_source) == 1:
            num_seeds = max(source.num_seeds for source in sources if source.source in by_source)
            found.append(_of_source(relation, num_seeds, *by_source.values()))
        else:
            found.append(_over_sources(relation, by_source, [row for row in over if row.relation == relation]))
    return found


def findings_of_matrices(found: MatrixRelations) -> list[Finding]:
    """Six sources or more: each relation of matrices, corrected over its blocks and predictors."""
    findings = []
    for relation in dict.fromkeys(test.relation for test in found.tests):
        rows = [row for row in found.tests if row.relation == relation]
        held = [row for row in rows if row.p_holm < ALPHA]
        best = max(held or rows, key=lambda row: abs(row.coefficient))
        sentence = (
            f"{relation}: {_count(len(held), len(rows), 'MRQAP test')} over {best.num_languages} languages and "
            f"{best.num_cells} cells after Holm, the strongest {best.predictor} {_block(best)}{best.coefficient:+.2f} "
            f"(Holm p = {best.p_holm:.2g})"
        )
        findings.append(
            Finding(name=relation, held=_named((row.predictor, row.block) for row in held), is_tested=True,
                    sentence=sentence)
        )  # fmt: skip
    return findings


def finding_of_freezing(one: FreezeComparison) -> Finding:
    """What one freezing does."""
    words = {"better": "helps", "worse": "hurts"}
    against = "" if one.against == "none" else f" against {one.against}"
    return Finding(
        name=f"{_FREEZING}{one.freeze}{against}",
        held=[
            f"{verb} {', '.join(of_them)}"
            for verdict, verb in words.items()
            if (of_them := [f"the {row.outcome}" for row in one.outcomes if row.verdict == verdict])
        ],
        is_tested=bool(one.outcomes),
        sentence=one.sentence,
    )


def _of_source(relation: RelationName, num_seeds: int, rows: Sequence[RelationRecord]) -> Finding:
    held = [row for row in rows if row.p_corrected < ALPHA]
    best = max(held or rows, key=lambda row: abs(row.spearman))
    means = f" (means of {num_seeds} seeds)" if num_seeds > 1 else ""
    return Finding(
        name=relation,
        held=_named((row.kind, row.block) for row in held),
        is_tested=True,
        sentence=f"{relation}{means}: {_count(len(held), len(rows), 'correlation')} over {best.n} languages after "
        f"correction, the strongest {_where(best)}{best.spearman:+.2f} (corrected p = {best.p_corrected:.2g})",
    )


def _over_sources(
    relation: RelationName, by_source: Mapping[str, Sequence[RelationRecord]], over: Sequence[OverSources]
) -> Finding:
    held = {source: [row for row in rows if row.p_corrected < ALPHA] for source, rows in by_source.items()}
    named = [
        f"{' and '.join(_named((row.kind, row.block) for row in rows))} with source {source}"
        for source, rows in held.items()
        if rows
    ]
    told = ", ".join(named)
    count, num_held = sum(map(len, by_source.values())), sum(map(len, held.values()))
    best = max(over, key=lambda row: abs(row.spearman))
    return Finding(
        name=relation,
        held=named,
        is_tested=True,
        sentence=f"{relation}: {_count(num_held, count, 'correlation')} after correction within each of {len(held)} "
        f"sources{f' ({told})' if named else ''}, the strongest on average {_where(best)}"
        f"{best.spearman:+.2f} ({best.range[0]:+.2f} to {best.range[1]:+.2f})",
    )


def _named(tests: Iterable[tuple[str, int | str | None]]) -> list[str]:
    """Kinds or predictors with the blocks in which they hold."""
    blocks: dict[str, list[str]] = {}
    for name, block in tests:
        of_name = blocks.setdefault(name, [])
        if block is not None:
            of_name.append("the mean over blocks" if block == "mean" else str(block))
    return [f"{name} in {_listed(found)}" if found else name for name, found in blocks.items()]


def _listed(blocks: Sequence[str]) -> str:
    numbers = [block for block in blocks if block.isdigit()]
    words = [f"block{'s' if len(numbers) > 1 else ''} {' '.join(numbers)}"] if numbers else []
    return " and ".join([*words, *(block for block in blocks if not block.isdigit())])


def _where(row: RelationRecord | OverSources) -> str:
    kind = "" if row.kind == "transfer" else f"{row.kind} "
    return kind if row.block is None else f"{kind}block {row.block} "


def _block(row: MatrixTest) -> str:
    return "" if row.block is None else "mean over blocks " if row.block == "mean" else f"block {row.block} "


def _count(held: int, count: int, noun: str) -> str:
    if count == 1:
        return f"the only {noun} {'holds' if held else 'does not hold'}"
    tests = f"{count} {noun}s"
    return f"none of {tests} holds" if not held else f"{held} of {tests} hold{'s' if held == 1 else ''}"
