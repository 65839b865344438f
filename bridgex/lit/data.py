"""Lightning data: samples in batches of bounded cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Dataset

_T = TypeVar("_T")
_TOKENS = 4096
_LARGE_TOKENS, _STEPS = 32_768, 32


class SampleData(LightningDataModule, Generic[_T]):
    """Samples sorted by cost and cut into batches; under several devices each process gets whole batches.

    Args:
        samples: what is still to be asked.
        cost: tokens that a sample takes, prompt and answer.
        batch_tokens: tokens in one batch at most, padding included; None: 4,096.
        devices: where given, samples go to an engine that cuts them to its own measure: batches are large, but there is
            one for every process, and a bar has steps to show.
    """

    def __init__(
        self, samples: Sequence[_T], cost: Callable[[_T], int], batch_tokens: int | None, devices: int | None = None
    ) -> None:
        super().__init__()
        costs = [cost(sample) for sample in samples]
        tokens = batch_tokens or _TOKENS
        if devices is not None:
            large = max(_LARGE_TOKENS, sum(costs) // (_STEPS * devices))
            tokens = max(tokens, min(large, -(-sum(costs) // devices)))
        self.batches = batches_of(samples, costs, tokens)

    def predict_dataloader(self) -> DataLoader[list[_T]]:
        """One element is one batch, so that a distributed sampler deals out batches, none twice.

        Of several processes each gets one at least, be it an empty one: Lightning knows no process without work.
        """
        world_size = self.trainer.world_size if self.trainer is not None else 1
        idle: list[list[_T]] = [[] for _ in range(world_size - len(self.batches))]
        return DataLoader(Batches([*self.batches, *idle]), batch_size=None, shuffle=False, num_workers=0)

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        """Samples are text; the engine puts their ids on the model's device."""
        return batch


class Batches(Dataset[_T]):
    """Batches that are made already, one an element, so that a distributed sampler deals out whole ones.

    Args:
        batches: in their order.
    """

    def __init__(self, batches: Sequence[_T]) -> None:
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> _T:
        """One batch."""
        return self._batches[index]


def batches_of(samples: Sequence[_T], costs: Sequence[int], batch_tokens: int) -> list[list[_T]]:
    """Batches in which (largest cost) x (samples) stays within `batch_tokens`; a sample above it goes alone."""
    batches: list[list[_T]] = []
    tokens_of_first = 0
    # The longest first: a batch that does not fit into memory shows at once, not after an hour.
    for tokens, sample in sorted(zip(costs, samples, strict=True), key=lambda pair: -pair[0]):
        if batches and tokens_of_first * (len(batches[-1]) + 1) <= batch_tokens:
            batches[-1].append(sample)
        else:
            batches.append([sample])
            tokens_of_first = tokens
    return batches
