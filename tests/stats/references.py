"""Slow, plain forms of the statistics from their definitions, and the inputs of the stored published values."""

import ast
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor


def median_width(row: Tensor) -> float:
    # Differences that vanish beside the neuron's range are ties: 1e-22 beside 0.3, where SiLU has died out.
    values = (row.double() - row.double().min()).tolist()
    differences = sorted(abs(a - b) for i, a in enumerate(values) for b in values[:i] if a != b)
    return differences[(len(differences) - 1) // 2]


def gaussian_kernel(row: Tensor, width: float) -> Tensor:
    return torch.exp(-((row[:, None] - row[None]) ** 2) / (2 * width**2))


def song(k: Tensor, l: Tensor) -> float:  # noqa: E741
    """Song et al. 2012, eq. 5."""
    n = len(k)
    k, l = k - torch.diag(k.diag()), l - torch.diag(l.diag())  # noqa: E741
    ones = torch.ones(n, dtype=k.dtype)
    total = (k @ l).trace() + k.sum() * l.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (ones @ k @ l @ ones)
    return float(total) / (n * (n - 3))


def trace_khlh(k: Tensor, l: Tensor) -> float:  # noqa: E741
    n = len(k)
    h = torch.eye(n, dtype=k.dtype) - 1 / n
    return float((k @ h @ l @ h).trace())


def naive_matrix(x: Tensor, y: Tensor, estimator: str) -> Tensor:
    """`normalised`, `unbiased` or `biased` HSIC, a loop over pairs in float64."""
    x, y = x.double(), y.double()
    kernels = [[gaussian_kernel(row, median_width(row)) for row in m] for m in (x, y)]
    values = torch.zeros(len(x), len(y), dtype=torch.float64)
    for i, k in enumerate(kernels[0]):
        for j, l in enumerate(kernels[1]):  # noqa: E741
            if estimator == "biased":
                values[i, j] = trace_khlh(k, l) / (len(k) - 1) ** 2
            else:
                values[i, j] = song(k, l) / ((song(k, k) * song(l, l)) ** 0.5 if estimator == "normalised" else 1.0)
    return values


def naive_trace_khl(x: Tensor, y: Tensor) -> Tensor:
    """The published quantity in float64: z-scores, one width for both matrices, `tr(K H L)`."""
    scores = []
    for m in (x.double(), y.double()):
        scores.append((m - m.mean(1, keepdim=True)) / (m.std(1, keepdim=True) + 1e-6))
    distances = sorted(float((a - b).norm()) for m in scores for a in m for b in m)
    width = distances[(len(distances) - 1) // 2] + 1e-6
    n = x.shape[1]
    h = torch.eye(n, dtype=torch.float64) - 1 / n
    values = [
        [(gaussian_kernel(a, width) @ h @ gaussian_kernel(b, width)).trace() for b in scores[1]] for a in scores[0]
    ]
    return torch.tensor(values, dtype=torch.float64)


def length_residuals(x: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """What a prompt's length leaves of each row: least squares of mean, spread, and mean again, row by row."""
    mean_design = np.stack([np.ones(len(lengths)), lengths, 1 / lengths], axis=1)
    spread_design = np.stack([np.ones(len(lengths)), 1 / np.sqrt(lengths)], axis=1)
    found = np.empty(x.shape)
    for place, row in enumerate(x):
        sizes = np.abs(row - mean_design @ np.linalg.lstsq(mean_design, row, rcond=None)[0])
        spread = np.maximum(spread_design @ np.linalg.lstsq(spread_design, sizes, rcond=None)[0], 0.1 * sizes.mean())
        weighted = np.linalg.lstsq(mean_design / spread[:, None], row / spread, rcond=None)[0]
        found[place] = (row - mean_design @ weighted) / spread
    return found


def published_inputs(seed: int, rows: int, columns: int, samples: int, kind: str) -> tuple[Tensor, Tensor]:
    """Two float32 matrices from numpy's legacy generator, whose stream is frozen."""
    random = np.random.RandomState(seed)
    x = random.standard_normal((rows, samples))
    y = random.standard_normal((columns, samples)) + 0.5 * x[np.arange(columns) % rows]
    if kind == "heavy":
        x, y = x**3, y**3
    return torch.from_numpy(x.astype(np.float32)), torch.from_numpy(y.astype(np.float32))


def published_function() -> Callable[[Tensor, Tensor], float]:
    """`compute_hsic` of a checkout of the published scripts, or skip."""
    root = os.environ.get("BRIDGEX_REFERENCE")
    if not root:
        pytest.skip("BRIDGEX_REFERENCE names no checkout of the published scripts")
    tree = ast.parse((Path(root) / "bridge_hsic.py").read_text(encoding="utf-8"))
    body = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "compute_hsic"]
    namespace: dict[str, object] = {"torch": torch}
    exec(compile(ast.Module(body, []), "bridge_hsic.py", "exec"), namespace)
    return namespace["compute_hsic"]  # type: ignore[return-value]


def factors_data(rows: int, samples: int, seed: int, heavy: bool = False) -> Tensor:
    """Neurons that share six hidden causes, float32."""
    random = np.random.RandomState(seed)
    x = random.standard_normal((rows, 6)) @ random.standard_normal((6, samples)) * 0.5
    x = x + random.standard_normal((rows, samples))
    if heavy:
        x = x * np.abs(random.standard_normal((1, samples))) ** 2
        x = x / (1 + np.exp(-np.clip(3 * x, -50, 50)))
    return torch.from_numpy(x.astype(np.float32))


def published_embeddings(seed: int, samples: int, width: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings before and after, float64, from numpy's legacy generator, whose stream is frozen."""
    random = np.random.RandomState(seed)
    x = random.standard_normal((samples, width))
    y = x + 0.8 * random.standard_normal((samples, width)) * np.linspace(0.5, 2, width)
    if kind == "heavy":
        x, y = x**3, y**3
    if kind == "offset":
        offset = 10 * random.standard_normal(width)
        x, y = x + offset, y + offset
    return x, y


def published_cka() -> dict[str, Callable[..., float]]:
    """Functions of `src/CKA.py` of a checkout of the published scripts on drift, by name, or skip."""
    root = os.environ.get("BRIDGEX_REFERENCE_DRIFT")
    if not root:
        pytest.skip("BRIDGEX_REFERENCE_DRIFT names no checkout of the published scripts")
    tree = ast.parse((Path(root) / "src" / "CKA.py").read_text(encoding="utf-8"))
    body = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    namespace: dict[str, object] = {"np": np}
    exec(compile(ast.Module(body, []), "CKA.py", "exec"), namespace)
    return {node.name: namespace[node.name] for node in body}  # type: ignore[misc]
