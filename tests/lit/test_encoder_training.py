"""The training of an encoder: repeatable, whole or not at all, and what is hidden and measured is as it should be."""

from __future__ import annotations

import hashlib
import json
import math
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification, AutoTokenizer

from bridgex import training
from bridgex.config.encoder_recipe import (
    EncoderModelRecipe,
    EncoderRecipe,
    MaskRecipe,
    TextRecipe,
    TrainingRecipe,
)
from bridgex.config.settings import DataSettings
from bridgex.config.train_settings import EncoderSettings
from bridgex.data.encoder_text import EncoderText, encoder_text
from bridgex.errors import UserError
from bridgex.extract.encoder_model import EncodedText, encode_texts, make_encoder, make_encoder_tokenizer
from bridgex.lit.encoder_training import (
    EncoderFigures,
    EncoderModule,
    chosen_losses,
    rate_factor,
    retrieval_accuracy,
    train_encoder,
)
from bridgex.lit.masked_words import (
    EncoderBatches,
    Example,
    MaskedBatch,
    count_tokens,
    encode_items,
    group_by_length,
    join_parts,
    mask_words,
)
from bridgex.records.store import read_status
from tests.fakes.parallel_folder import write_ntrex, write_xnli

TINY = EncoderRecipe(
    text=TextRecipe(vocabulary=330, max_length=48),
    model=EncoderModelRecipe(blocks=2, hidden_size=32, intermediate_size=48, heads=2),
    training=TrainingRecipe(steps=12, batch_tokens=256, warmup_steps=2),
)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def encoded(*lengths: int, first: int = 10) -> EncodedText:
    """A text of words of so many tokens."""
    words = np.repeat(np.arange(len(lengths)), lengths)
    return EncodedText(np.arange(first, first + len(words)), words)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_ntrex(folder, ["de", "en", "fr"])
    write_xnli(folder, ["de", "en"])
    return folder


@pytest.fixture(scope="module")
def text(root: Path) -> EncoderText:
    return encoder_text(DataSettings(root=str(root)), 0.1)


@pytest.fixture(scope="module")
def trained(text: EncoderText, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, EncoderFigures]:
    folder = tmp_path_factory.mktemp("encoder")
    return folder, train_encoder(TINY, text, 0, folder, show_progress=False)


@pytest.fixture(scope="module")
def batches(text: EncoderText) -> EncoderBatches:
    tokenizer = make_encoder_tokenizer(text.texts(), TINY.text)
    return EncoderBatches(encode_items(tokenizer, text.items, TINY.masked_words), TINY, len(tokenizer), 0)


class TestTraining:
    def test_same_seed_and_text_give_the_same_bits(
        self, trained: tuple[Path, EncoderFigures], text: EncoderText, tmp_path: Path
    ) -> None:
        torch.manual_seed(9)
        again = train_encoder(TINY, text, 0, tmp_path, show_progress=False)
        assert contents(tmp_path) == contents(trained[0])
        assert again.loss == trained[1].loss
        assert again.held_out_loss == trained[1].held_out_loss
        assert again.retrieval == trained[1].retrieval

    def test_another_seed_gives_other_weights_and_the_same_tokenizer(
        self, trained: tuple[Path, EncoderFigures], text: EncoderText, tmp_path: Path
    ) -> None:
        train_encoder(TINY, text, 1, tmp_path, show_progress=False)
        one, other = contents(trained[0]), contents(tmp_path)
        assert one["model/model.safetensors"] != other["model/model.safetensors"]
        assert one["model/tokenizer.json"] == other["model/tokenizer.json"]

    @pytest.mark.filterwarnings("ignore")
    def test_folder_is_a_model_and_tells_how_it_was_made(
        self, trained: tuple[Path, EncoderFigures], text: EncoderText
    ) -> None:
        folder = trained[0] / "model"
        assert [path.name for path in trained[0].iterdir()] == ["model"]
        assert {path.name for path in folder.iterdir()} == {
            "config.json",
            "model.safetensors",
            "recipe.json",
            "tokenizer.json",
            "tokenizer_config.json",
        }
        AutoModelForMaskedLM.from_pretrained(folder)
        AutoModelForSequenceClassification.from_pretrained(folder)
        assert AutoTokenizer.from_pretrained(folder).mask_token == "[MASK]"
        told = json.loads((folder / "recipe.json").read_text())
        assert EncoderRecipe.model_validate(told["recipe"]) == TINY
        assert told["seed"] == 0
        assert told["text_sha256"] == text.fingerprint
        assert told["torch"] == torch.__version__
        assert told["weights_sha256"] == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()

    def test_figures_are_told(self, trained: tuple[Path, EncoderFigures]) -> None:
        figures = trained[1]
        assert figures.num_held_out == 4
        assert figures.chance == 0.25
        assert figures.num_tokens > 12 * 0.8 * 256
        assert 0 <= figures.padding < 0.06
        loss, retrieval, effort = figures.notes
        assert f"masked-word loss {figures.loss:.3f} nats" in loss
        assert f"{figures.held_out_loss:.3f} on held-out lines" in loss
        assert f"frequencies alone {figures.untrained_loss:.3f}" in loss
        assert f"retrieval {figures.retrieval:.3f}" in retrieval
        assert f"before training {figures.untrained_retrieval:.3f}" in retrieval
        assert "by chance 0.250" in retrieval
        assert f"{figures.num_tokens} tokens seen" in effort

    def test_threads_signals_and_terminal_are_left_as_they_were(
        self, text: EncoderText, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "old").touch()
        (tmp_path / ".model.killed").mkdir()
        threads, handler = torch.get_num_threads(), signal.getsignal(signal.SIGINT)
        train_encoder(TINY.model_copy(update={"num_threads": 2}), text, 0, tmp_path, show_progress=False)
        assert torch.get_num_threads() == threads
        assert signal.getsignal(signal.SIGINT) is handler
        assert capfd.readouterr() == ("", "")
        assert [path.name for path in tmp_path.iterdir()] == ["model"]
        assert not (tmp_path / "model" / "old").exists()

    def test_an_interrupted_training_leaves_nothing(
        self, text: EncoderText, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupt(self: EncoderModule, batch: object, number: int) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(EncoderModule, "training_step", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train_encoder(TINY, text, 0, tmp_path, show_progress=False)
        assert list(tmp_path.iterdir()) == []

    def test_xnli_alone_has_nothing_to_retrieve(self, tmp_path: Path) -> None:
        write_xnli(tmp_path / "data", ["de", "en"])
        text = encoder_text(DataSettings(root=str(tmp_path / "data")), 0.1)
        found = train_encoder(TINY, text, 0, tmp_path, show_progress=False)
        assert found.retrieval is found.chance is found.held_out_loss is None
        assert "retrieval was not measured: it needs lines of ntrex in two languages or more" in found.notes

    def test_loss_falls(self, text: EncoderText) -> None:
        recipe = TINY.model_copy(update={"training": TrainingRecipe(steps=120, batch_tokens=512, warmup_steps=10)})
        tokenizer = make_encoder_tokenizer(text.texts(), recipe.text)
        items = encode_items(tokenizer, text.items, recipe.masked_words)
        module = EncoderModule(
            make_encoder(recipe.text, recipe.model, count_tokens(items, len(tokenizer)), 0), recipe.training
        )
        optimiser = module.configure_optimizers()
        losses = []
        batches = EncoderBatches(items, recipe, len(tokenizer), 0)
        for batch in (batches[number] for number in range(len(batches))):
            loss = chosen_losses(module.model, batch).mean()
            losses.append(float(loss.detach()))
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()
        assert losses[0] < math.log(len(tokenizer))
        assert np.mean(losses[-10:]) < 0.9 * losses[0]

    def test_only_matrices_decay(self) -> None:
        module = EncoderModule(make_encoder(TINY.text, TINY.model, np.ones(330, dtype=np.int64), 0), TINY.training)
        matrices, rest = module.configure_optimizers().param_groups
        assert (matrices["weight_decay"], rest["weight_decay"]) == (0.01, 0.0)
        assert {parameter.ndim for parameter in matrices["params"]} == {2}
        assert {parameter.ndim for parameter in rest["params"]} == {1}
        assert len(matrices["params"]) + len(rest["params"]) == len(list(module.model.parameters()))

    def test_rate_rises_and_falls(self) -> None:
        recipe = TrainingRecipe(steps=100, warmup_steps=10)
        factors = [rate_factor(recipe, step) for step in range(100)]
        assert factors[:10] == pytest.approx([0.1 * step for step in range(1, 11)])
        assert factors[10:] == pytest.approx([(100 - step) / 90 for step in range(10, 100)])


class TestExamples:
    def test_one_text_and_two(self) -> None:
        one = join_parts([encoded(1, 2)], 16)
        assert one.ids.tolist() == [2, 10, 11, 12, 3]
        assert one.types.tolist() == [0] * 5
        assert one.words.tolist() == [-1, 0, 1, 1, -1]
        two = join_parts([encoded(1, 2), encoded(2, first=20)], 16)
        assert two.ids.tolist() == [2, 10, 11, 12, 3, 20, 21, 3]
        assert two.types.tolist() == [0] * 5 + [1] * 3
        assert two.words.tolist() == [-1, 0, 1, 1, -1, 2, 2, -1]

    @pytest.mark.parametrize(
        ("first", "second", "kept"), [(9, 2, (5, 2)), (2, 9, (2, 5)), (9, 9, (3, 4)), (3, 4, (3, 4))]
    )
    def test_of_a_long_pair_the_longer_text_is_cut(self, first: int, second: int, kept: tuple[int, int]) -> None:
        found = join_parts([encoded(*[1] * first), encoded(*[1] * second)], 10)
        assert (int((found.types == 0).sum()) - 2, int((found.types == 1).sum()) - 1) == kept
        assert len(set(found.words[found.words >= 0].tolist())) == sum(kept)

    def test_the_tokenizer_joins_them_alike(self, text: EncoderText) -> None:
        tokenizer = make_encoder_tokenizer(text.texts(), TINY.text)
        first, second = text.items[0]["de"][0], text.items[0]["en"][0]
        found = join_parts(encode_texts(tokenizer, [first, second]), 128)
        expected = tokenizer(first, second)
        assert found.ids.tolist() == expected["input_ids"]
        assert found.types.tolist() == expected["token_type_ids"]

    def test_long_words_are_hidden_token_by_token(self, text: EncoderText) -> None:
        tokenizer = make_encoder_tokenizer(text.texts(), TINY.text)

        def words(given: str, limit: int) -> list[int]:
            (item,) = encode_items(tokenizer, [{"en": (given,)}], MaskRecipe(word_tokens=limit))
            return list(item["en"][0].words)

        # Byte by byte, since no merge has these letters: a word of four tokens with its space, and one of ten.
        assert words("QQQ WWWWWWWWW", 4) == [0, 0, 0, 0, *range(1, 11)]
        assert words("QQQ WWWWWWWWW", 3) == list(range(14))
        assert words("QQQ WWWWWWWWW", 10) == [0] * 4 + [1] * 10


class TestBatches:
    def test_the_same_ones_again(self, batches: EncoderBatches) -> None:
        one, other = ([batches[number] for number in range(len(batches))] for _ in range(2))
        assert len(one) == len(batches) == 12
        for first, second in zip(one, other, strict=True):
            assert torch.equal(first.ids, second.ids)
            assert torch.equal(first.targets, second.targets)

    def test_each_follows_from_its_number(self, batches: EncoderBatches) -> None:
        for number in (11, 0, 11, 5):
            assert torch.equal(batches[number].ids, batches[number].ids)
        first = batches[11]
        assert len(batches.epoch(0)) < 11
        batches[0]
        assert torch.equal(batches[11].ids, first.ids)

    def test_an_epoch_has_every_text_once_in_full_batches(self, batches: EncoderBatches, text: EncoderText) -> None:
        groups = batches.epoch(0)
        examples = [example for group in groups for example in group]
        assert len(examples) == sum(len(item) for item in text.items)
        assert max(len(group) * max(len(example.ids) for example in group) for group in groups) <= 256
        places = sum(len(group) * max(len(example.ids) for example in group) for group in groups)
        assert 1 - sum(len(example.ids) for example in examples) / places < 0.06
        assert [example.ids.tolist() for example in examples] != [
            example.ids.tolist() for group in batches.epoch(1) for example in group
        ]

    def test_one_too_long_goes_alone(self) -> None:
        examples = [join_parts([encoded(*[1] * length)], 64) for length in (40, 3, 3)]
        assert [len(group) for group in group_by_length(examples, 20)] == [2, 1]


class TestMasks:
    RECIPE = MaskRecipe(share=0.15)

    def many(self, *lengths: int) -> list[Example]:
        return [join_parts([encoded(*lengths, first=10)], 200) for _ in range(400)]

    def test_shares_are_those_of_the_recipe(self) -> None:
        examples = self.many(*[1] * 100)
        found = mask_words(examples, self.RECIPE, 1000, np.random.default_rng(0))
        ids = torch.from_numpy(np.stack([example.ids for example in examples]))
        text = ids >= 10
        assert found.chosen[text].double().mean() == pytest.approx(0.15, abs=0.006)
        chosen, given = ids[found.chosen], found.ids[found.chosen]
        assert torch.equal(chosen, found.targets)
        assert (given == 4).double().mean() == pytest.approx(0.8, abs=0.015)
        assert (given == chosen).double().mean() == pytest.approx(0.1, abs=0.015)
        others = given[(given != 4) & (given != chosen)]
        assert len(others) / len(given) == pytest.approx(0.1, abs=0.015)
        assert 5 <= int(others.min()) < 20
        assert 980 < int(others.max()) < 1000
        assert torch.equal(found.ids[~found.chosen], ids[~found.chosen])

    def test_words_are_chosen_whole_and_special_tokens_never(self) -> None:
        examples = self.many(1, 3, 2, 1, 4)
        found = mask_words(examples, self.RECIPE, 1000, np.random.default_rng(0))
        for example, chosen in zip(examples, found.chosen.numpy(), strict=True):
            assert not chosen[example.words < 0].any()
            assert chosen.any()
            for word in range(5):
                assert len(set(chosen[example.words == word])) == 1

    def test_padding_is_neither_read_nor_chosen(self) -> None:
        short, long = join_parts([encoded(1)], 64), join_parts([encoded(*[1] * 30)], 64)
        found = mask_words([short, long], self.RECIPE, 1000, np.random.default_rng(0))
        assert found.mask[0].tolist() == [1] * 3 + [0] * 29
        assert found.chosen[0].tolist() == [False, True] + [False] * 30
        assert set(found.ids[0, 3:].tolist()) == {0}

    def test_padding_has_no_part_in_the_loss(self) -> None:
        model = make_encoder(TINY.text, TINY.model, np.ones(330, dtype=np.int64), 0).eval()
        short, long = join_parts([encoded(1, 1)], 64), join_parts([encoded(*[1] * 30)], 64)
        both = mask_words([short, long], self.RECIPE, 330, np.random.default_rng(0))
        alone = MaskedBatch(
            both.ids[:1, :4], both.mask[:1, :4], both.types[:1, :4], both.chosen[:1, :4], both.targets[:1]
        )
        with torch.inference_mode():
            assert both.chosen[0].sum() == 1
            assert chosen_losses(model, both)[0] == pytest.approx(float(chosen_losses(model, alone)[0]), rel=1e-5)


class TestRetrieval:
    def test_equal_vectors_are_found_whatever_their_length(self) -> None:
        vectors = torch.randn(20, 8, generator=torch.Generator().manual_seed(0))
        assert retrieval_accuracy({"de": vectors, "en": 3 * vectors, "fr": vectors + 0.01}) == 1

    def test_one_pair_of_three_is_a_third(self) -> None:
        first, second = torch.eye(4), torch.eye(4).roll(1, 0)
        assert retrieval_accuracy({"de": first, "en": first, "fr": second}) == pytest.approx(1 / 3)

    def test_unrelated_vectors_are_found_by_chance(self) -> None:
        draw = torch.Generator().manual_seed(0)
        vectors = {code: torch.randn(50, 16, generator=draw) for code in "abcdefghij"}
        assert retrieval_accuracy(vectors) == pytest.approx(1 / 50, abs=0.01)

    def test_too_little_to_tell(self) -> None:
        assert retrieval_accuracy({}) is None
        assert retrieval_accuracy({"de": torch.eye(3)}) is None
        assert retrieval_accuracy({"de": torch.eye(1), "en": torch.eye(1)}) is None


class TestRun:
    def settings(self, root: Path | None, seed: int = 0) -> EncoderSettings:
        given = {"finetune": TINY, "data": {"root": root and str(root)}, "sweep": {"name": "default"}, "seed": seed}
        return EncoderSettings.model_validate(given)

    def test_a_run_tells_what_it_made_and_is_not_made_twice(
        self, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder, config = tmp_path / "run", {"finetune": TINY.model_dump(mode="json")}
        training.make(self.settings(root), config, folder)
        status = read_status(folder)
        assert status is not None
        assert status.state == "done"
        for told in (
            "40 ntrex test rows in 3 languages",
            "masked-word loss",
            "retrieval",
            "tokens seen",
            "CPU seconds",
        ):
            assert any(told in note for note in status.notes), told
        before = contents(folder)

        def again(*arguments: object) -> None:
            raise AssertionError("trained twice")

        monkeypatch.setattr(training, "train_encoder", again)
        training.make(self.settings(root), config, folder)
        assert contents(folder) == before
        with pytest.raises(UserError, match="holds another run, which differs in seed"):
            training.make(self.settings(root, 1), config | {"seed": 1}, folder)

    def test_an_unfinished_run_starts_anew(self, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupt(self: EncoderModule, batch: object, number: int) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as during:
            during.setattr(EncoderModule, "training_step", interrupt)
            with pytest.raises(KeyboardInterrupt):
                training.make(self.settings(root), {}, tmp_path / "run")
        assert not (tmp_path / "run" / "model").exists()
        training.make(self.settings(root), {}, tmp_path / "run")
        assert (tmp_path / "run" / "model" / "config.json").is_file()

    def test_without_text_no_folder_is_made(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"data\.root=null: an encoder is trained on your own text"):
            training.make(self.settings(None), {}, tmp_path / "run")
        assert list(tmp_path.iterdir()) == []
