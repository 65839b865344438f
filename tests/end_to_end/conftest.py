from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import NO_HUB, RunWords

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def command(repository: Path, run_words: RunWords, cache: Path, tmp_path: Path) -> Run:
    """Runs an entry file as a user does, in an empty working folder, with no hub in reach."""

    def run(
        *arguments: str, entry: str = "evaluate", status: int | None = 0, is_timed: bool = False
    ) -> subprocess.CompletedProcess[str]:
        is_given = entry != "evaluate" or any(text.startswith("cache.dir=") for text in arguments)
        own = [] if is_given else [f"cache.dir={cache}"]
        words = [str(repository / f"{entry}.py"), *arguments, *own]
        if is_timed:  # with its imports
            variables = {**os.environ, "HF_ENDPOINT": NO_HUB, "COLUMNS": "150"}
            done = subprocess.run(
                [sys.executable, *words],
                cwd=tmp_path, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=280,
            )  # fmt: skip
        else:
            done = run_words(["python", *words], tmp_path, {"COLUMNS": "150"})
        if status is not None:
            assert done.returncode == status, done.stdout + done.stderr
        return done

    return run
