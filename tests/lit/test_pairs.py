"""Passes follow from their numbers, and reading batches hold every pair once."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from bridgex.extract.classifier import PairEncoder
from bridgex.lit.pairs import Pair, ReadData, TrainBatches, num_steps
from tests.fakes.tiny_classifiers import make_tokenizer

ENCODER = PairEncoder(make_tokenizer(is_encoder=True), None, 64)
ROWS = [Pair("en", f"premise {number}", f"hypothesis {number}", number % 3) for number in range(10)]


def seen(batches: TrainBatches) -> list[tuple[int, ...]]:
    return [tuple(row) for number in range(len(batches)) for row in batches[number].given.ids.tolist()]


def stripped(row: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(token for token in row if token)


def test_every_row_is_seen_as_often_as_there_are_epochs() -> None:
    batches = TrainBatches(ROWS, ENCODER, batch_size=4, accumulate=1, steps=5, seed=0)
    counts = Counter(map(stripped, seen(batches)))
    assert set(counts.values()) == {2}
    assert len(counts) == 10


def test_a_pass_follows_from_its_number_alone() -> None:
    one = TrainBatches(ROWS, ENCODER, batch_size=4, accumulate=1, steps=20, seed=0)
    other = TrainBatches(ROWS, ENCODER, batch_size=4, accumulate=1, steps=20, seed=0)
    numbers = [19, 3, 11, 2, 7]
    assert all(torch.equal(one[number].given.ids, other[number].given.ids) for number in numbers)
    assert any(
        not torch.equal(one[number].given.ids, TrainBatches(ROWS, ENCODER, 4, 1, 20, seed=1)[number].given.ids)
        for number in numbers
    )


def test_cutting_a_step_into_passes_changes_none_of_its_rows() -> None:
    whole = TrainBatches(ROWS, ENCODER, batch_size=4, accumulate=1, steps=6, seed=0)
    cut = TrainBatches(ROWS, ENCODER, batch_size=4, accumulate=2, steps=6, seed=0)
    assert len(cut) == 12
    assert list(map(stripped, seen(whole))) == list(map(stripped, seen(cut)))


@pytest.mark.parametrize(("rows", "size", "epochs", "steps"), [(100, 32, 3, 10), (32, 32, 1, 1), (5, 32, 0.1, 1)])
def test_steps_of_so_many_epochs(rows: int, size: int, epochs: float, steps: int) -> None:
    assert num_steps(rows, size, epochs) == steps


def test_reading_batches_hold_every_pair_once_and_stay_within_their_size() -> None:
    encoded = {
        code: ENCODER.encode(code, ["a" * (3 * n % 17 + 1) for n in range(count)], ["b"] * count)
        for code, count in (("de", 9), ("en", 14))
    }
    labels = {code: [number % 3 for number in range(len(pairs))] for code, pairs in encoded.items()}
    data = ReadData({code: (pairs, labels[code]) for code, pairs in encoded.items()}, ENCODER, batch_tokens=60)
    batches = data.batches(torch.device("cpu"))
    assert [batch.code for batch in batches] == sorted(batch.code for batch in batches)
    for code, pairs in encoded.items():
        own = [batch for batch in batches if batch.code == code]
        assert sorted(number for batch in own for number in batch.numbers) == list(range(len(pairs)))
        assert [batch.is_last for batch in own] == [False] * (len(own) - 1) + [True]
        for batch in own:
            assert batch.labels.tolist() == [labels[code][number] for number in batch.numbers]
            assert batch.given.ids.numel() <= 60 or len(batch.numbers) == 1
