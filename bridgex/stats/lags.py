"""Centred Gaussian kernels, laid out by lag.

Entry `(d, s)` of a neuron's kernel by lag is `K[s, s + d]`, indices modulo N. A kernel is symmetric, so lags 0..N/2
hold all of it, and a cyclic shift of the samples only rolls every lag. Hence one layout serves the plain product (one
matrix product over the flattened lags) and the products under all N shifts (a Fourier transform along each lag, then
one complex matrix product per frequency): 2 N^2 operations a pair of neurons for all shifts together.

Kernels are taken as `expm1(-u^2)`: the constant 1 falls out on centring, and what is left keeps its digits where the
width is wide and the kernel nearly flat.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

from bridgex.stats.kernels import double, zeros_double

Estimator: TypeAlias = Literal["normalised", "unbiased", "biased", "paper"]

MIN_SAMPLES: dict[Estimator, int] = {"normalised": 4, "unbiased": 4, "biased": 2, "paper": 2}
# On a CPU pieces of this size stay near the core; larger ones are bound by memory, smaller ones by the calls.
_PIECE_BYTES = 8 << 20
# An accelerator is idle between calls, and its memory is as fast for large pieces.
_ACCELERATOR_PIECE_BYTES = 512 << 20
# Longer sums in float32 would lose more than a millionth of the largest HSIC; pieces are added up in float64.
_SUM_ENTRIES = 1 << 12


class LagKernels(NamedTuple):
    """Centred kernels of I neurons over N samples, ready to be laid out by lag.

    Attributes:
        points: `[I, N]`, values over `width * sqrt(2)`, so that `K[s, t] = exp(-(points_s - points_t)^2)`.
        offsets: `[I, N]`, g such that the centred kernel is `K[s, t] - g_s - g_t`.
        deviations: `[I, N]`, row sums of K less their mean, over sqrt(N); used by `paper` only, else None.
        first_lag: 0 where the diagonal counts, 1 where it does not.
        factor: what a sum over all entries of two kernels is multiplied with.
        floor: `[I]`, products of a kernel with itself at or below it are rounding.
    """

    points: Tensor
    offsets: Tensor
    deviations: Tensor | None
    first_lag: int
    factor: float
    floor: Tensor

    def take(self, neurons: Tensor | slice) -> "LagKernels":
        """Keep some of the neurons."""
        deviations = None if self.deviations is None else self.deviations[neurons]
        return self._replace(
            points=self.points[neurons],
            offsets=self.offsets[neurons],
            deviations=deviations,
            floor=self.floor[neurons],
        )

    def reorder(self, order: Tensor) -> "LagKernels":
        """Put the samples into another order; the sums behind the centring move along and need no new pass."""
        deviations = None if self.deviations is None else self.deviations[:, order]
        return self._replace(points=self.points[:, order], offsets=self.offsets[:, order], deviations=deviations)


def lag_kernels(points: Tensor, estimator: Estimator) -> LagKernels:
    """Centre the kernels of all neurons.

    `unbiased`, `normalised`: zero diagonal, `g_s = r_s / (n - 2) - a / (2 (n - 1) (n - 2))` (U-centring, Szekely and
    Rizzo 2014), after which the plain product over off-diagonal entries, over n (n - 3), is eq. 5 of Song et al.
    (2012). `biased`: `g_s = r_s / n - a / (2 n^2)`, product over (n - 1)^2. `paper`: the same centring, no divisor, and
    `tr(K H L) = tr(K H L H) + sum_s (r_s - mean r) (q_s - mean q) / n`. r, q: row sums, a: total.

    Args:
        points: `[I, N]` in the dtype to work in.
        estimator: one of the four names.

    Returns:
        The kernels of all neurons.
    """
    n = points.shape[1]
    sums = zeros_double(points, *points.shape)
    for low, high in pieces(1, n, points, len(points)):
        sums += double(_raw_kernel(points, low, high).sum(dim=1))
    totals = sums.sum(dim=1, keepdim=True)
    deviations = None
    if estimator in ("unbiased", "normalised"):
        offsets = sums / (n - 2) - totals / (2 * (n - 1) * (n - 2))
        first_lag, factor = 1, 1 / (n * (n - 3))
    else:
        offsets = sums / n - totals / (2 * n * n)
        first_lag, factor = 0, 1.0 if estimator == "paper" else 1 / (n - 1) ** 2
    if estimator == "paper":
        deviations = ((sums - totals / n) / n**0.5).to(points.dtype).to(points.device)
    floor = self_floor(totals[:, 0], n)
    return LagKernels(points, offsets.to(points.dtype).to(points.device), deviations, first_lag, factor, floor)


def self_floor(totals: Tensor, n: int) -> Tensor:
    """Unbiased self-HSIC at or below this is rounding: 1e-6 of the squared mean entry of `expm1(-u^2)`, given its
    totals.

    A neuron that differs in a single sample has an unbiased kernel of exactly zero; one that differs in two equal
    samples is already near the squared mean itself.
    """
    return 1e-6 * (totals / (n * (n - 1))).square()


def products(x: LagKernels, y: LagKernels) -> tuple[Tensor, Tensor, Tensor]:
    """Products of all kernels of x with all of y, and of each with itself.

    Args:
        x: kernels of I neurons.
        y: kernels of J neurons over the same samples.

    Returns:
        `[I, J]`, `[I]`, `[J]`, float64: the estimator's value for each pair, and the two self-values (without the term
        that only `paper` has).
    """
    n = x.points.shape[1]
    cross = zeros_double(x.points, len(x.points), len(y.points))
    self_x, self_y = zeros_double(x.points, len(x.points)), zeros_double(x.points, len(y.points))
    with exact_products():
        # At least as many rows as make a piece of that many entries.
        rows = max(len(x.points) + len(y.points), _PIECE_BYTES // (x.points.element_size() * _SUM_ENTRIES))
        for low, high in pieces(x.first_lag, n // 2 + 1, x.points, rows):
            weights = _lag_weights(n, low, high, x.points)
            features_x, features_y = (lag_features(kernels, low, high) for kernels in (x, y))
            weighted_x = features_x * weights[:, None]
            cross += double(_long_products(weighted_x, features_y))
            self_x += double((weighted_x * features_x).sum(dim=2)).sum(dim=1)
            self_y += double(features_y.square_().sum(dim=2)) @ double(weights)
        cross *= x.factor
        if x.deviations is not None and y.deviations is not None:
            cross += double(x.deviations) @ double(y.deviations).T
    return cross, self_x * x.factor, self_y * y.factor


def _long_products(left: Tensor, right: Tensor) -> Tensor:
    """`[I, D, N]`, `[J, D, N]` -> `[I, J]`: products over all entries, few enough summed up at once."""
    step = max(1, _SUM_ENTRIES // left.shape[2])
    if left.shape[1] <= 2 * step:
        return left.flatten(1) @ right.flatten(1).T
    # Large pieces of an accelerator: runs of lags side by side.
    whole = left.shape[1] // step * step
    runs = [part[:, :whole].reshape(len(part), whole // step, -1).transpose(0, 1) for part in (left, right)]
    rest = left[:, whole:].flatten(1) @ right[:, whole:].flatten(1).T
    return double(runs[0] @ runs[1].mT).sum(dim=0) + double(rest)


def shifted_products(x: LagKernels, y: LagKernels) -> Tensor:
    """Products of all kernels of x with all of y after each cyclic shift of y's samples.

    `H_ij(tau) = sum_{s,t} Kc_i[s, t] Lc_j[s + tau, t + tau]`, tau = 0..N-1, as the correlation theorem has it.

    Args:
        x: kernels of I neurons.
        y: kernels of J neurons over the same samples.

    Returns:
        `[I, J, N]` in the dtype of the points.
    """
    n = x.points.shape[1]
    complex_dtype = torch.complex128 if x.points.dtype == torch.float64 else torch.complex64
    shape = (n // 2 + 1, len(x.points), len(y.points))
    spectrum = torch.zeros(shape, dtype=complex_dtype, device=x.points.device)
    with exact_products():
        for low, high in pieces(x.first_lag, n // 2 + 1, x.points, 3 * (len(x.points) + len(y.points))):
            weights = _lag_weights(n, low, high, x.points)
            left = lag_features(x, low, high).mul_(weights[:, None] * x.factor)
            _add_spectrum(spectrum, left, lag_features(y, low, high))
        if x.deviations is not None and y.deviations is not None:
            _add_spectrum(spectrum, x.deviations[:, None], y.deviations[:, None])
    shifted: Tensor = torch.fft.irfft(spectrum.permute(1, 2, 0), n=n, dim=2)
    return shifted


def _add_spectrum(spectrum: Tensor, left: Tensor, right: Tensor) -> None:
    """Add the cross spectrum of `[I, D, N]` and `[J, D, N]`, summed over D, to `[N // 2 + 1, I, J]`."""
    left_waves = torch.fft.rfft(left, dim=2).conj().resolve_conj().permute(2, 0, 1).contiguous()
    spectrum.baddbmm_(left_waves, torch.fft.rfft(right, dim=2).permute(2, 1, 0).contiguous())


def pieces(first: int, last: int, points: Tensor, rows: int) -> Iterator[tuple[int, int]]:
    """Cut the lags `[first, last)` into runs whose features for `rows` neurons are as large as the device likes."""
    size = _PIECE_BYTES if points.device.type == "cpu" else _ACCELERATOR_PIECE_BYTES
    step = max(1, size // max(1, rows * points.shape[1] * points.element_size()))
    for low in range(first, last, step):
        yield low, min(low + step, last)


@contextmanager
def exact_products() -> Iterator[None]:
    """Keep float32 matrix products in float32, also where a training script allowed bfloat16 or TF32 for them."""
    try:
        before = torch.get_float32_matmul_precision()
    except RuntimeError:
        # Set backend by backend, which the call above refuses to sum up: whoever did that chose for the CPU on purpose.
        yield
        return
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _windows(x: Tensor, low: int, high: int) -> Tensor:
    """View of `x[:, (s + d) mod N]` for lags d in `[low, high)`: `[I, N]` -> `[I, D, N]`."""
    n = x.shape[1]
    return torch.cat([x, x], dim=1).unfold(1, n, 1)[:, low:high]


def _raw_kernel(points: Tensor, low: int, high: int) -> Tensor:
    return (_windows(points, low, high) - points[:, None]).square_().neg_().expm1_()


def lag_features(kernels: LagKernels, low: int, high: int) -> Tensor:
    """Centred kernels of lags `[low, high)`, `[I, D, N]`: entry `(d, s)` is that of samples s and s + d."""
    features = _raw_kernel(kernels.points, low, high)
    features -= kernels.offsets[:, None]
    features -= _windows(kernels.offsets, low, high)
    return features


def _lag_weights(n: int, low: int, high: int, points: Tensor) -> Tensor:
    """How many of the lags d and N - d an entry stands for: 2, but 1 for lag 0 and, if N is even, for N / 2."""
    lags = torch.arange(low, high, device=points.device)
    return torch.where((lags == 0) | (2 * lags == n), 1, 2).to(points.dtype)
