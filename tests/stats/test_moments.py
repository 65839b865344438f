import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import orthogonal_procrustes
from scipy.spatial import procrustes
from torch import Tensor

from bridgex.stats.cka import CkaEstimator, cka
from bridgex.stats.moments import (
    CrossSums,
    add_rows_,
    batch_sums,
    centroid_shift_of,
    cka_of,
    procrustes_of,
    top_row_share,
    zero_sums,
)
from tests.stats.references import published_cka, published_embeddings
from tests.stats.test_cka import naive

ESTIMATORS: list[CkaEstimator] = ["unbiased", "biased"]
SHAPES = [(30, (5, 3)), (8, (20, 40)), (4, (2, 2)), (12, (5, 40)), (100, (16, 16)), (20, (64, 64))]
PUBLISHED = json.loads((Path(__file__).parent / "published_cka.json").read_text(encoding="utf-8"))["cases"]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.RandomState(seed).standard_normal(shape))


def related(samples: int, widths: tuple[int, int], blocks: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two sides that share directions, more of them in later blocks."""
    x, y = normal(samples, blocks, widths[0], seed=seed), normal(samples, blocks, widths[1], seed=seed + 1)
    shared = min(widths)
    return x, y + torch.nn.functional.pad(x[:, :, :shared], (0, widths[1] - shared)) * torch.arange(blocks)[:, None]


def streamed(x: Tensor, y: Tensor, batch: int = 7, start: int | None = None) -> CrossSums:
    first = start or batch
    sums = zero_sums(x[:first].double().mean(dim=0), y[:first].double().mean(dim=0))
    for place in range(0, len(x), batch):
        assert add_rows_(sums, x[place : place + batch], y[place : place + batch]) is sums
    return sums


def centred(rows: Tensor) -> Tensor:
    rows = rows.double() - rows.double().mean(dim=0)
    return rows / rows.norm()


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(("samples", "widths"), SHAPES)
@pytest.mark.parametrize("batch", [1, 7, 64])
def test_sums_give_the_cka_of_the_rows(
    estimator: CkaEstimator, samples: int, widths: tuple[int, int], batch: int
) -> None:
    x, y = related(samples, widths)
    found = cka_of(streamed(x, y, batch), estimator)
    assert len(found) == 3
    for block, value in enumerate(found):
        assert value == pytest.approx(cka(x[:, block], y[:, block], estimator), abs=1e-10)
        assert value == pytest.approx(naive(x[:, block], y[:, block], estimator), abs=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_rows_of_any_precision_are_summed_in_float64(dtype: torch.dtype) -> None:
    x, y = (side.to(dtype) for side in related(60, (12, 9)))
    sums = streamed(x, y)
    assert {field.dtype for field in sums} == {torch.float64}
    assert float(sums.eps_x) == float(sums.eps_y) == torch.finfo(dtype).eps
    exact = [cka(x[:, block].double(), y[:, block].double()) for block in range(3)]
    assert cka_of(sums) == pytest.approx(exact, abs=1e-12)


def test_sums_around_one_shift_add() -> None:
    x, y = related(50, (6, 9))
    shifts = x[:10].mean(dim=0), y[:10].mean(dim=0)
    parts = [batch_sums(x[rows], y[rows], *shifts) for rows in (slice(0, 13), slice(13, 50))]
    whole = batch_sums(x, y, *shifts)
    for name in set(CrossSums._fields) - {"eps_x", "eps_y", "shift_x", "shift_y"}:
        torch.testing.assert_close(getattr(parts[0], name) + getattr(parts[1], name), getattr(whole, name))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_sides_are_equal_bit_by_bit(dtype: torch.dtype) -> None:
    x = (3 + normal(90, 4, 50)).to(dtype)
    sums = streamed(x, x.clone(), 16)
    assert torch.equal(sums.sxx, sums.sxy)
    assert torch.equal(sums.sxx, sums.syy)
    for estimator in ESTIMATORS:
        assert cka_of(sums, estimator) == pytest.approx([1.0] * 4, abs=1e-12)
    assert procrustes_of(sums) == pytest.approx([0.0] * 4, abs=1e-12)
    assert centroid_shift_of(sums) == [0.0] * 4


@given(seed=st.integers(0, 500), scale=st.floats(1e-4, 1e4), offset=st.floats(-10, 10))
@settings(max_examples=25, deadline=None)
def test_rotation_scale_offset_and_order_change_nothing(seed: int, scale: float, offset: float) -> None:
    x, y = related(40, (6, 8), seed=seed)
    rotation = torch.linalg.qr(normal(6, 6, seed=seed + 2)).Q
    order = torch.from_numpy(np.random.RandomState(seed).permutation(40))
    before, after = streamed(x, y), streamed((scale * (x @ rotation + offset))[order], y[order])
    for estimator in ESTIMATORS:
        assert cka_of(after, estimator) == pytest.approx(cka_of(before, estimator), abs=1e-10)
        assert cka_of(streamed(y, x), estimator) == pytest.approx(cka_of(before, estimator), abs=1e-10)
    assert procrustes_of(after) == pytest.approx(procrustes_of(before), abs=1e-10)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("offset", [10.0, 100.0, 1000.0])
def test_an_offset_common_to_all_rows_does_not_matter(estimator: CkaEstimator, offset: float) -> None:
    x, y = related(120, (16, 16))
    expected = cka_of(streamed(x, y), estimator)
    assert cka_of(streamed(x + offset, y - offset), estimator) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("scale", [1e-30, 1e-15, 1e15, 1e30])
def test_numbers_at_the_ends_of_float32_stay_in_range(scale: float) -> None:
    x, y = (side.float() for side in related(40, (6, 8)))
    for estimator in ESTIMATORS:
        expected = cka_of(streamed(x, y), estimator)
        assert cka_of(streamed(scale * x, scale * y), estimator) == pytest.approx(expected, abs=1e-6)
    assert top_row_share(scale * x, scale * y, streamed(scale * x, scale * y)).isfinite().all()


def test_unbiased_is_zero_and_biased_is_not_for_unrelated_wide_representations() -> None:
    x, y = normal(300, 20, 384, seed=0).float(), normal(300, 20, 384, seed=1).float()
    sums = streamed(x, y, 60)
    unbiased, biased = np.array(cka_of(sums)), np.array(cka_of(sums, "biased"))
    assert abs(unbiased.mean()) < 0.005
    assert abs(unbiased.mean()) < 3 * unbiased.std() / math.sqrt(20)
    assert biased.min() > 0.4


def one_row(samples: int, width: int, row: int) -> Tensor:
    side = torch.zeros(samples, width)
    side[row] = normal(width, seed=9).float()
    return side


CONSTANT = normal(7, seed=5).float().expand(20, 7)
DEGENERATE = {
    "constant": CONSTANT,
    "zero": torch.zeros(20, 3),
    "no width": torch.zeros(20, 0),
    "rounding": torch.full((20, 7), 0.1) + 1e-8 * normal(20, 1, seed=2).float(),
    "noise of 1e-8": CONSTANT + 1e-8 * normal(20, 7, seed=2).float(),
    "noise of 1e-8 in float64": CONSTANT.double() + 1e-8 * normal(20, 7, seed=2),
    "noise of 1e-16 in float64": CONSTANT.double() + 1e-16 * normal(20, 7, seed=2),
    "noise of 1e-4": CONSTANT + 1e-4 * normal(20, 7, seed=2).float(),
    "noise in bfloat16": (CONSTANT + 1e-3 * normal(20, 7, seed=2)).bfloat16(),
    "first row only": one_row(20, 3, 0),
    "a later row only": one_row(20, 3, 13),
    "one row far off": 5 + one_row(20, 3, 4),
    "two rows": one_row(20, 3, 4) + one_row(20, 3, 5),
}
MISSING = {
    "constant",
    "zero",
    "no width",
    "rounding",
    "noise of 1e-8",
    "noise of 1e-16 in float64",
    "noise in bfloat16",
}
MISSING_UNBIASED = MISSING | {"first row only", "a later row only", "one row far off"}


@pytest.mark.parametrize("batch", [1, 8, 20])
@pytest.mark.parametrize("kind", DEGENERATE)
def test_missing_exactly_where_the_cka_of_the_rows_is(kind: str, batch: int) -> None:
    side, fine = DEGENERATE[kind], normal(20, 5, seed=0).float()
    for x, y in ((side, fine), (fine, side), (side, side)):
        sums = streamed(x[:, None], y[:, None], batch)
        for estimator, missing in (("unbiased", MISSING_UNBIASED), ("biased", MISSING)):
            expected, found = cka(x, y, estimator), cka_of(sums, estimator)[0]
            assert (expected is None) == (found is None)
            assert (found is None) == (kind in missing)
            assert found is None or found == pytest.approx(expected, abs=1e-6)
        assert (procrustes_of(sums)[0] is None) == (cka(x, y, "biased") is None)
        assert bool(top_row_share(x[:, None], y[:, None], sums).isnan()) == (cka(x, y, "biased") is None)
    assert (centroid_shift_of(streamed(side[:, None], side[:, None]))[0] is None) == (kind in MISSING)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_variation_counts_from_16_units_of_rounding_of_the_rows_as_they_came(dtype: torch.dtype) -> None:
    signs, fine = torch.ones(20, 7, dtype=dtype), normal(20, 1, 5)
    signs[::2] = -1
    for units, is_missing in ((14, True), (18, False)):
        side = 1 + units * torch.finfo(dtype).eps * signs
        assert (cka(side, fine[:, 0], "biased") is None) == is_missing
        for batch in (3, 20):
            found = cka_of(streamed(side[:, None], fine, batch), "biased")
            assert (found == [None]) == is_missing
    # Around a shift of another size the rows are still measured by their own.
    around = batch_sums(1 + 18 * 2.0**-23 * signs[:, None], fine.float(), torch.full((1, 7), 5.0).double(), fine[0])
    with pytest.raises(ValueError, match="the shift of x lies"):
        cka_of(around._replace(eps_x=around.eps_y))


def test_sums_hold_no_gradient_graph() -> None:
    x, y = related(20, (4, 6))
    assert not any(field.requires_grad for field in streamed(x.requires_grad_(), y.requires_grad_()))


def test_a_degenerate_block_leaves_the_others() -> None:
    x, y = related(30, (5, 5))
    expected = cka_of(streamed(x, y))
    x[:, 1] = 0.1
    assert cka_of(streamed(x, y)) == [pytest.approx(expected[0]), None, pytest.approx(expected[2])]


def test_a_row_that_alone_varies_is_recognised_around_a_shift_far_from_the_others() -> None:
    side, fine = one_row(2000, 6, 0)[:, None], normal(2000, 1, 6)
    assert cka_of(streamed(1e6 * side, fine, batch=500, start=1)) == [None]


def test_a_shift_far_from_the_mean_is_refused_before_digits_are_lost() -> None:
    x, y = related(200, (6, 6))
    expected = cka_of(streamed(x, y))
    near, far = (batch_sums(x + scale, y, torch.zeros(3, 6).double(), y.mean(dim=0)) for scale in (90, 300))
    assert cka_of(near) == pytest.approx(expected, abs=1e-6)
    for statistic in (cka_of, procrustes_of, centroid_shift_of):
        with pytest.raises(ValueError, match=r"the shift of x lies \d+ standard deviations from the mean at place 0"):
            statistic(far)


@pytest.mark.parametrize(("samples", "widths"), [(30, (5, 5)), (8, (20, 20)), (30, (5, 12)), (10, (12, 5))])
def test_procrustes_equals_scipy(samples: int, widths: tuple[int, int]) -> None:
    x, y = related(samples, widths)
    for block, found in enumerate(procrustes_of(streamed(x + 3, 5 * y))):
        pads = [(0, max(widths) - width) for width in widths]
        left, right = (
            torch.nn.functional.pad(centred(side[:, block]), pad).numpy()
            for side, pad in zip((x, y), pads, strict=True)
        )
        rotation, scale = orthogonal_procrustes(left, right)
        assert found == pytest.approx(1 - scale, abs=1e-10)
        assert found == pytest.approx(np.linalg.norm(left @ rotation - right) ** 2 / 2, abs=1e-10)
        assert 1 - (1 - found) ** 2 == pytest.approx(procrustes(left, right)[2], abs=1e-10)


def test_procrustes_lies_between_zero_and_one() -> None:
    x, y = normal(40, 1, 8), torch.zeros(40, 1, 8).double()
    rotation = torch.linalg.qr(normal(8, 8, seed=3)).Q
    assert procrustes_of(streamed(x, 3 * x @ rotation + 1)) == [pytest.approx(0, abs=1e-12)]
    x[:20] = 0
    y[:20, :, 0], y[20:, :, 1] = normal(20, 1, seed=1), 0
    x[20:] -= x[20:].mean(dim=0)
    y[:20] -= y[:20].mean(dim=0)
    assert procrustes_of(streamed(x, y)) == [pytest.approx(1, abs=1e-12)]


def test_centroid_shift_equals_the_plain_form() -> None:
    x, y = related(50, (7, 7))
    x, y = 2 * x + 100, 2 * y + 103
    for block, found in enumerate(centroid_shift_of(streamed(x, y))):
        before, after = x[:, block].numpy(), y[:, block].numpy()
        spread = np.sqrt(np.mean(np.sum((before - before.mean(axis=0)) ** 2, axis=1)))
        assert found == pytest.approx(np.linalg.norm(after.mean(axis=0) - before.mean(axis=0)) / spread, rel=1e-10)
    moved = centroid_shift_of(streamed(x, x + 3))
    assert moved == pytest.approx([3 * math.sqrt(7) / float(s) for s in x.var(0, correction=0).sum(1).sqrt()])


@pytest.mark.parametrize(("samples", "widths"), [(30, (5, 3)), (8, (20, 40))])
def test_the_top_row_share_equals_the_n_by_n_form(samples: int, widths: tuple[int, int]) -> None:
    x, y = related(samples, widths)
    sums = streamed(x + 5, y)
    expected = []
    for block in range(3):
        k, l = (rows @ rows.T for rows in (centred(x[:, block]), centred(y[:, block])))  # noqa: E741
        shares = (k * l).sum(dim=1) / (k * l).sum()
        assert float(shares.sum()) == pytest.approx(1)
        expected.append(float(shares.max()))
    assert top_row_share(x + 5, y, sums).tolist() == pytest.approx(expected, rel=1e-10)
    # Two processes with their own rows, and one without any.
    parts = [top_row_share(x[rows] + 5, y[rows], sums) for rows in (slice(0, 3), slice(3, None), slice(0, 0))]
    assert torch.stack(parts).amax(dim=0).tolist() == pytest.approx(expected, rel=1e-10)
    assert parts[2].tolist() == [-math.inf] * 3


def test_one_row_moved_far_makes_the_statistic() -> None:
    x, y = related(1000, (24, 24))
    quiet, expected = top_row_share(x, y, streamed(x, y)), cka_of(streamed(x, y))
    y[17] *= 30 * y.norm(dim=2, keepdim=True)[17].reciprocal() * y.norm(dim=2).mean()
    x[17] *= 30 * x.norm(dim=2, keepdim=True)[17].reciprocal() * x.norm(dim=2).mean()
    assert float(quiet.max()) < 0.05
    loud = streamed(x, y, 64)
    assert float(top_row_share(x, y, loud).min()) > 0.8
    assert abs(cka_of(loud, "biased")[0] - expected[0]) > 0.5


def test_sides_with_nothing_in_common_have_no_share() -> None:
    # Columns at right angles to each other and to the constant, up to rounding.
    columns = torch.linalg.qr(torch.cat([torch.ones(40, 1), normal(40, 7)], dim=1)).Q
    x, y = columns[:, None, 1:4] + 2, 9 * columns[:, None, 4:]
    sums = streamed(x, y)
    assert cka_of(sums, "biased") == [pytest.approx(0, abs=1e-20)]
    assert top_row_share(x, y, sums).isnan().all()


@pytest.mark.parametrize("case", PUBLISHED, ids=lambda case: f"{case['samples']}x{case['width']}-{case['kind']}")
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_equals_the_published_functions(case: dict[str, int | float | str], estimator: CkaEstimator) -> None:
    recipe = {name: value for name, value in case.items() if name not in ESTIMATORS}
    x, y = (torch.from_numpy(side)[:, None] for side in published_embeddings(**recipe))
    assert cka_of(streamed(x, y), estimator) == [pytest.approx(case[estimator], abs=1e-6)]


def test_equals_the_published_functions_when_they_are_at_hand() -> None:
    theirs = published_cka()
    for seed, (samples, width, kind) in enumerate([(60, 20, "gaussian"), (30, 90, "heavy"), (80, 40, "offset")], 20):
        x, y = published_embeddings(seed, samples, width, kind)
        sums = streamed(*(torch.from_numpy(side)[:, None] for side in (x, y)))
        kernels = [theirs["gram_linear"](side) for side in (x, y)]
        for estimator in ESTIMATORS:
            is_debiased = estimator == "unbiased"
            found = cka_of(sums, estimator)
            assert found == [pytest.approx(theirs["cka"](*kernels, debiased=is_debiased), abs=1e-6)]
            assert found == [pytest.approx(theirs["feature_space_linear_cka"](x, y, debiased=is_debiased), abs=1e-6)]


def test_nothing_is_made_on_the_default_device() -> None:
    # A tensor made without naming its device would have no values here, and touching it would raise.
    x, y = related(40, (6, 6))

    def everything() -> list[object]:
        sums = streamed(x, y)
        numbers = [cka_of(sums), cka_of(sums, "biased"), procrustes_of(sums), centroid_shift_of(sums)]
        return [*numbers, top_row_share(x, y, sums).tolist()]

    expected = everything()
    with torch.device("meta"):
        assert everything() == expected


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_the_numbers_of_the_cpu() -> None:
    x, y = (side.float() for side in related(200, (24, 24)))
    on_cpu, on_gpu = streamed(x, y), streamed(x.cuda(), y.cuda())
    for statistic in (cka_of, procrustes_of, centroid_shift_of):
        assert statistic(on_gpu) == pytest.approx(statistic(on_cpu), abs=1e-10)
    shares = top_row_share(x, y, on_gpu).cpu()
    torch.testing.assert_close(shares, top_row_share(x, y, on_cpu), rtol=1e-9, atol=0)


def test_a_refused_batch_leaves_the_sums_as_they_were() -> None:
    x, y = related(20, (4, 4))
    sums, expected = streamed(x, y), streamed(x, y)
    y[3, 1, 2] = torch.nan
    with pytest.raises(ValueError, match=r"not finite, or are above 1e70, at places \[1\] of blocks"):
        add_rows_(sums, x, y)
    for found, before in zip(sums, expected, strict=True):
        assert torch.equal(found, before)


def test_misuse_is_refused() -> None:
    x, y = related(20, (4, 6))
    sums = streamed(x, y)
    shift = torch.zeros(3, 4).double()
    with pytest.raises(ValueError, match=r"same samples, got \(20, 3, 4\) and \(19, 3, 6\)"):
        add_rows_(sums, x, y[:19])
    with pytest.raises(ValueError, match=r"must be \[samples, 3, 4\] and \[samples, 3, 6\].* got \(20, 2, 4\)"):
        add_rows_(sums, x[:, :2], y)
    with pytest.raises(ValueError, match="must be of floating point, got torch.int64 and torch.float64"):
        add_rows_(sums, x.long(), y)
    with pytest.raises(ValueError, match=r"same blocks, got \(3, 4\) and \(2, 4\)"):
        zero_sums(shift, shift[:2])
    with pytest.raises(ValueError, match="shifts must be float64, got torch.float32 and torch.float64"):
        zero_sums(shift.float(), shift)
    with pytest.raises(ValueError, match="estimator 'paper' is unknown, expected unbiased or biased"):
        cka_of(sums, "paper")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unbiased CKA needs at least 4 samples, got 3"):
        cka_of(streamed(x[:3], y[:3]))
    with pytest.raises(ValueError, match="biased CKA needs at least 2 samples, got 1"):
        cka_of(streamed(x[:1], y[:1]), "biased")
    with pytest.raises(ValueError, match="Procrustes distance needs at least 2 samples, got 1"):
        procrustes_of(streamed(x[:1], y[:1]))
    with pytest.raises(ValueError, match="sides of one width, got 4 and 6"):
        centroid_shift_of(sums)
    with pytest.raises(ValueError, match="a centroid shift needs at least 2 samples, got 0"):
        centroid_shift_of(zero_sums(shift, shift))
    with pytest.raises(ValueError, match=r"got \(20, 3, 4\) and \(20, 3, 4\)"):
        top_row_share(x, x, sums)
    with pytest.raises(ValueError, match="the share of a row needs at least 2 samples, got 1"):
        top_row_share(x[:1], y[:1], streamed(x[:1], y[:1]))
