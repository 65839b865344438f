"""What happens to a matrix of activations before any kernel is taken: widths, ranks, residuals, z-scores."""

import numpy as np
import torch
from scipy import special, stats
from torch import Tensor

_BISECTIONS = 128


def checked_matrix(x: Tensor, name: str, min_samples: int = 1) -> Tensor:
    """Return x on the CPU after checking that it is a finite float matrix `[I, N]` with enough samples.

    Args:
        x: `[I, N]`, float32 or float64.
        name: how the caller names the matrix, for the message.
        min_samples: smallest allowed N.

    Returns:
        The same values, detached, on the CPU.

    Raises:
        ValueError: on another shape or dtype, on too few samples, on values that are not finite.
    """
    if x.ndim != 2:
        raise ValueError(f"{name} must be a matrix [neurons, samples], got shape {tuple(x.shape)}")
    if x.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"{name} must be float32 or float64, got {x.dtype}")
    if x.shape[1] < min_samples:
        raise ValueError(f"{name} has {x.shape[1]} samples, this statistic needs at least {min_samples}")
    if not bool(torch.isfinite(x).all()):
        raise ValueError(f"{name} holds values that are not finite")
    return x.detach().to("cpu")


def constant_rows(x: Tensor) -> Tensor:
    """Say which neurons do not vary beyond the rounding of their dtype.

    Args:
        x: `[I, N]`.

    Returns:
        `[I]` bool.
    """
    low, high = x.aminmax(dim=1)
    return high - low <= 4 * torch.finfo(x.dtype).eps * torch.maximum(low.abs(), high.abs())


def median_widths(x: Tensor) -> tuple[Tensor, Tensor]:
    """Median of the non-zero absolute differences between two samples, per neuron.

    `width_i = median{ |x_is - x_it| : s < t, x_is != x_it }`, the lower middle one where their number is even. All
    N (N - 1) / 2 differences of many neurons would take longer than the HSIC that needs them, so a bisection on the
    number of pairs closer than a width leaves at most N pairs in question, of which the right one is taken.

    Args:
        x: `[I, N]`.

    Returns:
        widths `[I]` in float64, 1 where missing; missing `[I]` bool, the constant neurons.
    """
    missing = constant_rows(x)
    widths = torch.ones(len(x), dtype=torch.float64)
    if not bool(missing.all()):
        ordered = x[~missing].double().sort(dim=1).values
        # Offsets that dwarf the spread would eat the digits of the differences.
        widths[~missing] = _median_differences((ordered - ordered[:, :1]).contiguous())
    return widths, missing


def _median_differences(ordered: Tensor) -> Tensor:
    """Lower median of the non-zero differences within each sorted row `[I, N]`, all of which vary."""
    num_samples = ordered.shape[1]
    low, high = torch.zeros(len(ordered), dtype=torch.float64), ordered[:, -1].clone()
    below, upto = _ends(ordered, low), _ends(ordered, high)
    num_zero = below.sum(dim=1)
    # At width 0 the ends count each sample, all below it and its ties; what comes on top are non-zero differences.
    target = num_zero + (upto.sum(dim=1) - num_zero + 1) // 2
    for _ in range(_BISECTIONS):
        is_open = (upto - below).sum(dim=1) > num_samples
        if not bool((is_open & (high - low > 1e-14 * high)).any()):
            break
        middle = (low + high) / 2
        ends = _ends(ordered, middle)
        enough = ends.sum(dim=1) >= target
        low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
        below, upto = (
            torch.where(enough[:, None], below, ends),
            torch.where(enough[:, None], ends, upto),
        )
    few = ~is_open
    high[few] = _pick(ordered[few], below[few], upto[few], target[few])
    return high


def _ends(ordered: Tensor, width: Tensor) -> Tensor:
    """For each sample of a sorted row, how many samples lie at most `width` above it or anywhere below: `[I, N]`."""
    return torch.searchsorted(ordered, ordered + width[:, None], right=True)


def _pick(ordered: Tensor, below: Tensor, upto: Tensor, target: Tensor) -> Tensor:
    """Of the at most N pairs a row whose difference is still open, take the one of the wanted rank: `[I]`."""
    num_samples = ordered.shape[1]
    counts = (upto - below).flatten()
    first = torch.arange(len(counts)).repeat_interleave(counts)
    within = torch.arange(len(first)) - (counts.cumsum(0) - counts)[first]
    row = first // num_samples
    differences = ordered[row, below.flatten()[first] + within] - ordered.flatten()[first]
    per_row = counts.view(-1, num_samples).sum(dim=1)
    place = torch.arange(len(first)) - (per_row.cumsum(0) - per_row)[row]
    table = torch.full((len(ordered), num_samples), torch.inf, dtype=torch.float64)
    table[row, place] = differences
    rank = target - below.sum(dim=1) - 1
    return table.sort(dim=1).values.gather(1, rank[:, None])[:, 0]


def gaussian_scores(x: Tensor) -> Tensor:
    """Replace each neuron's values by the normal quantiles of their ranks.

    `score = Phi^-1((rank - 1/2) / N)`, tied values sharing their mean rank. Leaves a neuron's order and nothing else,
    so a Gaussian kernel on it cannot be ruled by a few outliers.

    Args:
        x: `[I, N]`.

    Returns:
        `[I, N]`, dtype of x; constant neurons stay constant.
    """
    if x.numel() == 0:
        return x
    ranks = np.asarray(stats.rankdata(x.numpy(), axis=1))
    return torch.from_numpy(special.ndtri((ranks - 0.5) / x.shape[1])).to(x.dtype)


def residualise(x: Tensor, covariate: Tensor) -> Tensor:
    """Regress one covariate (with intercept) out of every neuron; used for `partial_length`, the number of tokens.

    `x_i - mean(x_i) - b_i (c - mean(c))`, `b_i` the least-squares slope, in float64.

    Args:
        x: `[I, N]`.
        covariate: `[N]`; where it does not vary, x comes back as it is.

    Returns:
        `[I, N]`, dtype of x. A neuron that the covariate explains down to rounding becomes exactly 0, so that later
        steps find it constant instead of measuring noise.

    Raises:
        ValueError: if the covariate has another length than x has samples.
    """
    if covariate.shape != x.shape[1:]:
        raise ValueError(f"covariate has shape {tuple(covariate.shape)}, expected {tuple(x.shape[1:])}")
    centred = covariate.double() - covariate.double().mean()
    if x.shape[1] == 0 or bool(constant_rows(covariate.double()[None])):
        return x
    rows = x.double()
    rows = rows - rows.mean(dim=1, keepdim=True)
    slopes = rows @ centred / centred.dot(centred)
    residuals = rows - slopes[:, None] * centred
    rounding = 8 * torch.finfo(x.dtype).eps * x.abs().amax(dim=1).double()
    residuals[residuals.abs().amax(dim=1) <= rounding] = 0.0
    return residuals.to(x.dtype)


def zscore(x: Tensor) -> Tensor:
    """Standardise each neuron as the published script does: `(x - mean) / (sd + 1e-6)`, sd with N - 1.

    Source: `compute_hsic` in the scripts of Xu et al. (2025), arXiv 2508.17078. Deviations: float64 throughout, and
    constant neurons become exactly 0 where the script divides their rounding noise by 1e-6.

    Args:
        x: `[I, N]`, N at least 2.

    Returns:
        `[I, N]` float64.
    """
    rows = x.double()
    if len(rows) == 0:
        return rows
    scores = (rows - rows.mean(dim=1, keepdim=True)) / (rows.std(dim=1, keepdim=True) + 1e-6)
    scores[constant_rows(x)] = 0.0
    return scores
