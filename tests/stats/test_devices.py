"""The statistics stay on the device of what they are given; one with a float64 of its own is not needed for that."""

import pytest
import torch
from torch import Tensor

from bridgex.stats.candidates import candidate_scores
from bridgex.stats.hsic import hsic_matrix
from bridgex.stats.kernels import gaussian_scores, residualise_length
from bridgex.stats.lags import Estimator
from bridgex.stats.neuron_null import NeuronPool
from tests.stats.references import factors_data

ESTIMATORS = ["normalised", "unbiased", "biased", "paper"]


def inputs(samples: int) -> tuple[Tensor, Tensor, list[list[Tensor]], list[NeuronPool]]:
    x, y, z = factors_data(4, samples, 0), factors_data(6, samples, 1), factors_data(12, samples, 2)
    pool = NeuronPool(
        z,
        (torch.arange(6).view(3, 2), 6 + torch.arange(6).view(3, 2)),
        torch.zeros(4, 6, dtype=torch.bool),
        torch.zeros(4, 12, dtype=torch.bool),
    )
    return x, y, [[torch.arange(3)], [torch.arange(3, 6)]], [pool]


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_nothing_is_made_on_the_default_device(estimator: Estimator) -> None:
    # A tensor made without naming its device would have no values here, and touching it would raise.
    x, y, columns, pools = inputs(60)
    long_x, long_y = factors_data(3, 900, 0), factors_data(3, 900, 1)
    num_tokens = torch.arange(60) % 7 + 3

    def everything() -> list[object]:
        return [
            candidate_scores([x], [y], columns, estimator=estimator, pools=pools, num_replicates=5, num_orders=2),
            hsic_matrix(long_x, long_y, estimator).values.tolist(),
            gaussian_scores(x).tolist(),
            residualise_length(x, num_tokens).tolist(),
        ]

    expected = everything()
    with torch.device("meta"):
        assert everything() == expected


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_cuda_gives_the_numbers_of_the_cpu(estimator: Estimator) -> None:
    x, y, columns, pools = inputs(300)
    on_cpu = candidate_scores([x], [y], columns, estimator=estimator, pools=pools, num_replicates=20)
    moved = [pools[0]._replace(values=pools[0].values.cuda())]
    on_gpu = candidate_scores([x.cuda()], [y.cuda()], columns, estimator=estimator, pools=moved, num_replicates=20)
    for a, b in zip(on_cpu.candidates, on_gpu.candidates, strict=True):
        assert a.raw == pytest.approx(b.raw, rel=1e-5)
        assert a.chance == pytest.approx(b.chance, rel=1e-4, abs=1e-6)
        assert a.p_neuron_null == b.p_neuron_null
        assert a.ci95 == pytest.approx(b.ci95, rel=1e-3, abs=1e-5)
