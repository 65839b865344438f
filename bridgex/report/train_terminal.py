"""What a fine-tuning run shows at its end, made from its files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bridgex.records.store import read_status
from bridgex.records.train_files import read_train_metrics
from bridgex.records.train_schema import RelationRecord, TrainMetrics
from bridgex.report.console import SafeConsole
from bridgex.report.train_run import mean_drift
from bridgex.report.train_words import RELATIONS, STEADY, families, kinds, strongest, survivors


def show_train(folder: Path, page: Path, console: Console | None = None) -> None:
    """Prints a finished run's table by language, what of its drift is to be known, the verdict, and its page.

    Raises:
        UserError: the run is not finished.
    """
    console = console or SafeConsole()
    metrics, status = read_train_metrics(folder), read_status(folder)
    console.print(_table(metrics))
    controls = f"chance: {metrics.controls.chance:.3f}; majority: {metrics.controls.majority:.3f}"
    lines = [controls, _depth_line(metrics), *_relation_lines(metrics)]
    lines += [f"note: {note}" for note in status.notes] if status else []
    for line in lines:
        console.print(Text(line), soft_wrap=True)
    console.print(Text(metrics.survives, style="bold"), soft_wrap=True)
    console.print(Text(f"page: {_short(page)}"), soft_wrap=True)


def show_train_cell(folder: Path, console: Console | None = None) -> None:
    """Prints one line for a finished cell of a sweep.

    Raises:
        UserError: the cell is not finished.
    """
    metrics = read_train_metrics(folder)
    frozen = "" if metrics.freeze == "none" else f", frozen: {metrics.freeze}"
    line = f"{metrics.task} {metrics.source} {metrics.model}, seed {metrics.seed}{frozen}: {metrics.survives}"
    (console or SafeConsole()).print(Text(line), soft_wrap=True)


def _table(metrics: TrainMetrics) -> Table:
    # Text, not str: words from data must not be read as markup. Narrow, without edges: it must fit a small screen.
    title = f"{metrics.task}, {metrics.model} fine-tuned on {metrics.source}: {metrics.steps} steps"
    table = Table(title=Text(title), title_justify="left", show_edge=False, pad_edge=False)
    table.add_column("language", no_wrap=True)
    only, fertility = metrics.controls.hypothesis_only, metrics.controls.fertility
    names = [metrics.metric, "95 % interval", "gap", "mean\ndrift"]
    names += ["hypothesis\nonly"] if only is not None else []
    for name in [*names, "tokens\nper pair"]:
        table.add_column(name, justify="right", no_wrap=True)
    drift, sources = mean_drift(metrics.drift), metrics.source.split("+")
    for code, found in metrics.transfer.items():
        low, high = found.ci95
        cells = [f"{found.score:.3f}", f"{low:.3f} to {high:.3f}", _number(found.gap), _number(drift.get(code))]
        cells += [_number(only.get(code))] if only is not None else []
        tokens = fertility.get(code)
        cells.append("" if tokens is None else f"{tokens:.1f}")
        table.add_row(Text(code), *cells, style="bold" if code in sources else None)
    return table


def _depth_line(metrics: TrainMetrics) -> str:
    read = f"{metrics.pooling} pooling, {metrics.estimator} CKA"
    if metrics.depth is None:
        return f"depth: too few blocks with drift to say whether it grows ({read})"
    grows = "grows" if metrics.depth > STEADY else "does not grow"
    return f"depth: drift {grows} with depth, Spearman of block and mean drift {metrics.depth:+.3f} ({read})"


def _relation_lines(metrics: TrainMetrics) -> list[str]:
    """Of each relation the strongest test, and in which other kinds of distance one survives."""
    found = []
    for relation in RELATIONS:
        rows = next(iter(families(metrics, relation).values()), [])
        if rows:
            best = strongest(survivors(rows) or rows)
            others = [kind for kind in kinds(survivors(rows)) if kind != best.kind]
            also = f"; {', '.join(others)} survive{'s' if len(others) == 1 else ''} too" if others else ""
            found.append(_relation_line(best, rows) + also)
    return found


def _relation_line(row: RelationRecord, family: Sequence[RelationRecord]) -> str:
    kind = "" if row.kind == "transfer" else f" {row.kind}"
    block = "" if row.block is None else f" block {row.block}"
    where = f",{kind}{block}" if kind or block else ""
    ends = "" if row.ci95 is None else f" [{row.ci95[0]:+.3f}, {row.ci95[1]:+.3f}]"
    tests = f"{len(family)} test{'' if len(family) == 1 else 's'}"
    return (
        f"{row.relation}{where}: Spearman {row.spearman:+.3f}{ends}, p = {row.p:.2g}, {row.p_corrected:.2g} corrected "
        f"over {tests}, n = {row.n}"
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _short(folder: Path) -> str:
    try:
        return str(folder.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(folder)
