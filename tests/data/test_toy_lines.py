"""Training lines: what they say, what counts in the loss, and that nothing held out leaks."""

from __future__ import annotations

import re
from collections import Counter
from itertools import combinations

import pytest

from bridgex.config.toy_recipe import ToyRecipe
from bridgex.data.toy_lines import Line, ToyLines, join_tokens, vocabulary
from bridgex.data.toy_world import Dice, Fact, ToyWorld, hubs
from tests.data.toy_reading import digest, leaks, meanings, object_asked_for, right_label

LINES_SHA256 = "58d0fbc664710f70430da5acc26a1d58f8a1662c7160951be7bcbd54ab2b958c"


def sample(lines: ToyLines, batches: int) -> list[Line]:
    drawn = []
    for kind, counts in (
        ("word", [0]),
        ("chain", [0]),
        ("mono", [0]),
        ("mt", [0]),
        ("retell", [2, 3, 4]),
        ("nli", [0]),
        ("mrc", [1, 2, 3, 4]),
    ):
        for number in range(batches):
            drawn += lines.lines(kind, Dice("sample", kind, number), counts[number % len(counts)])  # type: ignore[arg-type]
    return drawn


class TestLines:
    def test_training_lines_are_the_recorded_ones(self, lines: ToyLines) -> None:
        batches = [lines.circuit_batch(number) for number in range(20)]
        batches += [lines.language_batch(number) for number in range(0, 2800, 40)]
        assert digest(f"{line.text} {line.weights}" for batch in batches for line in batch) == LINES_SHA256

    def test_no_line_joins_a_weak_pair_over_a_test_concept(self, world: ToyWorld, lines: ToyLines) -> None:
        drawn = sample(lines, batches=30)
        assert Counter(line.kind for line in drawn).keys() == {"word", "chain", "mono", "mt", "retell", "nli", "mrc"}
        assert [leak for line in drawn for leak in leaks(world, line)] == []

    def test_no_batch_of_the_training_does_either(self, world: ToyWorld, lines: ToyLines) -> None:
        batches = [lines.circuit_batch(number) for number in range(10)]
        batches += [lines.language_batch(number) for number in range(0, 2800, 50)]
        assert [leak for batch in batches for line in batch for leak in leaks(world, line)] == []

    @pytest.mark.parametrize("kind", ["word", "chain"])
    def test_a_planted_leak_is_found(self, kind: str) -> None:
        world = ToyWorld(ToyRecipe(), seed=0)
        world._covered["qaa", "qaf"] += world.test_concepts
        found = [
            leak for line in sample(ToyLines(world), batches=30) if line.kind == kind for leak in leaks(world, line)
        ]
        assert found
        assert {frozenset(leak[:2]) for leak in found} == {frozenset(("qaa", "qaf"))}

    @pytest.mark.parametrize(
        ("kind", "text"),
        [
            ("mt", 'qaa:"{a}"→qaf:"{b}"'),
            ("nli", 'qaa:"{a}"|qaf:"{b}"→+'),
            ("mrc", 'qaa:"{a}.{a}"?qaf:"{b}"→qaf:"{w}"'),
            ("retell", 'qaa:"{a}"~qaf:"{b}"'),
        ],
    )
    def test_a_leak_of_the_other_kinds_is_found(self, world: ToyWorld, kind: str, text: str) -> None:
        nouns = [concept for concept in world.test_concepts if world.word_class(concept) == "noun"]
        fact = Fact(nouns[0], 73, nouns[1])
        leaky = text.format(a=world.sentence("qaa", fact), b=world.sentence("qaf", fact), w=world.word("qaf", nouns[1]))
        line = Line(kind, ("\n", leaky, "\n"), (0.0, 1.0, 1.0))  # type: ignore[arg-type]
        assert leaks(world, line)

    def test_sentences_are_translated_over_strong_pairs_only_and_answers_stay_in_one_hub(
        self, world: ToyWorld, lines: ToyLines
    ) -> None:
        for line in sample(lines, batches=8):
            codes = re.findall(r"(qa[a-l]):", line.text)
            if line.kind == "mt":
                assert not any(world.is_weak(a, b) for a, b in combinations(codes, 2))
            if line.kind in ("mono", "retell", "nli", "mrc"):
                assert len(set(codes)) == 1
            if line.kind in ("nli", "mrc"):
                assert codes[0] in hubs()

    def test_some_sentences_go_through_a_bridge(self, lines: ToyLines) -> None:
        drawn = [line for number in range(20) for line in lines.lines("mt", Dice("bridged", number))]
        bridged = [line for line in drawn if line.text.count("→") == 2]
        assert len(bridged) / len(drawn) == pytest.approx(0.2, abs=0.04)

    def test_weights_fall_on_the_answers(self, lines: ToyLines) -> None:
        for line in sample(lines, batches=4):
            assert len(line.weights) == len(line.tokens)
            assert line.weights[0] == 0
            full = join_tokens(tuple(t for t, weight in zip(line.tokens, line.weights, strict=True) if weight == 1))
            quoted = re.findall(r':"([^"]+)', line.text)
            if line.kind in ("word", "chain", "mt"):
                assert full == '"→'.join(quoted[1:]) + '"\n'
            elif line.kind == "mono":
                assert full == line.text + "\n"
            elif line.kind == "nli":
                assert list(full) == re.findall(r"→([+=-])", line.text)
            elif line.kind == "mrc":
                answers = re.findall(r'→qa[a-l]:"(\w+)', line.text)
                assert full == " ".join(answers)
            else:
                assert full == " ".join(" ".join(fact.split(" ")[1:]) for fact in quoted[1].split("."))

    def test_labels_are_right_and_say_nothing_of_the_hypothesis(self, world: ToyWorld, lines: ToyLines) -> None:
        seen: Counter[tuple[str, bool]] = Counter()
        for number in range(40):
            for line in lines.lines("nli", Dice("nli", number)):
                (code, premise), *hypotheses = re.findall(r'(qa[a-l]):"([^"]+)', line.text)
                for (_, hypothesis), label in zip(hypotheses, re.findall(r"→([+=-])", line.text), strict=True):
                    said, asked = (meanings(world, code, text)[0] for text in (premise, hypothesis))
                    assert label == right_label(world, said, asked)
                    seen[label, world.negation in asked] += 1
        total = seen.total()
        assert all(seen[label, denied] / total == pytest.approx(1 / 6, abs=0.02) for label, denied in seen)

    def test_reading_lines_ask_for_the_object_of_the_fact(self, world: ToyWorld, lines: ToyLines) -> None:
        for num_facts in (1, 2, 3, 4):
            for line in lines.lines("mrc", Dice("mrc", num_facts), num_facts):
                (code, passage), *rest = re.findall(r'(qa[a-l]):"([^"]+)', line.text)
                facts = meanings(world, code, passage)
                nouns = [concept for fact in facts for concept in fact if world.word_class(concept) == "noun"]
                assert len(facts) == num_facts
                assert len(set(nouns)) == 2 * num_facts
                for (_, question), (_, answer) in zip(rest[::2], rest[1::2], strict=True):
                    assert world.concept(code, answer) == object_asked_for(world, code, facts, question)

    def test_retold_facts_are_the_same_facts(self, world: ToyWorld, lines: ToyLines) -> None:
        codes = set()
        for line in lines.lines("retell", Dice("retell"), 4):
            (code, told), (_, retold) = re.findall(r'(qa[a-l]):"([^"]+)', line.text)
            codes.add(code)
            assert sorted(meanings(world, code, told)) == sorted(meanings(world, code, retold))
        assert len(codes) > 8

    def test_batches_are_as_large_as_the_recipe_says(self, lines: ToyLines) -> None:
        assert [len(lines.lines("mrc", Dice(0), facts)) for facts in (1, 2, 3, 4)] == [132, 96, 75, 60]
        assert [len(lines.lines("retell", Dice(0), facts)) for facts in (2, 3, 4)] == [90, 70, 56]
        kinds = Counter(lines.language_batch(number)[0].kind for number in range(1400, 1800))
        assert kinds["mrc"] / 400 == pytest.approx(0.18, abs=0.06)
        assert kinds["mono"] / 400 == pytest.approx(0.02, abs=0.02)

    def test_vocabulary_has_every_token_once(self, lines: ToyLines) -> None:
        tokens = vocabulary()
        assert len(tokens) == len(set(tokens)) == 264
        assert {token for line in sample(lines, batches=3) for token in line.tokens} <= set(tokens)
