"""Training lines of the toy world: tokens, and how much the loss of each counts.

A batch holds one kind of line and follows from (recipe, seed, batch number) alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, permutations
from typing import NamedTuple

from bridgex.config.toy_recipe import LineKind, MixRecipe
from bridgex.data.toy_world import CODES, CONSONANTS, VOWELS, Dice, Fact, ToyWorld, hubs, tier

END = "\n"
PAD = "<pad>"
UNKNOWN = "<unk>"
CONTINUED = "##"
LABELS = ("+", "=", "-")
"""Labels of premise and hypothesis by their number in the data files: entailment, neutral, contradiction."""

_MARKS = ('"', '"→', '"|', '"?', '"~', ".")
_LINE_KINDS: tuple[LineKind, ...] = ("word", "chain", "mono", "mt", "retell", "nli", "mrc")
_MAX_FACTS = 4


class Line(NamedTuple):
    """One training line.

    Attributes:
        kind: which of the seven kinds it is.
        tokens: the line cut into tokens, newline at both ends.
        weights: loss weight of each token; as many as tokens, the first (which nothing predicts) is 0.
    """

    kind: LineKind
    tokens: tuple[str, ...]
    weights: tuple[float, ...]

    @property
    def text(self) -> str:
        """The line as it is written, without the newlines."""
        return join_tokens(self.tokens[1:-1])


def vocabulary() -> tuple[str, ...]:
    """All tokens in the order of their ids: newline first, then padding, marks, labels, language tags, syllables."""
    syllables = [consonant + vowel for consonant in CONSONANTS for vowel in VOWELS]
    tags = [f"{code}:" for code in CODES]
    continued = [CONTINUED + syllable for syllable in syllables]
    return (END, PAD, UNKNOWN, *_MARKS, *LABELS, *tags, *syllables, *continued)


def join_tokens(tokens: Sequence[str]) -> str:
    """Puts tokens together: no space but between two words."""
    text = ""
    for token in tokens:
        if token.startswith(CONTINUED):
            text += token[len(CONTINUED) :]
        else:
            text += " " + token if text[-1:].isalpha() and token.isalpha() else token
    return text


class ToyLines:
    """Draws batches of training lines.

    No line of any kind joins the two languages of a weak pair over a test concept.

    Args:
        world: the languages.
    """

    def __init__(self, world: ToyWorld) -> None:
        self.world = world
        self._recipe = world.recipe.lines
        self._words = [(a, b, concept) for a, b in permutations(CODES, 2) for concept in world.covered(a, b)]
        self._chains = list(self._all_chains())
        self._mt_pairs = [pair for pair in permutations(CODES, 2) if self._is_strong(pair)]
        self._mt_chains = [chain for chain in permutations(CODES, 3) if self._is_strong(chain)]
        self._mt_words = {route: self._shared_words(route) for route in (*self._mt_pairs, *self._mt_chains)}
        low_weight = self._recipe.low_pair_weight
        self._mt_weights = [low_weight if "low" in (tier(a), tier(b)) else 1.0 for a, b in self._mt_pairs]
        # The three tiers come in the order hub, moderate, low, over and over.
        self._mono_weights = [self._recipe.mono_weights[place % 3] for place in range(len(CODES))]
        self._draw: dict[LineKind, Callable[[Dice, int], Line]] = {
            "word": self._word,
            "chain": self._chain,
            "mono": self._mono,
            "mt": self._mt,
            "retell": self._retell,
            "nli": self._nli,
            "mrc": self._mrc,
        }

    def circuit_batch(self, number: int) -> list[Line]:
        """Batch `number` of the first stage: facts told again, in one language."""
        dice = Dice(self.world.seed, "first stage", number)
        return self.lines("retell", dice, 2 + dice.below(_MAX_FACTS - 1))

    def language_batch(self, number: int) -> list[Line]:
        """Batch `number` of the second stage, of one kind drawn from the mix of its half."""
        recipe = self.world.recipe
        mix = recipe.first_mix if 2 * number < recipe.language_stage.steps else recipe.second_mix
        dice = Dice(self.world.seed, "second stage", number)
        kind = dice.pick_weighted(_LINE_KINDS, [_share(mix, kind) for kind in _LINE_KINDS])
        num_facts = 0
        if kind == "retell":
            num_facts = 2 + dice.below(_MAX_FACTS - 1)
        elif kind == "mrc":
            num_facts = dice.pick_weighted((1, 2, 3, 4), mix.mrc_facts)
        return self.lines(kind, dice, num_facts)

    def lines(self, kind: LineKind, dice: Dice, num_facts: int = 0) -> list[Line]:
        """A batch of one kind.

        Args:
            kind: which.
            dice: where the draws come from.
            num_facts: facts of a line of kind `retell` or `mrc`, 1 to 4; the others have no choice.
        """
        count: int = getattr(self._recipe, kind)
        if kind in ("retell", "mrc") and num_facts < _MAX_FACTS:
            count = round(count * self._recipe.short_factors[num_facts - 1])
        return [self._draw[kind](dice, num_facts) for _ in range(count)]

    def _all_chains(self) -> Iterator[tuple[str, str, str, int]]:
        world = self.world
        for source in CODES:
            for bridge in CODES:
                if bridge == source or world.is_weak(source, bridge):
                    continue
                for target in CODES:
                    if target in (source, bridge) or world.is_weak(bridge, target):
                        continue
                    kept = frozenset(world.covered(source, bridge)) & frozenset(world.covered(bridge, target))
                    for concept in world.covered(source, target):
                        if concept in kept:
                            yield source, bridge, target, concept

    def _is_strong(self, route: tuple[str, ...]) -> bool:
        return not any(self.world.is_weak(a, b) for a, b in combinations(route, 2))

    def _shared_words(self, route: tuple[str, ...]) -> tuple[list[int], list[int]]:
        """Nouns and verbs that are trained over every two languages of a route."""
        world = self.world
        sets = [frozenset(world.covered(a, b)) for a, b in combinations(route, 2)]
        shared = [concept for concept in world.concepts if all(concept in covered for covered in sets)]
        nouns = [concept for concept in shared if world.word_class(concept) == "noun"]
        verbs = [concept for concept in shared if world.word_class(concept) == "verb"]
        return nouns, verbs

    def _word(self, dice: Dice, _: int) -> Line:
        source, target, concept = dice.pick(self._words)
        return self._translation("word", [(code, self.world.word(code, concept)) for code in (source, target)])

    def _chain(self, dice: Dice, _: int) -> Line:
        source, bridge, target, concept = dice.pick(self._chains)
        return self._translation("chain", [(code, self.world.word(code, concept)) for code in (source, bridge, target)])

    def _mono(self, dice: Dice, _: int) -> Line:
        world = self.world
        code = dice.pick_weighted(CODES, self._mono_weights)
        facts = [self._fact(dice, world.nouns, world.verbs) for _ in range(2)]
        line = _Writer()
        line.say(code, ".".join(world.sentence(code, fact) for fact in facts), 1.0)
        return line.end("mono", 1.0)

    def _mt(self, dice: Dice, _: int) -> Line:
        world = self.world
        route: tuple[str, ...] = dice.pick_weighted(self._mt_pairs, self._mt_weights)
        if dice.chance(self._recipe.mt_chain_share):
            route = dice.pick(self._mt_chains)
        nouns, verbs = self._mt_words[route]
        is_question = dice.chance(self._recipe.question_share)
        fact = self._fact(dice, nouns, verbs)
        say = world.question_about if is_question else world.sentence
        return self._translation("mt", [(code, say(code, fact)) for code in route])

    def _retell(self, dice: Dice, num_facts: int) -> Line:
        world = self.world
        code = dice.pick(CODES)
        nouns = dice.sample(world.nouns, 2 * num_facts)
        # Different verbs, too: the first word of a fact, which in VSO is the verb, must say which fact it is.
        verbs = dice.sample(world.verbs, num_facts)
        facts = [Fact(nouns[2 * place], verbs[place], nouns[2 * place + 1]) for place in range(num_facts)]
        line = _Writer()
        line.say(code, ".".join(world.sentence(code, fact) for fact in facts), 0.0, closed=False)
        line.mark('"~', 0.0)
        line.open(code, 0.0)
        for place, fact in enumerate(dice.shuffled(facts)):
            if place:
                line.mark(".", 0.0)
            first, *rest = world.sentence(code, fact).split(" ")
            line.words(first, 0.0)
            line.words(" ".join(rest), 1.0)
        line.mark('"', 0.0)
        return line.end("retell", 0.0)

    def _nli(self, dice: Dice, _: int) -> Line:
        world = self.world
        code = dice.pick(hubs())
        subject, other = dice.sample(world.nouns, 2)
        premise = Fact(subject, dice.pick(world.verbs), other, dice.chance(0.5))
        line = _Writer()
        line.say(code, world.sentence(code, premise), 0.0, closed=False)
        for _ in range(2):
            label = dice.pick(LABELS)
            if label == "=":
                hypothesis = another_fact(dice, premise, 1 + dice.below(3), world.nouns, world.verbs)
                hypothesis = hypothesis._replace(is_denied=dice.chance(0.5))
            else:
                hypothesis = premise._replace(is_denied=premise.is_denied == (label == "+"))
            line.mark('"|', 0.0)
            line.say(code, world.sentence(code, hypothesis), 0.0, closed=False)
            line.mark('"→', 0.0)
            line.mark(label, 1.0)
        return line.end("nli", 0.0)

    def _mrc(self, dice: Dice, num_facts: int) -> Line:
        world = self.world
        code = dice.pick(hubs())
        facts = draw_passage(dice, num_facts, world.nouns, world.verbs)
        line = _Writer()
        line.say(code, ".".join(world.sentence(code, fact) for fact in facts), 0.0, closed=False)
        for fact in dice.sample(facts, 2) if num_facts > 1 else facts * 2:
            line.mark('"?', 0.0)
            line.say(code, world.question_about(code, fact), 0.0, closed=False)
            line.mark('"→', 0.0)
            line.say(code, world.word(code, fact.object), 1.0, around=0.0, closed=False)
        line.mark('"', 0.0)
        return line.end("mrc", 0.0)

    def _fact(self, dice: Dice, nouns: Sequence[int], verbs: Sequence[int]) -> Fact:
        subject, other = dice.sample(nouns, 2)
        return Fact(subject, dice.pick(verbs), other, dice.chance(self._recipe.negated_share))

    def _translation(self, kind: LineKind, sides: list[tuple[str, str]]) -> Line:
        line = _Writer()
        for place, (code, text) in enumerate(sides):
            weight = 1.0 if place else self._recipe.source_weight
            line.open(code, self._recipe.source_weight)
            line.words(text, weight)
            line.mark('"→' if place + 1 < len(sides) else '"', weight)
        return line.end(kind, 1.0)


def draw_passage(dice: Dice, num_facts: int, nouns: Sequence[int], verbs: Sequence[int]) -> list[Fact]:
    """Facts whose nouns are all different, so that a subject tells which fact is meant; verbs may repeat."""
    drawn = dice.sample(nouns, 2 * num_facts)
    return [Fact(drawn[2 * place], dice.pick(verbs), drawn[2 * place + 1]) for place in range(num_facts)]


def another_fact(dice: Dice, fact: Fact, num_changes: int, nouns: Sequence[int], verbs: Sequence[int]) -> Fact:
    """The fact with `num_changes` (1 to 3) of its words replaced by others; subject and object stay different."""
    changed = dice.sample(("subject", "verb", "object"), num_changes)
    subject, verb, other, is_denied = fact
    free = [noun for noun in nouns if noun not in (fact.subject, fact.object)]
    new_subject, new_object = dice.sample(free, 2)
    if "subject" in changed:
        subject = new_subject
    if "object" in changed:
        other = new_object
    if "verb" in changed:
        verb = dice.pick([choice for choice in verbs if choice != fact.verb])
    return Fact(subject, verb, other, is_denied)


def _share(mix: MixRecipe, kind: LineKind) -> float:
    share: float = getattr(mix, kind)
    return share


class _Writer:
    """Puts a line together piece by piece."""

    def __init__(self) -> None:
        self._tokens = [END]
        self._weights = [0.0]

    def mark(self, token: str, weight: float) -> None:
        self._tokens.append(token)
        self._weights.append(weight)

    def open(self, code: str, weight: float) -> None:
        self.mark(f"{code}:", weight)
        self.mark('"', weight)

    def words(self, text: str, weight: float) -> None:
        for place, sentence in enumerate(text.split(".")):
            if place:
                self.mark(".", weight)
            for word in sentence.split(" "):
                self.mark(word[:2], weight)
                self.mark(CONTINUED + word[2:], weight)

    def say(self, code: str, text: str, weight: float, around: float | None = None, closed: bool = True) -> None:
        self.open(code, weight if around is None else around)
        self.words(text, weight)
        if closed:
            self.mark('"', weight)

    def end(self, kind: LineKind, weight: float) -> Line:
        self.mark(END, weight)
        return Line(kind, tuple(self._tokens), tuple(self._weights))
