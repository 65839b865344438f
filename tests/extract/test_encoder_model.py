"""The made tokenizer gives every text back and knows words; the new BERT follows from its seed and loads anywhere."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedTokenizerFast,
)

from bridgex.config.encoder_recipe import EncoderModelRecipe, TextRecipe
from bridgex.extract.encoder_model import SPECIAL, encode_texts, make_encoder, make_encoder_tokenizer, save_encoder

TEXTS = [
    "The members of the Assembly are worried, the members say.",
    "Die Mitglieder der Versammlung sind besorgt, sagen die Mitglieder.",
    "सदस्यों को चिंता है कि सदस्यों को",
    "สมาชิกสภาเวลส์กังวลว่าสมาชิก",
    "威尔士国民议会议员担心",
    "In 1984, 12345 people's houses cost 3.5 %.",
]
RECIPE = TextRecipe(vocabulary=400, max_length=32)
COUNTS = np.arange(400, dtype=np.int64)
MODEL = EncoderModelRecipe(blocks=2, hidden_size=32, intermediate_size=48, heads=2)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return make_encoder_tokenizer(TEXTS, RECIPE)


@pytest.fixture(scope="module")
def folder(tokenizer: PreTrainedTokenizerFast, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    save_encoder(make_encoder(RECIPE, MODEL, COUNTS, seed=0), tokenizer, MODEL, path)
    return path


class TestTokenizer:
    @pytest.mark.parametrize("text", [*TEXTS, "Ünseen ⊕ ☃ text\nwith\ta tab  and  spaces", "X"])
    def test_every_text_comes_back(self, tokenizer: PreTrainedTokenizerFast, folder: Path, text: str) -> None:
        for one in (tokenizer, AutoTokenizer.from_pretrained(folder)):
            ids = one(text).input_ids
            assert one.decode(ids, skip_special_tokens=True) == text
            assert one.unk_token_id not in ids

    def test_it_follows_from_the_text(self, tokenizer: PreTrainedTokenizerFast) -> None:
        again = make_encoder_tokenizer(iter(TEXTS), RECIPE)
        assert again.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()
        other = make_encoder_tokenizer(TEXTS[:1], RECIPE)
        assert other.backend_tokenizer.to_str() != tokenizer.backend_tokenizer.to_str()

    def test_special_tokens_stand_where_bert_has_them(self, tokenizer: PreTrainedTokenizerFast) -> None:
        assert tokenizer.convert_ids_to_tokens(list(range(5))) == list(SPECIAL)
        found = tokenizer("The members", "say")
        first, second = (tokenizer(text, add_special_tokens=False).input_ids for text in ("The members", "say"))
        assert found["input_ids"] == [2, *first, 3, *second, 3]
        assert found["token_type_ids"] == [0] * (len(first) + 2) + [1] * (len(second) + 1)
        assert tokenizer.model_max_length == RECIPE.max_length

    def test_a_word_has_the_same_tokens_wherever_it_stands(self, tokenizer: PreTrainedTokenizerFast) -> None:
        alone = tokenizer("members", add_special_tokens=False).input_ids
        assert tokenizer("the members", add_special_tokens=False).input_ids[-len(alone) :] == alone

    def test_case_is_kept(self, tokenizer: PreTrainedTokenizerFast) -> None:
        assert tokenizer("The").input_ids != tokenizer("the").input_ids

    def test_no_token_is_longer_than_allowed(self) -> None:
        longest = []
        for allowed in (3, 6, 100):
            found = make_encoder_tokenizer(["strength strengthen"] * 3, TextRecipe(max_token_bytes=allowed))
            longest.append(max(len(token) for token in found.get_vocab() if token not in SPECIAL))
            assert longest[-1] <= allowed
        assert longest[0] < longest[1] < longest[2] == len(" strengthen")

    def test_words_are_numbered_in_order(self, tokenizer: PreTrainedTokenizerFast) -> None:
        (found,) = encode_texts(tokenizer, ["The member's 12345 सदस्यों, yes"])
        words = [[int(id) for id in found.ids[found.words == number]] for number in range(int(found.words.max()) + 1)]
        assert [tokenizer.decode(word) for word in words] == [
            "The",
            "member",
            "'",
            "s",
            "123",
            "45",
            "सदस्यों",
            ",",
            "yes",
        ]
        assert list(found.words) == sorted(found.words)


class TestModel:
    def test_it_follows_from_the_seed(self) -> None:
        torch.manual_seed(1)
        one = make_encoder(RECIPE, MODEL, COUNTS, seed=0).state_dict()
        torch.manual_seed(2)
        same, other = (make_encoder(RECIPE, MODEL, COUNTS, seed=seed).state_dict() for seed in (0, 1))
        assert all(torch.equal(one[name], same[name]) for name in one)
        assert not all(torch.equal(one[name], other[name]) for name in one)

    def test_first_weights_are_as_the_recipe_says(self) -> None:
        model = make_encoder(RECIPE, MODEL, COUNTS, seed=0)
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                assert float(parameter.detach().std()) == pytest.approx(MODEL.init_std, rel=0.2), name
            elif name == "cls.predictions.bias":
                assert parameter.detach().exp().tolist() == pytest.approx((COUNTS + 1) / (COUNTS + 1).sum(), rel=1e-5)
            else:
                assert set(parameter.tolist()) == {1.0 if "LayerNorm.weight" in name else 0.0}, name
        assert model.training
        assert model.config.hidden_dropout_prob == 0

    @pytest.mark.filterwarnings("ignore")
    def test_folder_is_read_by_the_usual_doors(self, folder: Path) -> None:
        model = AutoModelForMaskedLM.from_pretrained(folder)
        made = make_encoder(RECIPE, MODEL, COUNTS, seed=0).eval()
        given = AutoTokenizer.from_pretrained(folder)("The [MASK] say", return_tensors="pt")
        assert 4 in given["input_ids"]
        with torch.inference_mode():
            assert torch.equal(model(**given).logits, made(**given).logits)
            body = AutoModel.from_pretrained(folder)(**given).last_hidden_state
            assert torch.equal(body, made.bert(**given).last_hidden_state)
            head = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=3)
            assert head(**given).logits.shape == (1, 3)

    def test_dropout_is_for_those_who_fine_tune_it(self, folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        assert config["hidden_dropout_prob"] == config["attention_probs_dropout_prob"] == MODEL.dropout == 0.1
        assert config["max_position_embeddings"] == RECIPE.max_length
        assert config["architectures"] == ["BertForMaskedLM"]
