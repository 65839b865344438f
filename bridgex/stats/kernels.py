"""What happens to a matrix of activations before any kernel is taken: widths, ranks, residuals, z-scores."""

import numpy as np
import torch
from scipy import special, stats
from torch import Tensor

_BISECTIONS = 128
# A fitted spread below this share of the mean one is the fit's error.
_MIN_SPREAD = 0.1


def double(x: Tensor) -> Tensor:
    """The values in float64 where they lie, or on the CPU if they lie on a device that has no float64 (MPS)."""
    return (x.cpu() if x.device.type == "mps" else x).double()


def zeros_double(x: Tensor, *shape: int) -> Tensor:
    """Float64 zeros where `double(x)` would lie."""
    device = torch.device("cpu") if x.device.type == "mps" else x.device
    return torch.zeros(shape, dtype=torch.float64, device=device)


def checked_matrix(x: Tensor, name: str, min_samples: int = 1) -> Tensor:
    """Return x after checking that it is a finite float matrix `[I, N]` with enough samples.

    Args:
        x: `[I, N]`, float32 or float64.
        name: how the caller names the matrix, for the message.
        min_samples: smallest allowed N.

    Returns:
        The same values, detached, on the same device.

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
    return x.detach()


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

    `width_i = median{ |x_is - x_it| : s < t, x_is != x_it }`, the lower middle one where their number is even; values
    are those of `x - min(x)` in float64, so that differences which vanish beside the neuron's range are ties. All
    N (N - 1) / 2 differences of many neurons would take longer than the HSIC that needs them, so a bisection on the
    number of pairs closer than a width leaves at most N pairs in question, of which the right one is taken.

    Args:
        x: `[I, N]`.

    Returns:
        widths `[I]` in float64, 1 where missing; missing `[I]` bool, the constant neurons; both where `double(x)` lies.
    """
    rows = double(x)
    missing = constant_rows(x).to(rows.device)
    widths = torch.ones_like(rows[:, 0])
    if not bool(missing.all()):
        ordered = rows[~missing].sort(dim=1).values
        # Offsets that dwarf the spread would eat the digits of the differences.
        widths[~missing] = _median_differences((ordered - ordered[:, :1]).contiguous())
    return widths, missing


def _median_differences(ordered: Tensor) -> Tensor:
    """Lower median of the non-zero differences within each sorted row `[I, N]`, all of which vary."""
    num_samples = ordered.shape[1]
    low, high = torch.zeros_like(ordered[:, 0]), ordered[:, -1].clone()
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
    device = ordered.device
    first = torch.arange(len(counts), device=device).repeat_interleave(counts)
    within = torch.arange(len(first), device=device) - (counts.cumsum(0) - counts)[first]
    row = first // num_samples
    differences = ordered[row, below.flatten()[first] + within] - ordered.flatten()[first]
    per_row = counts.view(-1, num_samples).sum(dim=1)
    place = torch.arange(len(first), device=device) - (per_row.cumsum(0) - per_row)[row]
    table = torch.full_like(ordered, torch.inf)
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
    ranks = np.asarray(stats.rankdata(x.cpu().numpy(), axis=1))
    return torch.from_numpy(special.ndtri((ranks - 0.5) / x.shape[1])).to(x.dtype).to(x.device)


def residualise_length(x: Tensor, num_tokens: Tensor) -> Tensor:
    """Take out of every neuron what the number of tokens does to its mean and to its spread (`partial_length`).

    A mean over L tokens has an expectation near `a + b L + c / L` (positions differ) and a standard deviation near
    `d + e / sqrt(L)`, so neurons that have nothing to do with each other depend on each other through L alone, in both.
    Mean by least squares on `1, L, 1 / L`; spread by least squares of its absolute residuals on `1, 1 / sqrt(L)`
    (Glejser 1969), at least a tenth of their mean; then the mean once more, weighted, and residuals over spread.
    Everything in float64. A regression of the mean on L alone leaves 38 % false alarms at p <= 0.05 where lengths run
    from 4 to 29 tokens (docs/decisions/006).

    Args:
        x: `[I, N]`, means over each prompt's tokens.
        num_tokens: `[N]`, positive; where it does not vary, x comes back as it is.

    Returns:
        `[I, N]`, dtype of x, of unit scale. A neuron that the length explains down to rounding becomes exactly 0, so
        that later steps find it constant instead of measuring noise.

    Raises:
        ValueError: if there are not as many numbers of tokens as samples, or one is not positive.
    """
    if num_tokens.shape != x.shape[1:]:
        raise ValueError(f"num_tokens has shape {tuple(num_tokens.shape)}, expected {tuple(x.shape[1:])}")
    rows, length = double(x), double(num_tokens)
    if x.numel() == 0 or bool(constant_rows(length[None])):
        return x
    if not bool((length > 0).all()):
        raise ValueError("num_tokens holds values that are not positive")
    location = _independent(torch.stack([torch.ones_like(length), length, length.reciprocal()], dim=1))
    spread = _independent(torch.stack([torch.ones_like(length), length.rsqrt()], dim=1))
    sizes = (rows - (rows @ location) @ location.T).abs()
    explained = sizes.amax(dim=1) <= 8 * torch.finfo(x.dtype).eps * rows.abs().amax(dim=1)
    fitted = torch.maximum((sizes @ spread) @ spread.T, _MIN_SPREAD * sizes.mean(dim=1, keepdim=True))
    fitted[explained] = 1.0
    weights = fitted.reciprocal()
    squared = weights.square()
    rank = location.shape[1]
    grams = (squared @ (location[:, :, None] * location[:, None]).flatten(1)).view(-1, rank, rank)
    coefficients = torch.linalg.solve(grams, (rows * squared) @ location)
    residuals: Tensor = weights * (rows - coefficients @ location.T)
    residuals[explained] = 0.0
    return residuals.to(x.dtype).to(x.device)


def _independent(columns: Tensor) -> Tensor:
    """Orthonormal columns that span the given ones `[N, B]`, fewer where those depend on each other."""
    left: Tensor
    left, values, _ = torch.linalg.svd(columns / columns.norm(dim=0), full_matrices=False)
    return left[:, values > 1e-9 * values[0]]


def zscore(x: Tensor) -> Tensor:
    """Standardise each neuron as the published script does: `(x - mean) / (sd + 1e-6)`, sd with N - 1.

    Source: `compute_hsic` in the scripts of Xu et al. (2025), arXiv 2508.17078. Deviations: float64 throughout, and
    constant neurons become exactly 0 where the script divides their rounding noise by 1e-6.

    Args:
        x: `[I, N]`, N at least 2.

    Returns:
        `[I, N]` float64.
    """
    rows = double(x)
    if len(rows) == 0:
        return rows
    scores = (rows - rows.mean(dim=1, keepdim=True)) / (rows.std(dim=1, keepdim=True) + 1e-6)
    scores[constant_rows(x).to(rows.device)] = 0.0
    return scores
