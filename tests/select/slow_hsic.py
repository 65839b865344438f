"""The published score from the textbook: plain loops over samples, in Python's own floats."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bridgex.select.evidence import Floats
from tests.select.planted import MIDDLE

Matrix = list[list[float]]


def slow_kernel(row: Sequence[float]) -> Matrix:
    """Gaussian, its width the lower median of the non-zero gaps."""
    gaps = sorted(abs(a - b) for i, a in enumerate(row) for b in row[:i] if a != b)
    width = gaps[(len(gaps) - 1) // 2]
    return [[math.exp(-((a - b) ** 2) / (2 * width**2)) for b in row] for a in row]


def slow_unbiased(first: Matrix, second: Matrix) -> float:
    """Song et al. 2012, eq. 5, sum by sum."""
    n = len(first)
    others = [[j for j in range(n) if j != i] for i in range(n)]
    trace = sum(first[i][j] * second[j][i] for i in range(n) for j in others[i])
    sums = [[sum(kernel[i][j] for j in others[i]) for i in range(n)] for kernel in (first, second)]
    product = sum(sums[0]) * sum(sums[1]) / ((n - 1) * (n - 2))
    mixed = 2 / (n - 2) * sum(a * b for a, b in zip(*sums, strict=True))
    return (trace + product - mixed) / (n * (n - 3))


def slow_block_score(x: Floats, y: Floats, may_match: Sequence[Sequence[bool]]) -> float:
    """Mean of both sides' best partners, over normalised values."""
    kernels_x, kernels_y = [slow_kernel(row.tolist()) for row in x], [slow_kernel(row.tolist()) for row in y]
    table = [[-math.inf] * len(kernels_y) for _ in kernels_x]
    for i, first in enumerate(kernels_x):
        for j, second in enumerate(kernels_y):
            if may_match[i][j]:
                size = math.sqrt(slow_unbiased(first, first) * slow_unbiased(second, second))
                table[i][j] = slow_unbiased(first, second) / size
    best_x = [max(row) for row in table if max(row) > -math.inf]
    best_y = [max(column) for column in zip(*table, strict=True) if max(column) > -math.inf]
    return (sum(best_x) / len(best_x) + sum(best_y) / len(best_y)) / 2


def slow_score(
    values: list[Floats], overlap: Sequence[int], bridge: Sequence[int], *, shift: int = 0, self_ok: bool = True
) -> float:
    """Mean over the middle blocks, the bridge's samples shifted against the overlap's."""
    may_match = [[self_ok or i != j for j in bridge] for i in overlap]
    per_block = []
    for block in MIDDLE:
        x, y = values[block - 1][list(overlap)], values[block - 1][list(bridge)]
        per_block.append(slow_block_score(x, np.roll(y, -shift, axis=1), may_match))
    return sum(per_block) / len(per_block)
