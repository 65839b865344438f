"""Greedy continuation: a batch answers as its prompts do one by one, and log-probabilities are the model's own."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch

from bridgex.config.settings import ModelSettings
from bridgex.evaluation.dialogue import Question
from bridgex.evaluation.engines.hf import Continuation, HFEngine
from bridgex.extract.loading import LoadedModel, load_model
from bridgex.extract.random_model import make_random_model

NEVER = re.compile(r"(?!)")


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = make_random_model(tmp_path_factory.mktemp("models"), seed=3)
    found = load_model(ModelSettings(kind="random", name="m", dtype="float32"), folder)
    with torch.no_grad():  # sharper, so that its answers differ from one another
        for weight in found.model.parameters():
            weight.mul_(3.0)
    return found


def ask(loaded: LoadedModel, prompts: list[str], max_tokens: int = 8, stop: re.Pattern[str] = NEVER) -> list:
    return HFEngine(loaded).complete([Question("answer", prompt, max_tokens, stop) for prompt in prompts])


def greedy(loaded: LoadedModel, prompt: str, num_tokens: int) -> tuple[list[int], list[float]]:
    """Independent reference: no cache, no padding, one prompt, one full forward a token."""
    ids = loaded.encoder.encode(prompt)
    start, logprobs = len(ids), list[float]()
    for _ in range(num_tokens):
        with torch.inference_mode():
            logits = loaded.model(torch.tensor([ids])).logits[0, -1].double()
        token = int(logits.argmax())
        logprobs.append(float(logits[token] - logits.logsumexp(0)))
        ids.append(token)
        if token in loaded.end_ids:
            break
    return ids[start:], logprobs


def test_a_batch_answers_as_its_prompts_do_one_by_one(loaded: LoadedModel) -> None:
    prompts = ["a", "a much longer prompt than the first", 'x:"y"→z:', "日本語"]
    together = ask(loaded, prompts)
    for prompt, completion in zip(prompts, together, strict=True):
        (alone,) = ask(loaded, [prompt])
        ids, logprobs = greedy(loaded, prompt, 8)
        assert completion.text == alone.text == loaded.encoder.decode(ids)
        assert completion.num_tokens == len(ids)
        assert completion.logprobs == pytest.approx(logprobs, abs=1e-4)
        assert completion.logprob == pytest.approx(sum(logprobs), abs=1e-4)
        assert completion.given == prompt
    assert len({completion.text for completion in together}) > 1


def test_generation_ends_at_the_stop_pattern_of_its_own_question(loaded: LoadedModel) -> None:
    (free,) = ask(loaded, ["abc"])
    assert free.is_truncated
    mark = re.compile(re.escape(free.text[2]))
    where = free.text.index(free.text[2]) + 1
    first, second = HFEngine(loaded).complete([Question("answer", "abc", 8, mark), Question("answer", "abc", 8, NEVER)])
    assert first.text == free.text[:where]
    assert first.num_tokens == where
    assert not first.is_truncated
    assert second.text == free.text


def test_each_question_has_its_own_limit(loaded: LoadedModel) -> None:
    engine = HFEngine(loaded)
    short, long = engine.complete([Question("answer", "abc", 2, NEVER), Question("answer", "abc", 6, NEVER)])
    assert (short.num_tokens, long.num_tokens) == (2, 6)
    assert (len(short.logprobs), len(long.logprobs)) == (2, 6), "what comes after its end does not count"
    assert short.logprobs == pytest.approx(long.logprobs[:2], abs=1e-5)
    assert long.text.startswith(short.text)
    assert engine.complete([]) == []


def test_an_end_token_ends_an_answer(loaded: LoadedModel) -> None:
    ids, _ = greedy(loaded, "abc", 8)
    end = next(token for token in ids[2:] if token not in ids[:2])
    (completion,) = HFEngine(replace(loaded, end_ids=(end,))).complete([Question("answer", "abc", 8, NEVER)])
    assert completion.num_tokens == ids.index(end) + 1
    assert not completion.is_truncated
    assert completion.text == loaded.encoder.decode(ids[: ids.index(end) + 1])


def weigh(loaded: LoadedModel, pairs: list[tuple[str, str]]) -> list[float]:
    return HFEngine(loaded).logprobs([Continuation(*pair) for pair in pairs])


def test_a_texts_log_probability_is_the_sum_over_its_tokens_in_any_batch(loaded: LoadedModel) -> None:
    pairs = [("a", "bc"), ("a much longer prompt", '"x"'), ('x:"y"→z:', "日本語"), ("a", "b")]
    together = weigh(loaded, pairs)
    for (prompt, text), found in zip(pairs, together, strict=True):
        ids = loaded.encoder.encode(prompt)
        own = loaded.encoder.tokenizer(text, add_special_tokens=False).input_ids
        with torch.inference_mode():
            logprobs = loaded.model(torch.tensor([ids + own])).logits[0].double().log_softmax(dim=-1)
        expected = sum(float(logprobs[len(ids) - 1 + place, token]) for place, token in enumerate(own))
        assert found == pytest.approx(expected, abs=1e-4)
        assert weigh(loaded, [(prompt, text)]) == pytest.approx([found], abs=1e-4)
    assert weigh(loaded, []) == []


def test_what_the_model_says_greedily_has_the_log_probability_that_it_said_it_with(loaded: LoadedModel) -> None:
    (completion,) = ask(loaded, ["abc"], max_tokens=5)
    ids, logprobs = greedy(loaded, "abc", 5)
    if loaded.encoder.tokenizer(completion.text, add_special_tokens=False).input_ids == ids:
        assert weigh(loaded, [("abc", completion.text)]) == pytest.approx([sum(logprobs)], abs=1e-4)
    assert completion.logprob == pytest.approx(sum(logprobs), abs=1e-4)


def test_a_model_that_cannot_choose_places_is_weighed_the_same(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = [("a", "bc"), ("a much longer prompt", '"x"')]
    expected = weigh(loaded, pairs)
    plain = loaded.model.forward

    def forward(input_ids: torch.Tensor, attention_mask: torch.Tensor, use_cache: bool) -> object:
        return plain(input_ids=input_ids, attention_mask=attention_mask, use_cache=use_cache)

    monkeypatch.setattr(loaded.model, "forward", forward)
    assert weigh(loaded, pairs) == pytest.approx(expected, abs=1e-5)
