"""What the ranking's p-values and scores do where nothing depends on anything: 1,000 simulated data sets a case."""

import numpy as np
import pytest
import torch
from torch import Tensor

from bridgex.stats.candidates import candidate_scores
from bridgex.stats.kernels import residualise_length

NUM_DRAWS, NUM_PROMPTS = 1000, 200


def share_below(p_values: list[float | None]) -> float:
    return float(np.mean([p is not None and p <= 0.05 for p in p_values]))


def p_of(x: list[Tensor], y: list[Tensor]) -> float | None:
    columns = [[torch.arange(len(block)) for block in y]]
    return candidate_scores(x, y, columns, num_orders=1, num_replicates=0).candidates[0].p_any_dependence


@pytest.mark.slow
@pytest.mark.parametrize("num_blocks", [1, 3])
def test_independent_neurons_are_called_dependent_in_five_percent(num_blocks: int) -> None:
    found = []
    for seed in range(NUM_DRAWS):
        random = np.random.RandomState(seed)
        x, y = (
            [torch.from_numpy(random.standard_t(3, (rows, NUM_PROMPTS)).astype(np.float32)) for _ in range(num_blocks)]
            for rows in (3, 4)
        )
        found.append(p_of(x, y))
    assert 0.035 <= share_below(found) <= 0.065


def prompt_means(random: np.random.RandomState, neurons: int, lengths: np.ndarray) -> np.ndarray:
    """Means over tokens that are independent of each other, SiLU of a part that fades along the prompt plus noise."""
    positions = np.arange(lengths.max())
    gates = random.standard_normal((neurons, 1, 1)) * np.exp(-positions / 3)
    gates = gates + random.standard_normal((neurons, len(lengths), len(positions)))
    tokens = 2 * gates / (1 + np.exp(-2 * gates))
    inside = positions < lengths[:, None]
    return (tokens * inside).sum(axis=2) / lengths


@pytest.mark.slow
def test_prompts_of_unequal_length_need_the_correction_and_are_right_with_it() -> None:
    plain, corrected, mean_only = [], [], []
    for seed in range(NUM_DRAWS):
        random = np.random.RandomState(seed)
        lengths = random.randint(4, 30, NUM_PROMPTS)
        x, y = (torch.from_numpy(prompt_means(random, rows, lengths)) for rows in (3, 4))
        num_tokens = torch.from_numpy(lengths)
        corrected.append(p_of(*([residualise_length(m, num_tokens)] for m in (x, y))))
        if seed < 200:
            plain.append(p_of([x], [y]))
            line = np.polynomial.polynomial.polyfit(lengths, torch.cat([x, y]).numpy().T, 1)
            straight = [
                m - torch.from_numpy(line[0][i][:, None] + line[1][i][:, None] * lengths)
                for m, i in ((x, slice(0, 3)), (y, slice(3, 7)))
            ]
            mean_only.append(p_of([straight[0]], [straight[1]]))
    assert 0.035 <= share_below(corrected) <= 0.065
    assert share_below(plain) > 0.8
    # A line through the means leaves the spread, which falls with the length of all neurons' prompts.
    assert share_below(mean_only) > 0.2


def test_chance_takes_the_trend_with_set_size_out() -> None:
    sizes = [2, 4, 8, 16, 32, 64]
    raw, corrected = [], []
    for seed in range(60):
        random = np.random.RandomState(seed)
        x, y = (torch.from_numpy(random.standard_normal((rows, 40)).astype(np.float32)) for rows in (6, sum(sizes)))
        columns = [[part] for part in torch.arange(sum(sizes)).split(sizes)]
        scores = candidate_scores([x], [y], columns, num_orders=1, num_replicates=0).candidates
        raw.append(np.polyfit(np.log2(sizes), [c.raw for c in scores], 1)[0])
        corrected.append(np.polyfit(np.log2(sizes), [c.score for c in scores], 1)[0])
    error = np.std(corrected) / len(corrected) ** 0.5
    assert np.mean(raw) > 20 * error
    assert abs(np.mean(corrected)) < 3 * error
