"""Time what an `hsic` ranking costs in one block: the pass, the shifts, the half-samples, the random sets."""

import argparse
import json

import torch

from bench.hsic import matrix_gflops, simulate
from bench.timing import timed
from bridgex.stats.candidates import candidate_scores
from bridgex.stats.neuron_null import NeuronPool

FIELDS = """\
Fields of the JSON line, seconds of one block (a pair has one for each middle block):
  pass_seconds       widths, kernels, HSIC of all pairs, scores and influence intervals
  order_seconds      one order more behind the chance correction, all its shifts
  replicate_seconds  one half-sample more
  null_seconds       the random sets, their pool four times as large as the candidates' neurons
  seconds            all of it with --orders, --replicates and the random sets
  matrix_gflops      float32 matrix product of 2048 x 2048
"""


def measure(options: argparse.Namespace) -> dict[str, object]:
    x, y = simulate(options.neurons, options.samples, "gaussian", options.candidates)
    columns = [[part] for part in torch.arange(len(y)).split(options.neurons)]
    pool_size = 4 * len(y)
    matches = torch.arange(pool_size).view(options.candidates, options.neurons, 4)
    pool = NeuronPool(
        values=y.repeat(4, 1)[torch.randperm(pool_size, generator=torch.Generator().manual_seed(0))],
        matches=tuple(matches),
        is_own=torch.zeros(len(x), len(y), dtype=torch.bool),
        is_own_in_pool=torch.zeros(len(x), pool_size, dtype=torch.bool),
    )

    def seconds(orders: int, replicates: int, with_null: bool) -> float:
        pools = [pool] if with_null else None
        return timed(
            lambda: candidate_scores([x], [y], columns, pools=pools, num_orders=orders, num_replicates=replicates)
        )

    seconds(0, 0, True)
    alone = min(seconds(0, 0, False) for _ in range(2))
    order = seconds(1, 0, False) - alone
    replicate = (seconds(0, 10, False) - alone) / 10
    null = seconds(0, 0, True) - alone
    return {
        "neurons": options.neurons,
        "candidates": options.candidates,
        "samples": options.samples,
        "pass_seconds": alone,
        "order_seconds": order,
        "replicate_seconds": replicate,
        "null_seconds": null,
        "seconds": alone + options.orders * order + options.replicates * replicate + null,
        "matrix_gflops": matrix_gflops("cpu"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.ranking",
        description=__doc__,
        epilog=FIELDS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--neurons", type=int, default=143, help="overlap neurons, and each candidate's")
    parser.add_argument("--candidates", type=int, default=6)
    parser.add_argument("--samples", type=int, default=256, help="probe words")
    parser.add_argument("--orders", type=int, default=4)
    parser.add_argument("--replicates", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(json.dumps(measure(options)))


if __name__ == "__main__":
    main()
