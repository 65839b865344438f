"""Where options begin, what is cut, and how chats are given."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from bridgex.config.settings import ModelSettings
from bridgex.errors import UserError
from bridgex.evaluation.dialogue import Choice, Question
from bridgex.evaluation.engines.hf import HFEngine
from bridgex.evaluation.engines.prompts import OptionIds, PromptReader
from bridgex.extract.loading import Encoder, LoadedModel, load_encoder
from tests.fakes.tiny_models import make_loaded

NEVER = re.compile(r"(?!)")

LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}<|start|>{{ m['role'] }}<|stop|>\n\n{{ m['content'] | trim }}<|end|>"
    "{% endfor %}{% if add_generation_prompt %}<|start|>assistant<|stop|>\n\n{% endif %}"
)
CHATML = (
    "{% for m in messages %}<|start|>{{ m['role'] }}\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{% for m in messages %}<|start|>{{ m['role'] }}\n{{ m['content'] | trim }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>model\n{% endif %}"
)
SILENT = "{% for m in messages %}{% if m['role'] != 'system' %}{{ m['content'] }}{% endif %}{% endfor %}>"
SPECIAL = ["<s>", "</s>", "<pad>", "<|start|>", "<|stop|>", "<|end|>"]


def merging_tokenizer(*merges: tuple[str, str], puts_bos: bool = True) -> PreTrainedTokenizerFast:
    """Bytes, and what these merges make of them; without a split at words, so that merges reach across a boundary."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*SPECIAL, *letters, *("".join(pair) for pair in merges)])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=list(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL)
    if puts_bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 0)]
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>")


def loaded_with(
    tokenizer: PreTrainedTokenizerFast, window: int = 64, chat_template: str | None = None, system: str | None = None
) -> LoadedModel:
    tokenizer.chat_template = chat_template
    prefix = tuple(tokenizer("").input_ids)
    loaded = make_loaded("llama")
    loaded.model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    loaded.model.config.max_position_embeddings = window
    return replace(loaded, encoder=Encoder(tokenizer, prefix, chat_template is not None, system))


def tokens(loaded: LoadedModel, ids: tuple[int, ...]) -> list[str]:
    found: list[str] = loaded.encoder.tokenizer.convert_ids_to_tokens(list(ids))
    return found


COLON_SPACE = (":", "Ġ")
Y_ES = ("Ġ", "y")


def test_an_option_begins_where_the_prompt_ends() -> None:
    loaded = loaded_with(merging_tokenizer(Y_ES))
    (option,) = PromptReader(loaded).choice(Choice("ab:", (" yes",))).options
    assert tokens(loaded, option.ids[: option.start]) == ["<s>", "a", "b", ":"]
    assert tokens(loaded, option.ids[option.start :]) == ["Ġy", "e", "s"]
    assert not option.is_merged


def test_a_token_across_the_boundary_is_the_options() -> None:
    loaded = loaded_with(merging_tokenizer(COLON_SPACE))
    merged, apart = PromptReader(loaded).choice(Choice("ab:", (" yes", "yes"))).options
    assert tokens(loaded, merged.ids[merged.start :]) == [":Ġ", "y", "e", "s"]
    assert (merged.start, merged.is_merged) == (3, True)
    assert (apart.start, apart.is_merged) == (4, False)
    found = HFEngine(loaded).score([Choice("ab:", (" yes", "yes"))])[0]
    assert [(option.num_tokens, option.is_merged) for option in found.options] == [(4, True), (3, False)]


def test_the_harness_cuts_by_the_prompts_own_number_of_tokens() -> None:
    loaded = loaded_with(merging_tokenizer(COLON_SPACE))
    (option,) = PromptReader(loaded, "lm_eval").choice(Choice("ab:", (" yes",))).options
    assert tokens(loaded, option.ids) == ["<s>", "a", "b", ":", "y", "e", "s"]
    assert (option.start, option.is_merged) == (4, True)
    # White space at the prompt's end is the option's, whatever it is.
    (option,) = PromptReader(loaded, "lm_eval").choice(Choice("ab \n", ("yes",))).options
    assert tokens(loaded, option.ids[option.start :]) == ["Ġ", "Ċ", "y", "e", "s"]
    with pytest.raises(UserError, match=r"the option 'x' adds no token .*: use engine\.boundary=merged"):
        PromptReader(loaded_with(merging_tokenizer((":", "x"))), "lm_eval").choice(Choice("ab:", ("x",)))


def test_an_option_behind_nothing_is_predicted_from_something() -> None:
    loaded = loaded_with(merging_tokenizer(puts_bos=False))
    (option,) = PromptReader(loaded).choice(Choice("", ("yes",))).options
    assert tokens(loaded, option.ids) == ["<s>", "y", "e", "s"]
    assert option.start == 1
    assert PromptReader(loaded).question(Question("answer", "", 3, NEVER)).ids == (0,)
    loaded.encoder.tokenizer.bos_token = None
    assert PromptReader(loaded).question(Question("answer", "", 3, NEVER)).ids == (1,)


def test_no_options_and_empty_ones_are_our_own_mistake() -> None:
    reader = PromptReader(make_loaded())
    for options in ((), ("",), ("a", "  ")):
        with pytest.raises(AssertionError):
            reader.choice(Choice("a", options))


def test_room_for_the_longest_answer_is_made() -> None:
    loaded = loaded_with(merging_tokenizer(), 20)
    for num_letters, num_cut in ((14, 0), (15, 1), (19, 5)):
        question = Question("answer", "x" * num_letters, 5, NEVER, context=(0, num_letters))
        assert PromptReader(loaded).question(question).num_cut == num_cut


def length(loaded: LoadedModel, text: str) -> int:
    return len(loaded.encoder.encode(text))


@pytest.mark.parametrize("window", [24, 25, 40, 64])
def test_only_the_end_of_the_context_is_cut_and_no_more_than_must(window: int) -> None:
    loaded = loaded_with(merging_tokenizer(("a", "b"), ("ab", "ab")), window)
    passage = "ab" * 30 + "xyz" * 20
    prompt = f"Text: {passage} Q:"
    question = Question("answer", prompt, 5, NEVER, context=(6, 6 + len(passage)))
    found = PromptReader(loaded).question(question)
    kept = len(passage) - found.num_cut
    assert found.text == f"Text: {passage[:kept]} Q:"
    assert len(found.ids) + 5 <= window
    assert length(loaded, f"Text: {passage[: kept + 1]} Q:") + 5 > window
    (completion,) = HFEngine(loaded).complete([question])
    assert (completion.given, completion.num_cut) == (found.text, found.num_cut)


@settings(deadline=None)
@given(
    st.text(alphabet="ab é日", min_size=0, max_size=80),
    st.integers(16, 64),
    st.lists(st.text(alphabet="ab é日", min_size=1, max_size=6).filter(str.strip), min_size=1, max_size=3),
)
def test_a_choice_is_cut_for_its_longest_option(passage: str, window: int, options: list[str]) -> None:
    loaded = loaded_with(merging_tokenizer(("a", "b"), ("ab", "ab"), ("b", "Ġ")), window)
    prompt = f"<{passage}>"
    choice = Choice(prompt, tuple(options), context=(1, 1 + len(passage)))
    try:
        found = PromptReader(loaded).choice(choice)
    except UserError:
        assert max(length(loaded, "<>" + option) for option in options) > window
        return
    kept = len(passage) - found.num_cut
    assert found.text == f"<{passage[:kept]}>"
    assert max(len(option.ids) for option in found.options) <= window
    if found.num_cut:
        assert max(length(loaded, f"<{passage[: kept + 1]}>{option}") for option in options) > window


def test_what_cannot_be_cut_is_the_users_to_mend() -> None:
    loaded = loaded_with(merging_tokenizer(), 16)
    reader = PromptReader(loaded)
    with pytest.raises(UserError, match=r"and 5 tokens of answer: 26 tokens, and the model reads 16 at most\. Use"):
        reader.question(Question("answer", "x" * 20, 5, NEVER))
    with pytest.raises(UserError, match="26 tokens without any context, and the model reads 16 at most"):
        reader.question(Question("answer", "x" * 20 + "abc", 5, NEVER, context=(20, 23)))
    with pytest.raises(UserError, match="prompt and option: 23 tokens, and the model reads 16 at most"):
        HFEngine(loaded).cost(Choice("x" * 20, ("a", "bc")))


def test_a_long_passage_is_encoded_a_few_times_only(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = loaded_with(merging_tokenizer(("a", "b"), ("ab", "ab")), 8000)
    chance = random.Random(0)
    passage = "".join(chance.choice(["abab", "x", "é", "ab"]) for _ in range(20_000))
    sizes: list[int] = []
    plain = Encoder.encode_given

    def counted(self: Encoder, text: str) -> list[int]:
        sizes.append(len(text))
        return plain(self, text)

    monkeypatch.setattr(Encoder, "encode_given", counted)
    found = PromptReader(loaded).question(Question("answer", passage, 5, NEVER, context=(0, len(passage))))
    assert len(found.ids) + 5 == 8000
    assert len(sizes) <= 16
    assert sum(sizes) < 12 * len(passage)


def saved(folder: Path, tokenizer: PreTrainedTokenizerFast, template: str) -> Path:
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    make_loaded().model.config.save_pretrained(folder)
    return folder


def chat_encoder(folder: Path, template: str, system: str | None = None, **more: Any) -> Encoder:
    found = saved(folder, merging_tokenizer(**more), template)
    return load_encoder(ModelSettings(kind="hf", name="m", path=str(found), system_prompt=system), found)


@pytest.mark.parametrize("puts_bos", [True, False])
def test_a_llama3_chat_has_one_bos_and_its_system_message(tmp_path: Path, puts_bos: bool) -> None:
    encoder = chat_encoder(tmp_path, LLAMA3, "be brief", puts_bos=puts_bos)
    text = encoder.text("hi ")
    assert text == (
        "<|start|>system<|stop|>\n\nbe brief<|end|><|start|>user<|stop|>\n\nhi<|end|><|start|>assistant<|stop|>\n\n"
    )
    ids = encoder.encode("hi ")
    assert ids[0] == 0
    assert ids.count(0) == 1
    assert encoder.prefix == (0,)
    assert "one BOS in front" in encoder.notes()
    assert not any("system" in note for note in encoder.notes())


def test_a_chatml_chat_does_not_think_and_has_no_bos(tmp_path: Path) -> None:
    encoder = chat_encoder(tmp_path, CHATML, puts_bos=False)
    assert encoder.text("hi") == "<|start|>user\nhi<|end|>\n<|start|>assistant\n<think>\n\n</think>\n\n"
    assert 0 not in encoder.encode("hi")


@pytest.mark.parametrize("template", [GEMMA, SILENT], ids=["refuses", "leaves out"])
def test_a_template_without_system_messages_gets_it_before_the_prompt(tmp_path: Path, template: str) -> None:
    encoder = chat_encoder(tmp_path, template, "be brief")
    assert "be brief\n\nhi" in encoder.text("hi")
    assert encoder.encode("hi").count(0) == 1
    assert [note for note in encoder.notes() if "system" in note] == [
        "model.system_prompt stands before the prompt: the chat template takes no system message"
    ]
    assert chat_encoder(tmp_path, template).text("hi").count("be brief") == 0


def test_a_template_that_fails_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"chat template fails \(no way\)\. Use model\.chat_template=off"):
        chat_encoder(tmp_path, "{{ raise_exception('no way') }}")


def test_an_option_follows_the_beginning_of_the_models_turn() -> None:
    loaded = loaded_with(merging_tokenizer(), 128, GEMMA)
    (option,) = PromptReader(loaded).choice(Choice("ab:", (" yes",))).options
    assert loaded.encoder.decode(list(option.ids[option.start :])) == "yes", "the template's line break separates them"
    assert tokens(loaded, option.ids[: option.start])[-2:] == ["l", "Ċ"]
    (option,) = PromptReader(loaded, "lm_eval").choice(Choice("ab:", (" yes",))).options
    assert tokens(loaded, option.ids[option.start :]) == ["Ċ", "Ġ", "y", "e", "s"], "the harness keeps both"


def test_a_chat_is_cut_within_its_template() -> None:
    loaded = loaded_with(merging_tokenizer(), 60, CHATML)
    question = Question("answer", "a: " + "x" * 50 + " b", 4, NEVER, context=(3, 53))
    found = PromptReader(loaded).question(question)
    assert found.text.startswith("<|start|>user\na: xx")
    assert " b<|end|>\n<|start|>assistant\n" in found.text
    assert len(found.ids) + 4 == 60


@settings(deadline=None)
@given(st.text(alphabet="ab: é", max_size=12), st.text(alphabet="ab: é", min_size=1, max_size=5).filter(str.strip))
def test_prompt_and_option_are_tokenised_as_one_text(prompt: str, option: str) -> None:
    loaded = loaded_with(merging_tokenizer(("a", "b"), COLON_SPACE, ("ab", "ab"), ("b", "Ġ")))
    (found,) = PromptReader(loaded).choice(Choice(prompt, (option,))).options
    own = loaded.encoder.encode(prompt)
    assert list(found.ids) == loaded.encoder.encode(prompt + option)
    assert list(found.ids[: found.start]) == own[: found.start]
    assert found.is_merged == (found.start < len(own))
    assert found.is_merged or found.start == len(own)
    assert found == OptionIds(found.ids, found.start, found.is_merged)
