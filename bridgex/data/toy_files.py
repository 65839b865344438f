"""The toy world's data sets, in the layouts of the real ones.

| file | rows |
| --- | --- |
| `muse/<a>-<b>.0-5000.txt`, `muse/<a>-<b>.5000-6500.txt` | `word translation`, non-test concepts and test concepts |
| `ntrex/<code>/test.jsonl` | `id` (from 1), `text`: two facts of non-test words |
| `flores/<code>/devtest.jsonl` | `id`, `text`: one fact of test words |
| `xnli/<code>/{test,validation}.jsonl` | `premise`, `hypothesis`, `label` (0 entailment, 1 neutral, 2 contradiction) |
| `xnli/<code>/train.jsonl` | the same, of non-test words, to fine-tune on |
| `belebele/<code>/test.jsonl` | Belebele's columns; four facts, a question, four objects of the passage |

Rows are parallel over the languages, but for the dictionaries, each of which has an order of its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bridgex.data.toy_lines import another_fact, draw_passage
from bridgex.data.toy_world import CODES, Dice, Fact, ToyWorld
from bridgex.records.files import write_text

Row = dict[str, str | int]
Rows = Callable[[str], Iterator[Row]]
"""A data set's rows in the language with a given code."""

_NUM_OPTIONS = 4


def write_files(world: ToyWorld, folder: Path) -> None:
    """Writes all data files, each whole or not at all.

    Args:
        world: the languages.
        folder: gets `muse`, `ntrex`, `flores`, `xnli` and `belebele`.

    Raises:
        UserError: the folder cannot be written.
    """
    for name, text in data_files(world).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)


def data_files(world: ToyWorld) -> dict[str, str]:
    """The text of every data file by its path below the world's folder."""
    files = dict(_dictionaries(world))
    data_sets: dict[str, Rows] = {
        "ntrex/{}/test.jsonl": _ntrex(world),
        "flores/{}/devtest.jsonl": _flores(world),
        **{f"xnli/{{}}/{part}.jsonl": _xnli(world, part) for part in ("test", "validation", "train")},
        "belebele/{}/test.jsonl": _belebele(world),
    }
    for name, rows in data_sets.items():
        for code in CODES:
            files[name.format(code)] = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows(code))
    return files


def _dictionaries(world: ToyWorld) -> Iterator[tuple[str, str]]:
    train = [concept for concept in world.concepts if not world.is_test(concept)]
    for source in CODES:
        for target in CODES:
            if source == target:
                continue
            for part, concepts in (("0-5000", train), ("5000-6500", world.test_concepts)):
                # An order of its own for each pair: the place of a word in a file says nothing of its meaning.
                dice = Dice(world.seed, "muse", source, target, part)
                lines = [
                    f"{world.word(source, concept)} {world.word(target, concept)}\n"
                    for concept in dice.shuffled(concepts)
                ]
                yield f"muse/{source}-{target}.{part}.txt", "".join(lines)


def _ntrex(world: ToyWorld) -> Rows:
    dice = Dice(world.seed, "ntrex")
    nouns, verbs = _words(world, is_test=False)
    count = world.recipe.files.ntrex_sentences
    facts = _different_facts(dice, 2 * count, nouns, verbs, world.recipe.lines.negated_share)

    def rows(code: str) -> Iterator[Row]:
        for place in range(count):
            both = facts[2 * place : 2 * place + 2]
            yield {"id": place + 1, "text": ".".join(world.sentence(code, fact) for fact in both)}

    return rows


def _flores(world: ToyWorld) -> Rows:
    nouns, verbs = _words(world, is_test=True)
    count = world.recipe.files.flores_sentences
    facts = _different_facts(Dice(world.seed, "flores"), count, nouns, verbs, world.recipe.lines.negated_share)

    def rows(code: str) -> Iterator[Row]:
        for place, fact in enumerate(facts):
            yield {"id": place + 1, "text": world.sentence(code, fact)}

    return rows


def _xnli(world: ToyWorld, part: str) -> Rows:
    """Three rows a premise, one a label, in random order.

    Over 12 premises in a row, each polarity of the premise meets each of the neutral hypothesis and each number of
    replaced words once: no property of a hypothesis alone tells its label.
    """
    dice = Dice(world.seed, "xnli", part)
    nouns, verbs = _words(world, is_test=part != "train")
    facts = _premises(world, part)
    triples: list[list[tuple[Fact, Fact, int]]] = []
    for place, fact in enumerate(facts):
        premise = fact._replace(is_denied=place % 2 == 1)
        neutral = another_fact(dice, premise, 1 + place % 3, nouns, verbs)._replace(is_denied=place // 2 % 2 == 1)
        other = premise._replace(is_denied=not premise.is_denied)
        triples.append(dice.shuffled([(premise, premise, 0), (premise, neutral, 1), (premise, other, 2)]))
    pairs = [row for triple in dice.shuffled(triples) for row in triple]

    def rows(code: str) -> Iterator[Row]:
        for premise, hypothesis, label in pairs:
            yield {
                "premise": world.sentence(code, premise),
                "hypothesis": world.sentence(code, hypothesis),
                "label": label,
            }

    return rows


def _premises(world: ToyWorld, part: str) -> list[Fact]:
    """Facts, none denied; no two parts share one."""
    recipe = world.recipe.files
    nouns, verbs = _words(world, is_test=part != "train")
    if part == "train":
        dice = Dice(world.seed, "xnli", "train premises")
        return _different_facts(dice, recipe.xnli_train_premises, nouns, verbs, denied_share=0.0)
    total = recipe.xnli_premises + recipe.xnli_validation_premises
    facts = _different_facts(Dice(world.seed, "xnli"), total, nouns, verbs, denied_share=0.0)
    return facts[: recipe.xnli_premises] if part == "test" else facts[-recipe.xnli_validation_premises :]


def _belebele(world: ToyWorld) -> Rows:
    dice = Dice(world.seed, "belebele")
    nouns, verbs = _words(world, is_test=True)
    places = range(world.recipe.files.belebele_passages)
    # Each of the four places is the right one equally often, in no order.
    rights = dice.shuffled([place % _NUM_OPTIONS for place in places])
    items = []
    for right in rights:
        facts = draw_passage(dice, _NUM_OPTIONS, nouns, verbs)
        asked = dice.pick(facts)
        wrong = dice.shuffled([fact.object for fact in facts if fact is not asked])
        items.append((facts, asked, [*wrong[:right], asked.object, *wrong[right:]], right + 1))

    def rows(code: str) -> Iterator[Row]:
        for place, (facts, asked, options, right) in enumerate(items):
            row: Row = {
                "link": f"https://toy.invalid/passage/{place + 1}",
                "question_number": 1,
                "flores_passage": ".".join(world.sentence(code, fact) for fact in facts),
                "question": world.question_about(code, asked),
            }
            for number, option in enumerate(options, start=1):
                row[f"mc_answer{number}"] = world.word(code, option)
            yield row | {"correct_answer_num": str(right), "dialect": code, "ds": "2025-01-01"}

    return rows


def _words(world: ToyWorld, *, is_test: bool) -> tuple[tuple[int, ...], tuple[int, ...]]:
    nouns = tuple(concept for concept in world.nouns if world.is_test(concept) == is_test)
    verbs = tuple(concept for concept in world.verbs if world.is_test(concept) == is_test)
    return nouns, verbs


def _different_facts(
    dice: Dice, count: int, nouns: Sequence[int], verbs: Sequence[int], denied_share: float
) -> list[Fact]:
    """Facts without a repetition."""
    polarities = (denied_share > 0) + (denied_share < 1)
    possible = len(nouns) * (len(nouns) - 1) * len(verbs) * polarities
    if count > possible:
        raise ValueError(
            f"{count} different facts asked for; {len(nouns)} nouns and {len(verbs)} verbs give {possible}"
        )
    # A dict, since it keeps the order in which the facts were drawn.
    facts: dict[Fact, None] = {}
    while len(facts) < count:
        subject, other = dice.sample(nouns, 2)
        is_denied = dice.chance(denied_share)
        facts[Fact(subject, dice.pick(verbs), other, is_denied)] = None
    return list(facts)
