"""Time HSIC of two sets of neurons against the published function and against a plain float64 loop, side by side."""

import argparse
import ast
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from bridgex.stats.hsic import block_score, hsic_matrix

FIELDS = """\
Fields of the JSON line:
  seconds            ours, widths and everything, float32 in; median of the rounds
  reference_seconds  the published compute_hsic (float32), found in the folder BRIDGEX_REFERENCE; null without it
  naive_seconds      a float64 loop over pairs: two centred kernels, one trace of their product each
  ratio, naive_ratio theirs / ours, median of the rounds' own ratios
  scaled_from        neurons a side that the other two were timed with; their times are scaled by the number of n x n
                     matrix products, n1 n2 + n1 + n2
  score_error        relative, of the block score, against float64
  element_error      largest error of a pair against float64, over the largest value
  peak_mb            growth of the process's peak memory while ours ran for the first time
"""


def simulate(neurons: int, samples: int, data: str) -> tuple[Tensor, Tensor]:
    """Two sets that share six hidden causes; heavy: scaled sample by sample, then SiLU."""
    generator = torch.Generator().manual_seed(0)
    causes = torch.randn(6, samples, generator=generator)
    x = 0.5 * torch.randn(2 * neurons, 6, generator=generator) @ causes
    x = x + torch.randn(2 * neurons, samples, generator=generator)
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


def timed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def num_products(neurons: int) -> int:
    return neurons * neurons + 2 * neurons


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)


def measure(options: argparse.Namespace) -> dict[str, object]:
    x, y = simulate(options.neurons, options.samples, options.data)
    few = min(options.neurons, options.reference_neurons)
    scale = num_products(options.neurons) / num_products(few)
    reference = published_function()
    hsic_matrix(x[:2, :20], y[:2, :20], options.estimator)
    before = peak_mb()
    values = hsic_matrix(x, y, options.estimator).values
    grown = peak_mb() - before
    exact = hsic_matrix(x.double(), y.double(), options.estimator).values
    ours, theirs, plain = [], [], []
    for _ in range(options.rounds):
        ours.append(timed(lambda: hsic_matrix(x, y, options.estimator)))
        plain.append(timed(lambda: naive(x[:4], y[:4])) * num_products(options.neurons) / num_products(4))
        if reference is not None:
            theirs.append(timed(lambda: reference(x[:few], y[:few])) * scale)

    def median_ratio(other: list[float]) -> float | None:
        return statistics.median(b / a for a, b in zip(ours, other, strict=True)) if other else None

    return {
        "estimator": options.estimator,
        "neurons": options.neurons,
        "samples": options.samples,
        "data": options.data,
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
    options = parser.parse_args()
    if options.neurons < 4:
        parser.error(f"--neurons {options.neurons}: at least 4")
    torch.set_num_threads(1)
    print(json.dumps(measure(options)))


if __name__ == "__main__":
    main()
