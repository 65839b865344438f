from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bridgex.config.command import Cell
from bridgex.sweeping import _chunks, _ordered


def cell(model: str, number: int) -> Cell:
    config: dict[str, Any] = {"model": {"path": model}, "number": number}
    return Cell(config, Path(f"{model}-{number}"))


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=30), st.integers(1, 7))
def test_each_model_is_loaded_once_in_a_process_and_no_cell_is_lost(models: list[str], size: int) -> None:
    cells = _ordered([cell(model, number) for number, model in enumerate(models)])
    assert sorted(found.config["number"] for found in cells) == list(range(len(models)))
    changes = sum(a.config["model"] != b.config["model"] for a, b in pairwise(cells))
    assert changes == len(set(models)) - 1
    for model in set(models):
        own = [found.config["number"] for found in cells if found.config["model"]["path"] == model]
        assert own == sorted(own)
    chunks = _chunks(cells, size)
    assert [number for first, end in chunks for number in range(first, end)] == list(range(len(cells)))
    for first, end in chunks:
        assert 1 <= end - first <= size
        assert len({found.config["model"]["path"] for found in cells[first:end]}) == 1
