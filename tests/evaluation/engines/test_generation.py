"""Greedy generation in batches: the same text as one by one and as the library's own, and only what is needed."""

from __future__ import annotations

import functools
import random
import re
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bridgex.errors import UserError
from bridgex.evaluation.dialogue import Choice, Completion, Question, Scores
from bridgex.evaluation.engines import generation
from bridgex.evaluation.engines.generation import Stream
from bridgex.evaluation.engines.hf import HFEngine
from bridgex.extract.families import make_tiny_model
from bridgex.extract.loading import LoadedModel
from bridgex.extract.random_model import byte_tokenizer
from tests.evaluation.engines.test_scoring import OUT_OF_MEMORY, SHARED, Small, shapes_of
from tests.fakes.tiny_models import make_loaded

FAMILIES = ["llama", "qwen3", "gemma2", "gemma3_text", "mistral", "bloom", "gpt2", "opt", "xglm", "mpt", "mamba"]
NEVER = re.compile(r"(?!)")
TEMPLATE = "{{ bos_token }}{{ messages[0]['content'] }}:"


@functools.cache
def loaded_family(family: str) -> LoadedModel:
    loaded = make_loaded("llama" if family == "mamba" else family)
    return replace(loaded, model=make_tiny_model("mamba")) if family == "mamba" else loaded


def make_questions(count: int, beginning: str = "", longest: int = 20, seed: int = 0) -> list[Question]:
    chance = random.Random(seed)
    words = ["".join(chance.choices("abcdefgh", k=chance.randint(1, longest))) for _ in range(count)]
    # Of the random models' letters one in twenty is among these.
    return [
        Question("answer", beginning + word, chance.choice([1, 4, 12]), re.compile(f"[{chance.choice('aemquyAEMQ')}é]"))
        for word in words
    ]


def reference(loaded: LoadedModel, question: Question) -> tuple[list[int], list[float], bool]:
    """One prompt, one full pass a token, float64, no cache, no padding; the text decoded anew each time."""
    ids = loaded.encoder.encode(question.prompt)
    said, logprobs = list[int](), list[float]()
    while len(said) < question.max_tokens:
        with torch.inference_mode():
            logits = loaded.model(input_ids=torch.tensor([ids + said]), use_cache=False).logits[0, -1].double()
        said.append(int(logits.argmax()))
        logprobs.append(float(logits.log_softmax(0)[said[-1]]))
        text = loaded.encoder.decode(said)
        if loaded.encoder.uses_chat_template:
            text = text.lstrip()
        if said[-1] in loaded.end_ids or question.stop.search(text):
            return said, logprobs, True
    return said, logprobs, False


def assert_right(loaded: LoadedModel, questions: list[Question], found: list[Completion]) -> None:
    assert len(found) == len(questions)
    for question, completion in zip(questions, found, strict=True):
        ids, logprobs, is_complete = reference(loaded, question)
        assert completion.text == loaded.encoder.decode(ids)
        assert completion.num_tokens == len(ids)
        assert completion.logprobs == pytest.approx(logprobs, abs=1e-4)
        assert completion.logprob == pytest.approx(sum(logprobs), abs=1e-3)
        assert completion.is_truncated == (not is_complete)


@pytest.mark.parametrize("size", [1, 8, 32])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_answers_as_its_prompts_do_one_by_one(family: str, size: int) -> None:
    loaded = loaded_family(family)
    engine = HFEngine(loaded)
    questions = make_questions(32)
    for start in range(0, 32, size):
        batch = questions[start : start + size]
        assert_right(loaded, batch, engine.complete(batch))
    assert bool(engine.notes) == (family == "mamba")


@pytest.mark.parametrize("family", FAMILIES)
def test_what_follows_a_shared_beginning_is_answered_as_one_by_one(family: str) -> None:
    loaded = loaded_family(family)
    engine = HFEngine(loaded)
    for seed in range(2):
        questions = make_questions(5, SHARED, longest=8, seed=seed)
        assert_right(loaded, questions, engine.complete(questions))


def test_the_text_is_the_librarys_own() -> None:
    loaded = loaded_family("qwen3")
    for question in make_questions(6):
        ids = torch.tensor([loaded.encoder.encode(question.prompt)])
        made = loaded.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=12,
            do_sample=False,
            eos_token_id=list(loaded.end_ids),
            pad_token_id=2,
        )[0, ids.shape[1] :]
        (completion,) = HFEngine(loaded).complete([replace(question, max_tokens=12, stop=NEVER)])
        assert completion.text == loaded.encoder.decode(made.tolist())


def test_rows_that_have_ended_leave_the_batch_and_the_head_sees_last_places_only() -> None:
    loaded = loaded_family("llama")
    engine = HFEngine(loaded)
    questions = [Question("answer", "abcd"[: 1 + number], limit, NEVER) for number, limit in enumerate((1, 3, 2, 3))]
    engine.complete(questions)  # with the checks
    with shapes_of(loaded.model) as rows, shapes_of(loaded.model.lm_head) as head:
        engine.complete(questions)
    assert rows == [(4, 5), (3, 1), (2, 1)]
    assert [shape[:2] for shape in head] == [(4, 1), (3, 1), (2, 1)]


@pytest.mark.parametrize("family", FAMILIES)
def test_prompts_begin_while_others_are_answered(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = loaded_family(family)
    monkeypatch.setattr(generation, "_CHUNK_ON_CPU", 30)
    engine = HFEngine(loaded)
    questions = make_questions(32)
    assert_right(loaded, questions, engine.complete(questions))
    with shapes_of(loaded.model) as rows:
        engine.complete(questions)
    if family in {"llama", "qwen3", "gpt2", "opt", "xglm"}:
        # All prompts are computed before the second token of any, a few at a time; then steps of fewer and fewer rows.
        begins = [shape for shape in rows if shape[1] > 1]
        assert len(begins) > 5
        assert sum(shape[0] for shape in begins) == 32
        assert rows[: len(begins)] == begins
        assert sorted(rows[len(begins) :], reverse=True) == rows[len(begins) :]
        assert len(rows) - len(begins) <= 11


@pytest.mark.parametrize("tokens", [40, 100, 300])
def test_what_has_no_room_yet_waits(tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = loaded_family("llama")
    monkeypatch.setattr(generation, "_CHUNK_ON_CPU", 30)
    engine = HFEngine(loaded, batch_tokens=tokens)
    questions = make_questions(32)
    with shapes_of(loaded.model) as rows:
        found = engine.complete(questions)
    assert_right(loaded, questions, found)
    # A row of the longest takes 33 tokens, prompt and answer.
    assert max(shape[0] for shape in rows) <= max(1, tokens // 4)


def test_what_fills_up_all_rows_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = loaded_family("llama")
    monkeypatch.setattr(generation, "_CHUNK_ON_CPU", 1)  # one by one
    questions = [Question("answer", "a" * 20, 2, NEVER)]
    questions += [Question("answer", "abcdef"[number:][:3], 12, NEVER) for number in range(5)]
    masks: list[torch.Tensor] = []
    plain = loaded.model.forward

    def forward(**given: Any) -> Any:
        masks.append(given.get("attention_mask"))
        return plain(**given)

    engine = HFEngine(loaded, batch_tokens=110)  # for three rows, the longest among them
    with monkeypatch.context() as patch:
        patch.setattr(loaded.model, "forward", forward)
        found = engine.complete(questions)
    assert_right(loaded, questions, found)
    joined = [mask for mask in masks if mask is not None and len(mask) == 3]
    assert max(mask.shape[1] for mask in joined) > 20 > min(mask.shape[1] for mask in joined)


def test_rows_that_cannot_leave_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = make_loaded("llama")
    from transformers.cache_utils import DynamicLayer

    monkeypatch.delattr(DynamicLayer, "batch_select_indices")
    engine = HFEngine(loaded)
    questions = make_questions(8)
    assert_right(loaded, questions, engine.complete(questions))
    with shapes_of(loaded.model) as rows:
        engine.complete(questions)
    assert all(shape[0] == 8 for shape in rows)


def test_a_shared_beginning_is_computed_once() -> None:
    loaded = make_loaded("llama")
    engine = HFEngine(loaded)
    questions = make_questions(4, SHARED, longest=5)
    engine.complete(questions)
    engine._generator._prefix.forget()
    with shapes_of(loaded.model.model) as rows:
        engine.complete(questions)
        engine.complete(questions[:1])
    assert [shape for shape in rows if shape[1] >= len(SHARED)] == [(1, len(SHARED) + 1)]


def test_a_model_that_minds_padding_gets_prompts_of_one_length(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = make_loaded("llama")
    plain = loaded.model.forward

    def forward(**given: Any) -> Any:
        given.pop("attention_mask", None)  # as if it read what rows are filled up with
        given.pop("position_ids", None)
        return plain(**given)

    monkeypatch.setattr(loaded.model, "forward", forward)
    engine = HFEngine(loaded)
    # The engine reads from the signature what a model takes.
    questions = make_questions(12)
    assert_right(loaded, questions, engine.complete(questions))
    (note,) = engine.notes
    assert note.startswith("generation: prompts of one length only go together, since with this model one cannot fill ")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_says_the_same_in_a_batch_of_one_length(dtype: str) -> None:
    loaded = make_loaded("llama")
    loaded.model.to(getattr(torch, dtype))
    engine = HFEngine(loaded)
    questions = [replace(question, prompt="prompt " + question.prompt[:1]) for question in make_questions(8)]
    together = engine.complete(questions)
    for question, completion in zip(questions, together, strict=True):
        (alone,) = engine.complete([question])
        # Ties are common in so few bits; where the two go apart they must have been one.
        common = next((n for n, (a, b) in enumerate(zip(alone.text, completion.text)) if a != b), None)  # noqa: B905
        assert common is None or alone.logprobs[common] == pytest.approx(completion.logprobs[common], abs=0.1)


@contextmanager
def chatty(loaded: LoadedModel, script: str) -> Any:
    """Lets a model say a script, one byte a token, whatever the prompt."""
    ids = loaded.encoder.tokenizer(script, add_special_tokens=False).input_ids
    plain = loaded.model.forward
    said = {"count": 0}

    def forward(**given: Any) -> Any:
        output = plain(**given)
        output.logits = torch.full_like(output.logits, -9.0)
        output.logits[:, -1, ids[min(said["count"], len(ids) - 1)]] = 9.0
        said["count"] += 1
        return output

    patch = pytest.MonkeyPatch()
    patch.setattr(loaded.model, "forward", forward)
    yield
    patch.undo()


def say(script: str, stop: str, chat: bool) -> Completion:
    loaded = make_loaded("llama", chat_template=TEMPLATE if chat else None)
    engine = HFEngine(loaded)
    engine.complete([Question("answer", "a", 2, NEVER)])  # the checks, on what the model really says
    with chatty(loaded, script):
        (completion,) = engine.complete([Question("answer", "a", len(script.encode()), re.compile(stop))])
    return completion


def test_a_chat_models_leading_line_break_does_not_end_its_answer() -> None:
    found = say("\n\n Hund\nKatze", r"\n", chat=True)
    assert found.text == "\n\n Hund\n"
    assert not found.is_truncated
    assert say("Sure:\nHund", r"\n", chat=True).text == "Sure:\n"


def test_a_plain_models_line_break_does() -> None:
    assert say("\nHund", r"\n", chat=False).text == "\n"


def test_a_pattern_is_found_in_characters_of_many_bytes() -> None:
    assert say('"日本", "', r'^\s*"[^"]*"', chat=False).text == '"日本"'
    assert say("ab日本cd", "本", chat=False).text == "ab日本"


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["cuda", "linux", "windows"])
def test_what_does_not_fit_is_halved_and_nothing_is_lost(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = make_loaded("llama")
    engine = HFEngine(loaded)
    questions = make_questions(24)
    engine.complete(questions[:2])
    small = Small(loaded.model, 100, error)
    with monkeypatch.context() as patch:
        patch.setattr(loaded.model, "forward", small.forward)
        found = engine.complete(questions)
    assert max(small.sizes) > 100, "it was tried"
    assert_right(loaded, questions, found)


@pytest.mark.parametrize("most", [1, 2, 6, 15])
def test_a_step_that_does_not_fit_begins_its_rows_anew(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = make_loaded("llama")
    monkeypatch.setattr(generation, "_CHUNK_ON_CPU", 60)
    engine = HFEngine(loaded)
    questions = [replace(question, max_tokens=8) for question in make_questions(24)]
    engine.complete(questions)
    plain, failed = loaded.model.forward, list[tuple[int, ...]]()

    def forward(**given: Any) -> Any:
        output = plain(**given)  # with its keys and values already in the cache
        if len(given["input_ids"]) > most:
            failed.append(tuple(given["input_ids"].shape))
            raise torch.OutOfMemoryError("CUDA out of memory")
        return output

    with monkeypatch.context() as patch:
        patch.setattr(loaded.model, "forward", forward)
        found = engine.complete(questions)
    assert_right(loaded, questions, found)
    assert failed


def test_trying_out_that_does_not_fit_beside_what_is_answered_begins_it_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = make_loaded("llama")
    monkeypatch.setattr(generation, "_CHUNK_ON_CPU", 60)
    engine, tried = HFEngine(loaded), list[str]()
    allows = generation.Generator._allows_joining

    def allows_joining(self: Any, task: Any) -> bool:
        tried.append("joining")
        if len(tried) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return allows(self, task)

    monkeypatch.setattr(generation.Generator, "_allows_joining", allows_joining)
    questions = [replace(question, max_tokens=8) for question in make_questions(24)]
    assert_right(loaded, questions, engine.complete(questions))
    assert len(tried) > 1


def test_one_question_that_does_not_fit_is_the_users_to_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = make_loaded("llama")
    engine = HFEngine(loaded)
    engine.complete([Question("answer", "a", 2, NEVER)])
    monkeypatch.setattr(loaded.model, "forward", Small(loaded.model, 5, OUT_OF_MEMORY[0]).forward)
    with pytest.raises(UserError, match=r"memory on cpu does not suffice for one text of 13 tokens.*model.dtype"):
        engine.complete([Question("answer", "abcdefgh", 4, NEVER)])


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_replies_come_in_the_order_asked_whatever_the_batches(data: st.DataObject) -> None:
    loaded = loaded_family("llama")
    questions, choices = make_questions(12), [Choice("abc", (" a", " bc")), Choice("de", ("f", "g"))]
    pool = [*questions, *make_questions(3, SHARED, longest=5), *choices]
    asked = data.draw(st.lists(st.sampled_from(pool), max_size=12))
    found = HFEngine(loaded, batch_tokens=data.draw(st.integers(1, 200))).answer(asked)
    assert [reply.given for reply in found] == [request.prompt for request in asked]
    for request, reply in zip(asked, found, strict=True):
        if isinstance(request, Question):
            assert isinstance(reply, Completion)
            assert reply.text == known_text(loaded, request)
        else:
            assert isinstance(reply, Scores)
            assert len(reply.options) == len(request.options)


@functools.cache
def known_text(loaded_of: Any, question: Question) -> str:
    return loaded_of.encoder.decode(reference(loaded_of, question)[0])


@settings(deadline=None)
@given(st.text(max_size=40))
@example("a 日本語 b")
@example("🇩🇪👩‍👧")
def test_text_decoded_token_by_token_is_the_text(text: str) -> None:
    encoder = make_stream_encoder()
    stream, said = Stream(encoder), list[int]()
    for token in encoder.tokenizer(text, add_special_tokens=False).input_ids:
        said.append(token)
        assert stream.add(token) == encoder.decode(said)


@functools.cache
def make_stream_encoder() -> Any:
    return replace(make_loaded("llama").encoder, tokenizer=byte_tokenizer())


def test_a_long_answer_is_not_decoded_again_from_its_beginning() -> None:
    encoder = make_stream_encoder()
    lengths: list[int] = []

    class Counted:
        def decode(self, ids: list[int]) -> str:
            lengths.append(len(ids))
            return encoder.decode(ids)

    stream = Stream(Counted())  # type: ignore[arg-type]
    for token in encoder.tokenizer("é" * 100, add_special_tokens=False).input_ids:
        text = stream.add(token)
    assert text == "é" * 100
    assert max(lengths) <= 8
