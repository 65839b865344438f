"""Every strategy on evidence of plain data, against planted winners and slow forms from the definitions."""

from __future__ import annotations

import importlib.machinery
import math
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from bridgex.data.typology import Distances
from bridgex.languages import Pair
from bridgex.records.schema import StrategyRecord
from bridgex.select.evidence import Evidence, Floats, RouteConfidence, RouteScores, SentenceVectors
from bridgex.select.strategies.alignment import Alignment
from bridgex.select.strategies.base import LABEL_FREE, MissingEvidence, Strategy, ranking_of, ranking_of_means
from bridgex.select.strategies.compare import Compare
from bridgex.select.strategies.convergence import Convergence
from bridgex.select.strategies.hsic_or_direct import HsicOrDirect
from bridgex.select.strategies.neurons import Cosine, Hsic, Overlap
from bridgex.select.strategies.simple import Fixed, NoBridge, Oracle, Random
from bridgex.select.strategies.typology import Typology
from bridgex.select.strategies.words import Confidence, Lexical
from bridgex.stats.cka import cka
from bridgex.stats.paired import group_interval
from tests.select.planted import MIDDLE, NUM_BLOCKS, WIDTH, even, make_evidence, noise, unavailable
from tests.select.slow_hsic import slow_score
from tests.stats.references import length_residuals

# Source and target share 0, 1, 2; every candidate has five neurons, of which `es` shares one with both.
SETS = {
    "de": even([0, 1, 2, 3, 4]),
    "sw": even([0, 1, 2, 5, 6]),
    "en": even([10, 11, 12, 13, 14]),
    "fr": even([15, 16, 17, 18, 19]),
    "es": even([2, 20, 21, 22, 23]),
}


CLASSES: dict[str, type[Strategy]] = {
    "hsic": Hsic, "overlap": Overlap, "cosine": Cosine, "convergence": Convergence, "alignment": Alignment,
    "confidence": Confidence, "hsic_or_direct": HsicOrDirect, "lexical": Lexical, "typology": Typology,
    "random": Random,
}  # fmt: skip


def hsic(**keys: Any) -> Hsic:
    own = {key: keys.pop(key) for key in ("estimator", "transform", "orders", "bootstrap", "draws") if key in keys}
    return Hsic(name="hsic", hsic={"orders": 1, "bootstrap": 0, **own}, **keys)


def follow(
    values: list[Floats], winner: Sequence[int], leaders: Sequence[int] = (0, 1, 2), weight: float = 2.0
) -> None:
    """Makes neurons of every block depend on others, as a square does: no correlation shows it."""
    for block in values:
        for place, neuron in enumerate(winner):
            block[neuron] += weight * block[leaders[place % len(leaders)]] ** 2


def scores_of(found: StrategyRecord) -> dict[str, float]:
    return {code: record.score for code, record in found.scores.items()}


def by_rank(found: StrategyRecord) -> list[str]:
    return sorted(found.scores, key=lambda code: found.scores[code].rank)


# --- HSIC ---


@pytest.mark.parametrize("match_self", [True, False])
def test_hsic_equals_a_slow_form(match_self: bool) -> None:
    values = noise(1, 14)
    follow(values, [15, 16])
    evidence = make_evidence(SETS, values)
    found = hsic(orders=0, match_self=match_self).rank(evidence)
    assert (found.blocks, found.missing) == (list(MIDDLE), None)
    for code in ("en", "fr", "es"):
        expected = slow_score(values, [0, 1, 2], SETS[code][0], self_ok=match_self)
        assert found.scores[code].raw == pytest.approx(expected, rel=1e-5)
        assert found.scores[code].score == found.scores[code].raw, "without orders nothing is corrected"
        assert np.mean(list((found.scores[code].block_scores or {}).values())) == pytest.approx(expected, rel=1e-5)


def test_the_score_is_the_raw_one_less_the_mean_over_shifts() -> None:
    num = 8
    values = noise(2, num)
    follow(values, [15, 16])
    found = hsic(orders=1).rank(make_evidence(SETS, values, seed=5))
    order = torch.randperm(num, generator=torch.Generator().manual_seed(5)).numpy()
    shuffled = [block[:, order] for block in values]
    for code in ("en", "fr", "es"):
        arrangements = [slow_score(shuffled, [0, 1, 2], SETS[code][0], shift=shift) for shift in range(num)]
        record = found.scores[code]
        assert record.raw == pytest.approx(arrangements[0], rel=1e-4)
        assert record.score == pytest.approx(arrangements[0] - np.mean(arrangements[1:]), rel=1e-4)
        at_least = sum(value >= arrangements[0] * (1 - 1e-6) for value in arrangements)
        assert record.p_any_dependence == pytest.approx(at_least / num)


@pytest.mark.parametrize("estimator", ["normalised", "unbiased", "biased", "paper"])
@pytest.mark.parametrize("transform", ["none", "rank"])
def test_hsic_finds_the_planted_bridge(estimator: str, transform: str) -> None:
    values = noise(3, 60)
    follow(values, [15, 16, 17, 18, 19])
    sets = {code: SETS[code] for code in ("de", "sw", "en", "fr")}
    found = hsic(estimator=estimator, transform=transform, bootstrap=40).rank(make_evidence(sets, values))
    assert by_rank(found) == ["fr", "en"]
    best, other = found.scores["fr"], found.scores["en"]
    assert best.p_any_dependence == 1 / 60
    assert best.ci95 is not None
    assert best.ci95[0] > other.score
    assert (best.p_rank1 or 0) + (other.p_rank1 or 0) == pytest.approx(1.0)
    assert found.margin == pytest.approx(best.score - other.score)
    assert found.margin_ci95 is not None
    assert found.margin_ci95[0] > 0


def test_readings_use_other_neurons_of_the_bridge() -> None:
    values = noise(4, 30)
    evidence = make_evidence(SETS, values)
    sizes = {
        reading: hsic(neurons=reading).rank(evidence).set_sizes for reading in ("all", "specific", "specific_top_k")
    }
    assert {reading: found["es"][2] for reading, found in sizes.items()} == {
        "all": 5,
        "specific": 4,
        "specific_top_k": 3,
    }
    assert all(found["overlap"] == dict.fromkeys(MIDDLE, 3) for found in sizes.values())


def test_self_matches_are_recorded_and_can_be_left_out() -> None:
    evidence = make_evidence(SETS, noise(5, 40))
    with_self, without = hsic().rank(evidence), hsic(match_self=False).rank(evidence)
    assert with_self.scores["es"].self_matches == pytest.approx(1 / 3)
    assert with_self.scores["en"].self_matches == 0
    assert by_rank(with_self)[0] == "es", "a neuron depends on nothing as on itself"
    assert without.scores["es"].raw < with_self.scores["es"].raw - 0.1
    assert without.scores["en"].raw == pytest.approx(with_self.scores["en"].raw)
    # All that is left is one neuron, the same in every set.
    narrow = dict.fromkeys(("de", "sw", "en"), even([0]))
    with pytest.raises(MissingEvidence, match=r"probe\.neuron_share"):
        hsic(match_self=False).rank(make_evidence(narrow, noise(5, 40)))


def with_length(seed: int, num: int) -> tuple[list[Floats], Any]:
    """`en` follows the overlap through the prompt's length alone; `fr` follows it itself, more weakly."""
    values = noise(seed, num)
    tokens = np.random.default_rng(seed + 100).integers(4, 12, size=num)
    for block in values:
        block[[0, 1, 2, 10, 11, 12, 13, 14]] += 3.0 * (tokens - tokens.mean())
    follow(values, [15, 16, 17, 18, 19], weight=0.0)
    for block in values:
        own = block[[0, 1, 2]] - 3.0 * (tokens - tokens.mean())
        block[[15, 16, 17]] += 1.5 * own
    return values, tokens


def test_partial_length_takes_out_what_length_alone_does() -> None:
    values, tokens = with_length(6, 80)
    sets = {code: SETS[code] for code in ("de", "sw", "en", "fr")}
    off = hsic().rank(make_evidence(sets, values, num_tokens=tokens))
    on = hsic().rank(make_evidence(sets, values, num_tokens=tokens, partial_length=True))
    assert by_rank(off) == ["en", "fr"]
    assert by_rank(on) == ["fr", "en"]
    assert abs(on.scores["en"].score) < 0.03
    # The same as giving what is left of each neuron.
    expected = hsic().rank(make_evidence(sets, [length_residuals(block, tokens) for block in values]))
    assert scores_of(on) == pytest.approx(scores_of(expected), abs=1e-5)
    # Where length does not vary there is nothing to take out.
    same = np.full(80, 6)
    still = hsic().rank(make_evidence(sets, values, num_tokens=same, partial_length=True))
    assert scores_of(still) == scores_of(hsic().rank(make_evidence(sets, values, num_tokens=same)))


def test_lengths_are_not_taken_out_of_a_few_words() -> None:
    sets = {code: SETS[code] for code in ("de", "sw", "en", "fr")}

    def rank(num: int, tokens: Any, is_taken_out: bool = True) -> StrategyRecord:
        return hsic().rank(make_evidence(sets, noise(5, num), num_tokens=tokens, partial_length=is_taken_out))

    varying = 4 + np.arange(19) % 3
    with pytest.raises(MissingEvidence) as error:
        rank(19, varying)
    assert str(error.value) == (
        "probe.partial_length=true: 19 probe words of several lengths, and at least 20 are needed to take out what "
        "length does. Raise probe.limit, give a longer word list, or use probe.partial_length=false"
    )
    assert set(rank(20, 4 + np.arange(20) % 3).scores) == {"en", "fr"}
    assert set(rank(19, varying, is_taken_out=False).scores) == {"en", "fr"}
    assert set(rank(19, np.full(19, 5)).scores) == {"en", "fr"}, "of one length there is nothing to take out"


def test_a_block_that_lacks_neurons_for_one_candidate_is_dropped_for_all() -> None:
    fr = [list(block) for block in SETS["fr"]]
    fr[0], fr[2] = fr[0] + [24, 25, 26, 27, 28], []
    values = noise(7, 20)
    evidence = make_evidence({**SETS, "fr": fr}, values)
    found = hsic(orders=0).rank(evidence)
    assert found.blocks == [2, 4]
    assert found.set_sizes["fr"] == {2: 5, 3: 0, 4: 5}, "the record shows why block 3 does not count"
    assert found.set_sizes["en"] == {2: 5, 3: 5, 4: 5}
    for record in found.scores.values():
        assert list(record.block_scores or {}) == [2, 4]
        assert record.raw == pytest.approx(np.mean(list((record.block_scores or {}).values())))
    # A block where they are, but do not vary, is no better.
    values[3][15:20] = 1.0
    assert hsic(orders=0).rank(evidence).blocks == [2]


def test_only_the_neurons_that_count_are_asked_for() -> None:
    evidence = make_evidence(SETS, noise(8, 12))
    asked: list[list[list[int]]] = []

    def probe(neurons: Any) -> Any:
        asked.append([index.tolist() for index in neurons])
        return evidence.probe(neurons)

    hsic(draws=0).rank(replace(evidence, probe=probe))
    own = [0, 1, 2, *range(10, 24)]
    assert asked == [[[], own, own, own, []]]
    # With random neurons to compare with, their matches too, in the same blocks.
    hsic().rank(replace(evidence, probe=probe))
    assert [len(index) > len(own) and set(own) <= set(index) for index in asked[1]] == [False, True, True, True, False]


def test_without_a_usable_block_the_reason_names_the_share() -> None:
    apart = {"de": even([0, 1]), "sw": even([2, 3]), "en": even([4, 5])}
    with pytest.raises(MissingEvidence) as error:
        hsic().rank(make_evidence(apart, noise(9, 12)))
    assert str(error.value) == (
        "no middle block has neurons that de and sw share and varying neurons of every candidate, at "
        "probe.neuron_share=0.0666667. Raise probe.neuron_share, widen probe.depth, or name fewer bridge.candidates"
    )
    constant = [np.ones((WIDTH, 12))] * NUM_BLOCKS
    with pytest.raises(MissingEvidence, match=r"at probe\.neuron_share=0\.166667"):
        hsic().rank(make_evidence(SETS, constant))


@pytest.mark.parametrize("estimator", ["normalised", "unbiased"])
def test_nothing_depends_on_anything_then_no_candidate_is_favoured_by_its_size(estimator: str) -> None:
    """`en` has 2 neurons in each middle block and `fr` 14; at the ends they make up for it."""

    def language(inner: Sequence[int], outer: int) -> list[list[int]]:
        return [list(inner) if block + 1 in MIDDLE else list(range(outer)) for block in range(NUM_BLOCKS)]

    sets = {
        "de": language([0, 1, 2, 3, 4, *range(20, 24)], 9),
        "sw": language([0, 1, 2, 3, 4, *range(24, 28)], 9),
        "en": language([5, 6], 19),
        "fr": language(range(10, 24), 1),
    }
    # 45 neurons each.
    sets["en"][0].append(19)
    sets["fr"][0].append(1)
    found = [hsic(estimator=estimator).rank(make_evidence(sets, noise(seed, 24))) for seed in range(40)]
    raw = np.array([[f.scores[code].raw for code in ("en", "fr")] for f in found])
    corrected = np.array([[f.scores[code].score for code in ("en", "fr")] for f in found])
    standard_error = corrected.std(axis=0) / math.sqrt(len(found))
    assert (np.abs(corrected.mean(axis=0)) < 3.5 * standard_error).all()
    assert (raw[:, 1] - raw[:, 0]).mean() > 10 * standard_error.max(), "uncorrected, the larger set would win"
    wins = sum(by_rank(f)[0] == "fr" for f in found)
    assert 9 <= wins <= 31, "binomial(40, 1/2) has 99.97 % there"


def test_hsic_does_not_hang_on_scale_or_the_order_of_words_and_candidates() -> None:
    values = noise(10, 30)
    follow(values, [15, 16])
    first = hsic().rank(make_evidence(SETS, values))
    random = np.random.default_rng(0)
    scaled = [block * random.uniform(0.1, 50.0, (WIDTH, 1)) + random.uniform(-3, 3, (WIDTH, 1)) for block in values]
    assert scores_of(hsic().rank(make_evidence(SETS, scaled))) == pytest.approx(scores_of(first), abs=1e-4)
    order = random.permutation(30)
    moved = hsic().rank(make_evidence(SETS, [block[:, order] for block in values]))
    for code, record in first.scores.items():
        assert moved.scores[code].raw == pytest.approx(record.raw, abs=1e-6)
        assert moved.scores[code].score == pytest.approx(record.score, abs=0.02), "other shifts, the same chance"
    turned = hsic(bootstrap=30).rank(make_evidence(SETS, values, candidates=["es", "fr", "en"]))
    straight = hsic(bootstrap=30).rank(make_evidence(SETS, values, candidates=["en", "fr", "es"]))
    for code, record in straight.scores.items():
        assert turned.scores[code].score == pytest.approx(record.score, abs=1e-6)
        assert turned.scores[code].rank == record.rank
        assert turned.scores[code].p_rank1 == record.p_rank1


def test_equal_candidates_tie_and_keep_their_order() -> None:
    sets = {**SETS, "it": SETS["fr"]}
    values = noise(11, 30)
    follow(values, [15, 16])
    for candidates in (["fr", "en", "it"], ["it", "en", "fr"]):
        found = hsic().rank(make_evidence(sets, values, candidates=candidates))
        assert found.ties == [[candidates[0], candidates[2]]]
        assert by_rank(found) == [candidates[0], candidates[2], "en"]
        assert found.margin == pytest.approx(0.0, abs=1e-9)


# --- the other strategies ---


def test_overlap_counts_shared_neurons_over_all_blocks() -> None:
    sets = {
        "de": even([0, 1, 2]),
        "sw": even([2, 3, 4]),
        "en": even([0, 1, 9]),
        "fr": even([2, 3, 9]),
        "es": even([7, 8, 9]),
    }
    found = Overlap(name="overlap").rank(make_evidence(sets))
    assert scores_of(found) == {"en": 5.0, "fr": 7.5, "es": 0.0}
    assert {code: record.smaller_leg for code, record in found.scores.items()} == {"en": 0.0, "fr": 5.0, "es": 0.0}
    assert by_rank(found) == ["fr", "en", "es"]
    assert found.margin == 2.5


def test_overlap_ties_are_recorded_and_keep_the_order() -> None:
    sets = {"de": even([0, 1]), "sw": even([2, 3]), "en": even([0, 9]), "fr": even([3, 9]), "es": even([8, 9])}
    for candidates in (["es", "fr", "en"], ["en", "es", "fr"]):
        found = Overlap(name="overlap").rank(make_evidence(sets, candidates=candidates))
        kept = [code for code in candidates if code != "es"]
        assert (found.ties, by_rank(found)) == ([kept], [*kept, "es"])


def test_cosine_takes_the_mean_over_languages_off() -> None:
    found = Cosine(name="cosine").rank(make_evidence(SETS))
    codes = ["de", "sw", "en", "fr", "es"]
    share = {code: np.concatenate(make_evidence(SETS).profile(code).share) for code in codes}
    centre = sum(share.values()) / 5  # type: ignore[operator]

    def alike(a: str, b: str) -> float:
        first, second = (share[a] - centre).tolist(), (share[b] - centre).tolist()
        dot = sum(x * y for x, y in zip(first, second, strict=True))
        return float(dot / math.sqrt(sum(x * x for x in first) * sum(y * y for y in second)))

    for code in codes[2:]:
        legs = alike("de", code), alike(code, "sw")
        assert found.scores[code].score == pytest.approx(sum(legs) / 2)
        assert found.scores[code].smaller_leg == pytest.approx(min(legs))
    assert by_rank(found)[0] == "es"


def test_cosine_of_languages_that_are_all_alike_is_a_tie_not_nan() -> None:
    found = Cosine(name="cosine").rank(make_evidence(dict.fromkeys(["de", "sw", "en", "fr"], even([0]))))
    assert scores_of(found) == {"en": 0.0, "fr": 0.0}
    assert found.ties == [["en", "fr"]]


WORDS = {
    ("de", "en"): {"haus": ("house",), "maus": ("mouse", "rodent")},
    ("en", "nl"): {"house": ("huis",), "mouse": ("muis",)},
    ("de", "fr"): {"haus": ("maison",), "maus": ("souris",)},
    ("fr", "nl"): {"maison": ("huis",), "souris": ("muis",)},
}


def lexical(pair: str, candidates: Sequence[str]) -> StrategyRecord:
    evidence = make_evidence({}, pair=pair, candidates=candidates, dictionary=lambda a, b: WORDS.get((a, b)))
    return Lexical(name="lexical").rank(evidence)


def test_lexical_is_one_less_edits_by_length() -> None:
    found = lexical("de-nl", ["fr", "en"])
    # haus-house 2 of 5, maus-mouse 2 of 5 (the nearest of its translations); house-huis 3 of 5, mouse-muis 3 of 5
    assert found.scores["en"].score == pytest.approx((0.6 + 0.4) / 2)
    assert found.scores["en"].smaller_leg == pytest.approx(0.4)
    assert by_rank(found) == ["en", "fr"]


@pytest.mark.parametrize(
    ("pair", "candidates", "reason"),
    [
        ("de-zh", ["en"], "no dictionary|en is written in Latn and zh in Hans: spelling tells nothing"),
        ("de-nl", ["en", "ru"], "de is written in Latn and ru in Cyrl: spelling tells nothing"),
        ("de-nl", ["en", "es"], "no dictionary de-es to compare spellings by"),
    ],
)
def test_lexical_is_missing_across_scripts_and_without_a_list(pair: str, candidates: list[str], reason: str) -> None:
    with pytest.raises(MissingEvidence, match=reason):
        lexical(pair, candidates)


def test_lexical_of_an_empty_list_is_missing_not_nan() -> None:
    evidence = make_evidence({}, pair="de-nl", candidates=["en"], dictionary=lambda a, b: {})
    with pytest.raises(MissingEvidence, match="no dictionary de-en"):
        Lexical(name="lexical").rank(evidence)


def evenly(values: Mapping[str, Floats]) -> dict[str, RouteConfidence]:
    """Routes whose steps are all equally sure."""
    return {route: RouteConfidence(mean=found, weakest=found) for route, found in values.items()}


def sure(values: dict[str, Floats], **more: Any) -> StrategyRecord:
    evidence = make_evidence({}, candidates=list(values), confidence=lambda routes: evenly(values), **more)
    return Confidence(name="confidence").rank(evidence)


def test_confidence_is_the_mean_over_words_with_paired_intervals() -> None:
    random = np.random.default_rng(0)
    shared = 3 * random.standard_normal(60)
    values = {"en": shared - 1.0, "fr": shared - 0.8 + 0.05 * random.standard_normal(60), "es": shared - 5.0}
    found = sure(values)
    assert scores_of(found) == pytest.approx({code: float(v.mean()) for code, v in values.items()})
    assert by_rank(found) == ["fr", "en", "es"]
    assert sum(record.p_rank1 or 0.0 for record in found.scores.values()) == pytest.approx(1.0)
    assert found.scores["fr"].p_rank1 == 1.0, "the same words for all: what they share does not blur the choice"
    # A word that is hard for all moves the means, not the margin.
    assert found.margin == pytest.approx(float(values["fr"].mean() - values["en"].mean()))
    assert found.margin_ci95 is not None
    assert 0.15 < found.margin_ci95[0] < found.margin < found.margin_ci95[1] < 0.25
    low, high = found.scores["fr"].ci95 or (0.0, 0.0)
    # The bootstrap's own error: standard error of the mean times 1.96, within a quarter.
    assert high - low == pytest.approx(2 * 1.96 * values["fr"].std() / math.sqrt(60), rel=0.25)


def test_confidence_does_not_hang_on_the_order_of_words_candidates_or_keys() -> None:
    random = np.random.default_rng(1)
    values = {code: random.standard_normal(20) for code in ("en", "fr", "es")}
    first, order = sure(values), random.permutation(20)
    assert scores_of(sure({code: v[order] for code, v in values.items()})) == pytest.approx(scores_of(first))
    turned = make_evidence({}, candidates=["es", "fr", "en"], confidence=lambda routes: evenly(values))
    found = Confidence(name="confidence").rank(turned)
    assert list(found.scores) == ["es", "fr", "en"]
    assert {code: record.rank for code, record in found.scores.items()} == {
        code: record.rank for code, record in first.scores.items()
    }


def test_confidence_looks_at_all_steps_together() -> None:
    values = {"en": RouteConfidence(np.full(9, -2.0), np.full(9, -2.5)), "fr": RouteConfidence(*np.full((2, 9), -2.2))}
    found = Confidence(name="confidence").rank(
        make_evidence({}, candidates=["fr", "en"], confidence=lambda routes: values)
    )
    assert scores_of(found) == pytest.approx({"en": -2.0, "fr": -2.2})


def test_equal_means_tie_even_where_rounding_parts_them() -> None:
    values = np.array([0.1, 0.2, 0.3, 1e-3])
    found = sure({"es": values[::-1].copy(), "en": values, "fr": values + 1.0})
    assert found.ties == [["es", "en"]]
    assert by_rank(found) == ["fr", "es", "en"]
    assert ranking_of({"a": 0.1 + 0.2, "b": 0.3}).ties == [["a", "b"]]
    assert ranking_of({"a": 0.0, "b": 0.0, "c": -1e-30}).ties == [["a", "b"]]


def test_one_candidate_and_one_word_have_no_margin_and_no_interval() -> None:
    alone = sure({"en": np.array([-1.0, -2.0])})
    assert (alone.margin, alone.margin_ci95, alone.scores["en"].p_rank1) == (None, None, 1.0)
    one_word = sure({"en": np.array([-1.0]), "fr": np.array([-2.0])})
    assert one_word.scores["en"].ci95 is None
    assert one_word.margin == 1.0


def test_intervals_of_groups_take_them_whole() -> None:
    random = np.random.default_rng(2)
    values = {code: random.standard_normal(12) for code in ("en", "fr")}
    single = ranking_of_means(values, 100, seed=0)
    fourfold = {code: np.repeat(v, 4) for code, v in values.items()}
    labels = [f"g{item // 4}" for item in range(48)]
    grouped = ranking_of_means(fourfold, 100, seed=0, groups=labels)
    for code in values:
        assert grouped.scores[code].ci95 == pytest.approx(single.scores[code].ci95)
    assert grouped.margin_ci95 == pytest.approx(single.margin_ci95)
    loose = ranking_of_means(fourfold, 100, seed=0)
    widths = [(r.scores["en"].ci95 or (0, 0))[1] - (r.scores["en"].ci95 or (0, 0))[0] for r in (loose, grouped)]
    assert widths[0] < 0.8 * widths[1], "copies taken for items of their own feign certainty"


# --- convergence ---


def converging(
    strength: Mapping[str, float], num: int = 60, width: int = 12, seed: int = 0
) -> tuple[dict[str, Any], Callable[[str], int]]:
    """Evidence in which source and target agree on the way into each candidate as much as is asked for."""
    random = np.random.default_rng(seed)
    meaning = random.standard_normal((num, width))
    vectors: dict[str, Floats] = {}
    names = {"Deutsch": "w", "Kiswahili": "v"}
    bridges = {"en": "English", "fr": "français", "es": "español"}
    for code, weight in strength.items():
        for language, letter in names.items():
            turned = meaning @ np.linalg.qr(random.standard_normal((width, width)))[0]
            own = weight * turned + random.standard_normal((num, width))
            for place in range(num):
                vectors[f'{language}:"{letter}{place}"→{bridges[code]}:"'] = own[place]
    asked: list[str] = []

    def states(prompts: Sequence[str], block: Any) -> Any:
        asked.append(str(block))
        return np.stack([vectors[prompt] for prompt in prompts]).astype(np.float32)

    pairs = [(f"w{place}", f"v{place}") for place in range(num)]
    return {"candidates": list(strength), "probe_pairs": lambda: pairs, "states": states}, asked.count


def converge(given: dict[str, Any], **keys: Any) -> StrategyRecord:
    return Convergence(name="convergence", **keys).rank(make_evidence({}, **given))


def test_convergence_is_the_cka_of_both_sides() -> None:
    given, asked = converging({"en": 0.5, "fr": 2.0, "es": 0.0})
    found = converge(given)
    assert by_rank(found) == ["fr", "en", "es"]
    assert asked("last") == 1, "all candidates at once"
    for code, name in (("en", "English"), ("fr", "français"), ("es", "español")):
        sides = [
            torch.from_numpy(given["states"]([f'{language}:"{letter}{n}"→{name}:"' for n in range(60)], "last"))
            for language, letter in (("Deutsch", "w"), ("Kiswahili", "v"))
        ]
        assert found.scores[code].score == pytest.approx(cka(*sides), rel=1e-9)
    best = found.scores["fr"]
    assert best.ci95 is not None
    assert best.ci95[0] < best.score < best.ci95[1]
    assert best.p_rank1 == 1.0
    assert found.margin_ci95 is not None
    assert found.margin_ci95[0] > 0
    assert (found.num_samples, found.uses_dictionary) == (60, True)
    assert found.origin == "hidden state after the final norm"


def test_convergence_of_unrelated_states_is_zero_and_no_candidate_is_sure() -> None:
    found = [converge(converging(dict.fromkeys(("en", "fr", "es"), 0.0), seed=seed)[0]) for seed in range(30)]
    values = np.array([[record.score for record in ranking.scores.values()] for ranking in found])
    assert abs(values.mean()) < 3.5 * values.std() / math.sqrt(values.size)
    wins = [by_rank(ranking)[0] for ranking in found]
    assert all(2 <= wins.count(code) <= 19 for code in ("en", "fr", "es")), "binomial(30, 1/3) has 99.8 % there"
    sure = np.mean([max(record.p_rank1 or 0.0 for record in ranking.scores.values()) for ranking in found])
    assert sure < 0.8


def test_convergence_does_not_hang_on_order_scale_or_rotation() -> None:
    given, _ = converging({"en": 0.5, "fr": 1.0, "es": 0.2}, num=40)
    first = converge(given)
    order = np.random.default_rng(1).permutation(40)
    pairs = given["probe_pairs"]()
    moved = converge({**given, "probe_pairs": lambda: [pairs[place] for place in order]})
    assert scores_of(moved) == pytest.approx(scores_of(first), abs=1e-6)
    turned = converge({**given, "candidates": ["es", "fr", "en"]})
    for code, record in first.scores.items():
        assert turned.scores[code].score == pytest.approx(record.score, rel=1e-9)
        assert turned.scores[code].p_rank1 == pytest.approx(record.p_rank1), "the same halves for all"
    rotation = np.linalg.qr(np.random.default_rng(2).standard_normal((12, 12)))[0]
    scaled = converge({**given, "states": lambda prompts, block: 50.0 * given["states"](prompts, block) @ rotation + 3})
    assert scores_of(scaled) == pytest.approx(scores_of(first), abs=1e-6)


def test_convergence_asks_what_its_keys_say() -> None:
    asked: list[tuple[str, Any]] = []

    def states(prompts: Sequence[str], block: Any) -> Any:
        asked.extend((prompt, block) for prompt in prompts)
        return np.random.default_rng(0).standard_normal((len(prompts), 3))

    given = {"candidates": ["en"], "probe_pairs": lambda: [(f"w{n}", f"v{n}") for n in range(5)], "states": states}
    found = converge(given, convergence={"block": 3, "prompt": "{bridge} of {language} {word} is"})
    assert asked[0] == ("English of Deutsch w0 is", 3)
    assert asked[5] == ("English of Kiswahili v0 is", 3)
    assert len(asked) == 10
    assert found.origin == "hidden state after block 3"
    assert (found.scores["en"].ci95, found.margin) == (None, None), "five words have no halves to speak of"


def test_convergence_of_states_that_do_not_vary_is_missing() -> None:
    given, _ = converging({"en": 0.5})
    with pytest.raises(MissingEvidence, match=r"into en do not vary over 60 words at block last\. Let bridge\.conv"):
        converge({**given, "states": lambda prompts, block: np.ones((len(prompts), 4), dtype=np.float32)})


@pytest.mark.parametrize("num", [0, 3])
def test_convergence_of_too_few_pairs_is_missing(num: int) -> None:
    with pytest.raises(MissingEvidence, match=f"^{num} probe words have a translation that is no right .* needs 4"):
        converge({"candidates": ["en"], "probe_pairs": lambda: [(f"w{n}", f"v{n}") for n in range(num)]})


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"block": 0}, "should be a block from 1 on, or last"),
        ({"block": True}, "should be a block from 1 on, or last"),
        ({"block": 2.0}, "should be a block from 1 on, or last"),
        ({"block": "first"}, "should be a block from 1 on, or last"),
        ({"prompt": "{language} {word}"}, "must name {bridge}"),
        ({"prompt": "{language} {bridge}"}, "must name {word}"),
        ({"prompt": "{source} {word} {bridge}"}, r"may name {language} {bridge} {word} only, found 'source'"),
    ],
)
def test_keys_of_convergence_are_checked(keys: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Convergence(name="convergence", convergence=keys)


# --- alignment, typology ---


def some_vectors(code: str, noise_of: float = 0.1, num: int = 24) -> SentenceVectors:
    """Two blocks; every language has the same sentences with noise of its own."""
    meaning = np.random.default_rng(0).standard_normal((2, num, 8))
    own = np.random.default_rng(sum(map(ord, code))).standard_normal((2, num, 8))
    return SentenceVectors((meaning + noise_of * own).astype(np.float32), (2, 3), "ntrex")


def slow_alignment(first: SentenceVectors, second: SentenceVectors) -> list[float]:
    """For each block, the share of sentences whose own translation is the nearest, both ways; by loops."""
    shares = []
    for a, b in zip(first.values.astype(float), second.values.astype(float), strict=True):
        num, found = len(a), 0
        cosine = [
            [float(x @ y) / math.sqrt(float(x @ x) * float(y @ y)) for y in b]
            for x in a
        ]  # fmt: skip
        for i in range(num):
            others = [cosine[i][j] for j in range(num) if j != i] + [cosine[j][i] for j in range(num) if j != i]
            found += cosine[i][i] > max(others)
        shares.append(found / num)
    return shares


def test_alignment_is_the_share_of_sentences_that_find_their_own() -> None:
    noises = {"de": 0.3, "sw": 0.4, "en": 0.2, "fr": 1.2, "es": 9.0}
    vectors = {code: some_vectors(code, noise) for code, noise in noises.items()}
    evidence = make_evidence({}, candidates=["en", "fr", "es"], sentence_vectors=vectors.__getitem__)
    found = Alignment(name="alignment").rank(evidence)
    assert by_rank(found) == ["en", "fr", "es"]
    for code in ("en", "fr", "es"):
        legs = [slow_alignment(vectors["de"], vectors[code]), slow_alignment(vectors[code], vectors["sw"])]
        record = found.scores[code]
        assert record.score == pytest.approx(np.mean(legs))
        assert record.smaller_leg == pytest.approx(min(np.mean(leg) for leg in legs))
        assert record.block_scores == pytest.approx(
            {2: np.mean([leg[0] for leg in legs]), 3: np.mean([leg[1] for leg in legs])}
        )
    assert 0.2 < found.scores["fr"].score < 0.9
    low, high = found.scores["fr"].ci95 or (0.0, 0.0)
    assert low < found.scores["fr"].score < high
    assert (found.origin, found.blocks, found.num_samples) == ("ntrex", [2, 3], 24)


def test_alignment_of_unrelated_sentences_is_as_rare_as_chance() -> None:
    """Of 2n - 1 equal chances, its own is the best: 1 / 47, and a little more, since the others share rows."""
    random = np.random.default_rng(0)
    shares = []
    for _ in range(40):
        drawn = {code: random.standard_normal((1, 24, 30)) for code in ("de", "sw", "en")}
        vectors = {code: SentenceVectors(value.astype(np.float32), (1,), "ntrex") for code, value in drawn.items()}
        evidence = make_evidence({}, candidates=["en"], sentence_vectors=vectors.__getitem__)
        shares.append(Alignment(name="alignment").rank(evidence).scores["en"].score)
    # Own similarity is the highest of 47 independent ones.
    assert np.mean(shares) == pytest.approx(1 / 47, abs=3.5 * math.sqrt(1 / 47 / (40 * 48)))


def test_alignment_does_not_hang_on_scale_rotation_or_order_and_ties_are_no_hits() -> None:
    vectors = {code: some_vectors(code, 0.8) for code in ("de", "sw", "en", "fr")}
    rank = Alignment(name="alignment").rank

    def scores(changed: Mapping[str, SentenceVectors]) -> dict[str, float]:
        return scores_of(rank(make_evidence({}, candidates=["en", "fr"], sentence_vectors=changed.__getitem__)))

    rotation = np.linalg.qr(np.random.default_rng(1).standard_normal((8, 8)))[0]
    order = np.random.default_rng(2).permutation(24)
    turned = {code: replace(found, values=7 * (found.values @ rotation)[:, order]) for code, found in vectors.items()}
    assert scores(turned) == pytest.approx(scores(vectors))
    same = {code: replace(found, values=np.ones_like(found.values)) for code, found in vectors.items()}
    assert scores(same) == {"en": 0.0, "fr": 0.0}, "a model that sees no difference finds nothing"
    zero = {code: replace(found, values=np.zeros_like(found.values)) for code, found in vectors.items()}
    assert scores(zero) == {"en": 0.0, "fr": 0.0}


def test_typology_is_one_less_the_mean_distance() -> None:
    known = {("de", "en"): 0.2, ("en", "sw"): 0.6, ("de", "fr"): 0.3, ("fr", "sw"): 0.3}
    asked: list[Any] = []

    def distances(legs: Any) -> Distances:
        asked.append(list(legs))
        return Distances(known, "urielplus 1.3: syntactic distance")

    found = Typology(name="typology").rank(make_evidence({}, candidates=["en", "fr"], distances=distances))
    assert asked == [list(known)], "all legs at once, so that all have the same kinds"
    assert scores_of(found) == pytest.approx({"en": 0.6, "fr": 0.7})
    assert found.scores["en"].smaller_leg == pytest.approx(0.4)
    assert found.origin == "urielplus 1.3: syntactic distance"


def test_without_its_package_typology_says_so_before_anything_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "urielplus", None)
    real, invented = Pair("de", "sw"), Pair("qaa", "qaf")
    assert Typology(name="typology").problems(real) == [
        "bridge=typology: needs the package urielplus, which is not here: pip install urielplus"
    ]
    own, lacking = Typology(name="typology", language="de").problems(real)
    assert own.startswith("bridge.language=de: is the pair's own source")
    assert "pip install urielplus" in lacking
    assert Typology(name="typology").problems(invented) == [], "what is planted needs no package"
    assert Compare(name="compare").problems(real) == [], "one strategy of many that is missing does not end a run"
    there = types.ModuleType("urielplus")
    there.__spec__ = importlib.machinery.ModuleSpec("urielplus", None)
    monkeypatch.setitem(sys.modules, "urielplus", there)
    assert Typology(name="typology").problems(real) == []


# --- hsic or direct ---


def or_direct(gains: Floats, margin: float = 0.0, **more: Any) -> tuple[HsicOrDirect, StrategyRecord]:
    direct = np.linspace(-3.0, -1.0, len(gains))
    # An easy step into the bridge lifts the mean over both, and must not count.
    routes = {
        "fr": RouteConfidence(mean=direct + gains + 5.0, weakest=direct + gains),
        **evenly({"direct": direct, "en": 9 + direct}),
    }
    evidence = replace(whole_evidence(**more), confidence=lambda wanted: {route: routes[route] for route in wanted})
    strategy = HsicOrDirect(name="hsic_or_direct", margin=margin, match_self=False, hsic={"bootstrap": 10})
    return strategy, strategy.rank(evidence)


@pytest.mark.parametrize(
    ("mean", "margin", "chose_direct"),
    [(0.5, 0.0, False), (0.05, 0.0, True), (-0.5, 0.0, True), (0.5, 0.49, True), (-0.5, -0.9, False)],
)
def test_the_bridge_is_taken_only_if_its_gain_is_clear(mean: float, margin: float, chose_direct: bool) -> None:
    gains = np.random.default_rng(0).standard_normal(50)
    gains = mean + 0.5 * (gains - gains.mean())
    strategy, found = or_direct(gains, margin)
    against = found.against_direct
    assert against is not None
    assert (against.bridge, against.margin, against.chose_direct) == ("fr", margin, chose_direct)
    assert against.gain == pytest.approx(mean)
    # The bootstrap interval of a mean: 1.96 standard errors either way.
    assert against.ci95 == pytest.approx(group_interval(gains, seed=0))
    assert against.ci95[0] == pytest.approx(mean - 1.96 * gains.std() / math.sqrt(50), abs=0.03)
    assert chose_direct == (against.ci95[0] <= margin)
    alone = hsic(orders=4, bootstrap=10, match_self=False).rank(whole_evidence())
    assert strategy.choose({"hsic_or_direct": found}) == (None if chose_direct else "fr", "hsic_or_direct")
    assert scores_of(found) == scores_of(alone), "the ranking is hsic's"


def test_by_chance_the_bridge_is_taken_one_time_in_forty() -> None:
    strategy = HsicOrDirect(name="hsic_or_direct")
    ranking = ranking_of({"fr": 2.0, "en": 1.0})
    taken = 0
    for seed in range(300):
        random = np.random.default_rng(seed)
        values = evenly({route: random.standard_normal(60) for route in ("fr", "direct")})
        evidence = make_evidence({}, candidates=["fr", "en"], confidence=lambda routes, values=values: values)
        against = strategy.weigh(ranking, evidence).against_direct
        assert against is not None
        taken += not against.chose_direct
    assert 1 <= taken <= 18, "binomial(300, 1/40) has 99.9 % there"


def test_without_a_ranking_there_is_nothing_to_weigh() -> None:
    with pytest.raises(MissingEvidence, match="raise the share"):
        HsicOrDirect(name="hsic_or_direct").weigh(
            StrategyRecord(scores={}, missing="raise the share"), make_evidence({}, candidates=["fr"])
        )


def routes() -> RouteScores:
    return RouteScores(
        direct=np.array([1.0, 0.0, 0.0, 0.0]),
        via={"fr": np.array([0.0, 1.0, 1.0, 1.0]), "en": np.array([1.0, 1.0, 0.0, 0.0])},
        groups=("a", "a", "b", "b"),
    )


def test_the_oracle_looks_at_labels_and_takes_groups_whole() -> None:
    assert Oracle.uses_labels
    assert Oracle.evaluates_all
    found = Oracle(name="oracle").rank(make_evidence({}, candidates=["en", "fr"], route_scores=routes))
    assert scores_of(found) == {"en": 0.5, "fr": 0.75}
    assert list(found.scores) == ["en", "fr"]
    # Of two groups, all replicates are one of three means.
    assert found.scores["en"].ci95 == (0.0, 1.0)
    assert found.scores["fr"].ci95 == (0.5, 1.0)


@pytest.mark.parametrize("name", LABEL_FREE)
def test_no_other_strategy_uses_labels(name: str) -> None:
    strategy = CLASSES[name]
    assert not strategy.uses_labels
    assert not strategy.evaluates_all
    assert strategy.uses_dictionary == (name == "convergence")
    # Were a label looked at, the evidence would say so.
    evidence = whole_evidence(route_scores=unavailable)
    if not strategy.uses_dictionary:
        evidence = replace(evidence, probe_pairs=unavailable)
    found = strategy(name=name).rank(evidence)
    assert set(found.scores) == {"en", "fr", "es"}
    assert found.uses_dictionary == strategy.uses_dictionary


def test_random_hangs_on_seed_and_pair_only() -> None:
    def chance(seed: int = 0, pair: str = "de-sw", candidates: Sequence[str] = ("en", "fr", "es")) -> dict[str, float]:
        return scores_of(Random(name="random").rank(make_evidence({}, pair=pair, candidates=candidates, seed=seed)))

    first = chance()
    assert chance() == first
    assert chance(candidates=["es", "en", "fr"]) == first
    assert chance(candidates=["fr"]) == {"fr": first["fr"]}
    assert all(chance(seed=1)[code] != first[code] for code in first)
    assert all(chance(pair="sw-de")[code] != first[code] for code in first)
    wins = [max(found, key=found.__getitem__) for found in (chance(seed=seed) for seed in range(300))]
    assert all(70 <= wins.count(code) <= 130 for code in first), "binomial(300, 1/3) has 99.97 % there"


def test_none_and_fixed_rank_nothing() -> None:
    evidence = make_evidence({}, candidates=["fr"])
    nothing, fixed = NoBridge(name="none"), Fixed(name="fixed", language="fr")
    assert nothing.candidates_of(Pair("de", "sw")) == ()
    assert nothing.rank_all(evidence) == {}
    assert nothing.choose({}) == (None, None)
    assert fixed.candidates_of(Pair("de", "sw")) == ("fr",)
    assert fixed.choose(fixed.rank_all(evidence)) == ("fr", "fixed")


# --- all of them side by side ---


def whole_evidence(**more: Any) -> Evidence:
    values = noise(12, 24)
    follow(values, [15, 16, 17, 18, 19])
    words = {"en": np.linspace(-2, -1, 24), "fr": np.linspace(-3, -1, 24), "es": np.linspace(-9, -1, 24)}
    routes = {**words, "direct": np.linspace(-5, -1, 24)}
    given: dict[str, Any] = {
        "dictionary": lambda a, b: {"word": ("wort",)},
        "probe_pairs": lambda: [(f"w{n}", f"v{n}") for n in range(24)],
        "confidence": lambda wanted: evenly({route: routes[route] for route in wanted}),
        "states": lambda prompts, block: np.random.default_rng(0).standard_normal((len(prompts), 6)),
        "sentence_vectors": lambda code: some_vectors(code, noise_of=1.0),
        "distances": lambda legs: Distances(dict.fromkeys(legs, 0.25), "made up"),
        "route_scores": lambda: RouteScores(np.zeros(24), {code: -w for code, w in words.items()}, ("g",) * 24),
    }
    return make_evidence(SETS, values, **(given | more))


def test_compare_ranks_by_every_strategy() -> None:
    compare = Compare(name="compare", match_self=False, hsic={"bootstrap": 10})
    found = compare.rank_all(whole_evidence())
    assert list(found) == [*LABEL_FREE, "oracle"]
    assert all(ranking.missing is None and set(ranking.scores) == {"en", "fr", "es"} for ranking in found.values())
    assert all(ranking.seconds > 0 for ranking in found.values())
    assert compare.choose(found) == ("fr", "hsic")
    assert compare.rank(whole_evidence()).scores == found["hsic"].scores
    alone = Hsic(name="hsic", match_self=False, hsic={"bootstrap": 10}).rank(whole_evidence())
    assert found["hsic"].scores == alone.scores, "the keys of bridge reach each strategy"
    by_confidence = Compare(name="compare", primary="confidence")
    assert by_confidence.choose(found) == ("en", "confidence")
    assert found["hsic_or_direct"].scores == found["hsic"].scores
    assert Compare(name="compare", primary="hsic_or_direct").choose(found) == ("fr", "hsic_or_direct")


def test_compare_with_direct_as_its_choice_chooses_no_bridge() -> None:
    surer = {"en": -2.0, "fr": -2.0, "es": -2.0, "direct": -1.0}
    words = {route: np.full(24, value) + np.linspace(0, 0.1, 24) for route, value in surer.items()}
    compare = Compare(name="compare", primary="hsic_or_direct", match_self=False)
    found = compare.rank_all(whole_evidence(confidence=lambda wanted: evenly(words)))
    assert compare.choose(found) == (None, "hsic_or_direct")
    assert Compare(name="compare").choose(found) == ("fr", "hsic"), "hsic itself knows no direct"


def test_compare_computes_hsic_once() -> None:
    evidence = whole_evidence()
    asked: list[None] = []

    def probe(neurons: Any) -> Any:
        asked.append(None)
        return evidence.probe(neurons)

    Compare(name="compare", hsic={"bootstrap": 10}).rank_all(replace(evidence, probe=probe))
    assert len(asked) == 1


def test_compare_records_what_is_missing_and_goes_on() -> None:
    silent = [np.ones((WIDTH, 24))] * NUM_BLOCKS
    evidence = replace(whole_evidence(dictionary=lambda a, b: None), probe=make_evidence(SETS, silent).probe)
    compare = Compare(name="compare")
    found = compare.rank_all(evidence)
    missing = {name for name, ranking in found.items() if ranking.missing is not None}
    assert missing == {"hsic", "hsic_or_direct", "lexical"}
    assert found["hsic_or_direct"].missing == found["hsic"].missing
    assert "Raise probe.neuron_share" in (found["hsic"].missing or "")
    assert found["lexical"].missing == "no dictionary de-en to compare spellings by"
    assert found["lexical"].scores == {}
    assert compare.choose(found) == (None, "hsic")
    assert Compare(name="compare", primary="overlap").choose(found)[0] is not None


def test_compare_marks_no_labels_but_evaluates_every_candidate() -> None:
    assert not Compare.uses_labels, "the oracle among its strategies cannot be the primary one"
    assert Compare.evaluates_all
    with pytest.raises(ValueError, match="primary"):
        Compare(name="compare", primary="oracle")  # type: ignore[arg-type]
