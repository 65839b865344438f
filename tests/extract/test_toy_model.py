"""The toy tokenizer gives every text back exactly, and the planted heads look back as far as they should."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerBase

from bridgex.config.toy_recipe import LineKind, ModelRecipe, ToyRecipe
from bridgex.data.toy_lines import ToyLines, vocabulary
from bridgex.data.toy_world import Dice, ToyWorld
from bridgex.extract.toy_model import make_model, make_tokenizer, save_model

KINDS: tuple[tuple[LineKind, int], ...] = (
    ("word", 0),
    ("chain", 0),
    ("mono", 0),
    ("mt", 0),
    ("retell", 3),
    ("nli", 0),
    ("mrc", 4),
)


@pytest.fixture(scope="module")
def lines() -> ToyLines:
    return ToyLines(ToyWorld(ToyRecipe(), seed=0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    save_model(make_model(ModelRecipe(), seed=0), ModelRecipe(), path)
    return path


@pytest.fixture(scope="module", params=["made", "read"])
def tokenizer(request: pytest.FixtureRequest, folder: Path) -> PreTrainedTokenizerBase:
    if request.param == "made":
        return make_tokenizer(512)
    read: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
    return read


class TestTokenizer:
    @pytest.mark.parametrize(("kind", "num_facts"), KINDS)
    def test_round_trip_of_every_kind_of_line(
        self, tokenizer: PreTrainedTokenizerBase, lines: ToyLines, kind: LineKind, num_facts: int
    ) -> None:
        for line in lines.lines(kind, Dice("round trip", kind), num_facts):
            ids = tokenizer(line.text + "\n")["input_ids"]
            assert tuple(tokenizer.convert_ids_to_tokens(ids)) == line.tokens
            assert tokenizer.decode(ids, skip_special_tokens=True) == line.text
            assert tokenizer.decode(ids) == f"\n{line.text}\n"

    def test_ids_are_places_in_the_vocabulary(self, tokenizer: PreTrainedTokenizerBase) -> None:
        assert tuple(tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))) == vocabulary()

    def test_one_newline_in_front_and_none_behind(self, tokenizer: PreTrainedTokenizerBase) -> None:
        assert tokenizer.bos_token == tokenizer.eos_token == "\n"
        ids = tokenizer('qaa:"tape"→qaf:')["input_ids"]
        assert ids[0] == tokenizer.bos_token_id == 0
        assert ids.count(0) == 1
        assert tokenizer('"tape"', add_special_tokens=False)["input_ids"].count(0) == 0

    def test_newlines_between_examples_are_the_same_token(self, tokenizer: PreTrainedTokenizerBase) -> None:
        ids = tokenizer('qaa:"tape"→qaf:"kilo"\nqaa:"tape"→qaf:')["input_ids"]
        assert ids.count(0) == 2
        assert tokenizer.decode(ids[1:]) == 'qaa:"tape"→qaf:"kilo"\nqaa:"tape"→qaf:'

    def test_a_prompt_is_a_prefix_of_its_line_in_tokens(
        self, tokenizer: PreTrainedTokenizerBase, lines: ToyLines
    ) -> None:
        for line in lines.lines("chain", Dice("prefix"), 0)[:20]:
            ids = tokenizer(line.text)["input_ids"]
            for end in (line.text.rindex('"', 0, -1), line.text.index("→") + 5):
                prompt = tokenizer(line.text[:end])["input_ids"]
                assert ids[: len(prompt)] == prompt
                assert tokenizer.decode(ids[len(prompt) :]) == line.text[end:]

    def test_text_from_the_middle_of_a_word_has_no_prefix(self, tokenizer: PreTrainedTokenizerBase) -> None:
        ids = tokenizer('"tape kilo"', add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids[2:]) == 'pe kilo"'

    def test_batches_are_padded_on_the_left(self, tokenizer: PreTrainedTokenizerBase) -> None:
        batch = tokenizer(['qaa:"', 'qaa:"tape'], padding=True)
        assert batch["input_ids"][0][:2] == [tokenizer.pad_token_id] * 2
        assert batch["attention_mask"][0] == [0, 0, 1, 1, 1]
        assert tokenizer.decode(batch["input_ids"][0], skip_special_tokens=True) == 'qaa:"'

    def test_what_is_not_of_this_world_is_unknown(self, tokenizer: PreTrainedTokenizerBase) -> None:
        assert tokenizer.unk_token_id in tokenizer("Wörter")["input_ids"]


class TestModel:
    def test_planted_heads_look_back(self, lines: ToyLines) -> None:
        recipe = ModelRecipe()
        model = make_model(recipe, seed=0).eval()
        model.set_attn_implementation("eager")
        tokenizer = make_tokenizer(recipe.max_positions)
        line = lines.lines("retell", Dice("attention"), 4)[0]
        inputs = tokenizer(line.text, return_tensors="pt")
        with torch.inference_mode():
            attentions = model(**inputs, output_attentions=True).attentions
        for block, lookback in enumerate(recipe.planted_lookback):
            for head, distance in enumerate(lookback):
                weights = attentions[block][0, head]
                assert weights.diagonal(-distance).mean() > 0.8
        unplanted = attentions[1][0, 2:]
        assert max(unplanted.diagonal(-distance, 1, 2).mean() for distance in (1, 2, 3)) < 0.2

    def test_new_weights_follow_the_seed_and_no_global_state(self) -> None:
        recipe = ModelRecipe()
        torch.manual_seed(1)
        first = make_model(recipe, seed=0).state_dict()
        torch.manual_seed(2)
        second = make_model(recipe, seed=0).state_dict()
        other = make_model(recipe, seed=1).state_dict()
        assert all(torch.equal(first[name], second[name]) for name in first)
        assert not torch.equal(first["model.embed_tokens.weight"], other["model.embed_tokens.weight"])

    def test_size_and_ties(self) -> None:
        model = make_model(ModelRecipe(), seed=0)
        assert sum(parameter.numel() for parameter in model.parameters()) == 581_280
        assert model.lm_head.weight is model.model.embed_tokens.weight
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}

    def test_folder_reads_back_bit_equal_and_names_no_origin(self, folder: Path) -> None:
        read = AutoModelForCausalLM.from_pretrained(folder)
        assert isinstance(read, LlamaForCausalLM)
        made = make_model(ModelRecipe(), seed=0)
        assert all(torch.equal(made.state_dict()[name], tensor) for name, tensor in read.state_dict().items())
        ids = torch.arange(20, 60).unsqueeze(0)
        with torch.inference_mode():
            assert torch.equal(made.eval()(ids).logits, read.eval()(ids).logits)
        assert (read.generation_config.bos_token_id, read.generation_config.pad_token_id) == (0, 1)
        assert read.generation_config.eos_token_id == 0
        assert "_name_or_path" not in json.loads((folder / "config.json").read_text())

    def test_folder_serves_both_major_versions_of_transformers(self, folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        assert config["rope_theta"] == 100.0
        assert config["architectures"] == ["LlamaForCausalLM"]
        assert (
            json.loads((folder / "tokenizer_config.json").read_text())["tokenizer_class"] == "PreTrainedTokenizerFast"
        )

    def test_files_are_readable_for_all(self, folder: Path) -> None:
        assert all(path.stat().st_mode & 0o444 == 0o444 for path in folder.iterdir())

    def test_impossible_sizes_are_refused(self) -> None:
        with pytest.raises(ValidationError, match="hidden_size=90 must be a multiple of 2 x heads=8"):
            ModelRecipe(hidden_size=90)
        with pytest.raises(ValidationError, match="names more blocks or heads than there are"):
            ModelRecipe(blocks=1)
