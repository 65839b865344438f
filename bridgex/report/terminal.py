"""What a run shows at its end, made from its files."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bridgex.records.schema import Metrics, Preview, RouteScore, Status
from bridgex.records.store import read_metrics, read_status


def show(folder: Path, console: Console | None = None) -> None:
    """Prints a finished run's table, what must be known of its data, and where its files lie.

    Raises:
        UserError: the run is not finished.
    """
    console = console or Console()
    metrics, status = read_metrics(folder), read_status(folder)
    console.print(_table(metrics))
    for line in _remarks(metrics, status):
        console.print(Text(line))
    console.print(Text(f"files: {_short(folder)}"), soft_wrap=True)


def show_preview(preview: Preview, console: Console | None = None) -> None:
    """Prints what a run would ask and cost."""
    console = console or Console()
    for prompt in preview.prompts:
        console.print(Text(f"prompt: {prompt.text}"), soft_wrap=True)
        tokens = " ".join(f"{token}:{piece!r}" for token, piece in zip(prompt.ids, prompt.tokens, strict=True))
        console.print(Text(f"  {tokens}"))
        console.print(Text("  the answer begins here"))
    console.print(
        f"{preview.num_questions} questions, {preview.prompt_tokens} prompt tokens, "
        f"at most {preview.answer_tokens} answer tokens, about {preview.hours:.2g} hours if every answer is that long"
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


def _misses(score: RouteScore) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in score.misses.items()) or "none"


def _remarks(metrics: Metrics, status: Status | None) -> list[str]:
    chance = "none (open answers)" if metrics.chance is None else f"{metrics.chance:.3f}"
    lines = [f"chance: {chance}; always the most frequent answer: {metrics.majority:.3f}"]
    return lines + ([f"note: {note}" for note in status.notes] if status else [])


def _short(folder: Path) -> str:
    try:
        return str(folder.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(folder)
