"""Reads toy texts back into concepts, by the dictionary alone."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from itertools import permutations
from typing import Any

from bridgex.data.toy_lines import Line
from bridgex.data.toy_world import ToyWorld, word_order


def digest(texts: Iterable[str]) -> str:
    total = hashlib.sha256()
    for text in texts:
        total.update(text.encode() + b"\0")
    return total.hexdigest()


def rows(files: dict[str, str], name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in files[name].splitlines()]


def meanings(world: ToyWorld, code: str, text: str) -> list[list[int]]:
    """Each sentence's concepts, function words included."""
    return [[world.concept(code, word) for word in sentence.split(" ")] for sentence in text.split(".")]


def leaks(world: ToyWorld, line: Line) -> list[tuple[str, str, int]]:
    """(language, language, test concept) wherever a line joins two languages of a weak pair over a test concept."""
    sides = [
        (code, {concept for sentence in meanings(world, code, text) for concept in sentence})
        for code, text in re.findall(r'(qa[a-l]):"([^"]+)', line.text)
    ]
    return [
        (a, b, concept)
        for (a, of_a), (b, of_b) in permutations(sides, 2)
        if a != b and world.is_weak(a, b)
        for concept in sorted(of_a | of_b)
        if concept < len(world.concepts) and world.is_test(concept)
    ]


def right_label(world: ToyWorld, said: list[int], asked: list[int]) -> str:
    bare = [[concept for concept in sentence if concept != world.negation] for sentence in (said, asked)]
    if bare[0] != bare[1]:
        return "="
    return "+" if said == asked else "-"


def object_asked_for(world: ToyWorld, code: str, facts: list[list[int]], question: str) -> int:
    word, verb, subject = meanings(world, code, question)[0]
    assert word == world.question
    order = word_order(code)
    (fact,) = [fact for fact in facts if fact[order.index("S")] == subject]
    assert fact[order.index("V")] == verb
    return fact[order.index("O")]
