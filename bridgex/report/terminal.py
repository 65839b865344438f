"""What a run shows at its end, made from its files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bridgex.records.files import read_json
from bridgex.records.schema import (
    Ablation,
    Metrics,
    Paired,
    Preview,
    Ranking,
    RouteScore,
    Status,
    StrategyRecord,
    Summary,
)
from bridgex.records.store import read_metrics, read_status
from bridgex.report.console import SafeConsole
from bridgex.report.words import test_of
from bridgex.shown import counted


def show(folder: Path, page: Path, console: Console | None = None) -> None:
    """Prints a finished run's table, what must be known of its data, the verdict, and where its page lies.

    Raises:
        UserError: the run is not finished.
    """
    console = console or SafeConsole()
    metrics, status = read_metrics(folder), read_status(folder)
    console.print(_table(metrics))
    ranking = folder / "ranking.json"
    if ranking.is_file():
        strategies = read_json(ranking, Ranking).strategies
        if len(strategies) > 1:
            console.print(_strategies(metrics, strategies))
        if (line := _random_neurons_line(strategies)) is not None:
            console.print(Text(line), soft_wrap=True)
    for line in _remarks(metrics, status):
        console.print(Text(line), soft_wrap=True)
    if metrics.ablation is not None:
        console.print(Text(_ablation_line(metrics.ablation)), soft_wrap=True)
    if metrics.against_translated is not None:
        console.print(Text(_translated_line(metrics, metrics.against_translated)), soft_wrap=True)
    console.print(Text(verdict_line(metrics), style="bold"), soft_wrap=True)
    console.print(Text(f"page: {_short(page)}"), soft_wrap=True)


def show_cell(folder: Path, console: Console | None = None) -> None:
    """Prints one line for a finished cell of a sweep."""
    metrics = read_metrics(folder)
    line = f"{metrics.task} {metrics.pair} {metrics.model}: {verdict_line(metrics)}"
    (console or SafeConsole()).print(Text(line), soft_wrap=True)


def show_sweep(summary: Summary, page: Path, num_left: int = 0, console: Console | None = None) -> None:
    """Prints how many cells are done, what went wrong with the others, and where the page lies.

    Args:
        summary: of the cells that were begun.
        page: where it lies.
        num_left: cells that were asked for and not begun.
        console: where to.
    """
    console = console or SafeConsole()
    show_not_done([(row.cell, row.state, row.error) for row in summary.cells], console)
    states = Counter[str](row.state for row in summary.cells)
    states["left"] = num_left
    said = ", ".join(f"{count} {state}" for state, count in sorted(states.items()) if count)
    console.print(Text(f"{counted(states.total(), 'cell')}: {said}"))
    console.print(Text(f"page: {_short(page)}"), soft_wrap=True)


def show_not_done(rows: Iterable[tuple[str, str, str | None]], console: Console) -> None:
    """Prints a table of the cells that are not done, and why; nothing where all are.

    Args:
        rows: of each cell its folder's name, state and error.
        console: where to.
    """
    wrong = [row for row in rows if row[1] != "done"]
    if not wrong:
        return
    table = Table(title="not done", title_justify="left")
    for heading in ("cell", "state", "why"):
        table.add_column(heading, overflow="fold")
    for cell, state, error in wrong:
        table.add_row(Text(cell), Text(state), Text(error or ""))
    console.print(table)


def verdict_line(metrics: Metrics) -> str:
    """What a run found, in one sentence."""
    direct = metrics.routes["direct"].score
    if metrics.chose_direct:
        return f"direct {direct:.3f}; no bridge: direct was chosen (by {metrics.chosen_by})"
    if metrics.chosen is None:
        return f"direct {direct:.3f}; no bridge was chosen"
    found, via = metrics.paired, metrics.routes[f"via {metrics.chosen}"].score
    if found is None:
        return f"direct {direct:.3f}, via {metrics.chosen} {via:.3f}"
    p = _tested(found)
    return (
        f"via {metrics.chosen} {via:.3f} against {direct:.3f} directly: {found.difference:+.3f} "
        f"[{found.ci95[0]:+.3f}, {found.ci95[1]:+.3f}]{p}: {found.verdict} (chosen by {metrics.chosen_by})"
    )


def _translated_line(metrics: Metrics, found: Paired) -> str:
    """The chosen bridge against the fair opponent of every route in two steps."""
    score = metrics.routes["translated"].score
    words = {"bridge helps": "the bridge is better", "bridge hurts": "the bridge is worse"}
    said = next((word for verdict, word in words.items() if found.verdict.startswith(verdict)), "no evidence")
    return (
        f"against {score:.3f} translated straight into the target language: {found.difference:+.3f} "
        f"[{found.ci95[0]:+.3f}, {found.ci95[1]:+.3f}]{_tested(found)}: {said}"
    )


def _tested(found: Paired) -> str:
    test = test_of(found)
    return "" if test is None else f", {test[0]} p = {test[1]:.2g}"


def show_preview(preview: Preview, console: Console | None = None) -> None:
    """Prints what a run would ask and cost."""
    console = console or SafeConsole()
    for prompt in preview.prompts:
        console.print(Text(f"prompt: {prompt.text}"), soft_wrap=True)
        tokens = " ".join(f"{token}:{piece!r}" for token, piece in zip(prompt.ids, prompt.tokens, strict=True))
        console.print(Text(f"  {tokens}"))
        for option in prompt.options:
            joined = " (its first token holds the end of the prompt)" if option.is_merged else ""
            console.print(Text(f"  option {option.text!r}: {' '.join(map(repr, option.tokens))}{joined}"))
        if not prompt.options:
            console.print(Text("  the answer begins here"))
    console.print(
        f"{', '.join(preview.routes)}: {preview.num_questions} questions, {preview.prompt_tokens} prompt tokens, at "
        f"most {preview.answer_tokens} answer tokens, about {preview.hours:.2g} hours of matrix products if every "
        f"answer is that long; loading and probing come on top",
        soft_wrap=True,
    )


def _table(metrics: Metrics) -> Table:
    # Text, not str: words from data must not be read as markup.
    table = Table(
        title=Text(f"{metrics.task} {metrics.pair}, {metrics.model}: {metrics.n} items"), title_justify="left"
    )
    table.add_column("route")
    table.add_column(metrics.metric, justify="right")
    table.add_column("95 % interval", justify="right")
    table.add_column("misses")
    for route, score in metrics.routes.items():
        table.add_row(Text(route), f"{score.score:.3f}", f"{score.ci95[0]:.3f} to {score.ci95[1]:.3f}", _misses(score))
    return table


def _strategies(metrics: Metrics, strategies: Mapping[str, StrategyRecord]) -> Table:
    table = Table(title="which bridge each strategy puts first", title_justify="left")
    table.add_column("strategy")
    table.add_column("first choice")
    table.add_column(metrics.metric, justify="right")
    table.add_column("P(rank 1)", justify="right")
    for name, ranking in strategies.items():
        first = next((code for code, record in ranking.scores.items() if record.rank == 1), None)
        route = metrics.routes.get(f"via {first}")
        p = ranking.scores[first].p_rank1 if first is not None else None
        if ranking.against_direct is not None and ranking.against_direct.chose_direct:
            first, route = f"direct (before {first})", metrics.routes["direct"]
        table.add_row(
            Text(name),
            Text(f"missing: {ranking.missing}" if first is None else first),
            "" if route is None else f"{route.score:.3f}",
            "" if p is None else f"{p:.2f}",
        )
    return table


def _random_neurons_line(strategies: Mapping[str, StrategyRecord]) -> str | None:
    """What the first choice by neurons scores against random neurons; None: no strategy has such a comparison."""
    for name, ranking in strategies.items():
        for code, found in ranking.scores.items():
            p, corrected = found.p_neuron_null, found.p_neuron_null_corrected
            own, random = found.without_self_matches, found.random_neurons
            if found.rank == 1 and None not in (p, corrected, own, random):
                return (
                    f"{name}: neurons of {code} score {own:.3f}, random ones that answer as often {random:.3f}: "
                    f"p = {p:.2g}, {corrected:.2g} corrected for {len(ranking.scores)} candidates"
                )
    return None


def _misses(score: RouteScore) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in score.misses.items()) or "none"


def _remarks(metrics: Metrics, status: Status | None) -> list[str]:
    chance = "none (open answers)" if metrics.chance is None else f"{metrics.chance:.3f}"
    majority = "" if metrics.majority is None else f"; always the most frequent answer: {metrics.majority:.3f}"
    lines = [f"chance: {chance}{majority}"]
    return lines + ([f"note: {note}" for note in status.notes] if status else [])


def _ablation_line(found: Ablation) -> str:
    difference = found.difference
    ends = "" if difference.ci95 is None else f" [{difference.ci95[0]:+.3f}, {difference.ci95[1]:+.3f}]"
    above = found.above_random
    random = "" if above is None else f"; against random neurons {above.mean:+.3f}, p = {above.p:.2g}"
    return (
        f"holding {found.num_neurons} neurons ({found.ablated}): the last step via {found.bridge} loses "
        f"{difference.mean:+.3f} nats more than direct{ends}, p = {difference.p:.2g}{random}: {found.verdict}"
    )


def _short(folder: Path) -> str:
    try:
        return str(folder.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(folder)
