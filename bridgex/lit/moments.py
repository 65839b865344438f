"""Sums over samples of two representations, gathered batch by batch and over processes by torchmetrics."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torchmetrics import Metric

from bridgex.stats.moments import CrossSums, add_rows_, zero_sums

# Dimensions of each state before the start, when its sizes are not known: processes can gather only equal numbers.
_NUM_DIMS = {"n": 0, "eps_x": 0, "eps_y": 0, "sxx": 3, "sxy": 3, "syy": 3} | dict.fromkeys(
    ("sx", "sy", "sax", "sbx", "say", "sby", "shift_x", "shift_y"), 2
)


class CrossMoments(Metric):
    """`CrossSums` of the representations of the same samples before and after fine-tuning.

    Sums are taken around a shift, the mean of a first batch, without which float64 does not suffice, and sums around
    different shifts do not add. So each process calls `start` with the same first batch before any `update`, also a
    process that gets no samples; `compute` raises where that was not kept. A single process may leave `start` out: the
    first `update` starts with its own batch. After `reset` (say, for another language) it is started anew.

    States are float64 on the device of the first batch (on the CPU where that is MPS, which has no float64), and stay
    float64 whatever dtype the module that holds them is moved to. Processes that meet over NCCL only must give batches
    on their GPUs. States hold `L (D^2 + D E + E^2)` numbers, 184 MB for 13 blocks of width 768, and none before the
    start. Call `update` rather than the metric itself, which copies them.

    Args:
        options: of `torchmetrics.Metric`, such as `process_group`.
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = None

    started: Tensor
    n: Tensor
    shift_x: Tensor
    shift_y: Tensor

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # First, because reductions run in this order, and the other states of a process that did not start do not fit.
        self.add_state("started", torch.zeros((), dtype=torch.float64), _all_started)
        for name in CrossSums._fields:
            empty = torch.zeros((0,) * _NUM_DIMS.get(name, 1), dtype=torch.float64)
            reduction: str | Callable[[Tensor], Tensor] = "max" if name.startswith("eps") else "sum"
            self.add_state(name, empty, _one_shift if name.startswith("shift") else reduction)
        self._kept_shifts: tuple[Tensor, Tensor] | None = None

    def start(self, before: Tensor, after: Tensor) -> None:
        """Fix the shifts and the sizes by a first batch, whose samples are not counted.

        Args:
            before: `[B, L, D]`, B at least 1; the same in every process, and some of the samples that are to come.
            after: `[B, L, E]`, the same samples.

        Raises:
            ValueError: on shapes that do not fit, or values that are not finite.
            RuntimeError: it has been started; `reset` comes first.
        """
        if self._is_started:
            raise RuntimeError(
                f"already started, and {int(self.n)} samples counted: sums around another shift "
                "do not add. Call reset first"
            )
        if before.ndim != 3 or after.ndim != 3 or before.shape[:2] != after.shape[:2] or not before.numel():
            raise ValueError(
                "the first batch must be [samples, blocks, width], same samples and blocks, at least one sample, got "
                f"{tuple(before.shape)} and {tuple(after.shape)}"
            )
        if before.device.type != "mps":
            self.to(before.device)
        self._start_around(_mean(before, self.n.device), _mean(after, self.n.device))

    def update(self, before: Tensor, after: Tensor) -> None:
        """Count a batch of samples.

        Args:
            before: `[B, L, D]`, floating point; B may be 0.
            after: `[B, L, E]`, the same samples.

        Raises:
            ValueError: on shapes that do not fit, or values that are not finite.
            RuntimeError: several processes, and it was not started.
        """
        self._ensure_started(before, after)
        add_rows_(self._sums(), before, after)

    def compute(self) -> CrossSums:
        """The sums of all processes.

        Raises:
            RuntimeError: a process was not started, or with another first batch.
        """
        if not self._is_started:
            raise RuntimeError("no sums: neither start nor update was called")
        return self._sums()

    def forward(self, before: Tensor, after: Tensor) -> CrossSums:
        """As `update`, and returns the batch's own sums, around the same shift.

        Args:
            before: `[B, L, D]`.
            after: `[B, L, E]`.
        """
        self._ensure_started(before, after)
        # torchmetrics resets, updates, and adds what was there; sums around the batch's own mean would not add.
        self._kept_shifts = (self.shift_x, self.shift_y)
        try:
            found: CrossSums = super().forward(before, after)
        finally:
            self._kept_shifts = None
        return found

    def reset(self) -> None:
        """Forget all samples, the shift and the sizes."""
        super().reset()
        if self._kept_shifts is not None:
            self._start_around(*self._kept_shifts)

    @property
    def _is_started(self) -> bool:
        return self.shift_x.numel() > 0

    def _ensure_started(self, before: Tensor, after: Tensor) -> None:
        if self._is_started:
            return
        num_processes = self._num_processes()
        if num_processes > 1:
            raise RuntimeError(
                f"update before start, with {num_processes} processes: each would take its own shift, and their sums "
                "would not add. Call start with the same first batch in every process"
            )
        self.start(before, after)

    def _num_processes(self) -> int:
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            return 1
        return torch.distributed.get_world_size(self.process_group)

    def _start_around(self, shift_x: Tensor, shift_y: Tensor) -> None:
        # Made in inference mode, as Lightning evaluates, states could not be added to outside of it.
        with torch.inference_mode(False):
            for name, value in zero_sums(shift_x, shift_y)._asdict().items():
                setattr(self, name, value)
            self.started = torch.ones_like(self.n)

    def _sums(self) -> CrossSums:
        return CrossSums(*(getattr(self, name) for name in CrossSums._fields))

    def _wrap_compute(self, compute: Callable[..., Any]) -> Callable[..., Any]:
        wrapped = super()._wrap_compute(compute)

        @functools.wraps(compute)
        def keeping_shapes() -> CrossSums:
            # torchmetrics squeezes what has one element: with one block, its axis would be lost.
            found = zip(self._sums(), wrapped(), strict=True)
            return CrossSums(*(value.reshape(state.shape) for state, value in found))

        return keeping_shapes

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> Module:
        def keeping_float64(state: Tensor) -> Tensor:
            # Asked of an empty float32 tensor, since moving float64 to MPS raises. torchmetrics itself holds states
            # against `.bfloat16()`, but not against `.to(torch.bfloat16)`, by which Lightning's precision plugins go.
            device = fn(torch.empty(0, device=state.device)).device
            return state if device.type == "mps" else state.to(device)

        return super()._apply(keeping_float64, exclude_state)


def _mean(rows: Tensor, device: torch.device) -> Tensor:
    """`[B, L, D]` to `[L, D]`, float64."""
    with torch.inference_mode(False):
        mean = rows.detach().to(device, torch.float64).mean(dim=0)
    if not bool(torch.isfinite(mean).all()):
        places = (~torch.isfinite(mean).all(dim=1)).nonzero().flatten().tolist()
        raise ValueError(f"the first batch holds values that are not finite at places {places} of blocks")
    return mean


def _all_started(flags: Tensor) -> Tensor:
    """`[processes]` to their common value."""
    if bool((flags != flags[0]).any()):
        missing = (flags == 0).nonzero().flatten().tolist()
        raise RuntimeError(f"processes {missing} of {len(flags)} were not started. Call start in every process")
    return flags[0]


def _one_shift(shifts: Tensor) -> Tensor:
    """`[processes, L, D]` to their common value."""
    others = (shifts != shifts[0]).flatten(1).any(dim=1).nonzero().flatten().tolist()
    if others:
        raise RuntimeError(
            f"processes {others} of {len(shifts)} were started with another first batch than process 0: their sums "
            "do not add. Call start with the same first batch in every process"
        )
    return shifts[0]
