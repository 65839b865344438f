"""Every block's states are those that transformers itself gives out, pooled over the right tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification
from transformers.models.albert import AlbertConfig

from bridgex.config.settings import ModelSettings
from bridgex.errors import UserError
from bridgex.extract.block_states import BlockReader
from bridgex.extract.classifier import PairInput, load_classifier, load_pair_encoder
from tests.fakes.tiny_classifiers import BLOCKS, CONFIGS, ENCODERS, write_model
from tests.fakes.tiny_models import num_hooks


@pytest.mark.parametrize("family", sorted(CONFIGS))
def test_states_are_those_of_the_model_itself(tmp_path: Path, family: str) -> None:
    settings = ModelSettings(kind="hf", name="tiny", path=str(write_model(tmp_path, family)))
    made = load_pair_encoder(settings, tmp_path, 64)
    model = load_classifier(settings, tmp_path, made, 3, seed=0)
    batch = made.batch(made.encode("en", ["a", "a much longer one"], ["b", "b too"]))
    reader = BlockReader(model, ("cls", "mean", "last"))
    model.train()
    found = reader.read(batch)
    assert model.training
    assert num_hooks(model) == 0
    model.eval()
    with torch.no_grad():
        given = model(**batch.arguments(), output_hidden_states=True)
    assert torch.equal(found.logits, given.logits)
    assert reader.num_blocks == BLOCKS
    # The last block's is read before a final norm, which decoders have.
    states = torch.stack(given.hidden_states, dim=1)
    blocks = BLOCKS + 1 if family in ENCODERS else BLOCKS
    ends = batch.mask.sum(dim=1) - 1
    assert torch.equal(found.states["cls"][:, :blocks], states[:, :blocks, 0])
    assert torch.equal(found.states["last"][:, :blocks], states[torch.arange(2), :blocks, ends])
    means = torch.stack([states[row, :, batch.counted[row]].mean(dim=1) for row in range(2)])
    assert torch.allclose(found.states["mean"][:, :blocks], means[:, :blocks], atol=1e-5)
    assert {tuple(rows.shape) for rows in found.states.values()} == {(2, BLOCKS + 1, 32)}


def test_an_input_of_special_tokens_only_has_a_mean(tmp_path: Path) -> None:
    settings = ModelSettings(kind="hf", name="tiny", path=str(write_model(tmp_path)))
    made = load_pair_encoder(settings, tmp_path, 64)
    model = load_classifier(settings, tmp_path, made, 3, seed=0)
    found = BlockReader(model, ("mean",)).read(made.batch(made.encode("en", [""], [""])))
    assert bool(torch.isfinite(found.states["mean"]).all())


def test_blocks_that_share_their_weights_are_refused() -> None:
    config = AlbertConfig(
        vocab_size=50, embedding_size=8, hidden_size=16, num_hidden_layers=3, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=20, pad_token_id=0,
    )  # fmt: skip
    model = AutoModelForSequenceClassification.from_config(config)
    ids = torch.arange(6).reshape(2, 3)
    with pytest.raises(UserError, match="does not run its 1 blocks once each"):
        BlockReader(model, ("cls",)).read(PairInput(ids, torch.ones_like(ids), None, ids > 0))
