from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bridgex.evaluation.routes import Route
from bridgex.evaluation.tasks.base import Item
from bridgex.lit.data import SampleData, batches_of
from bridgex.lit.modules import Sample


@given(st.lists(st.integers(1, 50), max_size=60), st.integers(1, 200))
def test_every_sample_is_in_one_batch_within_the_budget(costs: list[int], budget: int) -> None:
    samples = [Sample(Item(str(index), "", (), ""), Route()) for index in range(len(costs))]
    batches = batches_of(samples, costs, budget)
    ids = sorted(int(sample.item.id) for batch in batches for sample in batch)
    assert ids == list(range(len(costs)))
    for batch in batches:
        widest = max(costs[int(sample.item.id)] for sample in batch)
        assert widest * len(batch) <= budget or len(batch) == 1


def test_batches_are_large_for_an_engine_that_cuts_them_itself_and_each_process_has_one() -> None:
    samples = [Sample(Item(str(index), "", (), ""), Route()) for index in range(10_000)]

    def sizes(count: int, *given: int) -> list[int]:
        return [len(batch) for batch in SampleData(samples[:count], lambda sample: 100, *given).batches]

    assert sizes(100, 1000) == [10] * 10
    assert sizes(100, 1000, 1) == [100]
    assert sizes(100, 1000, 2) == [50, 50]
    assert sizes(10, 1000, 2) == [10], "batches that were asked for are no smaller"
    assert sizes(1000, 1000, 2) == [327, 327, 327, 19], "not all at once"
    assert sizes(10_000, 1000, 1)[0] == 327
    assert len(sizes(10_000, 10**6, 1)) == 1
