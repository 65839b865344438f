"""Kernels as products of few features, `K = F F'`, for many samples.

`tr(Kc Lc) = ||Fc' Gc||^2` costs `2 n r^2` operations a pair of neurons instead of the `n^2` of flattened kernels, so it
pays where n is above `2 r^2`: r is about 15 for Gaussian neurons at their own median width, 5 for the wide width of
`paper`, and 40 to 60 for heavy tails, where the flattened form wins. Both ways give the same numbers to about 1e-6 of
the largest.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from bridgex.stats.kernels import double
from bridgex.stats.lags import Estimator, exact_products

# Relative trace that may be cut, and the error of the expansions before the cut.
_TAIL = 3e-8
_EXPANSION = 1e-9
_PIECE_BYTES = 32 << 20


class Factors(NamedTuple):
    """Kernels of I neurons over N samples.

    Attributes:
        features: `[I, r, N]` float32, centred over samples.
        deviations: `[I, N]` float64, row sums of the kernel (diagonal 1 included) less their mean.
        totals: `[I]` float64, sums of all entries of the kernel.
        squares: `[I]` float64, `tr(Kc Kc)`.
        traces: `[I]` float64, `tr(Kc)`.
    """

    features: Tensor
    deviations: Tensor
    totals: Tensor
    squares: Tensor
    traces: Tensor


def wide_factors(points: Tensor) -> Factors | None:
    """Taylor features `exp(-a^2) (sqrt(2) a)^k / sqrt(k!)` of `exp(-(a - b)^2)`, for widths well above the range.

    Args:
        points: `[I, N]`, values over `width * sqrt(2)`.

    Returns:
        Factors, or None where the flattened form costs less.
    """
    a = double(points)
    a = a - a.mean(dim=1, keepdim=True)
    if a.numel() == 0:
        return None
    reach = 2 * float(a.square().amax())
    spread = a.square().mean(dim=1)
    varying = spread[spread > 0]
    if len(varying) == 0:
        return None
    # The kernel's entries differ from 1 by about the spread, so the error is measured against that.
    allowed = _TAIL * float(varying.min())
    rank, term = 1, reach
    while term > allowed:
        rank += 1
        term *= reach / rank
        if points.shape[1] < 2 * (rank + 1) ** 2:
            return None
    # The first neglected power is `rank`; powers 0..rank-1 are kept.
    powers = torch.arange(rank, dtype=torch.float64, device=a.device)
    scales = torch.exp(-0.5 * torch.lgamma(powers + 1))
    features = torch.exp(-a.square())[:, None] * (math.sqrt(2) * a)[:, None] ** powers[:, None] * scales[:, None]
    return _assemble(features, 0.0, points.device, keep_all=True)


def fourier_factors(points: Tensor) -> Factors | None:
    """Features `cos(m h a)`, `sin(m h a)` of the trapezoid rule for the kernel's Fourier integral, rotated and cut.

    `exp(-u^2) = h / (2 sqrt(pi)) sum_m exp(-(m h)^2 / 4) cos(m h u)`, m over all integers, to the precision q of both
    the cut at `m h <= 2 q` and the images at `2 pi / h >= range + q`.

    Args:
        points: `[I, N]`, values over `width * sqrt(2)`.

    Returns:
        Factors, or None where the flattened form costs less.
    """
    num_samples = points.shape[1]
    if points.numel() == 0:
        return None
    a = double(points)
    low, high = a.aminmax(dim=1, keepdim=True)
    a = a - (low + high) / 2
    reach = float((high - low).max())
    q = math.sqrt(-math.log(_EXPANSION))
    step = 2 * math.pi / (reach + q)
    num_waves = math.ceil(2 * q / step)
    # After the cut about two thirds of the features are left.
    if num_samples < 2 * (4 * num_waves / 3) ** 2:
        return None
    waves = step * torch.arange(1, num_waves + 1, dtype=torch.float64, device=a.device)
    scales = torch.sqrt(step / math.sqrt(math.pi) * torch.exp(-waves.square() / 4))
    rows = max(1, _PIECE_BYTES // (64 * num_waves * num_samples))
    parts = []
    for start in range(0, len(a), rows):
        angles = a[start : start + rows, None] * waves[:, None]
        features = angles.new_empty(len(angles), 2, num_waves, num_samples)
        torch.cos(angles, out=features[:, 0])
        torch.sin(angles, out=features[:, 1])
        features = features.mul_(scales[:, None]).flatten(1, 2)
        parts.append(_assemble(features, step / (2 * math.sqrt(math.pi)), points.device, keep_all=False))
    rank = max(part.features.shape[1] for part in parts)
    padded = [torch.nn.functional.pad(p.features, (0, 0, 0, rank - p.features.shape[1])) for p in parts]
    return Factors(torch.cat(padded), *(torch.cat(column) for column in list(zip(*parts, strict=True))[1:]))


def _assemble(features: Tensor, constant: float, device: torch.device, keep_all: bool) -> Factors:
    """Sums, centring and cut for features `[I, R, N]` in float64 whose products lack a constant; to `device`."""
    num_samples = features.shape[2]
    sums = features.sum(dim=2)
    row_sums = (sums[:, None] @ features)[:, 0] + constant * num_samples
    totals = row_sums.sum(dim=1)
    centred = features.sub_(sums[:, :, None] / num_samples)
    grams = centred @ centred.mT
    squares = grams.square().sum(dim=(1, 2))
    traces = grams.diagonal(dim1=1, dim2=2).sum(dim=1)
    if not keep_all:
        values, vectors = torch.linalg.eigh(grams)
        negligible = values.clamp_min(0).cumsum(dim=1) <= _TAIL * traces[:, None]
        num_cut = int(negligible.sum(dim=1).min())
        centred = vectors[:, :, num_cut:].mT @ centred
    deviations = row_sums - totals[:, None] / num_samples
    return Factors(centred.float().to(device), deviations, totals, squares, traces)


def factored_products(x: Factors, y: Factors, estimator: Estimator) -> tuple[Tensor, Tensor, Tensor]:
    """As `lags.products`, from factors.

    With T = tr(Kc Lc), d and e the deviations of the row sums, a and b the totals and r~ = r - 1, a~ = a - n those of
    the zero-diagonal kernels, eq. 5 of Song et al. (2012) reads `n (n-3) H = T + 2 (d.e + a b / n) / n - a b / n^2 - n
    + a~ b~ / ((n-1)(n-2)) - 2 (d.e + a~ b~ / n) / (n-2)`.

    Args:
        x: factors of I neurons.
        y: factors of J neurons over the same samples.
        estimator: one of the four names.

    Returns:
        `[I, J]`, `[I]`, `[J]`, float64: values of the pairs and of each with itself.
    """
    num_samples = x.features.shape[2]
    cross = x.deviations @ y.deviations.T
    traces = _squared_norms(x.features, y.features)
    values = _combine(traces, cross, x.totals[:, None], y.totals, num_samples, estimator)
    own = [
        _combine(f.squares, f.deviations.square().sum(dim=1), f.totals, f.totals, num_samples, estimator)
        for f in (x, y)
    ]
    return values, own[0], own[1]


def _combine(traces: Tensor, cross: Tensor, a: Tensor, b: Tensor, n: int, estimator: Estimator) -> Tensor:
    if estimator == "paper":
        return traces + cross / n
    if estimator == "biased":
        return traces / (n - 1) ** 2
    zero_diagonal = (a - n) * (b - n)
    full = traces + 2 * cross / n + a * b / n**2 - n
    return (full + zero_diagonal / ((n - 1) * (n - 2)) - 2 * (cross + zero_diagonal / n) / (n - 2)) / (n * (n - 3))


def _squared_norms(left: Tensor, right: Tensor) -> Tensor:
    """`||F_i' G_j||^2` for all pairs: `[I, r, N]`, `[J, q, N]` -> `[I, J]` float64."""
    num_right, width = right.shape[:2]
    flat = right.flatten(0, 1).T
    rows = max(1, _PIECE_BYTES // (4 * left.shape[1] * num_right * width))
    norms = []
    with exact_products():
        for start in range(0, len(left), rows):
            table = left[start : start + rows].flatten(0, 1) @ flat
            table = table.square_().view(-1, left.shape[1], num_right, width)
            norms.append(double(table.sum(dim=(1, 3))))
    return torch.cat(norms)
