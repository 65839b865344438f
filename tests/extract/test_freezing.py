"""What is frozen is all that a block is given, and nothing above it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bridgex.config.settings import ModelSettings
from bridgex.errors import UserError
from bridgex.extract.block_states import BlockReader
from bridgex.extract.classifier import load_classifier, load_pair_encoder
from bridgex.extract.freezing import freeze
from tests.fakes.tiny_classifiers import BLOCKS, CONFIGS, write_model


@pytest.mark.parametrize("family", sorted(CONFIGS))
@pytest.mark.parametrize("bottom", [0, 2])
def test_a_step_moves_nothing_up_to_the_last_frozen_block(tmp_path: Path, family: str, bottom: int) -> None:
    settings = ModelSettings(kind="hf", name="tiny", path=str(write_model(tmp_path, family)))
    made = load_pair_encoder(settings, tmp_path, 64)
    model = load_classifier(settings, tmp_path, made, 3, seed=0)
    count = freeze(model, range(1, bottom + 1), embeddings=True)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert count == sum(parameter.numel() for parameter in model.parameters() if not parameter.requires_grad)
    batch = made.batch(made.encode("en", ["a", "a much longer one"], ["b", "b too"]))
    reader = BlockReader(model, ("mean",))
    before = reader.read(batch).states["mean"]
    optimiser = torch.optim.AdamW(trained, lr=0.1)
    torch.nn.functional.cross_entropy(model(**batch.arguments()).logits, torch.tensor([0, 1])).backward()
    optimiser.step()
    after = reader.read(batch).states["mean"]
    assert torch.equal(before[:, : bottom + 1], after[:, : bottom + 1])
    moved = (before - after).abs().amax(dim=(0, 2))[bottom + 1 :]
    assert bool((moved > 1e-4).all())


def test_frozen_blocks_above_trained_embeddings_move(tmp_path: Path) -> None:
    settings = ModelSettings(kind="hf", name="tiny", path=str(write_model(tmp_path)))
    made = load_pair_encoder(settings, tmp_path, 64)
    model = load_classifier(settings, tmp_path, made, 3, seed=0)
    freeze(model, [1, 2], embeddings=False)
    assert model.get_input_embeddings().weight.requires_grad
    names = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert names
    assert all(".layer.0." in name or ".layer.1." in name for name in names)


def test_a_block_beyond_the_model_is_refused(tmp_path: Path) -> None:
    settings = ModelSettings(kind="hf", name="tiny", path=str(write_model(tmp_path)))
    model = load_classifier(settings, tmp_path, load_pair_encoder(settings, tmp_path, 64), 3, seed=0)
    with pytest.raises(UserError, match=f"block 4, and the model has blocks 1 to {BLOCKS}"):
        freeze(model, [1, 4], embeddings=False)
