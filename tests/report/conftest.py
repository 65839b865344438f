from __future__ import annotations

import os
from pathlib import Path

import pytest

from bridgex.report import html
from tests.report import made_up_sweep


@pytest.fixture(scope="session")
def large_sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a sweep of 500 cells."""
    folder = tmp_path_factory.mktemp("sweep")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)  # 3,000 small files need not outlive a power cut
        return html.write_sweep_page(folder, made_up_sweep.write_sweep(folder))
