"""Nothing that a model, a data set, an error or a name says steers the terminal; files keep it as it was."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bridgex.errors import UserError
from bridgex.exits import guard
from bridgex.records.files import write_json
from bridgex.records.schema import Summary, SummaryRow
from bridgex.report import html, models_table, status_table, terminal, train_terminal
from bridgex.report.console import SafeConsole
from bridgex.shown import say, shown, shown_lines
from tests.fakes import hostile
from tests.report import made_up, made_up_train

# Colours and the like that rich itself writes on a terminal; whatever else begins with ESC comes from a text.
_STYLES = re.compile(r"\x1b\[(?:[\d;]*m|\?25[lh]|2K|1A)|\r")
_STEERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@pytest.mark.parametrize("text", [*hostile.ALL, "\udc80\ud800"], ids=ascii)
def test_a_shown_text_is_one_line_without_signs_that_steer(text: str) -> None:
    assert not _STEERS.search(shown(f"a\n{text}"))
    assert "\n" not in shown(f"a\n{text}")
    assert not _STEERS.search(shown_lines(text).replace("\n", ""))
    shown(text).encode()


@pytest.mark.parametrize("text", ["", "plain", "a\tb", "שלום العربية 日本語 नमस्ते", "a\u200db\u200c", "é"])
def test_ordinary_text_stays(text: str) -> None:
    assert shown(text) == shown_lines(text) == text


@pytest.mark.parametrize("text", hostile.ALL, ids=ascii)
def test_errors_reach_stderr_as_text(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise UserError(f"file {text}: broken")

    def break_down() -> None:
        raise RuntimeError(text)

    assert guard(fail) == 1
    assert guard(break_down, cell=f"cell {text}") == 70
    assert guard(break_down) == 70, "with a traceback"
    say(text)
    captured = capsys.readouterr()
    assert not _STEERS.search(captured.err.replace("\n", ""))
    assert not _STEERS.search(captured.out.replace("\n", ""))
    assert captured.err.splitlines()[0] == f"error: file {shown(text)}: broken"


def printed(monkeypatch: pytest.MonkeyPatch, is_terminal: bool, **size: int) -> tuple[SafeConsole, io.StringIO]:
    monkeypatch.setenv("TTY_COMPATIBLE", "1" if is_terminal else "0")
    console = SafeConsole()
    console.file = out = io.StringIO()
    console.width = size.get("width", 120)
    return console, out


def steering(out: io.StringIO, is_terminal: bool = False) -> list[str]:
    text = _STYLES.sub("", out.getvalue()) if is_terminal else out.getvalue()
    return _STEERS.findall(text.replace("\n", ""))


@pytest.mark.parametrize("is_terminal", [True, False])
@pytest.mark.parametrize("text", hostile.ALL, ids=ascii)
def test_tables_and_lines_hold_text_only(text: str, is_terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    console, out = printed(monkeypatch, is_terminal)
    table = Table(title=Text(text))
    table.add_column(text)
    table.add_row(Text(text))
    table.add_row(text)  # rich would read a plain text as its own markup
    console.print(table)
    console.print(Text(text), soft_wrap=True)
    console.print(text)
    with console.status(Text(text)):
        pass
    assert steering(out, is_terminal) == []
    assert "elsewhere\x1b" not in out.getvalue()
    if "[red]" in text:
        assert out.getvalue().count("[red]markup[/red]") >= 3
        assert ":smile:" in out.getvalue()


def test_richs_own_console_would_let_them_through(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    Console(file=out, force_terminal=False).print(Text(hostile.TERMINAL[3]))
    assert steering(out) != []


@pytest.mark.parametrize("is_terminal", [True, False])
def test_what_a_run_shows(is_terminal: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = list(hostile.ALL)
    run = made_up.compare_run(tmp_path / "run", state=made_up.status(notes=texts, details=texts, error=texts[0]))
    trained = made_up_train.small_run(tmp_path / "train")
    write_json(trained / "status.json", made_up.status(notes=texts, details=texts))
    row = SummaryRow(
        cell=hostile.TERMINAL[0], state="failed", model="m", pair="de-fr", task="t", bridge="b", scores={}, chosen=None,
        verdict=None, seconds=None, error=" ".join(texts),
    )  # fmt: skip
    console, out = printed(monkeypatch, is_terminal)
    terminal.show(run, html.write_run_page(run), console)
    terminal.show_sweep(Summary(cells=[row]), tmp_path / "\x1b[31m.html", console=console)
    train_terminal.show_train(trained, html.write_run_page(trained), console)
    made_up.write_run(tmp_path / "s\x1b[2J" / "c\x1b[31m", made_up.status("failed", error=" ".join(texts)))
    status_table.show_status(tmp_path / "s\x1b[2J", console)
    assert len(out.getvalue()) > 1000
    assert steering(out, is_terminal) == []
    raw = (tmp_path / "run" / "status.json").read_text(encoding="utf-8")
    assert "\\u001b[31mred" in raw, "the file has it as it was"


def test_a_folder_may_be_called_as_it_likes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    console, out = printed(monkeypatch, is_terminal=True)
    monkeypatch.setattr(models_table, "SafeConsole", lambda is_error: console)
    with models_table.progress(f"checking {tmp_path}/[red]\x1b[2J"):
        pass
    assert "\x1b[2J" not in out.getvalue()
