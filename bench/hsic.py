"""Time HSIC of two sets of neurons against the published function and against a plain float64 loop, side by side."""

import argparse
import ast
import json
import os
import resource
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from bench.timing import timed
from bridgex.stats.hsic import block_score, hsic_matrix

FIELDS = """\
Fields of the JSON line:
  matrix_gflops      float32 matrix product of 2048 x 2048 on the device
  seconds            ours for all blocks, widths and everything, float32 in; median of the rounds
  reference_seconds  the published compute_hsic (float32), found in the folder BRIDGEX_REFERENCE; null without it
  naive_seconds      a float64 loop over pairs: two centred kernels, one trace of their product each
  ratio, naive_ratio theirs / ours, median of the rounds' own ratios
  scaled_from        neurons a side that the other two were timed with; their times are scaled by the number of n x n
                     matrix products, n1 n2 + n1 + n2
  score_error        relative, of the block score, against float64
  element_error      largest error of a pair against float64, over the largest value
  peak_mb            growth of the process's peak memory while ours ran for the first time
"""


def simulate(neurons: int, samples: int, data: str, candidates: int = 1) -> tuple[Tensor, Tensor]:
    """Two sets that share six hidden causes, the second larger for candidates; heavy: scaled by sample, then SiLU."""
    generator = torch.Generator().manual_seed(0)
    causes = torch.randn(6, samples, generator=generator)
    rows = (1 + candidates) * neurons
    x = 0.5 * torch.randn(rows, 6, generator=generator) @ causes
    x = x + torch.randn(rows, samples, generator=generator)
    if data == "heavy":
        x = torch.nn.functional.silu(2 * x * torch.randn(1, samples, generator=generator).square())
    return x[:neurons].contiguous(), x[neurons:].contiguous()


def published_function() -> Callable[[Tensor, Tensor], float] | None:
    """Only `compute_hsic` of the checkout that BRIDGEX_REFERENCE names, or None without one."""
    root = os.environ.get("BRIDGEX_REFERENCE")
    if not root:
        return None
    tree = ast.parse((Path(root) / "bridge_hsic.py").read_text(encoding="utf-8"))
    body: list[ast.stmt] = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "compute_hsic"]
    namespace: dict[str, Callable[[Tensor, Tensor], float]] = {}
    exec(compile(ast.Module(body, []), "bridge_hsic.py", "exec"), {"torch": torch}, namespace)
    return namespace["compute_hsic"]


def naive(x: Tensor, y: Tensor) -> Tensor:
    """Centred kernels of unit width neuron by neuron, the trace of the product for each pair."""
    n = x.shape[1]
    centring = torch.eye(n, dtype=torch.float64) - 1 / n

    def centred(row: Tensor) -> Tensor:
        return torch.exp(-((row[:, None] - row[None]) ** 2) / 2) @ centring

    left, right = [centred(row) for row in x.double()], [centred(row) for row in y.double()]
    return torch.stack([torch.stack([(k @ m).trace() for m in right]) for k in left])


def matrix_gflops(device: str) -> float:
    """Rate of a large float32 matrix product there, the best of three."""
    left = torch.randn(2048, 2048, device=device)
    seconds = min(timed(lambda: left @ left) for _ in range(4))
    return 2 * 2048**3 / seconds / 1e9


def num_products(neurons: int, candidates: int = 1) -> int:
    return candidates * neurons * neurons + (1 + candidates) * neurons


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)


def measure(options: argparse.Namespace) -> dict[str, object]:
    x, y = simulate(options.neurons, options.samples, options.data, options.candidates)
    few = min(options.neurons, options.reference_neurons)
    whole = options.blocks * num_products(options.neurons, options.candidates)
    scale = whole / num_products(few)
    there = x.to(options.device), y.to(options.device)
    reference = published_function()
    hsic_matrix(there[0][:2, :20], there[1][:2, :20], options.estimator)
    before = peak_mb()
    values = hsic_matrix(*there, options.estimator).values.cpu()
    grown = peak_mb() - before

    def blocks() -> None:
        for _ in range(options.blocks):
            hsic_matrix(*there, options.estimator)

    exact = hsic_matrix(x.double(), y.double(), options.estimator).values
    ours, theirs, plain = [], [], []
    for _ in range(options.rounds):
        ours.append(timed(blocks))
        plain.append(timed(lambda: naive(x[:4], y[:4])) * whole / num_products(4))
        if reference is not None:
            theirs.append(timed(lambda: reference(x[:few], y[:few])) * scale)

    def median_ratio(other: list[float]) -> float | None:
        return statistics.median(b / a for a, b in zip(ours, other, strict=True)) if other else None

    return {
        "estimator": options.estimator,
        "neurons": options.neurons,
        "samples": options.samples,
        "data": options.data,
        "candidates": options.candidates,
        "blocks": options.blocks,
        "device": options.device,
        "matrix_gflops": matrix_gflops(options.device),
        "seconds": statistics.median(ours),
        "reference_seconds": statistics.median(theirs) if theirs else None,
        "naive_seconds": statistics.median(plain),
        "ratio": median_ratio(theirs),
        "naive_ratio": median_ratio(plain),
        "scaled_from": {"reference": few, "naive": min(4, options.neurons)},
        "score_error": abs(block_score(values) / block_score(exact) - 1),
        "element_error": float((values - exact).abs().max() / exact.abs().max()),
        "peak_mb": grown,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.hsic",
        description=__doc__,
        epilog=FIELDS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--estimator", choices=["paper", "unbiased", "normalised", "biased"], default="paper")
    parser.add_argument("--neurons", type=int, default=60, help="neurons on each side, at least 4")
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--data", choices=["gaussian", "heavy"], default="gaussian")
    parser.add_argument("--reference-neurons", type=int, default=30, help="neurons a side for the published function")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--candidates", type=int, default=1, help="the second set is so many times as large")
    parser.add_argument("--blocks", type=int, default=1, help="the same again so many times, one block after the other")
    parser.add_argument("--device", default="cpu", help="where ours runs: cpu, cuda")
    options = parser.parse_args()
    if options.neurons < 4:
        parser.error(f"--neurons {options.neurons}: at least 4")
    torch.set_num_threads(1)
    print(json.dumps(measure(options)))


if __name__ == "__main__":
    main()
