"""Similarity of two representations of the same samples, for all blocks at once, from sums of a fixed size."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from bridgex.stats.cka import CkaEstimator

_EPS = torch.finfo(torch.float64).eps
# Beyond so many standard deviations between shift and mean, sums of fourth powers keep fewer than 7 digits.
_MAX_DISTANCE = 100.0


class CrossSums(NamedTuple):
    """Sums over samples from which centred statistics of two representations follow; all float64.

    x and y below are rows less the shifts, `a = |x|^2`, `b = |y|^2`. Sums around the same shifts add, field by field;
    `eps_x` and `eps_y` take the maximum instead, and the shifts stay.

    Attributes:
        n: `[]`, samples N.
        sxx: `[L, D, D]`, sum of `x x'`.
        sxy: `[L, D, E]`, of `x y'`.
        syy: `[L, E, E]`, of `y y'`.
        sx: `[L, D]`, of x.
        sy: `[L, E]`, of y.
        sax: `[L, D]`, of `a x`.
        sbx: `[L, D]`, of `b x`.
        say: `[L, E]`, of `a y`.
        sby: `[L, E]`, of `b y`.
        sa: `[L]`, of a.
        sb: `[L]`, of b.
        saa: `[L]`, of `a a`.
        sab: `[L]`, of `a b`.
        sbb: `[L]`, of `b b`.
        eps_x: `[]`, rounding of the dtype in which the rows of x came, the coarsest.
        eps_y: `[]`, of y.
        shift_x: `[L, D]`, what was taken off the rows of x.
        shift_y: `[L, E]`, of y.
    """

    n: Tensor
    sxx: Tensor
    sxy: Tensor
    syy: Tensor
    sx: Tensor
    sy: Tensor
    sax: Tensor
    sbx: Tensor
    say: Tensor
    sby: Tensor
    sa: Tensor
    sb: Tensor
    saa: Tensor
    sab: Tensor
    sbb: Tensor
    eps_x: Tensor
    eps_y: Tensor
    shift_x: Tensor
    shift_y: Tensor


def zero_sums(shift_x: Tensor, shift_y: Tensor) -> CrossSums:
    """Sums of no samples around given shifts.

    Args:
        shift_x: `[L, D]` float64, near the mean of the rows to come; its device is that of the sums.
        shift_y: `[L, E]` float64.

    Raises:
        ValueError: the shifts are no such tensors.
    """
    if shift_x.ndim != 2 or shift_y.ndim != 2 or len(shift_x) != len(shift_y):
        raise ValueError(
            f"shifts must be [blocks, width], same blocks, got {tuple(shift_x.shape)} and {tuple(shift_y.shape)}"
        )
    if shift_x.dtype != torch.float64 or shift_y.dtype != torch.float64:
        raise ValueError(f"shifts must be float64, got {shift_x.dtype} and {shift_y.dtype}")
    (num_blocks, d), e = shift_x.shape, shift_y.shape[1]

    def zeros(*shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.float64, device=shift_x.device)

    def per_block(*shape: int) -> Tensor:
        return zeros(num_blocks, *shape)

    return CrossSums(
        n=zeros(),
        sxx=per_block(d, d),
        sxy=per_block(d, e),
        syy=per_block(e, e),
        sx=per_block(d),
        sy=per_block(e),
        sax=per_block(d),
        sbx=per_block(d),
        say=per_block(e),
        sby=per_block(e),
        sa=per_block(),
        sb=per_block(),
        saa=per_block(),
        sab=per_block(),
        sbb=per_block(),
        eps_x=zeros(),
        eps_y=zeros(),
        shift_x=shift_x.detach(),
        shift_y=shift_y.detach(),
    )


def add_rows_(sums: CrossSums, x: Tensor, y: Tensor) -> CrossSums:
    """Add a batch of samples to the sums, in place.

    One batched product for each of Sxx, Sxy, Syy, straight into the sums: one for all three would cost 4/3 of it, and
    products of the same shape give equal sides equal bits.

    Args:
        sums: changed.
        x: `[B, L, D]`, floating point; moved to the device of the sums. B may be 0.
        y: `[B, L, E]`, the same samples.

    Returns:
        The sums that were given.

    Raises:
        ValueError: on shapes that do not fit, rows of integers, values that are not finite; the sums are as before.
    """
    (num_blocks, width), width_y = sums.shift_x.shape, sums.shift_y.shape[1]
    if x.shape != (len(x), num_blocks, width) or y.shape != (len(x), num_blocks, width_y):
        raise ValueError(
            f"x and y must be [samples, {num_blocks}, {width}] and [samples, {num_blocks}, {width_y}], same samples, "
            f"got {tuple(x.shape)} and {tuple(y.shape)}"
        )
    if not (x.is_floating_point() and y.is_floating_point()):
        raise ValueError(f"x and y must be of floating point, got {x.dtype} and {y.dtype}")
    x_rows, y_rows = _shifted(x, sums.shift_x), _shifted(y, sums.shift_y)
    a, b = x_rows.square().sum(dim=2), y_rows.square().sum(dim=2)
    finite = torch.isfinite(a.square().sum(dim=1) + b.square().sum(dim=1))
    if not bool(finite.all()):
        places = (~finite).nonzero().flatten().tolist()
        raise ValueError(f"x or y holds values that are not finite, or are above 1e70, at places {places} of blocks")
    one = torch.ones_like(a)
    from_x = torch.stack([one, a, b], dim=1) @ x_rows
    from_y = torch.stack([one, b, a], dim=1) @ y_rows
    sums.n.add_(len(x))
    sums.sxx.baddbmm_(x_rows.mT, x_rows)
    sums.sxy.baddbmm_(x_rows.mT, y_rows)
    sums.syy.baddbmm_(y_rows.mT, y_rows)
    for place, (of_x, of_y) in enumerate(((sums.sx, sums.sy), (sums.sax, sums.sby), (sums.sbx, sums.say))):
        of_x.add_(from_x[:, place])
        of_y.add_(from_y[:, place])
    for total, values in ((sums.sa, a), (sums.sb, b), (sums.saa, a * a), (sums.sab, a * b), (sums.sbb, b * b)):
        total.add_(values.sum(dim=1))
    if len(x):
        sums.eps_x.clamp_(min=torch.finfo(x.dtype).eps)
        sums.eps_y.clamp_(min=torch.finfo(y.dtype).eps)
    return sums


def batch_sums(x: Tensor, y: Tensor, shift_x: Tensor, shift_y: Tensor) -> CrossSums:
    """Sums of one batch.

    Args:
        x: `[B, L, D]`, floating point.
        y: `[B, L, E]`, the same samples.
        shift_x: `[L, D]` float64.
        shift_y: `[L, E]` float64.

    Raises:
        ValueError: as of `zero_sums` and `add_rows_`.
    """
    return add_rows_(zero_sums(shift_x, shift_y), x, y)


def cka_of(sums: CrossSums, estimator: CkaEstimator = "unbiased") -> list[float | None]:
    """Linear CKA of every block, the numbers of `stats.cka.cka` without its rows.

    With `m = sx / n`, `k = sy / n`: `Sxy_c = Sxy - n m k'` and `tr(K L) = ||Sxy_c||_F^2` is the `biased` HSIC. The
    `unbiased` one, eq. 5 of Song et al. (2012) for centred rows, needs their squared norms too, `d = a - 2 x'm + m'm`
    and e: `sum d = sum a - n m'm` and
    `d.e = sum ab - 2 k'(sum a y) - 2 m'(sum b x) + k'k sum a + m'm sum b + 4 m'Sxy k - 3 n m'm k'k`, then
    `tr(K L) - d.e n / (n-2) + (sum d)(sum e) / ((n-1)(n-2))`.
    Around a shift that is the mean of B of the samples, at most about `(n / B)^2` units of rounding of the last product
    are lost.

    Args:
        sums: of at least 4 samples (`unbiased`) or 2 (`biased`).
        estimator: `unbiased` or `biased`.

    Returns:
        A value a block; None where a side does not vary over samples beyond 16 units of rounding of its rows, or varies
        in a single sample only (`unbiased`; also where the shift was made of few samples, and one of those exceeds all
        others so far that their share is lost to rounding).

    Raises:
        ValueError: too few samples, an unknown estimator, a shift more than 100 standard deviations from a mean.
    """
    if estimator not in ("unbiased", "biased"):
        raise ValueError(f"estimator {estimator!r} is unknown, expected unbiased or biased")
    n = _checked_count(sums, 4 if estimator == "unbiased" else 2, f"{estimator} CKA")
    x, y = _sides(sums)
    across = _hsic(n, sums.sxy, x, y, sums.sbx, sums.say, sums.sab, estimator)
    self_x = _hsic(n, sums.sxx, x, x, sums.sax, sums.sax, sums.saa, estimator) / x.spread.square()
    self_y = _hsic(n, sums.syy, y, y, sums.sby, sums.sby, sums.sbb, estimator) / y.spread.square()
    known = x.varies & y.varies & (self_x > _floor(x)) & (self_y > _floor(y))
    return _present(across / (x.spread * y.spread) / (self_x * self_y).sqrt(), known)


def procrustes_of(sums: CrossSums) -> list[float | None]:
    """Orthogonal Procrustes distance of every block.

    `1 - ||Sxy_c||_* / (||Xc||_F ||Yc||_F)`, Xc and Yc centred over samples, `||.||_*` the nuclear norm. It is half of
    `min over orthogonal R of ||Xc R / ||Xc||_F - Yc / ||Yc||_F||_F^2`, the distance of Ding et al. (2021), so that it
    lies in [0, 1]: 0 for sides that are equal up to rotation, scale and offset, 1 for sides without a common direction.
    Where widths differ, the narrower side counts as padded with zeros. `scipy.spatial.procrustes`, which rescales too,
    gives `1 - (1 - distance)^2`.

    Args:
        sums: of at least 2 samples.

    Returns:
        A value a block; None where a side does not vary beyond rounding.

    Raises:
        ValueError: too few samples, a shift more than 100 standard deviations from a mean.
    """
    n = _checked_count(sums, 2, "Procrustes distance")
    x, y = _sides(sums)
    nuclear = torch.stack([torch.linalg.svdvals(block).sum() for block in _centred(n, sums.sxy, x, y)])
    return _present((1 - nuclear / (x.spread * y.spread).sqrt()).clamp(0, 1), x.varies & y.varies)


def centroid_shift_of(sums: CrossSums) -> list[float | None]:
    """How far the mean of every block moved, in units of the spread of the rows before.

    `|mean of y - mean of x| / sqrt(sum_i |x_i - mean of x|^2 / n)`, of the rows as they came. CKA and Procrustes do not
    see it: they centre both sides.

    Args:
        sums: of at least 2 samples, x before and y after, of one width.

    Returns:
        A value a block, 0 or more; None where the rows before do not vary beyond rounding.

    Raises:
        ValueError: widths that differ, too few samples, a shift more than 100 standard deviations from a mean.
    """
    if sums.shift_x.shape != sums.shift_y.shape:
        raise ValueError(
            f"a centroid shift needs sides of one width, got {sums.shift_x.shape[1]} and {sums.shift_y.shape[1]}"
        )
    n = _checked_count(sums, 2, "a centroid shift")
    x, y = _sides(sums)
    # Shifts are taken from each other first: they carry the offset that both sides may share.
    moved = (sums.shift_y - sums.shift_x) + (y.mean - x.mean)
    return _present(moved.norm(dim=1) / (x.spread / n).sqrt(), x.varies)


def top_row_share(x: Tensor, y: Tensor, sums: CrossSums) -> Tensor:
    """How much of the biased HSIC of every block one sample makes: the largest share among the given rows.

    Sample i contributes `sum_j K_ij L_ij = x_i' Sxy_c y_i` (rows centred) to `tr(K L) = ||Sxy_c||_F^2`; shares of all
    samples sum to 1, and a single one may be below 0. Near 1: a massive activation makes the statistic. Several
    processes give their own rows with the sums of all and take the maximum of what they get.

    Args:
        x: `[B, L, D]`, rows that the sums hold.
        y: `[B, L, E]`, the same samples.
        sums: of all samples, at least 2.

    Returns:
        `[L]` float64 on the device of the sums; nan where a side does not vary beyond rounding or the sides have
        nothing in common, -inf elsewhere where no rows are given.

    Raises:
        ValueError: on shapes that do not fit, too few samples, a shift more than 100 standard deviations from a mean.
    """
    shape_x, shape_y = sums.shift_x.shape, sums.shift_y.shape
    if x.shape != (len(x), *shape_x) or y.shape != (len(x), *shape_y):
        raise ValueError(
            f"x and y must be [samples, {shape_x[0]}, {shape_x[1]}] and [samples, {shape_y[0]}, {shape_y[1]}], same "
            f"samples, got {tuple(x.shape)} and {tuple(y.shape)}"
        )
    n = _checked_count(sums, 2, "the share of a row")
    left, right = _sides(sums)
    known = left.varies & right.varies
    found = torch.full_like(left.spread, torch.nan)
    for place, centred in enumerate(_centred(n, sums.sxy, left, right)):
        total = centred.square().sum()
        # Of sides of Frobenius norm 1 the total is at most 1, and its square root is known to about 1e-16.
        if not bool(known[place] & (total > 1e-24 * left.spread[place] * right.spread[place])):
            continue
        x_rows = _shifted(x[:, place : place + 1], sums.shift_x[place : place + 1])[0] - left.mean[place]
        y_rows = _shifted(y[:, place : place + 1], sums.shift_y[place : place + 1])[0] - right.mean[place]
        shares = ((x_rows @ centred) * y_rows).sum(dim=1) / total
        found[place] = shares.amax() if len(shares) else -torch.inf
    return found


class _Side(NamedTuple):
    """One side's mean `[L, D]` and sum `[L]` of the shifted rows, and what follows of its variation.

    `spread` `[L]` is the sum of squared distances from the mean, `distance` `[L]` the shift's squared distance from the
    mean in units of their mean, `varies` `[L]` whether there is any beyond rounding.
    """

    mean: Tensor
    total: Tensor
    spread: Tensor
    distance: Tensor
    varies: Tensor


def _sides(sums: CrossSums) -> tuple[_Side, _Side]:
    x = _side("x", sums.n, sums.sx, sums.sa, sums.shift_x, sums.eps_x)
    return x, _side("y", sums.n, sums.sy, sums.sb, sums.shift_y, sums.eps_y)


def _side(name: str, n: Tensor, row_sum: Tensor, total: Tensor, shift: Tensor, eps: Tensor) -> _Side:
    mean = row_sum / n
    moved = n * mean.square().sum(dim=1)
    spread = (total - moved).clamp_min(0)
    # The squared norm of the rows as they came, against which their dtype rounds.
    size = (total + 2 * (shift * row_sum).sum(dim=1) + n * shift.square().sum(dim=1)).clamp_min(0)
    varies = spread.sqrt() > 16 * eps * size.sqrt()
    distance = moved / spread
    far = varies & (distance > _MAX_DISTANCE**2)
    if bool(far.any()):
        place = int(far.nonzero()[0])
        raise ValueError(
            f"the shift of {name} lies {float(distance[place].sqrt()):.3g} standard deviations from the mean at place "
            f"{place} of blocks, expected at most {_MAX_DISTANCE:g}: take the mean of some of the same samples"
        )
    return _Side(mean, total, spread, distance, varies)


def _centred(n: int, cross: Tensor, x: _Side, y: _Side) -> Iterator[Tensor]:
    """Sums of products of centred rows, `[D, E]`, a block at a time: all at once would double the memory."""
    for block, mean_x, mean_y in zip(cross, x.mean, y.mean, strict=True):
        yield block - n * torch.outer(mean_x, mean_y)


def _hsic(
    n: int, cross: Tensor, x: _Side, y: _Side, sbx: Tensor, say: Tensor, sab: Tensor, estimator: CkaEstimator
) -> Tensor:
    """HSIC `[L]` of two linear kernels without the factor that cancels in CKA, as in `stats.cka`."""
    trace = torch.stack([block.square().sum() for block in _centred(n, cross, x, y)])
    if estimator == "biased":
        return trace
    square_x, square_y = x.mean.square().sum(dim=1), y.mean.square().sum(dim=1)
    across = (x.mean[:, None] @ cross @ y.mean[:, :, None]).flatten()
    shared = (
        sab
        - 2 * ((say * y.mean).sum(dim=1) + (sbx * x.mean).sum(dim=1))
        + square_y * x.total
        + square_x * y.total
        + 4 * across
        - 3 * n * square_x * square_y
    )
    return trace - shared * n / (n - 2) + x.spread * y.spread / ((n - 1) * (n - 2))


def _floor(side: _Side) -> Tensor:
    """Self-values of sides of Frobenius norm 1 that are pure rounding, which grows with the distance of the shift."""
    return 1e-12 + 16 * _EPS * (1 + side.distance).square()


def _shifted(rows: Tensor, shift: Tensor) -> Tensor:
    """`[B, L, D]` to `[L, B, D]`, float64, less the shift."""
    moved = rows.detach().transpose(0, 1).to(shift.device, torch.float64, memory_format=torch.contiguous_format)
    return moved - shift[:, None]


def _checked_count(sums: CrossSums, at_least: int, what: str) -> int:
    n = int(sums.n)
    if n < at_least:
        raise ValueError(f"{what} needs at least {at_least} samples, got {n}")
    return n


def _present(values: Tensor, known: Tensor) -> list[float | None]:
    return [value if is_known else None for value, is_known in zip(values.tolist(), known.tolist(), strict=True)]
