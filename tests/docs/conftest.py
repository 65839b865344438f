from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.docs import reading

Follow = Callable[[Path, Path], None]


@pytest.fixture(scope="session")
def server(repository: Path) -> Iterator[subprocess.Popen[str]]:
    """The process that runs commands of pages."""
    names = {"HF_ENDPOINT": "http://127.0.0.1:9", "COLUMNS": "200", "MPLBACKEND": "agg", "PYTHONPATH": str(repository)}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.docs.runner"],
        cwd=repository,
        env={**os.environ, **names},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended by itself, as a test has said
            process.stdin.close()


@pytest.fixture
def follow(server: subprocess.Popen[str], tmp_path: Path) -> Follow:
    """Does in a folder what a page says: writes its files, runs its commands, and compares what they print."""

    def run(page: Path, folder: Path) -> None:
        text = page.read_text(encoding="utf-8")
        for name, content in reading.files(text).items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        found = reading.shown(text)
        assert found, f"{page} shows no command"
        for one in found:
            status, output = ask(server, one.command, folder, tmp_path / "output")
            assert status == one.status, f"{one.command}\n{output}"
            told = iter([line.strip() for line in output.splitlines()])
            for line in one.lines:
                assert line.strip() in told, f"{one.command}\ndoes not print, in this place:\n{line}\nbut:\n{output}"

    return run


def ask(server: subprocess.Popen[str], command: str, folder: Path, output: Path) -> tuple[int, str]:
    """Runs one command; its exit status and all that it printed."""
    variables, words = reading.words(command)
    job = {"words": words, "folder": str(folder), "variables": variables, "output": str(output)}
    assert server.stdin is not None
    assert server.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        server.stdin.write(json.dumps(job) + "\n")
        server.stdin.flush()
    answer = server.stdout.readline()
    assert answer, "the process that runs the pages' commands has ended; it says why above"
    return int(answer), output.read_text(encoding="utf-8")
