"""How near languages are before training, against the first study's own parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bridgex.config import command
from bridgex.config.train_settings import TrainSettings, validate_train
from bridgex.controls import alignment, neuron_relations
from bridgex.data.sources import toy_world
from bridgex.extract.loading import LoadedModel, load_encoder, load_model
from bridgex.records.cache import ArrayCache
from bridgex.stats.cka import cka
from tests.fakes.trainer import make_trainer

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers.*", "ignore:.*LeafSpec.*:FutureWarning")


def settings(*overrides: str) -> TrainSettings:
    (cell,) = command.check("train", list(overrides), validate_train)
    found = validate_train(cell.config)
    assert isinstance(found, TrainSettings)
    return found


def states(code: str) -> np.ndarray:
    generator = torch.Generator().manual_seed(sum(map(ord, code)))
    found = torch.randn(40, 3, 6, generator=generator)
    found[:, 0] = 1.0  # as [CLS] at the embeddings
    return found.numpy()


def test_alignment_is_cka_with_the_source_and_the_mean_over_several() -> None:
    found = alignment(["en"], ["en", "de", "sw"], states)
    assert set(found) == {"de", "sw"}
    assert set(found["de"]) == {1, 2}  # block 0 does not vary
    tensors = {code: torch.from_numpy(states(code)) for code in ("en", "de", "fr", "sw")}
    for block in (1, 2):
        assert found["de"][block] == pytest.approx(cka(tensors["en"][:, block], tensors["de"][:, block]))
    both = alignment(["en", "fr"], ["en", "fr", "sw"], states)
    assert set(both) == {"sw"}
    values = [cka(tensors[code][:, 2], tensors["sw"][:, 2]) or 0.0 for code in ("en", "fr")]
    assert both["sw"][2] == pytest.approx(sum(values) / 2)


@pytest.fixture(scope="module")
def toy() -> LoadedModel:
    given = settings()
    return load_model(given.model, toy_world(None) / "model")


def test_relatives_share_most_neurons_and_depend_most(toy: LoadedModel, tmp_path: Path) -> None:
    notes: list[str] = []
    codes = ["qaa", "qab", "qac", "qae", "qah", "qal"]
    found = neuron_relations(
        settings(), codes, toy, "toy", barred=[], cache=ArrayCache(tmp_path, "profiles"), make_trainer=make_trainer,
        note=notes.append,
    )  # fmt: skip
    assert notes == []
    for values in (found.profile_similarity, found.hsic):
        assert set(values) == set(codes[1:])
        assert min(values["qab"], values["qac"]) > max(values["qae"], values["qah"], values["qal"])
    again = neuron_relations(
        settings(), codes, toy, "toy", barred=[], cache=ArrayCache(tmp_path, "profiles"), make_trainer=make_trainer,
        note=notes.append,
    )  # fmt: skip
    assert again == found  # profiles from the cache


def test_languages_without_text_are_left_out_and_a_source_without_it_is_said(toy: LoadedModel, tmp_path: Path) -> None:
    root = tmp_path / "data"
    for code in ("qaa", "qab"):
        (root / "ntrex" / code).mkdir(parents=True)
        lines = (toy_world(None) / "ntrex" / code / "test.jsonl").read_text().splitlines()
        (root / "ntrex" / code / "test.jsonl").write_text("\n".join(lines[:60]) + "\n")
    notes: list[str] = []
    cache = ArrayCache(tmp_path, "profiles")
    given = settings(f"data.root={root}")
    found = neuron_relations(
        given, ["qaa", "qab", "qae"], toy, "toy", barred=[], cache=cache, make_trainer=make_trainer, note=notes.append
    )
    assert set(found.profile_similarity) == {"qab"}
    given = settings(f"data.root={root}", "source=qae")
    found = neuron_relations(
        given, ["qae", "qaa"], toy, "toy", barred=[], cache=cache, make_trainer=make_trainer, note=notes.append
    )
    assert found.profile_similarity == found.hsic == {}
    assert notes == ["no neuron-profile similarity: no text in qae (ntrex/, flores/ or belebele/)"]


def test_encoders_have_neurons_too(tmp_path: Path) -> None:
    from bridgex.config.settings import ModelSettings
    from bridgex.extract.classifier import load_classifier, load_pair_encoder
    from tests.fakes.tiny_classifiers import write_model

    folder = write_model(tmp_path / "model")
    model = ModelSettings(kind="hf", name="tiny", path=str(folder), neuron_share=0.2, depth=(0.0, 1.0))
    classifier = load_classifier(model, folder, load_pair_encoder(model, folder, 64), 3, seed=0)
    for code in ("en", "de", "sw"):
        (tmp_path / f"{code}.txt").write_text("\n".join(f"{code} sentence {n * n} {code * (n % 4)}" for n in range(60)))
    given = settings(*(f"++data.text.{code}={tmp_path / code}.txt" for code in ("en", "de", "sw")))
    given = given.model_copy(update={"model": model, "source": ["en"]})
    notes: list[str] = []
    found = neuron_relations(
        given, ["en", "de", "sw"], LoadedModel("tiny", folder, classifier, load_encoder(model, folder), ()), "tiny",
        barred=[], cache=ArrayCache(tmp_path, "profiles"), make_trainer=make_trainer, note=notes.append,
    )  # fmt: skip
    assert notes == []
    assert set(found.profile_similarity) == set(found.hsic) == {"de", "sw"}
    assert all(0 <= value <= 1 for value in found.profile_similarity.values())
