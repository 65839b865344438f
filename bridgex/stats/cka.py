"""Linear CKA between two sets of representations of the same samples."""

import math
from typing import Literal, TypeAlias

import torch
from torch import Tensor

CkaEstimator: TypeAlias = Literal["unbiased", "biased"]


def cka(x: Tensor, y: Tensor, estimator: CkaEstimator = "unbiased") -> float | None:
    """Linear centred kernel alignment of two representations.

    `CKA = H(K, L) / sqrt(H(K, K) H(L, L))`, `K = Xc Xc'`, `L = Yc Yc'`, Xc and Yc centred over samples.
    `biased`: `H = tr(K L)` (Kornblith et al. 2019). `unbiased`: H is eq. 5 of Song et al. (2012), which for centred
    rows is `tr(K L) - d.e + (1'd)(1'e) / ((n-1)(n-2)) - 2 d.e / (n-2)`, d and e the diagonals; it may be below 0.
    Everything in float64 after the means are taken off, since offsets ruin both forms in float32. `tr(K L)` is `||Xc'
    Yc||^2` from features where that is smaller, else from the two N x N kernels.

    Args:
        x: `[N, D]`, a row a sample, float32 or float64.
        y: `[N, E]`, the same samples.
        estimator: `unbiased` (N at least 4) or `biased` (N at least 2).

    Returns:
        The value; None where a side does not vary over samples beyond rounding, or varies in a single sample only
        (`unbiased`).

    Raises:
        ValueError: on shapes that do not fit, too few samples, values that are not finite, an unknown estimator.
    """
    if estimator not in ("unbiased", "biased"):
        raise ValueError(f"estimator {estimator!r} is unknown, expected unbiased or biased")
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
        raise ValueError(f"x and y must be [samples, width], same samples, got {tuple(x.shape)} and {tuple(y.shape)}")
    num_samples = len(x)
    min_samples = 4 if estimator == "unbiased" else 2
    if num_samples < min_samples:
        raise ValueError(f"{estimator} CKA needs at least {min_samples} samples, got {num_samples}")
    if not bool(torch.isfinite(x).all() and torch.isfinite(y).all()):
        raise ValueError("x or y holds values that are not finite")
    left, right = _centred(x), _centred(y)
    if left is None or right is None:
        return None
    self_x, self_y = _hsic(left, left, estimator), _hsic(right, right, estimator)
    # Both sides have Frobenius norm 1, so these are self-values of pure rounding.
    if min(self_x, self_y) <= 1e-12:
        return None
    return _hsic(left, right, estimator) / math.sqrt(self_x * self_y)


def _centred(x: Tensor) -> Tensor | None:
    """Centre over samples and divide by the Frobenius norm, on the CPU in float64; None where only rounding is left."""
    rows = x.detach().to("cpu", torch.float64)
    rows = rows / rows.abs().amax().clamp_min(torch.finfo(torch.float64).tiny) if rows.numel() else rows
    size = float(rows.norm())
    rows = rows - rows.mean(dim=0)
    norm = float(rows.norm())
    return None if norm <= 16 * torch.finfo(x.dtype).eps * size else rows / norm


def _hsic(x: Tensor, y: Tensor, estimator: CkaEstimator) -> float:
    """HSIC of two linear kernels of centred features, without the factor that cancels in CKA."""
    n = len(x)
    by_features = x.shape[1] * y.shape[1] < n * n
    products = (x.T @ y).square() if by_features else (x @ x.T) * (y @ y.T)
    trace = float(products.sum())
    if estimator == "biased":
        return trace
    d, e = x.square().sum(dim=1), y.square().sum(dim=1)
    shared = float(d @ e)
    return trace - shared + float(d.sum() * e.sum()) / ((n - 1) * (n - 2)) - 2 * shared / (n - 2)
