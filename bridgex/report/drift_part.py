"""The part of a fine-tuning run's page that shows drift: by block, language, pooling and step."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from bridgex.records.train_schema import DriftRecord
from bridgex.report.markup import Html, Section, join, section, tag
from bridgex.report.plots import Axes, Line, lines
from bridgex.report.run_files import described
from bridgex.report.tables import Cell, Column, Row, number, table, tints
from bridgex.report.train_run import DriftMap, TrainRun, blocks_of

_MASSIVE = 0.5
# Shallow to deep; the lightest can still be seen on white.
_SHALLOW, _DEEP = (158, 202, 225), (8, 48, 107)


def drift(run: TrainRun) -> Section | None:
    """Lines by block, the same as a map, and what must be known of single blocks."""
    metrics = run.metrics
    if metrics is None:
        return None
    pooling, estimator = metrics.pooling, metrics.estimator
    parts: list[str] = [
        tag(
            "p",
            f"Drift is 1 - CKA ({estimator}) of a language's representations before against after fine-tuning, "
            f"{pooling} pooling, by block (0: embeddings).",
        )
    ]
    shown = run.last_drift(pooling)
    blocks = blocks_of(shown)
    if not blocks:
        parts.append(tag("p", "No drift is on record: in no block do representations vary on both sides."))
    elif len(blocks) > 1:
        parts.append(_by_block(run, shown, blocks))
    if blocks:
        parts += [_map(shown, run.sources, pooling), *_remarks(run.last_rows(pooling))]
    if len(run.steps) > 1 and (chart := _over_steps(run, pooling)) is not None:
        parts.append(chart)
    for other in run.poolings:
        if other != pooling and blocks_of(run.last_drift(other)):
            name = f"drift with {other} pooling"
            remarks = _remarks(run.last_rows(other))
            parts.append(
                tag("details", tag("summary", name), _map(run.last_drift(other), run.sources, other), *remarks)
            )
    return section("drift", "Drift", *parts)


def _by_block(run: TrainRun, shown: DriftMap, blocks: Sequence[int]) -> Html:
    rows = [
        Line(
            code,
            described(code),
            [(float(block), values.get(block)) for block in blocks],
            "chosen" if code in run.sources else "plain",
        )
        for code, values in shown.items()
    ]
    title = "Drift by block, one line a language. Thick and blue: fine-tuned on. Point at a line for its name."
    return lines(title, Axes("block", "drift"), rows)


def _map(shown: DriftMap, sources: Sequence[str], pooling: str) -> Html:
    blocks = blocks_of(shown)
    known = {(code, block): value for code, values in shown.items() for block, value in values.items()}
    depth = dict(zip(known, tints(list(known.values()), low=0.0), strict=True))
    rows = []
    for code in shown:
        cells = [_cell(known.get((code, block)), depth.get((code, block))) for block in blocks]
        rows.append(Row([Cell(described(code), code), *cells], is_strong=code in sources))
    means = [[values[block] for values in shown.values() if block in values] for block in blocks]
    footer = Row(["mean", *(number(fmean(values)) for values in means)])
    columns = [Column("language", False), *(Column(str(block), hint=f"block {block}") for block in blocks)]
    caption = f"Drift by language and block, {pooling} pooling. Bold: fine-tuned on."
    if any(len(values) < len(shown) for values in means):
        caption += " –: missing, because a side does not vary there; means are over the languages that have one."
    return table(f"drift by language and block, {pooling} pooling", columns, rows, [footer], caption, is_sortable=True)


def _cell(value: float | None, depth: float | None) -> Cell:
    return Cell(number(value), None if value is None else round(value, 6), depth)


def _remarks(rows: Sequence[DriftRecord]) -> list[Html]:
    """Blocks whose statistic hangs on a single pair."""
    by_block: dict[int, dict[str, float]] = {}
    for row in rows:
        for block, share in enumerate(row.top_row_share):
            if share is not None and share > _MASSIVE:
                by_block.setdefault(block, {})[row.language] = share
    texts = []
    for block, shares in sorted(by_block.items()):
        order = sorted(shares, key=lambda code: -shares[code])
        where = ", ".join(f"{code} {number(shares[code])}" for code in order[:5])
        where += f" and {len(order) - 5} more languages" if len(order) > 5 else ""
        texts.append(
            f"One pair makes {number(shares[order[0]])} of the statistic in block {block} ({where}): a massive "
            f"activation; read that block with care."
        )
    return [tag("p", text, class_="remark") for text in texts]


def _over_steps(run: TrainRun, pooling: str) -> Html | None:
    """Mean drift over the languages that every step has, a line a block."""
    is_biased = run.metrics is not None and run.metrics.estimator != "unbiased"
    values: dict[int, dict[str, list[float | None]]] = {}
    for row in run.drift:
        if row.pooling == pooling:
            values.setdefault(row.step, {})[row.language] = row.biased if is_biased else row.unbiased
    if len(values) < 2:
        return None
    steps = sorted(values)
    codes = [code for code in values[steps[-1]] if all(code in values[step] for step in steps)]
    num_blocks = min((len(values[step][code]) for step in steps for code in codes), default=0)
    rows = []
    for block in range(num_blocks):
        points: list[tuple[float, float | None]] = []
        for step in steps:
            known = [value for code in codes if (value := values[step][code][block]) is not None]
            points.append((float(step), fmean(known) if len(known) == len(codes) else None))
        colour = _colour(block / max(1, num_blocks - 1))
        rows.append(Line(str(block), f"block {block}", points, colour=colour))
    if not any(y is not None for row in rows for _, y in row.points):
        return None
    title = (
        f"Mean drift of {len(codes)} languages over the steps of fine-tuning, one line a block (its number at the "
        "right end; light: shallow, dark: deep)."
    )
    return join(tag("h3", "While it was fine-tuned"), lines(title, Axes("step", "drift"), rows, is_counted=False))


def _colour(depth: float) -> str:
    mixed = [round(low + (high - low) * depth) for low, high in zip(_SHALLOW, _DEEP, strict=True)]
    return "#" + "".join(f"{channel:02x}" for channel in mixed)
