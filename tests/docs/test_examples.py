"""The commands of the first hour and the examples of the pages on extending, run as they stand there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.conftest import Follow


@pytest.mark.slow
def test_first_hour(repository: Path, tmp_path: Path, follow: Follow) -> None:
    (tmp_path / "clone").mkdir()
    follow(repository / "docs" / "first-hour.md", tmp_path / "clone")
    assert len(list((tmp_path / "clone" / "outputs" / "sweeps" / "first").glob("*/metrics.json"))) == 4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dataset", "language", "model", "strategy", "task"])
def test_extending(repository: Path, tmp_path: Path, follow: Follow, name: str) -> None:
    (tmp_path / "own").mkdir()
    follow(repository / "docs" / "extend" / f"{name}.md", tmp_path / "own")


@pytest.mark.slow
def test_what_a_page_does_not_show_is_noticed(tmp_path: Path, follow: Follow) -> None:
    page = tmp_path / "page.md"
    page.write_text("```\n$ python evaluate.py pair=en-sw\nerror: something else\n```\n")
    with pytest.raises(AssertionError, match="does not print, in this place"):
        follow(page, tmp_path)
    page.write_text("```\n$ python evaluate.py pair=en-sw\n...\n```\n")
    with pytest.raises(AssertionError, match="pair=en-sw"):
        follow(page, tmp_path)
