"""What p-values and intervals do on simulated data whose truth is known; behind docs/decisions 006 and 007."""

import argparse
import json
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from bridgex.stats.candidates import CandidateScore, candidate_scores
from bridgex.stats.kernels import residualise_length
from bridgex.stats.neuron_null import NeuronPool, neuron_null_scores
from bridgex.stats.resampling import block_table, observed_scores

FIELDS = """\
Cases, one JSON line each:
  length     share of p <= 0.05 (any dependence) of neurons that depend on each other through the prompts' length alone;
             correction: none; line: a + b L out of the mean; curve: a + b L + c / L; spread: what partial_length does
  null       share of p <= 0.05 of a candidate's neurons that are like all others; sets: own, in each place the neuron
             itself or one of its matches, as the ranking does; others: matches alone
  coverage   share of 95 % intervals over samples that hold the mean score, of influence functions and of half-samples
"""
Corrections = dict[str, Callable[[Tensor, Tensor], Tensor]]


def without(columns: Callable[[Tensor], list[Tensor]]) -> Callable[[Tensor, Tensor], Tensor]:
    """Takes a least-squares fit on some functions of the length out of the means."""

    def correct(x: Tensor, lengths: Tensor) -> Tensor:
        design = torch.stack([torch.ones_like(lengths), *columns(lengths)], dim=1)
        basis, _ = torch.linalg.qr(design / design.norm(dim=0))
        return x - (x @ basis) @ basis.T

    return correct


CORRECTIONS: Corrections = {
    "none": lambda x, lengths: x,
    "line": without(lambda lengths: [lengths]),
    "curve": without(lambda lengths: [lengths, 1 / lengths]),
    "spread": residualise_length,
}


def prompt_means(random: np.random.RandomState, neurons: int, lengths: np.ndarray) -> Tensor:
    """Means over independent tokens, SiLU of a part that fades along the prompt plus noise."""
    positions = np.arange(lengths.max())
    gates = random.standard_normal((neurons, 1, 1)) * np.exp(-positions / 3)
    gates = gates + random.standard_normal((neurons, len(lengths), len(positions)))
    tokens = 2 * gates / (1 + np.exp(-2 * gates))
    return torch.from_numpy((tokens * (positions < lengths[:, None])).sum(axis=2) / lengths)


def length_cases(num_sets: int) -> Iterator[dict[str, object]]:
    """False alarms by correction, lengths that vary much and little."""
    for low, high in ((4, 30), (8, 15)):
        alarms: dict[str, list[bool]] = {name: [] for name in CORRECTIONS}
        for seed in range(num_sets):
            random = np.random.RandomState(seed)
            lengths = random.randint(low, high, 200)
            x, y = (prompt_means(random, rows, lengths) for rows in (5, 6))
            tokens = torch.from_numpy(lengths).double()
            for name, correct in CORRECTIONS.items():
                columns = [[torch.arange(6)]]
                found = candidate_scores(
                    [correct(x, tokens)], [correct(y, tokens)], columns, num_orders=1, num_replicates=0
                ).candidates[0]
                alarms[name].append((found.p_any_dependence or 0.0) <= 0.05)
        for name, hits in alarms.items():
            share = float(np.mean(hits))
            yield {"case": "length", "tokens": [low, high - 1], "correction": name, "share": share, "sets": num_sets}


def null_cases(num_sets: int, num_draws: int = 199) -> Iterator[dict[str, object]]:
    """False alarms of the random sets, by the number of matches."""
    for num_matches in (1, 2, 4):
        alarms: dict[str, list[bool]] = {"own": [], "others": []}
        for seed in range(num_sets):
            random = np.random.RandomState(seed)
            cause = random.standard_normal((1, 40))
            size = 12 * (1 + num_matches)
            neurons = random.uniform(0, 1, (size, 1)) * cause + random.standard_normal((size, 40))
            x = torch.from_numpy(cause + random.standard_normal((4, 40)))
            own, pool = torch.from_numpy(neurons).split([12, size - 12])
            observed, draws = null_scores(x, own, pool, num_matches, num_draws, seed)
            alarms["own"].append(p_of(draws, observed) <= 0.05)
            # With the first matches in the neurons' places, the draws are of matches alone.
            matches = pool.view(12, num_matches, -1)
            rest = matches[:, 1:].flatten(0, 1)
            only, draws = null_scores(x, matches[:, 0], rest, num_matches - 1, num_draws, seed)
            alarms["others"].append(p_of(draws if num_matches > 1 else only.expand(num_draws), observed) <= 0.05)
        for name, hits in alarms.items():
            share = float(np.mean(hits))
            yield {"case": "null", "matches": num_matches, "drawn_from": name, "share": share, "sets": num_sets}


def null_scores(
    x: Tensor, own: Tensor, pool: Tensor, num_matches: int, num_draws: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Score of a candidate's neurons, and of random sets of them and their matches."""
    columns = [torch.arange(len(own))]
    table = block_table(x, own, columns)
    assert table is not None
    if num_matches == 0:
        return observed_scores(table)[0], torch.empty(0)
    barred = [torch.zeros(len(x), len(part), dtype=torch.bool) for part in (own, pool)]
    found = neuron_null_scores(
        table,
        x,
        NeuronPool(pool, (torch.arange(len(pool)).view(len(own), num_matches),), barred[0], barred[1]),
        columns,
        transform="none",
        num_draws=num_draws,
        generator=torch.Generator().manual_seed(seed),
    )
    return found.observed[0], found.draws[0]


def p_of(draws: Tensor, observed: Tensor) -> float:
    """Share of sets at least as high, the observed one included."""
    return float((1 + (draws >= observed - 1e-9).sum()) / (1 + len(draws)))


def coverage_cases(num_sets: int) -> Iterator[dict[str, object]]:
    """How often intervals hold the mean score, three hidden causes, 3 neurons against 3 and against 12."""
    for samples in (60, 100, 256):
        for neurons in (3, 12):
            found: list[CandidateScore] = []
            for seed in range(num_sets):
                random = np.random.RandomState(seed)
                hidden = random.standard_normal((3, samples))
                x = torch.from_numpy(hidden + random.standard_normal((3, samples)))
                y = torch.from_numpy(np.tile(hidden, (neurons // 3, 1)) + random.standard_normal((neurons, samples)))
                columns = [[torch.arange(neurons)]]
                found += candidate_scores([x], [y], columns, num_orders=0, num_replicates=100, seed=seed).candidates
            mean = float(np.mean([one.score for one in found]))
            line: dict[str, object] = {"case": "coverage", "samples": samples, "neurons": neurons, "sets": num_sets}
            for name, intervals in (
                ("influence", [one.influence_ci95 for one in found]),
                ("half_samples", [one.ci95 for one in found]),
            ):
                line[name] = float(np.mean([i is not None and i[0] <= mean <= i[1] for i in intervals]))
            yield line


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.calibration",
        description=__doc__,
        epilog=FIELDS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--sets", type=int, default=300, help="simulated data sets a case")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for cases in (length_cases, null_cases, coverage_cases):
        for line in cases(options.sets):
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
