from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

# Before torch is imported anywhere: two test processes share two cores, and nothing here may reach for a hub.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest

from tests.runner import Job

NO_HUB = "http://127.0.0.1:9"
RunWords = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder of real data, in the data sets' own layouts."""
    named = os.environ.get("BRIDGEX_TEST_DATA")
    if not named:
        pytest.skip("BRIDGEX_TEST_DATA names no folder of real data")
    return Path(named)


@pytest.fixture(scope="session")
def repository() -> Path:
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def run_words(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunWords]:
    """Runs the words of a command in a folder, with more variables; the heavy imports are done already.

    Where a command is killed or measured, or its variables matter to an import, its test starts it by itself.
    """
    place = tmp_path_factory.mktemp("runner")
    always = {"HF_ENDPOINT": NO_HUB, "HF_HOME": str(place / "hf"), "MPLBACKEND": "agg"}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.runner"],
        cwd=repository,
        env={**os.environ, **always},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def run(
            words: Sequence[str], folder: Path, more: Mapping[str, str], is_joined: bool = False
        ) -> subprocess.CompletedProcess[str]:
            """Joined: what goes to either stream stands in the output, in its order."""
            output, errors = (place / name for name in ("output", "errors"))
            for path in (output, errors):
                path.write_bytes(b"")
            job = Job(
                words=list(words),
                folder=str(folder),
                environment={**os.environ, **always, **more},
                output=str(output),
                errors=str(output if is_joined else errors),
            )
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(json.dumps(job) + "\n")
                process.stdin.flush()
            answer = process.stdout.readline()
            assert answer, "the process that runs commands has ended; it says why above"
            return subprocess.CompletedProcess(
                list(words), int(answer), *(path.read_text(encoding="utf-8") for path in (output, errors))
            )

        yield run
        with contextlib.suppress(BrokenPipeError):  # it has ended by itself, as a test has said
            process.stdin.close()
