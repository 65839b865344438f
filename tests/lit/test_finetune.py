"""Fine-tuning is plain AdamW on the rows, goes on bit for bit where it was cut, and refuses what is not finite."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from transformers import PreTrainedModel

from bridgex.config.settings import ModelSettings
from bridgex.config.train_settings import FinetuneSettings
from bridgex.errors import UserError
from bridgex.extract.classifier import PairEncoder, load_classifier, load_pair_encoder
from bridgex.lit.finetune import finetune
from bridgex.lit.pairs import Pair, TrainBatches
from bridgex.lit.run_trainer import RunTrainer
from tests.fakes.tiny_classifiers import write_model

ROWS = [Pair("en", f"premise {number}", f"hypothesis {number * number}", number % 3) for number in range(23)]
STEPS = 12

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers.*", "ignore:.*LeafSpec.*:FutureWarning", "ignore:.*not resumable.*"
)


class Killed(BaseException):
    """A kill -9, as far as one process can play it."""


class Kill(Callback):
    def __init__(self, at: int) -> None:
        self._at = at

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self._at:
            raise Killed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model")


def new(folder: Path) -> tuple[PreTrainedModel, PairEncoder]:
    settings = ModelSettings(kind="hf", name="tiny", path=str(folder))
    encoder = load_pair_encoder(settings, folder, 64)
    return load_classifier(settings, folder, encoder, 3, seed=0), encoder


def run(folder: Path, checkpoint: Path, *callbacks: Callback, **more: Any) -> tuple[PreTrainedModel, float]:
    model, encoder = new(folder)
    settings = FinetuneSettings(name="test", **{"batch_size": 8, "learning_rate": 1e-3, **more})

    def make(own: Sequence[Callback]) -> Trainer:
        return RunTrainer(
            accelerator="cpu",
            devices=1,
            callbacks=list(own),
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            max_epochs=1,
            precision=settings.precision,
            accumulate_grad_batches=settings.accumulate,
            gradient_clip_val=settings.clip_norm,
            limit_val_batches=0,
        )

    batches = TrainBatches(ROWS, encoder, settings.batch_size, settings.accumulate, STEPS, seed=3)
    loss = finetune(model, batches, settings, STEPS, 3, checkpoint, make, callbacks)
    return model, loss


def weights(model: PreTrainedModel) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def without_dropout(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(path.read_text().replace('_dropout_prob": 0.1', '_dropout_prob": 0.0'))


def test_equals_a_plain_loop(tmp_path: Path, folder: Path) -> None:
    without_dropout(folder)
    found, loss = run(folder, tmp_path / "c.ckpt", warmup_steps=3, weight_decay=0.1)
    model, encoder = new(folder)
    batches = TrainBatches(ROWS, encoder, 8, 1, STEPS, seed=3)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
    model.train()
    for step in range(STEPS):
        for group in optimiser.param_groups:
            group["lr"] = 1e-3 * (step / 3 if step < 3 else (STEPS - step) / (STEPS - 3))
        batch = batches[step]
        last = torch.nn.functional.cross_entropy(model(**batch.given.arguments()).logits, batch.labels)
        optimiser.zero_grad()
        last.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    assert torch.allclose(weights(found), weights(model), atol=1e-6)
    assert loss == pytest.approx(float(last.detach()), abs=1e-5)
    assert not found.training


def test_passes_of_a_step_give_what_the_step_gives(tmp_path: Path, folder: Path) -> None:
    without_dropout(folder)
    whole, loss = run(folder, tmp_path / "a.ckpt")
    cut, cut_loss = run(folder, tmp_path / "b.ckpt", accumulate=4)
    assert torch.allclose(whole.classifier.weight, cut.classifier.weight, atol=1e-5)
    assert cut_loss == pytest.approx(loss, abs=1e-5)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_goes_on_bit_for_bit_after_a_kill_dropout_and_all(
    tmp_path: Path, folder: Path, accumulate: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridgex.lit.finetune._SECONDS_APART", 0.0)
    monkeypatch.setattr("bridgex.lit.finetune._WRITING_SHARE", 1e9)  # after every step
    whole, loss = run(folder, tmp_path / "whole.ckpt", accumulate=accumulate)
    for at in (4, 9):
        with pytest.raises(Killed):
            run(folder, tmp_path / "cut.ckpt", Kill(at), accumulate=accumulate)
        assert (tmp_path / "cut.ckpt").is_file()
        assert not list(tmp_path.glob("*.new"))
    resumed, resumed_loss = run(folder, tmp_path / "cut.ckpt", accumulate=accumulate)
    assert torch.equal(weights(whole), weights(resumed))
    assert resumed_loss == loss
    # The end is on record, too: nothing is trained again.
    again, again_loss = run(folder, tmp_path / "cut.ckpt", Kill(0), accumulate=accumulate)
    assert torch.equal(weights(whole), weights(again))
    assert again_loss == loss


def test_what_is_done_at_a_step_is_done_before_its_checkpoint(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while drift is measured at a step, the run must come to that step again."""
    monkeypatch.setattr("bridgex.lit.finetune._SECONDS_APART", 0.0)
    monkeypatch.setattr("bridgex.lit.finetune._WRITING_SHARE", 1e9)
    done: list[int] = []

    class Measure(Callback):
        def __init__(self, is_killed: bool) -> None:
            self._is_killed = is_killed

        def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *rest: Any) -> None:
            if trainer.global_step == 5 and self._is_killed:
                raise Killed
            done.append(trainer.global_step)

    with pytest.raises(Killed):
        run(folder, tmp_path / "c.ckpt", Measure(is_killed=True))
    run(folder, tmp_path / "c.ckpt", Measure(is_killed=False))
    assert set(done) == set(range(1, STEPS + 1))


def test_a_damaged_checkpoint_begins_anew(tmp_path: Path, folder: Path) -> None:
    whole, _ = run(folder, tmp_path / "whole.ckpt")
    path = tmp_path / "damaged.ckpt"
    path.write_bytes((tmp_path / "whole.ckpt").read_bytes()[:5000])
    again, _ = run(folder, path)
    assert torch.equal(weights(whole), weights(again))


def test_a_loss_that_is_not_finite_is_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(UserError, match=r"not finite at step \d+ of 12 with learning_rate=1e\+30"):
        run(folder, tmp_path / "c.ckpt", learning_rate=1e30, clip_norm=None)


class RunOut(Callback):
    """Memory that runs out in a backward pass."""

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def test_a_pass_that_does_not_fit_into_memory_is_the_users_to_mend(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(UserError, match=r"memory does not suffice for passes of 4 pairs\. Use a higher finetune\.acc"):
        run(folder, tmp_path / "c.ckpt", RunOut(), accumulate=2)


def test_half_precision_trains_and_keeps_whole_weights(tmp_path: Path, folder: Path) -> None:
    model, loss = run(folder, tmp_path / "c.ckpt", precision="bf16-mixed")
    assert loss > 0
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
