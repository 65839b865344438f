"""Every strategy on evidence of plain data, against planted winners and slow forms from the definitions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from bridgex.languages import Pair
from bridgex.records.schema import StrategyRecord
from bridgex.select.evidence import Evidence, Floats, RouteScores
from bridgex.select.strategies.base import LABEL_FREE, MissingEvidence, Strategy, ranking_of, ranking_of_means
from bridgex.select.strategies.compare import Compare
from bridgex.select.strategies.neurons import Cosine, Hsic, Overlap
from bridgex.select.strategies.simple import Fixed, NoBridge, Oracle, Random
from bridgex.select.strategies.words import Confidence, Lexical
from tests.select.planted import MIDDLE, NUM_BLOCKS, WIDTH, even, make_evidence, noise
from tests.select.slow_hsic import slow_score

# Source and target share 0, 1, 2; every candidate has five neurons, of which `es` shares one with both.
SETS = {
    "de": even([0, 1, 2, 3, 4]),
    "sw": even([0, 1, 2, 5, 6]),
    "en": even([10, 11, 12, 13, 14]),
    "fr": even([15, 16, 17, 18, 19]),
    "es": even([2, 20, 21, 22, 23]),
}


def hsic(**keys: Any) -> Hsic:
    own = {key: keys.pop(key) for key in ("estimator", "transform", "orders", "bootstrap") if key in keys}
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
    # The same as giving residuals of a least-squares fit.
    design = np.stack([np.ones(len(tokens)), tokens], axis=1)
    residuals = [block - (design @ np.linalg.lstsq(design, block.T, rcond=None)[0]).T for block in values]
    expected = hsic().rank(make_evidence(sets, residuals))
    assert scores_of(on) == pytest.approx(scores_of(expected), abs=1e-5)
    # Where length does not vary there is nothing to take out.
    same = np.full(80, 6)
    still = hsic().rank(make_evidence(sets, values, num_tokens=same, partial_length=True))
    assert scores_of(still) == scores_of(hsic().rank(make_evidence(sets, values, num_tokens=same)))


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

    hsic().rank(replace(evidence, probe=probe))
    own = [0, 1, 2, *range(10, 24)]
    assert asked == [[[], own, own, own, []]]


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


def sure(values: dict[str, Floats], **more: Any) -> StrategyRecord:
    evidence = make_evidence({}, candidates=list(values), confidence=lambda: values, **more)
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
    turned = make_evidence({}, candidates=["es", "fr", "en"], confidence=lambda: values)
    found = Confidence(name="confidence").rank(turned)
    assert list(found.scores) == ["es", "fr", "en"]
    assert {code: record.rank for code, record in found.scores.items()} == {
        code: record.rank for code, record in first.scores.items()
    }


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
    classes: dict[str, type[Strategy]] = {
        "hsic": Hsic, "overlap": Overlap, "cosine": Cosine, "lexical": Lexical, "confidence": Confidence,
        "random": Random,
    }  # fmt: skip
    assert not classes[name].uses_labels
    assert not classes[name].evaluates_all
    # Were a label looked at, the evidence would say so.
    random = np.random.default_rng(0)
    words = {code: random.standard_normal(9) for code in SETS}
    evidence = make_evidence(
        SETS, noise(0, 9), pair="de-sw", dictionary=lambda a, b: {"a": ("b",)}, confidence=lambda: words
    )
    assert set(classes[name](name=name).rank(evidence).scores) == {"en", "fr", "es"}


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
    given: dict[str, Any] = {
        "dictionary": lambda a, b: {"word": ("wort",)},
        "confidence": lambda: words,
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


def test_compare_records_what_is_missing_and_goes_on() -> None:
    silent = [np.ones((WIDTH, 24))] * NUM_BLOCKS
    evidence = replace(whole_evidence(dictionary=lambda a, b: None), probe=make_evidence(SETS, silent).probe)
    compare = Compare(name="compare")
    found = compare.rank_all(evidence)
    assert {name for name, ranking in found.items() if ranking.missing is not None} == {"hsic", "lexical"}
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
