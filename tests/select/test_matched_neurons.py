"""Random neurons that stand in for chosen ones: who they are, and what the ranking and the ablation make of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from bridgex.select.ablation import NUM_RANDOM_SETS, ablation_sets
from bridgex.select.evidence import Evidence, Floats, LanguageProfile, ProbeActivations
from bridgex.select.neurons import matched_neurons
from bridgex.select.probe_inputs import block_inputs, neuron_sets
from bridgex.select.strategies.base import MissingEvidence
from bridgex.select.strategies.neurons import Hsic
from bridgex.stats.hsic import block_score, hsic_matrix
from bridgex.stats.paired import holm
from tests.select.planted import make_evidence

WIDTH, NUM_BLOCKS, NUM_PROMPTS = 40, 4, 60
LANGUAGES = ("de", "sw", "en", "fr")


def mask(indices: Sequence[int], width: int = WIDTH) -> np.ndarray:
    chosen = np.zeros(width, dtype=bool)
    chosen[list(indices)] = True
    return chosen


def test_matches_are_the_nearest_and_none_is_given_twice() -> None:
    share = np.array([[0.90], [0.10], [0.88], [0.86], [0.12], [0.14], [0.50], [0.11]])
    found = matched_neurons(mask([0, 1], 8), ~mask([0, 1], 8), share, 2)
    assert found.tolist() == [[2, 3], [7, 4]]
    # Every member gets its first before any gets its second: 6 goes to nobody before 3.
    assert matched_neurons(mask([0, 2], 8), ~mask([0, 2], 8), share, 1).tolist() == [[3], [6]]


def test_units_of_the_covariates_do_not_matter_and_what_is_not_allowed_is_not_given() -> None:
    random = np.random.default_rng(0)
    covariates = random.standard_normal((WIDTH, 2))
    members, allowed = mask(range(5)), ~mask(range(5, 15))
    found = matched_neurons(members, allowed, covariates, 3)
    assert found.shape == (5, 3)
    assert len(set(found.ravel())) == 15
    assert found.min() >= 15
    assert np.array_equal(found, matched_neurons(members, allowed, covariates * [1000.0, 0.001] + 7, 3))


@pytest.mark.parametrize(("num_members", "expected"), [(15, 1), (25, 0), (8, 4), (0, 4)])
def test_a_large_set_leaves_few_matches_each(num_members: int, expected: int) -> None:
    members = mask(range(num_members))
    found = matched_neurons(members, ~members, np.zeros((WIDTH, 1)), 4)
    assert found.shape == (num_members, expected)


def profiles(seed: int) -> dict[str, LanguageProfile]:
    random = np.random.default_rng(seed)
    base = random.uniform(0, 1, (NUM_BLOCKS, WIDTH))
    made = {}
    for code in LANGUAGES:
        share = np.clip(base + 0.3 * random.standard_normal(base.shape), 0, 1)
        made[code] = LanguageProfile(tuple(share), tuple(share - 0.4))
    return made


def evidence(seed: int = 0, neuron_share: float = 0.2, values: list[Floats] | None = None) -> Evidence:
    """Profiles that differ a little by language; activations of all neurons follow one cause, more or less."""
    made = profiles(seed)
    random = np.random.default_rng(seed)
    if values is None:
        cause = random.standard_normal((1, NUM_PROMPTS))
        values = [cause * random.uniform(0, 1, (WIDTH, 1)) for _ in range(NUM_BLOCKS)]
        values = [block + random.standard_normal(block.shape) for block in values]
    given = values
    planted = make_evidence({code: [[]] * 5 for code in LANGUAGES}, pair="de-sw", candidates=("en", "fr"), seed=seed)

    def probe(neurons: Sequence[np.ndarray]) -> ProbeActivations:
        chosen = tuple(block[index] for block, index in zip(given, neurons, strict=True))
        return ProbeActivations(chosen, np.full(NUM_PROMPTS, 7))

    settings = planted.probe_settings.model_copy(update={"neuron_share": neuron_share, "depth": (0.0, 1.0)})
    return replace(planted, probe_settings=settings, profile=made.__getitem__, probe=probe)


def test_inputs_hold_the_neurons_that_they_say() -> None:
    found = evidence()
    sets = neuron_sets(found, "all")
    inputs = block_inputs(found, sets, [2, 3], match_self=False, with_null=True)
    everything = found.probe([np.arange(WIDTH)] * NUM_BLOCKS).values
    assert inputs.pools is not None
    for place, block in enumerate((2, 3)):
        own = everything[block - 1].astype(np.float32)
        overlap, union = sets.overlap[block - 1], sets.of_bridge["en"][block - 1] | sets.of_bridge["fr"][block - 1]
        assert np.array_equal(inputs.x[place].numpy(), own[overlap])
        assert np.array_equal(inputs.y[place].numpy(), own[union])
        pool = inputs.pools[place]
        where = [int(np.flatnonzero((own == row).all(axis=1))[0]) for row in pool.values.numpy()]
        for columns, matches, code in zip(inputs.columns, pool.matches, ("en", "fr"), strict=True):
            members = np.flatnonzero(sets.of_bridge[code][block - 1])
            assert np.array_equal(np.flatnonzero(union)[columns[place].numpy()], members)
            shares = np.stack([found.profile(language).share[block - 1] for language in ("de", "sw")], axis=1)
            expected = matched_neurons(mask(members), ~mask(members), shares, 4)
            assert np.array_equal(np.array(where)[matches.numpy()], expected)
        rows, columns_of_any = np.flatnonzero(overlap), np.flatnonzero(union)
        assert np.array_equal(pool.is_own.numpy(), rows[:, None] == columns_of_any)
        assert np.array_equal(pool.is_own_in_pool.numpy(), rows[:, None] == np.array(where))
        excluded = inputs.excluded[place]
        assert excluded is not None
        assert np.array_equal(excluded.numpy(), pool.is_own.numpy())


def test_the_ranking_says_how_random_neurons_do() -> None:
    found = evidence()
    ranking = Hsic(name="hsic", hsic={"orders": 1, "bootstrap": 20}).rank(found)
    sets = neuron_sets(found, "all")
    p_values = [record.p_neuron_null for record in ranking.scores.values()]
    assert all(p is not None and 1 / 200 <= p <= 1 for p in p_values)
    assert [record.p_neuron_null_corrected for record in ranking.scores.values()] == holm([p or 0.0 for p in p_values])
    # Random sets score like sets drawn by hand from the same matches.
    inputs = block_inputs(found, sets, ranking.blocks, match_self=True, with_null=True)
    assert inputs.pools is not None
    random = np.random.default_rng(1)
    drawn = []
    for _ in range(60):
        per_block = []
        for x, pool in zip(inputs.x, inputs.pools, strict=True):
            matches = pool.matches[0]
            taken = matches[np.arange(len(matches)), random.integers(matches.shape[1], size=len(matches))]
            values = hsic_matrix(x, pool.values[taken]).values
            per_block.append(block_score(values, excluded=pool.is_own_in_pool[:, taken]))
        drawn.append(np.mean(per_block))
    assert ranking.scores["en"].random_neurons == pytest.approx(np.mean(drawn), abs=4 * np.std(drawn) / 60**0.5)


def test_no_draws_and_the_published_estimator_read_no_pool() -> None:
    for keys in ({"draws": 0}, {"estimator": "paper"}):
        ranking = Hsic(name="hsic", hsic={"orders": 1, "bootstrap": 0, **keys}).rank(evidence())
        assert all(record.p_neuron_null is None for record in ranking.scores.values())


@pytest.mark.parametrize("which", ["overlap", "bridge", "both"])
def test_random_sets_are_as_large_in_every_block_and_hold_none_of_the_chosen(which: str) -> None:
    found = evidence()
    sets = neuron_sets(found, "all")
    made = ablation_sets(found, "fr", which, "all")
    for block in range(1, NUM_BLOCKS + 1):
        own = {
            "overlap": sets.overlap[block - 1],
            "bridge": sets.of_bridge["fr"][block - 1],
            "both": sets.overlap[block - 1] | sets.of_bridge["fr"][block - 1],
        }[which]
        assert np.array_equal(made.chosen[block], np.flatnonzero(own))
        for drawn in made.random:
            assert len(set(drawn[block])) == own.sum()
            assert not own[drawn[block]].any()
    assert len({tuple(np.concatenate(list(drawn.values()))) for drawn in made.random}) > NUM_RANDOM_SETS // 2
    assert made.num_neurons == sum(map(len, made.chosen.values()))
    for block in range(1, NUM_BLOCKS + 1):
        expected = np.mean([found.profile(code).mean[block - 1] for code in ("de", "sw", "fr")], axis=0)
        assert made.means[block] == pytest.approx(expected)


def test_random_sets_answer_as_often_as_the_chosen_ones() -> None:
    gaps, blind = [], []
    for seed in range(10):
        found = evidence(seed, neuron_share=0.1)
        made = ablation_sets(found, "fr", "overlap", "all")
        for block, own in made.chosen.items():
            share = found.profile("de").share[block - 1] + found.profile("sw").share[block - 1]
            gaps.append(share[own].mean() - np.mean([share[drawn[block]].mean() for drawn in made.random]))
            blind.append(share[own].mean() - np.delete(share, own).mean())
    assert np.mean(gaps) < 0.6 * np.mean(blind)


def test_a_set_that_cannot_be_matched_is_named() -> None:
    with pytest.raises(MissingEvidence, match=r"of 40 neurons of block 1 are held, .* Lower probe.neuron_share"):
        ablation_sets(evidence(neuron_share=0.49), "fr", "both", "all")
    with pytest.raises(MissingEvidence, match="no such neuron at probe.neuron_share=0.001. Raise probe.neuron_share"):
        ablation_sets(evidence(neuron_share=0.001), "fr", "overlap", "all")
