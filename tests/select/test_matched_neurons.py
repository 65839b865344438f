"""Random neurons that stand in for chosen ones: who they are, and what the ranking and the ablation make of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

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


def test_matches_are_the_nearest_within_a_quarter_of_a_deviation_and_none_is_given_twice() -> None:
    share = np.array([[0.90], [0.10], [0.88], [0.86], [0.12], [0.14], [0.50], [0.11]])
    assert 0.04 < 0.25 * share.std() < 0.1
    found = matched_neurons(mask([0, 1], 8), ~mask([0, 1], 8), share, 3)
    assert found.tolist() == [[2, 3, -1], [7, 4, 5]]
    # Nobody is like 6, and every member gets its first before any gets its second.
    assert matched_neurons(mask([0, 2, 6], 8), ~mask([0, 2, 6], 8), share, 2).tolist() == [[3, -1], [-1, -1], [-1, -1]]


def test_units_of_the_covariates_do_not_matter_and_what_is_not_allowed_is_not_given() -> None:
    random = np.random.default_rng(0)
    covariates = random.uniform(size=(400, 2))
    members, allowed = mask(range(5), 400), ~mask(range(5, 15), 400)
    found = matched_neurons(members, allowed, covariates, 3)
    given = found[found >= 0]
    assert len(given) > 10
    assert len(set(given)) == len(given)
    assert given.min() >= 15
    gaps = np.abs(covariates[found] - covariates[:5, None]) / covariates.std(axis=0)
    assert gaps[found >= 0].max() <= 0.25
    assert np.array_equal(found, matched_neurons(members, allowed, covariates * [1000.0, 0.001] + 7, 3))


@pytest.mark.parametrize(("num_members", "num_given"), [(15, 25), (36, 4), (4, 16), (0, 0), (40, 0)])
def test_a_large_set_leaves_few_matches_each(num_members: int, num_given: int) -> None:
    members = mask(range(num_members))
    found = matched_neurons(members, ~members, np.zeros((WIDTH, 1)), 4)
    assert found.shape == (num_members, 4)
    assert (found >= 0).sum() == num_given


def profiles(seed: int, width: int) -> dict[str, LanguageProfile]:
    random = np.random.default_rng(seed)
    base = random.uniform(0, 1, (NUM_BLOCKS, width))
    made = {}
    for code in LANGUAGES:
        share = np.clip(base + 0.3 * random.standard_normal(base.shape), 0, 1)
        made[code] = LanguageProfile(tuple(share), tuple(share - 0.4))
    return made


def evidence(seed: int = 0, neuron_share: float = 0.2, width: int = WIDTH) -> Evidence:
    """Profiles that differ a little by language; activations of all neurons follow one cause, more or less."""
    made = profiles(seed, width)
    random = np.random.default_rng(seed)
    cause = random.standard_normal((1, NUM_PROMPTS))
    causes = [cause * random.uniform(0, 1, (width, 1)) for _ in range(NUM_BLOCKS)]
    given: list[Floats] = [block + random.standard_normal(block.shape) for block in causes]
    planted = make_evidence({code: [[]] * 5 for code in LANGUAGES}, pair="de-sw", candidates=("en", "fr"), seed=seed)

    def probe(neurons: Sequence[np.ndarray]) -> ProbeActivations:
        chosen = tuple(block[index] for block, index in zip(given, neurons, strict=True))
        return ProbeActivations(chosen, np.full(NUM_PROMPTS, 7))

    settings = planted.probe_settings.model_copy(update={"neuron_share": neuron_share, "depth": (0.0, 1.0)})
    return replace(planted, probe_settings=settings, profile=made.__getitem__, probe=probe)


def test_inputs_hold_the_neurons_that_they_say() -> None:
    found = evidence(width=200)
    sets = neuron_sets(found, "all")
    inputs = block_inputs(found, sets, [2, 3], match_self=False, with_null=True)
    everything = found.probe([np.arange(200)] * NUM_BLOCKS).values
    assert inputs.pools is not None
    for place, block in enumerate((2, 3)):
        own = everything[block - 1].astype(np.float32)
        overlap, union = sets.overlap[block - 1], sets.of_bridge["en"][block - 1] | sets.of_bridge["fr"][block - 1]
        assert np.array_equal(inputs.x[place].numpy(), own[overlap])
        assert np.array_equal(inputs.y[place].numpy(), own[union])
        pool = inputs.pools[place]
        where = np.array([int(np.flatnonzero((own == row).all(axis=1))[0]) for row in pool.values.numpy()])
        for columns, matches, code in zip(inputs.columns, pool.matches, ("en", "fr"), strict=True):
            members = np.flatnonzero(sets.of_bridge[code][block - 1])
            assert np.array_equal(np.flatnonzero(union)[columns[place].numpy()], members)
            shares = np.stack([found.profile(language).share[block - 1] for language in ("de", "sw")], axis=1)
            expected = matched_neurons(mask(members, 200), ~mask(members, 200), shares, 4)
            given = matches.numpy()
            assert np.array_equal(np.where(given >= 0, where[given], -1), expected)
            assert (given >= 0).sum() > 5
        rows, columns_of_any = np.flatnonzero(overlap), np.flatnonzero(union)
        assert np.array_equal(pool.is_own.numpy(), rows[:, None] == columns_of_any)
        assert np.array_equal(pool.is_own_in_pool.numpy(), rows[:, None] == where)
        excluded = inputs.excluded[place]
        assert excluded is not None
        assert np.array_equal(excluded.numpy(), pool.is_own.numpy())


def test_the_ranking_says_how_random_neurons_do() -> None:
    found = evidence(width=200)
    ranking = Hsic(name="hsic", hsic={"orders": 1, "bootstrap": 20}).rank(found)
    p_values = [record.p_neuron_null for record in ranking.scores.values()]
    assert all(p is not None and 1 / 200 <= p <= 1 for p in p_values)
    assert [record.p_neuron_null_corrected for record in ranking.scores.values()] == holm([p or 0.0 for p in p_values])
    # Sets drawn by hand from the same neurons and matches score like its own.
    inputs = block_inputs(found, neuron_sets(found, "all"), ranking.blocks, match_self=True, with_null=True)
    assert inputs.pools is not None
    random = np.random.default_rng(1)
    drawn: list[float] = []
    observed: list[float] = []
    num_matched = 0
    for number in range(61):
        per_block = []
        for block, (x, y, pool) in enumerate(zip(inputs.x, inputs.y, inputs.pools, strict=True)):
            matches, columns = pool.matches[0].numpy(), inputs.columns[0][block].numpy()
            kept = (matches >= 0).any(axis=1)
            rows = np.concatenate([columns[:, None], np.where(matches >= 0, len(y) + matches, -1)], axis=1)[kept]
            taken = [random.choice(row[row >= 0]) if number else row[0] for row in rows]
            values = hsic_matrix(x, torch.cat([y, pool.values])[taken]).values
            same = torch.cat([pool.is_own, pool.is_own_in_pool], dim=1)[:, taken]
            per_block.append(block_score(values, excluded=same))
            num_matched += int(kept.sum())
        (drawn if number else observed).append(float(np.mean(per_block)))
    record = ranking.scores["en"]
    assert record.without_self_matches == pytest.approx(observed[0], rel=1e-4)
    assert record.random_neurons == pytest.approx(np.mean(drawn), abs=4 * np.std(drawn) / 60**0.5)
    assert record.matched == pytest.approx(num_matched / 61 / sum(len(c) for c in inputs.columns[0]))


def test_no_draws_and_the_published_estimator_read_no_pool() -> None:
    for keys in ({"draws": 0}, {"estimator": "paper"}):
        ranking = Hsic(name="hsic", hsic={"orders": 1, "bootstrap": 0, **keys}).rank(evidence())
        assert all(record.p_neuron_null is None for record in ranking.scores.values())


@pytest.mark.parametrize("which", ["overlap", "bridge", "both"])
def test_random_sets_hold_each_matched_neuron_or_one_of_its_matches(which: str) -> None:
    found = evidence(width=400)
    sets = neuron_sets(found, "all")
    made = ablation_sets(found, "fr", which, "all")
    assert len(made.random) == NUM_RANDOM_SETS
    num_own = 0
    for block in range(1, NUM_BLOCKS + 1):
        own = {
            "overlap": sets.overlap[block - 1],
            "bridge": sets.of_bridge["fr"][block - 1],
            "both": sets.overlap[block - 1] | sets.of_bridge["fr"][block - 1],
        }[which]
        assert np.array_equal(made.chosen[block], np.flatnonzero(own))
        languages = [found.profile(code) for code in ("de", "sw", "fr")]
        mean = np.mean([profile.mean[block - 1] for profile in languages], axis=0)
        share = np.mean([profile.share[block - 1] for profile in languages], axis=0)
        likeness = np.stack([share, mean], axis=1)
        matches = matched_neurons(own, ~own, likeness, 4)
        has_match = (matches >= 0).any(axis=1)
        assert np.array_equal(made.matched[block], np.flatnonzero(own)[has_match])
        assert made.means[block] == pytest.approx(mean)
        for drawn in made.random:
            assert len(set(drawn[block])) == has_match.sum()
            assert set(drawn[block]) <= {*np.flatnonzero(own)[has_match], *matches[matches >= 0]}
            for member, stand_ins in zip(np.flatnonzero(own)[has_match], matches[has_match], strict=True):
                assert len(set(drawn[block]) & {member, *stand_ins[stand_ins >= 0]}) == 1
            num_own += int(own[drawn[block]].sum())
        # A quarter of a standard deviation a neuron at most; their mean is closer.
        for likeness_of in likeness.T:
            gap = likeness_of[made.matched[block]].mean() - np.mean([likeness_of[d[block]].mean() for d in made.random])
            assert abs(gap) < 0.15 * likeness_of.std()
    assert made.num_neurons == sum(map(len, made.chosen.values()))
    assert 0 < made.num_matched <= made.num_neurons
    assert 0.15 < num_own / (NUM_RANDOM_SETS * made.num_matched) < 0.55


def test_too_few_different_sets_are_none() -> None:
    # Two neurons with at most four matches each: 25 sets.
    made = ablation_sets(evidence(neuron_share=2 / (NUM_BLOCKS * WIDTH)), "fr", "bridge", "all")
    assert (made.random, made.num_neurons) == ((), 2)


def test_a_set_without_neurons_is_named() -> None:
    with pytest.raises(MissingEvidence, match="no such neuron at probe.neuron_share=0.001. Raise probe.neuron_share"):
        ablation_sets(evidence(neuron_share=0.001), "fr", "overlap", "all")
