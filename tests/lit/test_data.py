from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bridgex.evaluation.routes import Route
from bridgex.evaluation.tasks.base import Item
from bridgex.lit.data import batches_of
from bridgex.lit.modules import Sample


@given(st.lists(st.integers(1, 50), max_size=60), st.integers(1, 200))
def test_every_sample_is_in_one_batch_within_the_budget(costs: list[int], budget: int) -> None:
    samples = [Sample(Item(str(index), "", (), ""), Route()) for index in range(len(costs))]
    batches = batches_of(samples, lambda sample: costs[int(sample.item.id)], budget)
    ids = sorted(int(sample.item.id) for batch in batches for sample in batch)
    assert ids == list(range(len(costs)))
    for batch in batches:
        widest = max(costs[int(sample.item.id)] for sample in batch)
        assert widest * len(batch) <= budget or len(batch) == 1
