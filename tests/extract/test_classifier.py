"""Pairs become one input as they should, and any model gets a seeded head."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from bridgex.config.settings import ModelSettings
from bridgex.errors import UserError
from bridgex.extract.classifier import PairEncoder, load_classifier, load_pair_encoder
from tests.fakes.tiny_classifiers import ENCODERS, make_tokenizer, write_model


def settings(folder: Path, **more: object) -> ModelSettings:
    return ModelSettings.model_validate({"kind": "hf", "name": "tiny", "path": str(folder), **more})


def encoder(*, is_encoder: bool = True, template: str | None = None, max_length: int = 40) -> PairEncoder:
    return PairEncoder(make_tokenizer(is_encoder=is_encoder), template, max_length)


def text_of(made: PairEncoder, ids: object) -> str:
    return str(made.tokenizer.decode(ids, skip_special_tokens=False))


def test_an_encoder_joins_two_texts_itself() -> None:
    made = encoder()
    (pair,) = made.encode("de", ["Hund"], ["Katze"])
    expected = made.tokenizer("Hund", "Katze")
    assert pair.ids.tolist() == expected.input_ids
    assert pair.types is not None
    assert pair.types.tolist() == expected.token_type_ids
    assert pair.counted.sum() == len("Hund") + len("Katze")
    assert not pair.is_cut
    assert made.has_cls


def test_without_the_first_text_only_the_second_is_seen() -> None:
    made = PairEncoder(make_tokenizer(is_encoder=True), None, 40, with_first=False)
    (pair,) = made.encode("de", ["Hund"], ["Katze"])
    assert pair.ids.tolist() == made.tokenizer("Katze").input_ids
    filled = PairEncoder(make_tokenizer(is_encoder=False), "{language}: {first} | {second}", 60, with_first=False)
    (pair,) = filled.encode("de", ["Hund"], ["Katze"])
    assert text_of(filled, pair.ids) == "Deutsch:  | Katze"


def test_a_decoder_gets_two_lines_or_the_template() -> None:
    (pair,) = encoder(is_encoder=False).encode("de", ["Hund"], ["Katze"])
    assert text_of(encoder(is_encoder=False), pair.ids) == "Hund\nKatze"
    made = encoder(is_encoder=False, template='{language}:"{first}"|"{second}"', max_length=60)
    (pair,) = made.encode("sw", ["mbwa"], ["paka"])
    assert text_of(made, pair.ids) == 'Kiswahili:"mbwa"|"paka"'
    assert not made.has_cls


@pytest.mark.parametrize(("is_encoder", "template"), [(True, None), (False, None), (False, 'x:"{first}"|"{second}"→')])
def test_what_is_too_long_is_cut_where_the_first_text_ends(is_encoder: bool, template: str | None) -> None:
    made = encoder(is_encoder=is_encoder, template=template)
    short, long = made.encode("en", ["a cat", "a" * 100], ["a dog", "the dog"])
    assert not short.is_cut
    assert long.is_cut
    assert len(long.ids) <= 40
    shown = text_of(made, long.ids)
    assert "the dog" in shown
    assert shown.count("a") < 40
    if template is not None:
        assert shown.startswith('x:"a')
        assert '"|"the dog"' in shown


def test_a_second_text_that_is_too_long_by_itself_loses_its_beginning() -> None:
    made = encoder(is_encoder=False, template="{first}|{second}!")
    (pair,) = made.encode("en", ["cat"], ["b" * 100])
    assert pair.is_cut
    assert len(pair.ids) == 40
    assert text_of(made, pair.ids).endswith("bb!")


def test_a_batch_is_padded_on_the_right_and_says_where() -> None:
    made = encoder()
    pairs = made.encode("en", ["a", "a longer one"], ["b", "b"])
    given = made.batch(pairs)
    assert given.mask.sum(dim=1).tolist() == [len(pair.ids) for pair in pairs]
    assert given.mask[0].tolist() == sorted(given.mask[0].tolist(), reverse=True)
    assert not bool((given.counted & (given.mask == 0)).any())
    assert set(given.arguments()) == {"input_ids", "attention_mask", "token_type_ids"}
    assert set(encoder(is_encoder=False).batch(pairs[:1]).arguments()) >= {"input_ids", "attention_mask"}


@pytest.mark.parametrize("family", [*ENCODERS, "llama", "gpt2", "qwen3"])
def test_padding_changes_no_answer(tmp_path: Path, family: str) -> None:
    folder = write_model(tmp_path / family, family)
    made = load_pair_encoder(settings(folder), folder, 64)
    model = load_classifier(settings(folder), folder, made, 3, seed=0)
    pairs = made.encode("en", ["a", "a much longer one than that"], ["b", "b too"])
    with torch.no_grad():
        together = model(**made.batch(pairs).arguments()).logits
        alone = torch.cat([model(**made.batch([pair]).arguments()).logits for pair in pairs])
    assert torch.allclose(together, alone, atol=1e-5)
    assert together.shape == (2, 3)


def test_the_head_follows_from_the_seed_and_the_rest_from_the_files(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "bert")
    made = load_pair_encoder(settings(folder), folder, 64)
    torch.manual_seed(5)
    before = torch.rand(1)
    torch.manual_seed(5)
    one, same, other = (load_classifier(settings(folder), folder, made, 3, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(1), before)  # drawn for the head only
    heads = [dict(model.named_parameters())["classifier.weight"] for model in (one, same, other)]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    words = [model.get_input_embeddings().weight for model in (one, other)]
    assert torch.equal(words[0], words[1])
    assert all(parameter.dtype == torch.float32 for parameter in one.parameters())


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "bert")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    made = load_pair_encoder(settings(folder), folder, 64)
    with pytest.raises(UserError, match=r"model\.safetensors: damaged or cut short"):
        load_classifier(settings(folder), folder, made, 3, seed=0)


def test_a_head_of_the_same_size_is_drawn_anew(tmp_path: Path) -> None:
    """A folder of an earlier fine-tuning: its head must not pass for an untrained one."""
    folder = write_model(tmp_path / "bert")
    made = load_pair_encoder(settings(folder), folder, 64)
    trained = load_classifier(settings(folder), folder, made, 3, seed=0)
    with torch.no_grad():
        trained.classifier.weight.fill_(7.0)
    trained.save_pretrained(tmp_path / "trained")
    made.tokenizer.save_pretrained(tmp_path / "trained")
    again = load_classifier(settings(tmp_path / "trained"), tmp_path / "trained", made, 3, seed=0)
    fresh = load_classifier(settings(folder), folder, made, 3, seed=0)
    assert torch.equal(again.classifier.weight, fresh.classifier.weight)
    assert float(again.classifier.weight.detach().abs().max()) < 1


def test_files_that_lack_weights_are_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "bert")
    weights = load_file(folder / "model.safetensors")
    save_file(
        {name: value for name, value in weights.items() if ".layer.1." not in name},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    made = load_pair_encoder(settings(folder), folder, 64)
    with pytest.raises(UserError, match=r"its files lack \d+ weights of the model, e\.g\. bert\.encoder\.layer\.1\."):
        load_classifier(settings(folder), folder, made, 3, seed=0)


@pytest.mark.parametrize(("family", "longest"), [("bert", 160), ("xlm_roberta", 159), ("mpnet", 158), ("llama", 160)])
def test_inputs_are_no_longer_than_what_the_model_reads(tmp_path: Path, family: str, longest: int) -> None:
    folder = write_model(tmp_path / family, family)
    made = load_pair_encoder(settings(folder), folder, longest)
    model = load_classifier(settings(folder), folder, made, 3, seed=0)
    (pair,) = made.encode("en", ["a" * 300], ["b"])
    assert len(pair.ids) == longest
    assert pair.num_tokens > 300
    with torch.no_grad():
        assert bool(torch.isfinite(model(**made.batch([pair]).arguments()).logits).all())
    more = load_pair_encoder(settings(folder), folder, longest + 1)
    with pytest.raises(UserError, match=f"finetune.max_length={longest + 1}: tiny reads {longest} tokens at most"):
        load_classifier(settings(folder), folder, more, 3, seed=0)
