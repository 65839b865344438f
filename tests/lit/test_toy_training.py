"""The training of the toy world: repeatable, silent, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import signal
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from bridgex.config.toy_recipe import FilesRecipe, LinesRecipe, ModelRecipe, StageRecipe, ToyRecipe
from bridgex.data.toy_lines import ToyLines
from bridgex.data.toy_world import Dice, ToyWorld
from bridgex.errors import UserError
from bridgex.extract.toy_model import make_model
from bridgex.lit.toy_training import LineBatches, LineModule, rate_factor, train_toy_world

TINY = ToyRecipe(
    lines=LinesRecipe(word=16, chain=16, mono=16, mt=16, nli=16, retell=8, mrc=8),
    files=FilesRecipe(
        ntrex_sentences=4, flores_sentences=4, xnli_premises=4, xnli_validation_premises=2, belebele_passages=4
    ),
    model=ModelRecipe(blocks=2, hidden_size=32, intermediate_size=48, heads=2, planted_lookback=((1, 2), (1,))),
    circuit_stage=StageRecipe(steps=4, muon_rate=1e-2, adamw_rate=5e-3, warmup_steps=2),
    language_stage=StageRecipe(steps=8, muon_rate=6e-3, adamw_rate=4e-3, warmup_steps=2),
)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    train_toy_world(TINY, 0, folder, show_progress=False)
    return folder


def test_same_seed_gives_the_same_bits(trained: Path, tmp_path: Path) -> None:
    train_toy_world(TINY, 0, tmp_path, show_progress=False)
    assert contents(tmp_path) == contents(trained)


def test_another_seed_gives_other_weights(trained: Path, tmp_path: Path) -> None:
    train_toy_world(TINY, 1, tmp_path, show_progress=False)
    weights = "model/model.safetensors"
    assert contents(tmp_path)[weights] != contents(trained)[weights]


def test_folder_holds_model_and_data_and_nothing_else(trained: Path) -> None:
    assert {path.name for path in trained.iterdir()} == {"belebele", "flores", "model", "muse", "ntrex", "xnli"}
    assert {path.name for path in (trained / "model").iterdir()} == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "recipe.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    AutoModelForCausalLM.from_pretrained(trained / "model")


def test_recipe_file_tells_how_the_weights_were_made(trained: Path) -> None:
    told = json.loads((trained / "model" / "recipe.json").read_text())
    assert ToyRecipe.model_validate(told["recipe"]) == TINY
    assert told["seed"] == 0
    assert told["torch"] == torch.__version__
    weights = (trained / "model" / "model.safetensors").read_bytes()
    assert told["weights_sha256"] == hashlib.sha256(weights).hexdigest()


def test_an_older_model_is_replaced_and_nothing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    world = tmp_path / "world"
    (world / "model").mkdir(parents=True)
    (world / "model" / "old").touch()
    threads = torch.get_num_threads()
    metrics = train_toy_world(TINY, 0, world, show_progress=False)
    assert torch.get_num_threads() == threads
    assert not (world / "model" / "old").exists()
    assert list((tmp_path / "cwd").iterdir()) == []
    assert capfd.readouterr() == ("", "")
    assert metrics["tokens"] > 1000
    assert metrics["cpu_seconds"] > 0
    assert any(name.startswith("loss_") for name in metrics)


def test_an_interrupted_training_leaves_the_older_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").touch()

    def interrupt(self: LineModule, batch: object, number: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(LineModule, "training_step", interrupt)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train_toy_world(TINY, 0, tmp_path, show_progress=False)
    assert signal.getsignal(signal.SIGINT) is handler
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["old"]
    assert not list(tmp_path.glob(".*"))


def test_a_torch_without_muon_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(UserError, match=r"needs torch\.optim\.Muon. Install torch 2\.9 or later"):
        train_toy_world(TINY, 0, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_loss_falls() -> None:
    lines = ToyLines(ToyWorld(TINY, seed=0))
    module = LineModule(make_model(TINY.model, seed=0), TINY.language_stage, TINY.optimiser)
    muon, adamw = module.configure_optimizers()
    _, ids, weights = LineBatches(lambda number: lines.lines("word", Dice(number)), 1)[0]
    losses = []
    for _ in range(30):
        loss = module.loss(ids, weights)
        losses.append(float(loss.detach()))
        loss.backward()
        for optimiser in (muon, adamw):
            optimiser.step()
            optimiser.zero_grad()
    assert losses[0] == pytest.approx(torch.tensor(264.0).log().item(), abs=0.3)
    assert losses[-1] < 0.5 * losses[0]


def test_loss_is_the_weighted_mean_and_padding_has_no_part() -> None:
    module = LineModule(make_model(TINY.model, seed=0), TINY.language_stage, TINY.optimiser)
    ids = torch.tensor([[0, 12, 3, 30, 145, 3, 0], [0, 13, 3, 40, 150, 1, 1]])
    weights = torch.tensor([[0, 0.1, 0.1, 1, 1, 1, 1], [0, 0.1, 0.1, 1, 1, 0, 0]])
    with torch.inference_mode():
        total = 0.0
        for row, length in ((0, 7), (1, 5)):
            log_p = module.model(ids[row : row + 1, :length]).logits.log_softmax(-1)[0]
            for place in range(1, length):
                total -= float(weights[row, place] * log_p[place - 1, ids[row, place]])
        assert float(module.loss(ids, weights)) == pytest.approx(total / float(weights.sum()), rel=1e-5)


def test_muon_gets_the_matrices_of_the_blocks_and_adamw_the_rest() -> None:
    module = LineModule(make_model(TINY.model, seed=0), TINY.language_stage, TINY.optimiser)
    muon, adamw = module.configure_optimizers()
    matrices, rest = ([p for group in o.param_groups for p in group["params"]] for o in (muon, adamw))
    assert len(matrices) == 7 * TINY.model.blocks
    assert all(matrix.ndim == 2 for matrix in matrices)
    assert sum(p.numel() for p in [*matrices, *rest]) == sum(p.numel() for p in module.model.parameters())
    assert any(p is module.model.model.embed_tokens.weight for p in rest)


def test_rates_rise_stay_and_fall() -> None:
    stage = StageRecipe(steps=100, muon_rate=1.0, adamw_rate=1.0, warmup_steps=10)
    factors = [rate_factor(stage, step) for step in range(100)]
    assert factors[0] == 0.1
    assert factors[9:51] == [1.0] * 42
    assert factors[-1] == pytest.approx(0.02)
    assert factors[50:] == sorted(factors[50:], reverse=True)


def test_batches_follow_from_their_number() -> None:
    lines = ToyLines(ToyWorld(TINY, seed=0))
    batches = LineBatches(lines.language_batch, 8)
    assert len(batches) == 8
    for number in (5, 2):
        kind, ids, weights = batches[number]
        again = batches[number]
        assert kind == again[0]
        assert torch.equal(ids, again[1])
        assert torch.equal(weights, again[2])
        assert ids.shape == weights.shape
        assert not weights[ids == 1].any()
