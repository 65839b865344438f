"""The planted world: twelve invented languages whose words, laws, loans and translation coverage are known.

Four families of three languages, `qaa qab qac` to `qaj qak qal`: hub, moderate, low. Everything follows from a recipe
and a seed, the same on every machine and Python version.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from itertools import combinations
from typing import Literal, NamedTuple, TypeVar

from bridgex.config.toy_recipe import ToyRecipe

CODES = tuple(f"qa{letter}" for letter in "abcdefghijkl")
FAMILIES = "ABCD"
CONSONANTS = "ptkbdgmnszlrfvhjwcqx"
VOWELS = "aeiouy"

Tier = Literal["hub", "moderate", "low"]
WordClass = Literal["noun", "verb", "adjective"]
_TIERS: tuple[Tier, Tier, Tier] = ("hub", "moderate", "low")
_ORDERS = {"A": "SVO", "B": "SOV", "C": "VSO", "D": "SVO"}

T = TypeVar("T")


class Dice:
    """A stream of random draws that is the same on every Python version.

    Only `random.Random.random` is used underneath, the one draw whose values Python promises to keep.

    Args:
        *purpose: what the stream is for; another purpose gives an independent stream.
    """

    def __init__(self, *purpose: object) -> None:
        digest = hashlib.sha256("/".join(map(str, purpose)).encode()).digest()
        self._random = random.Random(int.from_bytes(digest[:8], "big"))

    def chance(self, share: float) -> bool:
        """True with probability `share`."""
        return self._random.random() < share

    def below(self, bound: int) -> int:
        """An integer from 0 to `bound - 1`."""
        return int(self._random.random() * bound)

    def pick(self, items: Sequence[T]) -> T:
        """One of the items, all equally likely."""
        return items[self.below(len(items))]

    def pick_weighted(self, items: Sequence[T], weights: Sequence[float]) -> T:
        """One of the items, as likely as its weight says."""
        # No sum(): Python 3.12 changed how it rounds.
        total = 0.0
        for weight in weights:
            total += weight
        left = self._random.random() * total
        for item, weight in zip(items, weights, strict=True):
            left -= weight
            if left < 0:
                return item
        return items[max(place for place, weight in enumerate(weights) if weight > 0)]

    def sample(self, items: Sequence[T], count: int) -> list[T]:
        """`count` different places of `items`, in random order."""
        pool = list(items)
        for place in range(count):
            other = place + self.below(len(pool) - place)
            pool[place], pool[other] = pool[other], pool[place]
        return pool[:count]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """All items in random order."""
        return self.sample(items, len(items))


class Fact(NamedTuple):
    """Who does what to whom, in concepts.

    Attributes:
        subject: a noun.
        verb: a verb.
        object: a noun.
        is_denied: whether the sentence says that it is not so.
    """

    subject: int
    verb: int
    object: int
    is_denied: bool = False


def family(code: str) -> str:
    """The family of a toy language, `A` to `D`.

    Raises:
        ValueError: `code` is not a toy language.

    Example:
        >>> family("qaf")
        'B'
    """
    return FAMILIES[_place(code) // 3]


def tier(code: str) -> Tier:
    """How much a toy language is trained on; ValueError where `code` is none.

    Example:
        >>> tier("qaf")
        'low'
    """
    return _TIERS[_place(code) % 3]


def family_hub(code: str) -> str:
    """The hub of a toy language's own family; ValueError where `code` is none."""
    return CODES[_place(code) // 3 * 3]


def contact_hub(code: str) -> str:
    """The hub of the next family (A→B→C→D→A), from which the family's low language borrows words.

    Example:
        >>> contact_hub("qaf")
        'qag'
    """
    return CODES[(_place(code) // 3 + 1) % 4 * 3]


def hubs() -> tuple[str, ...]:
    """The four hubs."""
    return CODES[::3]


def word_order(code: str) -> str:
    """Order of subject, verb and object in a toy language, such as `SOV`; ValueError where `code` is none."""
    return _ORDERS[family(code)]


def genealogical_distance(a: str, b: str) -> float:
    """0 for a language and itself, 0.5 within a family, 1 between families; ValueError for an unknown code."""
    if _place(a) == _place(b):
        return 0.0
    return 0.5 if family(a) == family(b) else 1.0


class ToyWorld:
    """Words, laws and coverage of the twelve languages.

    Concepts are numbers: nouns first, then verbs, then adjectives; `negation` and `question` are two function words.

    Args:
        recipe: the numbers of the world.
        seed: another seed gives another world.
    """

    def __init__(self, recipe: ToyRecipe, seed: int) -> None:
        self.recipe = recipe
        self.seed = seed
        world = recipe.world
        verbs, adjectives = world.num_nouns, world.num_nouns + world.num_verbs
        self.nouns = tuple(range(verbs))
        self.verbs = tuple(range(verbs, adjectives))
        self.adjectives = tuple(range(adjectives, world.num_concepts))
        self.concepts = tuple(range(world.num_concepts))
        self.negation = world.num_concepts
        self.question = world.num_concepts + 1
        self.test_concepts = self._draw_test_concepts()
        self._is_test = frozenset(self.test_concepts)
        self._lexicon = self._draw_lexicon()
        self._concept_of = {
            code: {word: concept for concept, word in enumerate(words)} for code, words in self._lexicon.items()
        }
        self._covered = {pair: self._draw_coverage(*pair) for pair in combinations(CODES, 2)}

    def word(self, code: str, concept: int) -> str:
        """The word of a language for a concept or function word."""
        return self._lexicon[code][concept]

    def concept(self, code: str, word: str) -> int:
        """What a word means; KeyError where the language has no such word."""
        return self._concept_of[code][word]

    def word_class(self, concept: int) -> WordClass:
        """Noun, verb or adjective; ValueError for the two function words."""
        if not 0 <= concept < len(self.concepts):
            raise ValueError(f"concept {concept}: not one of 0 to {len(self.concepts) - 1}")
        if concept < len(self.nouns):
            return "noun"
        return "verb" if concept < len(self.nouns) + len(self.verbs) else "adjective"

    def is_test(self, concept: int) -> bool:
        """Whether weak pairs never see the concept in training."""
        return concept in self._is_test

    def coverage(self, a: str, b: str) -> float:
        """Planted share of the concepts that are trained over a pair, either way round.

        Raises:
            ValueError: a code is unknown, or both are the same.
        """
        if _place(a) == _place(b):
            raise ValueError(f"pair {a}-{b}: two different languages are needed")
        kappa = self.recipe.coverage
        same = family(a) == family(b)
        tiers = {tier(a), tier(b)}
        if tiers == {"hub"}:
            return kappa.hub_hub
        if tiers == {"hub", "moderate"}:
            return kappa.hub_moderate_same if same else kappa.hub_moderate_other
        if tiers == {"moderate"}:
            return kappa.moderate_moderate
        if tiers == {"hub", "low"}:
            low, hub = (a, b) if tier(a) == "low" else (b, a)
            if same:
                return kappa.low_hub_same
            return kappa.low_hub_contact if hub == contact_hub(low) else kappa.low_hub_other
        if tiers == {"moderate", "low"}:
            return kappa.low_moderate_same if same else kappa.low_moderate_other
        return kappa.low_low

    def covered(self, a: str, b: str) -> tuple[int, ...]:
        """The concepts that are trained over a pair, in order; the same either way round."""
        return self._covered[(a, b) if a < b else (b, a)]

    def is_weak(self, a: str, b: str) -> bool:
        """Whether the pair has little training, and test concepts are held out of it; ValueError as `coverage`."""
        return self.coverage(a, b) < self.recipe.coverage.strong_from

    def weak_pairs(self) -> tuple[tuple[str, str], ...]:
        """All ordered weak pairs (source, target)."""
        return tuple((a, b) for a in CODES for b in CODES if a != b and self.is_weak(a, b))

    def coverage_distance(self, a: str, b: str) -> float:
        """1 - planted coverage; 0 for a language and itself."""
        return 0.0 if a == b else 1.0 - self.coverage(a, b)

    def sentence(self, code: str, fact: Fact) -> str:
        """A fact in a language's own word order.

        The negation stands before the verb where that comes second or last, and first where the verb comes first.
        """
        roles = {"S": fact.subject, "V": fact.verb, "O": fact.object}
        words = []
        for role in word_order(code):
            if role == "V" and fact.is_denied:
                words.append(self.word(code, self.negation))
            words.append(self.word(code, roles[role]))
        return " ".join(words)

    def question_about(self, code: str, fact: Fact) -> str:
        """Asks for a fact's object: question word, verb, subject, in every language."""
        return " ".join(self.word(code, concept) for concept in (self.question, fact.verb, fact.subject))

    def _draw_test_concepts(self) -> tuple[int, ...]:
        dice = Dice(self.seed, "test concepts")
        world = self.recipe.world
        drawn = (
            dice.sample(self.nouns, world.test_nouns)
            + dice.sample(self.verbs, world.test_verbs)
            + dice.sample(self.adjectives, world.test_adjectives)
        )
        return tuple(sorted(drawn))

    def _draw_lexicon(self) -> dict[str, tuple[str, ...]]:
        lexicon: dict[str, tuple[str, ...]] = {}
        letters: dict[str, str] = {}
        for hub in hubs():
            dice = Dice(self.seed, "hub", hub)
            letters[hub] = "".join(dice.sample(CONSONANTS, self.recipe.world.family_consonants))
            words: list[str] = []
            for _ in range(self.question + 1):
                words.append(_new_word(dice, letters[hub], words))
            lexicon[hub] = tuple(words)
        for code in CODES:
            if tier(code) != "hub":
                lexicon[code] = self._descend(code, lexicon, letters[family_hub(code)])
        return {code: lexicon[code] for code in CODES}

    def _descend(self, code: str, lexicon: dict[str, tuple[str, ...]], consonants: str) -> tuple[str, ...]:
        world = self.recipe.world
        dice = Dice(self.seed, "daughter", code)
        law = _cycle(dice.sample(consonants, world.shifted_consonants))
        law |= _cycle(dice.sample(VOWELS, world.shifted_vowels))
        words = ["".join(law.get(letter, letter) for letter in word) for word in lexicon[family_hub(code)]]
        for concept in dice.sample(self.concepts, round(world.replaced_share * len(self.concepts))):
            words[concept] = _new_word(dice, consonants, words)
        if tier(code) == "low":
            lender = lexicon[contact_hub(code)]
            for concept in dice.sample(self.concepts, round(world.loan_share * len(self.concepts))):
                if lender[concept] not in words:
                    words[concept] = lender[concept]
        return tuple(words)

    def _draw_coverage(self, a: str, b: str) -> tuple[int, ...]:
        pool = [concept for concept in self.concepts if not (self.is_weak(a, b) and self.is_test(concept))]
        count = min(len(pool), round(self.coverage(a, b) * len(self.concepts)))
        return tuple(sorted(Dice(self.seed, "coverage", a, b).sample(pool, count)))


def _place(code: str) -> int:
    try:
        return CODES.index(code)
    except ValueError:
        raise ValueError(f"language {code!r}: not a toy language; there are {' '.join(CODES)}") from None


def _new_word(dice: Dice, consonants: str, taken: Sequence[str]) -> str:
    while True:
        word = "".join((dice.pick(consonants), dice.pick(VOWELS), dice.pick(consonants), dice.pick(VOWELS)))
        if word not in taken:
            return word


def _cycle(letters: Sequence[str]) -> dict[str, str]:
    return {letter: letters[(place + 1) % len(letters)] for place, letter in enumerate(letters)}
