"""The planted world: the same everywhere, nothing held out leaks, and the data files are what they claim."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from bridgex.data.toy_world import (
    CODES,
    Dice,
    Fact,
    ToyWorld,
    contact_hub,
    family,
    family_hub,
    genealogical_distance,
    hubs,
    tier,
    word_order,
)
from tests.data.toy_reading import meanings

DRAWS = [52, 940, 145, 867, 282]
SHUFFLED = "fdhegcab"


class TestSameEverywhere:
    def test_draws_are_the_recorded_ones(self) -> None:
        dice = Dice(0, "a purpose")
        assert [dice.below(1000) for _ in range(5)] == DRAWS
        assert Dice("x").shuffled("abcdefgh") == list(SHUFFLED)

    def test_weighted_pick_takes_no_item_of_weight_zero(self) -> None:
        dice = Dice(3)
        assert {dice.pick_weighted("abc", (0.0, 1.0, 0.0)) for _ in range(200)} == {"b"}
        counts = Counter(dice.pick_weighted("abc", (1.0, 2.0, 1.0)) for _ in range(4000))
        assert counts["b"] / 4000 == pytest.approx(0.5, abs=0.04)

    def test_shuffles_are_uniform(self) -> None:
        dice = Dice(4)
        counts = Counter("".join(dice.shuffled("abc")) for _ in range(6000))
        assert len(counts) == 6
        assert all(count == pytest.approx(1000, abs=130) for count in counts.values())


class TestWorld:
    def test_families_tiers_and_contacts(self) -> None:
        assert [family(code) for code in CODES] == list("AAABBBCCCDDD")
        assert [tier(code) for code in CODES[:3]] == ["hub", "moderate", "low"]
        assert hubs() == ("qaa", "qad", "qag", "qaj")
        assert [contact_hub(code) for code in hubs()] == ["qad", "qag", "qaj", "qaa"]
        assert family_hub("qal") == "qaj"
        assert genealogical_distance("qaa", "qaa") == 0
        assert genealogical_distance("qaa", "qac") == 0.5
        assert genealogical_distance("qaa", "qad") == 1
        with pytest.raises(ValueError, match="language 'en': not a toy language; there are qaa qab"):
            tier("en")

    def test_test_concepts_are_24_of_three_classes(self, world: ToyWorld) -> None:
        assert Counter(world.word_class(concept) for concept in world.test_concepts) == {
            "noun": 14,
            "verb": 5,
            "adjective": 5,
        }
        with pytest.raises(ValueError, match="concept 120: not one of 0 to 119"):
            world.word_class(world.negation)

    def test_words_are_unique_and_of_four_letters(self, world: ToyWorld) -> None:
        for code in CODES:
            words = [world.word(code, concept) for concept in range(122)]
            assert len(set(words)) == 122
            assert all(re.fullmatch("([ptkbdgmnszlrfvhjwcqx][aeiouy]){2}", word) for word in words)
            assert [world.concept(code, word) for word in words] == list(range(122))

    @pytest.mark.parametrize("code", [code for code in CODES if tier(code) != "hub"])
    def test_daughters_follow_one_law_but_for_new_words_and_loans(self, world: ToyWorld, code: str) -> None:
        hub, lender = family_hub(code), contact_hub(code)
        laws: dict[str, Counter[str]] = {}
        for concept in range(122):
            for old, new in zip(world.word(hub, concept), world.word(code, concept), strict=True):
                laws.setdefault(old, Counter())[new] += 1
        law = {old: new.most_common(1)[0][0] for old, new in laws.items()}
        moved = [letter for letter, new in law.items() if letter != new]
        assert sum(letter in "aeiouy" for letter in moved) == 2
        assert len(moved) == 6
        irregular = [
            concept
            for concept in range(122)
            if "".join(law[letter] for letter in world.word(hub, concept)) != world.word(code, concept)
        ]
        loans = [concept for concept in irregular if world.word(code, concept) == world.word(lender, concept)]
        assert not {world.negation, world.question} & set(irregular)
        if tier(code) == "low":
            assert 25 <= len(loans) <= 30
            assert len(irregular) - len(loans) <= 12
        else:
            assert len(irregular) == 12

    def test_coverage_counts(self, world: ToyWorld) -> None:
        expected = {
            ("qaa", "qad"): 120,
            ("qaa", "qab"): 120,
            ("qaa", "qae"): 72,
            ("qab", "qae"): 48,
            ("qaa", "qac"): 108,
            ("qac", "qad"): 96,
            ("qaa", "qaf"): 14,
            ("qab", "qac"): 48,
            ("qab", "qaf"): 7,
            ("qac", "qaf"): 4,
        }
        assert {pair: len(world.covered(*pair)) for pair in expected} == expected
        assert all(world.covered(b, a) == world.covered(a, b) for a, b in expected)
        assert world.coverage_distance("qaf", "qag") == pytest.approx(0.2)
        assert world.coverage_distance("qaf", "qaf") == 0
        with pytest.raises(ValueError, match="pair qaa-qaa: two different languages"):
            world.coverage("qaa", "qaa")

    def test_weak_pairs(self, world: ToyWorld) -> None:
        weak = world.weak_pairs()
        assert len(weak) == 72
        assert ("qaa", "qaf") in weak
        assert ("qaf", "qaa") in weak
        assert not {("qaa", "qad"), ("qaf", "qag"), ("qaf", "qad")} & set(weak)
        for a, b in weak:
            assert not set(world.covered(a, b)) & set(world.test_concepts)

    def test_sentences_follow_the_order_of_the_family(self, world: ToyWorld) -> None:
        fact = Fact(0, 72, 1, is_denied=True)
        no = world.negation
        expected = {"SVO": [0, no, 72, 1], "SOV": [0, 1, no, 72], "VSO": [no, 72, 0, 1]}
        for code in CODES:
            assert meanings(world, code, world.sentence(code, fact)) == [expected[word_order(code)]]
            assert meanings(world, code, world.question_about(code, fact)) == [[world.question, 72, 0]]
