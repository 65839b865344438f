"""Options weighed together are weighed as each one alone: in trees, behind a shared beginning, in any batch."""

from __future__ import annotations

import functools
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bridgex.errors import UserError
from bridgex.evaluation.dialogue import Choice
from bridgex.evaluation.engines import scoring
from bridgex.evaluation.engines.hf import HFEngine
from bridgex.extract.families import make_tiny_model
from bridgex.extract.loading import LoadedModel
from tests.fakes.tiny_models import make_loaded

FAMILIES = [
    "llama", "qwen3", "gemma2", "gemma3_text", "mistral", "bloom", "gpt2", "gpt_neox", "gpt_neo", "opt", "xglm",
    "cohere", "cohere2", "phi3", "granite", "falcon", "mpt", "mamba",
]  # fmt: skip
# Those that one row of several options is too much for, or that the tiny configs' window of 6 tokens is.
WITHOUT_TREES = {"bloom", "mpt", "mamba", "mistral", "gemma2", "gemma3_text", "cohere2", "gpt_neo"}
SHARED = 'dog: "Hund", cat: "Katze", cow: "Kuh"'
assert len(SHARED) >= 32


@functools.cache
def loaded_family(family: str) -> LoadedModel:
    loaded = make_loaded("llama" if family == "mamba" else family)
    return replace(loaded, model=make_tiny_model("mamba")) if family == "mamba" else loaded


def fresh(family: str = "llama") -> LoadedModel:
    """A model of the test's own, which it may spoil."""
    return make_loaded(family)


def reference(loaded: LoadedModel, prompt: str, option: str) -> float:
    """One full pass of one text, float64, no cache, no padding."""
    ids = loaded.encoder.encode(prompt + option)
    with torch.inference_mode():
        logits = loaded.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].double()
    logprobs = logits.log_softmax(dim=-1)
    return sum(float(logprobs[place - 1, ids[place]]) for place in range(len(loaded.encoder.encode(prompt)), len(ids)))


def make_choices(count: int, beginning: str = "", longest: int = 20, seed: int = 0) -> list[Choice]:
    chance = random.Random(seed)

    def word(low: int, high: int) -> str:
        return "".join(chance.choice("abcdefgh") for _ in range(chance.randint(low, high)))

    return [
        Choice(
            f"{beginning}{word(1, longest)}:",
            tuple(dict.fromkeys(" " + word(1, 1 if number % 4 == 3 else 4) for _ in range(chance.randint(1, 4)))),
        )
        for number in range(count)
    ]


def assert_right(loaded: LoadedModel, engine: HFEngine, choices: list[Choice], tolerance: float = 1e-4) -> None:
    replies = engine.score(choices)
    assert len(replies) == len(choices)
    for choice, scores in zip(choices, replies, strict=True):
        assert scores.given == choice.prompt
        assert len(scores.options) == len(choice.options)
        for option, scored in zip(choice.options, scores.options, strict=True):
            assert scored.num_tokens == len(option.encode())
            expected = reference(loaded, choice.prompt, option)
            assert abs(scored.logprob - expected) <= tolerance * scored.num_tokens, (choice.prompt, option)


@contextmanager
def shapes_of(module: torch.nn.Module) -> Iterator[list[tuple[int, ...]]]:
    """Shapes of the first tensor that a module is given, call by call."""
    found: list[tuple[int, ...]] = []

    def watch(module: Any, args: Any, kwargs: Any) -> None:
        values = (*args, kwargs.get("input_ids"))
        found.append(next(tuple(value.shape) for value in values if isinstance(value, torch.Tensor)))

    handle = module.register_forward_pre_hook(watch, with_kwargs=True)
    yield found
    handle.remove()


@pytest.mark.parametrize("size", [1, 8, 32])
@pytest.mark.parametrize("family", FAMILIES)
def test_options_are_weighed_as_one_by_one_in_any_batch(family: str, size: int) -> None:
    loaded = loaded_family(family)
    engine = HFEngine(loaded)
    choices = make_choices(32)
    for start in range(0, 32, size):
        assert_right(loaded, engine, choices[start : start + size])
    assert bool(engine.notes) == (family in WITHOUT_TREES)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_follows_a_shared_beginning_is_weighed_as_one_by_one(family: str) -> None:
    loaded = loaded_family(family)
    engine = HFEngine(loaded)
    choices = make_choices(9, SHARED, longest=8, seed=1)
    for batch in (choices[:4], choices[4:5], choices[5:], make_choices(3, SHARED[:-3], longest=8)):
        assert_right(loaded, engine, batch)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_attention_with_and_without_a_kernel_gives_the_same(implementation: str) -> None:
    loaded = fresh()
    loaded.model.set_attn_implementation(implementation)
    engine = HFEngine(loaded)
    assert_right(loaded, engine, make_choices(8))
    assert engine.notes == []


def test_all_options_of_an_item_go_in_one_row_and_the_head_sees_only_what_predicts_them() -> None:
    loaded = loaded_family("llama")
    engine = HFEngine(loaded)
    choices = [Choice("abc:", (" yes", " no")), Choice("a", (" no", " never", " yes"))]
    engine.score(choices)  # with the check
    with shapes_of(loaded.model) as rows, shapes_of(loaded.model.lm_head) as head:
        engine.score(choices)
    # BOS, prompt, the space that the options share; of each branch all but its last token.
    assert rows == [(2, max(1 + 4 + 1 + 2 + 1, 1 + 1 + 1 + 1 + 4 + 2))]
    # " yes" and " no" share the place that predicts the space and the next one; all is counted once.
    assert head == [(1, (2 + 2 + 1) + (2 + 1 + 4 + 2), 32)]


def test_options_of_one_token_need_the_prompt_only_and_no_mask() -> None:
    loaded = loaded_family("bloom")
    engine = HFEngine(loaded)
    choices = [Choice("abc", ("d", "e", "f")), Choice("a", ("b", "c"))]
    with shapes_of(loaded.model) as rows:
        assert_right(loaded, engine, choices)
    assert rows[0] == (2, 4), "all in one pass, before the reference's"
    assert engine.notes == []


def test_a_shared_beginning_is_computed_once_and_kept_for_the_next_batch() -> None:
    loaded = fresh()
    engine = HFEngine(loaded)
    first, second = make_choices(4, SHARED, 5), make_choices(1, SHARED, 5, seed=7)
    for batch in (first, second):  # with the checks
        engine.score(batch)
    engine._scorer._prefix.forget()
    with shapes_of(loaded.model.model) as rows:
        engine.score(first)
        engine.score(second)
    assert [shape for shape in rows if shape[1] >= len(SHARED)] == [(1, len(SHARED) + 1)]
    assert len(rows) == 3


def test_a_beginning_is_computed_again_when_the_weights_have_changed() -> None:
    loaded = fresh()
    engine = HFEngine(loaded)
    choices = make_choices(4, SHARED, 5)
    assert_right(loaded, engine, choices)
    with torch.no_grad():
        for weight in loaded.model.parameters():
            weight.mul_(1.5)
    assert_right(loaded, engine, choices)


def test_a_model_that_goes_its_own_way_is_found_out_by_its_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = fresh()
    plain = loaded.model.forward

    def forward(**given: Any) -> Any:
        given.pop("position_ids", None)  # as if it counted positions itself
        return plain(**given)

    monkeypatch.setattr(loaded.model, "forward", forward)
    engine = HFEngine(loaded)
    assert_right(loaded, engine, make_choices(8))
    assert len(engine.notes) == 1
    assert engine.notes[0].startswith("each option has a row of its own, since with this model one cannot put the ")


def test_a_model_that_refuses_masks_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = fresh()
    plain = loaded.model.forward

    def forward(**given: Any) -> Any:
        if given.get("attention_mask") is not None:
            raise ValueError("only masks of two dimensions\nand more of it")
        return plain(**given)

    monkeypatch.setattr(loaded.model, "forward", forward)
    engine = HFEngine(loaded)
    assert_right(loaded, engine, make_choices(8))
    assert engine.notes[0].endswith(": only masks of two dimensions")


def test_a_window_shorter_than_the_row_keeps_options_apart() -> None:
    loaded = loaded_family("mistral")
    engine = HFEngine(loaded)
    engine.score([Choice("a", ("bc", "de"))])
    assert engine.notes == []
    engine.score([Choice("abcdefgh", ("bc", "de"))])
    assert engine.notes == ["each option has a row of its own where one row would hold more than 6 tokens"]


def test_a_head_without_a_body_of_its_own_is_given_all_places(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = fresh()
    # As if the body were called in a way that no hook sees.
    monkeypatch.setattr(scoring, "backbone", lambda model: torch.nn.Linear(1, 1))
    assert_right(loaded, HFEngine(loaded), make_choices(8))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_other_types_are_weighed_within_their_rounding(dtype: str) -> None:
    loaded = fresh()
    loaded.model.to(getattr(torch, dtype))
    engine = HFEngine(loaded)
    tolerance = {"bfloat16": 0.2, "float16": 2e-2, "float64": 1e-6}[dtype]
    assert_right(loaded, engine, [*make_choices(4), *make_choices(4, SHARED, 5)], tolerance)


class Small:
    """Lets a model's forward pass fail, as too small a memory would, beyond so many tokens."""

    def __init__(self, model: Any, most: int, error: Exception) -> None:
        self._plain, self._most, self._error = model.forward, most, error
        self.sizes: list[int] = []

    def forward(self, *args: Any, **given: Any) -> Any:
        size = given["input_ids"].numel()
        self.sizes.append(size)
        if size > self._most:
            raise self._error
        return self._plain(*args, **given)


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes."),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["cuda", "linux", "windows"])
def test_what_does_not_fit_is_halved_and_nothing_is_lost(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = fresh()
    choices = make_choices(24)
    expected = HFEngine(loaded).score(choices)
    engine = HFEngine(loaded)
    engine.score(choices[:1])
    small = Small(loaded.model, 120, error)
    monkeypatch.setattr(loaded.model, "forward", small.forward)
    found = engine.score(choices)
    assert max(small.sizes) > 120, "it was tried"
    for mine, other in zip(found, expected, strict=True):
        assert [option.logprob for option in mine.options] == pytest.approx(
            [option.logprob for option in other.options], abs=1e-4
        )
    small.sizes.clear()
    engine.score(choices)
    assert max(small.sizes) <= 120, "what did not fit is not tried again"


def test_one_choice_that_does_not_fit_is_the_users_to_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = fresh()
    engine = HFEngine(loaded)
    monkeypatch.setattr(loaded.model, "forward", Small(loaded.model, 5, OUT_OF_MEMORY[0]).forward)
    with pytest.raises(UserError, match=r"memory on cpu does not suffice for one text of 9 tokens.*model.dtype"):
        engine.score([Choice("abcdefgh", ("i", "j"))])


def test_other_errors_are_not_taken_for_want_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = fresh()
    monkeypatch.setattr(loaded.model, "forward", Small(loaded.model, 5, RuntimeError("shapes do not fit")).forward)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        HFEngine(loaded).score([Choice("abcdefgh", ("i", "j"))])


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_replies_come_in_the_order_asked_whatever_the_batches(data: st.DataObject) -> None:
    loaded = loaded_family("llama")
    pool = [*make_choices(10), *make_choices(6, SHARED, 5)]
    numbers = data.draw(st.lists(st.integers(0, len(pool) - 1), max_size=12))
    engine = HFEngine(loaded, batch_tokens=data.draw(st.integers(1, 200)))
    found = engine.score([pool[number] for number in numbers])
    assert [scores.given for scores in found] == [pool[number].prompt for number in numbers]
    for number, scores in zip(numbers, found, strict=True):
        alone = known(number, len(pool))
        assert [option.logprob for option in scores.options] == pytest.approx(alone, abs=1e-4)


@functools.cache
def known(number: int, size: int) -> list[float]:
    pool = [*make_choices(10), *make_choices(6, SHARED, 5)]
    assert len(pool) == size
    return [reference(loaded_family("llama"), pool[number].prompt, option) for option in pool[number].options]
