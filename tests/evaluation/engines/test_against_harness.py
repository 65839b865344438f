"""The same log-likelihoods and choices as lm-evaluation-harness, on the same model."""

from __future__ import annotations

import functools
import importlib.util
import random
from typing import Any

import numpy as np
import pytest

from bridgex.evaluation.dialogue import Choice
from bridgex.evaluation.engines.hf import HFEngine
from bridgex.evaluation.engines.prompts import PromptReader
from tests.evaluation.engines.test_prompts import COLON_SPACE, loaded_with, merging_tokenizer

if missing := [name for name in ("lm_eval", "accelerate") if importlib.util.find_spec(name) is None]:
    pytest.skip(f"not installed: {' and '.join(missing)} (pip install 'bridgex[lm-eval]')", allow_module_level=True)

# Its own libraries warn of many things.
pytestmark = pytest.mark.filterwarnings("ignore")


@functools.cache
def make_loaded() -> Any:
    return loaded_with(merging_tokenizer(("a", "b"), COLON_SPACE, ("ab", "ab"), ("b", "Ġ"), ("Ġ", "c")))


def make_choices() -> list[Choice]:
    chance = random.Random(0)

    def word(low: int, high: int) -> str:
        return "".join(chance.choice("abc :") for _ in range(chance.randint(low, high)))

    found = [
        Choice(
            f"x{word(0, 16)}" + chance.choice([":", " ", "b", " \n"]),
            tuple(dict.fromkeys(chance.choice([" ", ""]) + word(0, 5) + "c" for _ in range(3))),
        )
        for _ in range(40)
    ]
    return [*found, Choice("", ("abc", "ba")), Choice("y", ("a", "b", "c"))]


def theirs(pairs: list[tuple[str, str]], batch_size: int) -> list[float]:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    loaded = make_loaded()
    peer = HFLM(pretrained=loaded.model, tokenizer=loaded.encoder.tokenizer, batch_size=batch_size, max_length=64)
    asked = [Instance(request_type="loglikelihood", doc={}, arguments=pair, idx=0) for pair in pairs]
    return [value for value, _ in peer.loglikelihood(asked, disable_tqdm=True)]


@pytest.mark.parametrize("size", [1, 8, 32])
def test_log_likelihoods_and_choices_are_the_harnesss(size: int) -> None:
    loaded, choices = make_loaded(), make_choices()
    engine = HFEngine(loaded, boundary="lm_eval")
    ours = [scores for start in range(0, len(choices), size) for scores in engine.score(choices[start : start + size])]
    expected = iter(theirs([(choice.prompt, option) for choice in choices for option in choice.options], size))
    num_merged = 0
    for choice, scores in zip(choices, ours, strict=True):
        others = np.array([next(expected) for _ in choice.options])
        mine = np.array([option.logprob for option in scores.options])
        counts = np.array([option.num_tokens for option in scores.options])
        assert (np.abs(mine - others) <= 1e-4 * counts).all(), choice
        best = np.sort(others)
        assert len(best) == 1 or best[-1] - best[-2] <= 1e-3 or mine.argmax() == others.argmax()
        num_merged += sum(option.is_merged for option in scores.options)
    assert num_merged > 10, "boundaries within a token are among them"


def test_where_no_token_crosses_the_boundary_both_conventions_agree() -> None:
    loaded = make_loaded()
    ours, harness = PromptReader(loaded), PromptReader(loaded, "lm_eval")
    same = 0
    for choice in make_choices():
        for mine, other in zip(ours.choice(choice).options, harness.choice(choice).options, strict=True):
            if not mine.is_merged and choice.prompt == choice.prompt.rstrip():
                assert mine == other
                same += 1
    assert same > 10
