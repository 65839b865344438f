from __future__ import annotations

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bridgex.lit.moments import CrossMoments
from bridgex.stats.cka import cka
from bridgex.stats.moments import CrossSums, cka_of


def rows(samples: int = 61, blocks: int = 3, widths: tuple[int, int] = (6, 9), seed: int = 0) -> tuple[Tensor, Tensor]:
    """Float32, 10 standard deviations away from zero."""
    random = np.random.RandomState(seed)
    x = random.standard_normal((samples, blocks, widths[0]))
    y = random.standard_normal((samples, blocks, widths[1]))
    y[..., : min(widths)] += x[..., : min(widths)]
    return torch.from_numpy(x + 10).float(), torch.from_numpy(y - 10).float()


def filled(batch: int = 16, **options: object) -> CrossMoments:
    metric = CrossMoments()
    x, y = rows(**options)
    for place in range(0, len(x), batch):
        metric.update(x[place : place + batch], y[place : place + batch])
    return metric


def assert_same(found: CrossSums, expected: CrossSums, tolerance: float = 0.0) -> None:
    for name, value, other in zip(CrossSums._fields, found, expected, strict=True):
        assert value.dtype == torch.float64, name
        torch.testing.assert_close(
            value, other, rtol=tolerance, atol=tolerance, msg=lambda text, n=name: f"{n}: {text}"
        )


@pytest.mark.parametrize("batch", [1, 16, 100])
@pytest.mark.parametrize("widths", [(6, 9), (90, 90)])
def test_gathers_the_cka_of_all_rows(batch: int, widths: tuple[int, int]) -> None:
    x, y = rows(widths=widths)
    for estimator in ("unbiased", "biased"):
        expected = [cka(x[:, block], y[:, block], estimator) for block in range(3)]
        assert cka_of(filled(batch, widths=widths).compute(), estimator) == pytest.approx(expected, abs=1e-10)


def test_a_first_batch_is_not_counted() -> None:
    x, y = rows()
    metric = CrossMoments()
    metric.start(x[:20], y[:20])
    assert torch.equal(metric.shift_x, x[:20].double().mean(dim=0))
    metric.update(x[:0], y[:0])
    assert float(metric.n) == 0
    metric.update(x[20:], y[20:])
    assert float(metric.compute().n) == 41
    metric.update(x[:20], y[:20])
    assert_same(metric.compute(), filled(20).compute(), 1e-12)


def test_identical_sides_do_not_drift() -> None:
    x = rows(samples=70, blocks=4, widths=(40, 40))[0]
    metric = CrossMoments()
    for part in x.split(16):
        metric.update(part, part.clone())
    sums = metric.compute()
    assert torch.equal(sums.sxx, sums.sxy)
    assert torch.equal(sums.sxx, sums.syy)
    assert cka_of(sums) == pytest.approx([1.0] * 4, abs=1e-12)


class Holder(nn.Module):
    def __init__(self, moments: CrossMoments) -> None:
        super().__init__()
        self.moments, self.layer = moments, nn.Linear(2, 2)


@pytest.mark.parametrize(
    "convert",
    [
        nn.Module.bfloat16,
        nn.Module.half,
        nn.Module.float,
        lambda module: module.to(torch.bfloat16),
        lambda module: module.to("cpu", torch.float16),
        lambda module: (module.moments.set_dtype(torch.float32), module)[1],
    ],
    ids=["bfloat16", "half", "float", "to", "to with device", "set_dtype"],
)
def test_dtypes_of_a_module_that_holds_it_change_neither_states_nor_shift(convert) -> None:
    x, y = rows()
    holder = Holder(CrossMoments())
    for part in range(0, 61, 16):
        holder.moments.update(x[part : part + 16], y[part : part + 16])
        holder = convert(holder)
    assert_same(holder.moments.compute(), filled().compute())
    convert(holder)
    assert_same(holder.moments.compute(), filled().compute())


def test_float64_is_never_handed_to_a_device_that_may_lack_it() -> None:
    def to_device_without_float64(tensor: Tensor) -> Tensor:
        assert tensor.dtype != torch.float64
        return tensor

    metric = filled()
    metric._apply(to_device_without_float64)
    assert_same(metric.compute(), filled().compute())


def test_autocast_and_gradients_change_nothing() -> None:
    x, y = rows()
    metric = CrossMoments()
    with torch.autocast("cpu", torch.bfloat16):
        for part in range(0, 61, 16):
            metric.update(x[part : part + 16].requires_grad_(), y[part : part + 16])
        found = metric.compute()
    assert_same(found, filled().compute())
    assert not any(field.requires_grad for field in found)


def test_goes_on_outside_of_inference_mode() -> None:
    x, y = rows()
    metric = CrossMoments()
    with torch.inference_mode():
        metric.update(x[:16] * 1, y[:16] * 1)
    for part in range(16, 61, 16):
        metric.update(x[part : part + 16], y[part : part + 16])
    assert_same(metric.compute(), filled().compute())


def test_forward_keeps_the_shift_and_returns_the_batch() -> None:
    x, y = rows()
    metric, batch = CrossMoments(), CrossMoments()
    batch.start(x[:16], y[:16])
    batch.update(x[16:32], y[16:32])
    found = [metric(x[part : part + 16], y[part : part + 16]) for part in range(0, 61, 16)]
    assert_same(found[1], batch.compute(), 1e-12)
    assert_same(metric.compute(), filled().compute(), 1e-12)
    metric.reset()
    with pytest.raises(ValueError, match="not finite"):
        metric(x * torch.inf, y)
    metric.reset()
    assert metric.shift_x.numel() == 0


@pytest.mark.parametrize(("blocks", "widths"), [(1, (6, 9)), (1, (1, 1)), (2, (1, 3))])
def test_one_block_and_one_column_keep_their_axes(blocks: int, widths: tuple[int, int]) -> None:
    metric = filled(blocks=blocks, widths=widths)
    x, y = rows(blocks=blocks, widths=widths)
    for sums in (metric.compute(), metric(x, y), metric.compute()):
        assert sums.sxy.shape == (blocks, *widths)
        assert sums.sab.shape == (blocks,)
        assert sums.sx.shape == (blocks, widths[0])
        assert sums.n.shape == ()
        assert len(cka_of(sums)) == blocks


def test_results_do_not_change_when_more_is_counted() -> None:
    metric, x = filled(), rows()
    found, expected = metric.compute(), filled().compute()
    metric.update(*x)
    assert_same(found, expected)
    assert float(metric.compute().n) == 122


def test_reset_forgets_samples_shift_and_sizes() -> None:
    metric = filled()
    metric.reset()
    assert metric.sxx.numel() == 0
    x, y = rows(blocks=5, widths=(4, 4), seed=3)
    metric.update(x, y)
    assert_same(metric.compute(), filled(100, blocks=5, widths=(4, 4), seed=3).compute())


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda metric: pickle.loads(pickle.dumps(metric))])
def test_copies_go_on_by_themselves(copied) -> None:
    metric, (x, y) = filled(), rows()
    other = copied(metric)
    other.update(x, y)
    assert_same(metric.compute(), filled().compute())
    metric.update(x, y)
    assert_same(other.compute(), metric.compute())


def test_misuse_is_refused() -> None:
    x, y = rows()
    metric = CrossMoments()
    with pytest.raises(ValueError, match=r"at least one sample, got \(0, 3, 6\) and \(0, 3, 9\)"):
        metric.update(x[:0], y[:0])
    with pytest.raises(
        ValueError, match=r"same samples and blocks, at least one sample, got \(61, 3, 6\) and \(61, 2, 9\)"
    ):
        metric.start(x, y[:, :2])
    x[2, 1, 0] = torch.nan
    with pytest.raises(ValueError, match=r"first batch holds values that are not finite at places \[1\] of blocks"):
        metric.start(x, y)
    x[2, 1, 0] = 1.0
    with (
        pytest.warns(UserWarning, match="before the ``update`` method"),
        pytest.raises(RuntimeError, match="neither start nor update was called"),
    ):
        CrossMoments().compute()
    metric.update(x, y)
    with pytest.raises(RuntimeError, match="already started, and 61 samples counted"):
        metric.start(x, y)
    with pytest.raises(ValueError, match=r"\[samples, 3, 6\].* got \(61, 3, 9\) and \(61, 3, 9\)"):
        metric.update(y, y)


def in_a_process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    x, y = rows()
    own = slice(0, 44) if rank == 0 else slice(44, 61)
    found: dict[str, CrossSums | str] = {}

    def error_of(metric: CrossMoments) -> str:
        with pytest.raises(RuntimeError) as raised:
            metric.compute()
        return str(raised.value)

    metric = CrossMoments()
    with pytest.raises(RuntimeError) as raised:
        metric.update(x[own], y[own])
    found["not started"] = str(raised.value)
    metric.start(x[:16], y[:16])
    for left, right in zip(x[own].split(16), y[own].split(16), strict=True):
        metric.update(left, right)
    found["unequal"] = metric.compute()
    found["own"] = CrossSums(*(getattr(metric, name) for name in CrossSums._fields))

    metric.reset()
    metric.start(x[:16], y[:16])
    if rank == 0:
        for left, right in zip(x.split(16), y.split(16), strict=True):
            metric.update(left, right)
    else:
        metric.update(x[:0], y[:0])
    found["all in one"] = metric.compute()

    metric.reset()
    metric.start(x[own], y[own])
    metric.update(x[own], y[own])
    found["other first batch"] = error_of(metric)

    metric = CrossMoments()
    if rank == 0:
        metric.start(x, y)
        metric.update(x, y)
    else:
        metric._update_count = 1
    found["one not started"] = error_of(metric)
    torch.save({name: v if isinstance(v, str) else tuple(v) for name, v in found.items()}, f"{folder}/{rank}.pt")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def test_two_processes_equal_one(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(in_a_process, (str(tmp_path),), nprocs=2)
    expected = filled().compute()
    parts = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    for part in parts:
        for case in ("unequal", "all in one"):
            found = CrossSums(*part[case])
            assert_same(found, expected, 1e-12)
            for estimator in ("unbiased", "biased"):
                assert cka_of(found, estimator) == pytest.approx(cka_of(expected, estimator), abs=1e-12)
        assert part["not started"].startswith("update before start, with 2 processes")
        assert part["other first batch"].startswith("processes [1] of 2 were started with another first batch")
        assert part["one not started"].startswith("processes [1] of 2 were not started")
    assert [float(CrossSums(*part["own"]).n) for part in parts] == [44, 17]
