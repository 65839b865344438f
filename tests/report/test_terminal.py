from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from bridgex.records import store
from bridgex.records.schema import Metrics, Preview, PreviewOption, PreviewPrompt, RouteScore
from bridgex.report import terminal


def test_the_table_shows_scores_reasons_notes_and_the_folder(tmp_path: Path) -> None:
    score = RouteScore(score=0.25, ci95=(0.1, 0.5), n=4, misses={"wrong": 2, "truncated": 1})
    metrics = Metrics(
        task="bli",
        pair="en-de",
        model="[bold]m",
        n=4,
        metric="accuracy",
        chance=None,
        majority=0.5,
        routes={"direct": score},
    )
    with store.RunFolder.open(tmp_path, {"seed": 0}) as run:
        run.note("joined through [red]English")
        run.finish(metrics)
    console = Console(width=200, record=True, file=io.StringIO())
    terminal.show(tmp_path, tmp_path / "report.html", console)
    text = console.export_text()
    for part in (
        "[bold]m",
        "0.250",
        "0.100 to 0.500",
        "wrong 2, truncated 1",
        "none (open answers)",
        "0.500",
        str(tmp_path),
    ):
        assert part in text
    assert "note: joined through [red]English" in text, "words from data are not markup"


def test_a_preview_shows_ids_and_cost() -> None:
    prompt = PreviewPrompt(text="[b]x", ids=[0, 5], tokens=["<s>", "x"])
    scored = PreviewPrompt(
        text="y",
        ids=[6],
        tokens=["y"],
        options=[PreviewOption(text=" [i]A", tokens=["y [i]", "A"], is_merged=True)],
    )
    preview = Preview(
        prompts=[prompt, scored],
        routes=["direct", "via en"],
        num_questions=1,
        prompt_tokens=2,
        answer_tokens=30,
        hours=0.5,
    )
    console = Console(width=200, record=True, file=io.StringIO())
    terminal.show_preview(preview, console)
    text = console.export_text()
    assert "prompt: [b]x" in text
    assert "0:'<s>' 5:'x'" in text
    assert "option ' [i]A': 'y [i]' 'A' (its first token holds the end of the prompt)" in text
    assert text.count("the answer begins here") == 1
    assert "direct, via en: 1 questions, 2 prompt tokens, at most 30 answer tokens, about 0.5 hours" in text
