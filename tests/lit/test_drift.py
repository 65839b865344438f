"""Drift is 1 - CKA of what was read before and after, of the model before and no other."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor
from transformers import PreTrainedModel

from bridgex.config.settings import ModelSettings
from bridgex.errors import UserError
from bridgex.extract.block_states import BlockReader
from bridgex.extract.classifier import PairEncoder, load_classifier, load_pair_encoder
from bridgex.lit.drift import KeepBase, MeasuredPairs, MeasureDrift, drift_of, read_base, read_languages
from bridgex.lit.pairs import ReadData
from bridgex.lit.run_trainer import RunTrainer
from bridgex.records.cache import ArrayCache
from bridgex.records.train_files import read_measured
from bridgex.stats.cka import cka
from tests.fakes.tiny_classifiers import BLOCKS, write_model

TEXTS = {code: [(f"{code} {n * n}", f"{code} {n}" * (n % 5 + 1)) for n in range(30)] for code in ("de", "sw")}
PAIRS = MeasuredPairs(
    [str(n) for n in range(30)],
    [str(n // 3) for n in range(30)],
    [n % 3 for n in range(30)],
    {code: {"language": code} for code in TEXTS},
)

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers.*", "ignore:.*LeafSpec.*:FutureWarning")


def make_trainer(callbacks: Sequence[Callback]) -> Trainer:
    return RunTrainer(
        accelerator="cpu", devices=1, callbacks=list(callbacks), logger=False, enable_checkpointing=False,
        enable_model_summary=False, enable_progress_bar=False,
    )  # fmt: skip


@pytest.fixture
def model(tmp_path: Path) -> tuple[PreTrainedModel, PairEncoder]:
    folder = write_model(tmp_path / "model")
    settings = ModelSettings(kind="hf", name="tiny", path=str(folder))
    encoder = load_pair_encoder(settings, folder, 64)
    return load_classifier(settings, folder, encoder, 3, seed=0), encoder


def data(encoder: PairEncoder, batch_tokens: int | None = None) -> ReadData:
    encoded = {code: encoder.encode(code, *map(list, zip(*texts, strict=True))) for code, texts in TEXTS.items()}
    return ReadData({code: (pairs, PAIRS.labels) for code, pairs in encoded.items()}, encoder, batch_tokens)


def moved(model: PreTrainedModel, scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.base_model.parameters():
            parameter += scale * torch.randn(parameter.shape, generator=generator)


def test_drift_is_that_of_what_one_reads_oneself(tmp_path: Path, model: tuple[PreTrainedModel, PairEncoder]) -> None:
    classifier, encoder = model
    cache = ArrayCache(tmp_path, "states")
    read_languages(classifier, ("cls", "mean"), data(encoder), KeepBase(PAIRS, tmp_path, cache), make_trainer)
    base = {code: read_base(cache, PAIRS.keys[code]) for code in TEXTS}
    moved(classifier, 0.05)
    measure = MeasureDrift(PAIRS, 7, tmp_path, cache)
    read_languages(classifier, ("cls", "mean"), data(encoder, batch_tokens=100), measure, make_trainer)
    reader = BlockReader(classifier, ("cls", "mean"))
    for code, texts in TEXTS.items():
        found = read_measured(tmp_path, "fine-tuned", 7, code)
        assert found is not None
        batch = encoder.batch(encoder.encode(code, *map(list, zip(*texts, strict=True))))
        after = reader.read(batch)
        assert [record.answer for record in found.answers] == after.logits.argmax(dim=1).tolist()
        assert [record.gold for record in found.answers] == PAIRS.labels
        for record in found.drift:
            before = torch.from_numpy(base[code][record.pooling])
            assert before.shape == (30, BLOCKS + 1, 32)
            for block in range(BLOCKS + 1):
                for estimator in ("unbiased", "biased"):
                    expected = cka(before[:, block], after.states[record.pooling][:, block], estimator)
                    value = getattr(record, estimator)[block]
                    if expected is None:
                        assert value is None
                    else:
                        assert value == pytest.approx(1 - expected, abs=1e-6)
    cls = read_measured(tmp_path, "fine-tuned", 7, "de")
    assert cls is not None
    assert cls.drift[0].unbiased[0] is None  # [CLS] at the embeddings is the same for every text
    assert cls.drift[0].top_row_share[0] is None


def test_the_same_model_does_not_drift(tmp_path: Path, model: tuple[PreTrainedModel, PairEncoder]) -> None:
    classifier, encoder = model
    cache = ArrayCache(tmp_path, "states")
    for collect in (KeepBase(PAIRS, tmp_path, cache), MeasureDrift(PAIRS, 0, tmp_path, cache)):
        read_languages(classifier, ("mean",), data(encoder), collect, make_trainer)
    for code in TEXTS:
        found = read_measured(tmp_path, "fine-tuned", 0, code)
        assert found is not None
        assert max(abs(value or 0.0) for value in found.drift[0].unbiased + found.drift[0].biased) <= 1e-12


def rotated(rows: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    turn = torch.linalg.qr(torch.randn(rows.shape[2], rows.shape[2], generator=generator, dtype=rows.dtype)).Q
    return 3.7 * rows @ turn


def states(num_pairs: int, width: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(num_pairs)
    before = torch.randn(num_pairs, 2, width, generator=generator, dtype=torch.float64)
    return before, before + 0.5 * torch.randn(num_pairs, 2, width, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("width_of_sums", [1024, 0])
@pytest.mark.parametrize(("num_pairs", "width"), [(200, 10), (20, 60)])
def test_rotation_and_scale_change_nothing_and_sums_and_kernels_agree(
    num_pairs: int, width: int, width_of_sums: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after = states(num_pairs, width)
    expected = drift_of(before, after, "de", 1, "mean")
    monkeypatch.setattr("bridgex.lit.drift._WIDTH_OF_SUMS", width_of_sums)
    for x, y in ((before, after), (rotated(before, 1), after), (before, rotated(after, 2))):
        found = drift_of(x, y, "de", 1, "mean")
        assert found.unbiased == pytest.approx(expected.unbiased, abs=1e-10)
        assert found.biased == pytest.approx(expected.biased, abs=1e-10)
        assert found.top_row_share == pytest.approx(expected.top_row_share, abs=1e-8)


def test_a_massive_row_shows_in_its_share() -> None:
    before, after = states(100, 8)
    small = drift_of(before, after, "de", 1, "mean").top_row_share
    before[3], after[3] = before[3] * 50, after[3] * 50
    large = drift_of(before, after, "de", 1, "mean").top_row_share
    assert max(share or 0 for share in small) < 0.3
    assert min(share or 0 for share in large) > 0.9


def test_states_that_are_not_finite_are_refused() -> None:
    before, after = states(20, 4)
    after[2, 1, 1] = torch.nan
    with pytest.raises(UserError, match="hidden states for de are not finite after 5 steps"):
        drift_of(before, after, "de", 5, "mean")


def test_what_is_cached_goes_by_the_model_before(tmp_path: Path, model: tuple[PreTrainedModel, PairEncoder]) -> None:
    """The published extraction takes its base vectors from a fine-tuned folder; here that cannot be asked for."""
    classifier, encoder = model
    cache = ArrayCache(tmp_path, "states")
    read_languages(classifier, ("mean",), data(encoder), KeepBase(PAIRS, tmp_path, cache), make_trainer)
    before = read_base(cache, PAIRS.keys["de"])["mean"].copy()
    moved(classifier, 0.05)
    read_languages(classifier, ("mean",), data(encoder), MeasureDrift(PAIRS, 1, tmp_path, cache), make_trainer)
    assert (read_base(cache, PAIRS.keys["de"])["mean"] == before).all()
    record = read_measured(tmp_path, "fine-tuned", 1, "de")
    assert record is not None
    assert min(value or 0.0 for value in record.drift[0].unbiased) > 1e-3
    assert json.loads(record.model_dump_json())["step"] == 1


def test_representations_that_are_gone_are_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="gone or damaged"):
        read_base(ArrayCache(tmp_path, "states"), {"language": "de"})
