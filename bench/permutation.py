"""Time the block score under all N cyclic shifts against one exact pass over the same kernels, side by side."""

import argparse
import json
import statistics

import torch

from bench.hsic import peak_mb, simulate
from bench.timing import timed
from bridgex.stats.resampling import BlockTable, block_table, observed_scores, shift_scores

FIELDS = """\
Fields of the JSON line:
  pass_seconds       one exact pass: kernels of all neurons, HSIC of all pairs, the score; median of the rounds
  seconds            the score under all N shifts (kernels of the unshifted samples are at hand); median of the rounds
  passes             seconds / pass_seconds, median of the rounds' own ratios
  score_error        largest error of a score against float64, over the largest score
  first_shift_error  the same of shift 0 against the observed score
  roll_error         largest error of five shifts against samples really shifted, in float64, over the largest score
  p                  share of shifts that score at least as high as the observed order
  peak_mb            growth of the process's peak memory while all shifts were computed for the first time
"""


def table_of(x: torch.Tensor, y: torch.Tensor, estimator: str) -> BlockTable:
    table = block_table(x, y, [torch.arange(len(y))], estimator=estimator)  # type: ignore[arg-type]
    assert table is not None
    return table


def measure(options: argparse.Namespace) -> dict[str, object]:
    x, y = (m.to(options.device) for m in simulate(options.neurons, options.samples, options.data, options.candidates))
    order = torch.arange(options.samples)
    table = table_of(x, y, options.estimator)
    small = table_of(x[:2, :20].contiguous(), y[:2, :20].contiguous(), options.estimator)
    shift_scores(small, order[:20])
    before = peak_mb()
    scores = shift_scores(table, order)[0]
    grown = peak_mb() - before
    exact = shift_scores(table_of(x.double(), y.double(), options.estimator), order)[0]
    largest = float(exact.abs().max())
    rolled = []
    for shift in range(0, options.samples, max(1, options.samples // 5)):
        moved = table_of(x.double(), y.double().roll(-shift, dims=1), options.estimator)
        rolled.append(abs(float(observed_scores(moved)[0]) - float(exact[shift])))
    passes, shifts = [], []
    for _ in range(options.rounds):
        passes.append(timed(lambda: observed_scores(table_of(x, y, options.estimator))))
        shifts.append(timed(lambda: shift_scores(table, order)))
    return {
        "estimator": options.estimator,
        "neurons": options.neurons,
        "samples": options.samples,
        "data": options.data,
        "candidates": options.candidates,
        "device": options.device,
        "pass_seconds": statistics.median(passes),
        "seconds": statistics.median(shifts),
        "passes": statistics.median(b / a for a, b in zip(passes, shifts, strict=True)),
        "score_error": float((scores - exact).abs().max()) / largest,
        "first_shift_error": abs(float(scores[0]) - float(observed_scores(table)[0])) / largest,
        "roll_error": max(rolled) / largest,
        "p": float((scores >= scores[0]).double().mean()),
        "peak_mb": grown,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.permutation",
        description=__doc__,
        epilog=FIELDS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--estimator", choices=["normalised", "unbiased", "biased"], default="normalised")
    parser.add_argument("--neurons", type=int, default=143, help="neurons on each side")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--data", choices=["gaussian", "heavy"], default="gaussian")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--candidates", type=int, default=1, help="the second set is so many times as large")
    parser.add_argument("--device", default="cpu", help="cpu, cuda")
    options = parser.parse_args()
    if options.neurons < 2 or options.samples < 20:
        parser.error("at least 2 neurons and 20 samples")
    torch.set_num_threads(1)
    print(json.dumps(measure(options)))


if __name__ == "__main__":
    main()
