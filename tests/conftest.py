from __future__ import annotations

import os
from pathlib import Path

# Before torch is imported anywhere: two test processes share two cores, and nothing here may reach for a hub.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest


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
