"""The toy data files: the same everywhere, parallel, balanced, and right by the planted dictionary."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from itertools import permutations
from pathlib import Path

import pytest

from bridgex.config.toy_recipe import ToyRecipe, WorldRecipe
from bridgex.data.toy_files import data_files, write_files
from bridgex.data.toy_world import CODES, ToyWorld, word_order
from tests.data.toy_reading import digest, meanings, object_asked_for, right_label, rows

DATA_SHA256 = "7223d150e31e0b3a4d7df0c42a822cf7449dd812c5cd15fd49c80e86eba3d3ed"


@pytest.fixture(scope="module")
def files(world: ToyWorld) -> dict[str, str]:
    return data_files(world)


class TestFiles:
    def test_data_files_are_the_recorded_ones(self, files: dict[str, str]) -> None:
        assert digest(text for item in sorted(files.items()) for text in item) == DATA_SHA256

    @pytest.mark.parametrize("hash_seed", ["1", "2"])
    def test_neither_hash_seed_nor_a_heavy_library_has_a_part(self, hash_seed: str) -> None:
        code = (
            "import sys\n"
            "from bridgex.config.toy_recipe import ToyRecipe\n"
            "from bridgex.data.toy_files import data_files\n"
            "from bridgex.data.toy_world import ToyWorld\n"
            "from tests.data.toy_reading import digest\n"
            "print(digest(t for item in sorted(data_files(ToyWorld(ToyRecipe(), 0)).items()) for t in item))\n"
            "print(*sorted({'torch', 'numpy', 'transformers'} & set(sys.modules)))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.split() == [DATA_SHA256]

    def test_another_seed_is_another_world(self, files: dict[str, str]) -> None:
        other = data_files(ToyWorld(ToyRecipe(), seed=1))
        assert other.keys() == files.keys()
        assert all(other[name] != text for name, text in files.items())

    def test_files_on_disk_are_the_texts(self, tmp_path: Path, world: ToyWorld, files: dict[str, str]) -> None:
        write_files(world, tmp_path)
        written = {path.relative_to(tmp_path).as_posix(): path for path in tmp_path.rglob("*") if path.is_file()}
        assert {name: path.read_bytes().decode() for name, path in written.items()} == files

    def test_dictionaries_hold_all_words_and_keep_the_test_words_apart(
        self, world: ToyWorld, files: dict[str, str]
    ) -> None:
        for a, b in permutations(CODES, 2):
            for part, count in (("0-5000", 96), ("5000-6500", 24)):
                pairs = [line.split(" ") for line in files[f"muse/{a}-{b}.{part}.txt"].splitlines()]
                concepts = [world.concept(a, word) for word, _ in pairs]
                assert [world.concept(b, word) for _, word in pairs] == concepts
                assert len(set(concepts)) == count
                assert all(world.is_test(concept) == (part != "0-5000") for concept in concepts)
                assert concepts != sorted(concepts)

    @pytest.mark.parametrize(
        ("data", "count", "is_test"), [("ntrex/{}/test", 300, False), ("flores/{}/devtest", 200, True)]
    )
    def test_sentences_are_parallel(
        self, world: ToyWorld, files: dict[str, str], data: str, count: int, is_test: bool
    ) -> None:
        sides = {}
        for code in CODES:
            given = rows(files, data.format(code) + ".jsonl")
            assert [row["id"] for row in given] == list(range(1, count + 1))
            sides[code] = [[sorted(sentence) for sentence in meanings(world, code, row["text"])] for row in given]
        assert all(side == sides["qaa"] for side in sides.values())
        content = {c for row in sides["qaa"] for sentence in row for c in sentence if c != world.negation}
        assert all(world.is_test(concept) == is_test for concept in content)
        assert len({row["text"] for row in rows(files, data.format("qaa") + ".jsonl")}) == count

    def test_inference_is_parallel_balanced_and_right(self, world: ToyWorld, files: dict[str, str]) -> None:
        for part, count in (("test", 240), ("validation", 60), ("train", 1500)):
            for code in CODES:
                given = rows(files, f"xnli/{code}/{part}.jsonl")
                assert len(given) == count
                seen: Counter[tuple[int, bool, bool]] = Counter()
                for row in given:
                    said, asked = (meanings(world, code, row[key])[0] for key in ("premise", "hypothesis"))
                    label = int(row["label"])
                    assert right_label(world, said, asked) == "+=-"[label]
                    assert all(world.is_test(c) == (part != "train") for c in said + asked if c != world.negation)
                    seen[label, world.negation in said, world.negation in asked] += 1
                # Each label has as many denied hypotheses, and as many denied premises, as each other.
                for denied in (False, True):
                    hypotheses = {sum(seen[label, other, denied] for other in (False, True)) for label in range(3)}
                    premises = {sum(seen[label, denied, other] for other in (False, True)) for label in range(3)}
                    assert hypotheses == premises == {count // 6}

    def test_inference_rows_come_in_triples_and_parts_share_no_premise(self, files: dict[str, str]) -> None:
        test, validation, train = (rows(files, f"xnli/qaa/{part}.jsonl") for part in ("test", "validation", "train"))
        for part in (test, validation, train):
            for start in range(0, len(part), 3):
                assert len({row["premise"] for row in part[start : start + 3]}) == 1
                assert sorted(int(row["label"]) for row in part[start : start + 3]) == [0, 1, 2]
        premises = [{row["premise"] for row in part} for part in (test, validation, train)]
        assert sum(map(len, premises)) == len(set().union(*premises))

    def test_reading_options_stand_in_the_passage(self, world: ToyWorld, files: dict[str, str]) -> None:
        for code in CODES:
            given = rows(files, f"belebele/{code}/test.jsonl")
            assert len(given) == 120
            assert Counter(row["correct_answer_num"] for row in given) == dict.fromkeys("1234", 30)
            assert len({row["link"] for row in given}) == 120
            for row in given:
                facts = meanings(world, code, row["flores_passage"])
                options = [world.concept(code, row[f"mc_answer{number}"]) for number in range(1, 5)]
                assert sorted(options) == sorted(fact[word_order(code).index("O")] for fact in facts)
                right = options[int(row["correct_answer_num"]) - 1]
                assert right == object_asked_for(world, code, facts, row["question"])
                assert all(world.is_test(concept) for fact in facts for concept in fact)

    def test_reading_and_inference_are_parallel(self, world: ToyWorld, files: dict[str, str]) -> None:
        for name, keys in (
            ("xnli/{}/test.jsonl", ("premise", "hypothesis")),
            ("belebele/{}/test.jsonl", ("flores_passage", "question", "mc_answer1", "mc_answer4")),
        ):
            sides = {
                code: [
                    [[sorted(sentence) for sentence in meanings(world, code, row[key])] for key in keys]
                    for row in rows(files, name.format(code))
                ]
                for code in CODES
            }
            assert all(side == sides["qaa"] for side in sides.values())

    def test_too_few_words_for_the_sentences_is_said(self) -> None:
        recipe = ToyRecipe(world=WorldRecipe(test_nouns=9, test_verbs=1))
        with pytest.raises(ValueError, match="200 different facts asked for; 9 nouns and 1 verbs give 144"):
            data_files(ToyWorld(recipe, seed=0))
