from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import RunWords
from tests.docs import reading

Follow = Callable[[Path, Path], None]


@pytest.fixture
def follow(run_words: RunWords) -> Follow:
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
            variables, words = reading.words(one.command)
            done = run_words(words, folder, {"COLUMNS": "200", **variables}, is_joined=True)
            assert done.returncode == one.status, f"{one.command}\n{done.stdout}"
            told = iter([line.strip() for line in done.stdout.splitlines()])
            for line in one.lines:
                place = f"{one.command}\ndoes not print, in this place:\n{line}\nbut:\n{done.stdout}"
                assert line.strip() in told, place

    return run
