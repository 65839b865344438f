from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def command(repository: Path, cache: Path, tmp_path: Path) -> Run:
    """Runs an entry file as a user does, in an empty working folder, with no hub in reach."""

    def run(*arguments: str, entry: str = "evaluate", status: int | None = 0) -> subprocess.CompletedProcess[str]:
        is_given = entry != "evaluate" or any(text.startswith("cache.dir=") for text in arguments)
        own = [] if is_given else [f"cache.dir={cache}"]
        environment = {
            **os.environ,
            "HF_ENDPOINT": "http://127.0.0.1:9",
            "HF_HOME": str(tmp_path / "hf"),
            "COLUMNS": "150",
        }
        done = subprocess.run(
            [sys.executable, str(repository / f"{entry}.py"), *arguments, *own],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=280,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if status is not None:
            assert done.returncode == status, done.stdout + done.stderr
        return done

    return run
