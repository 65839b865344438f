"""A model's own code is run only where it is asked for by name, and a run that did so says it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridgex import evaluate
from bridgex.config.settings import ModelSettings
from bridgex.errors import UserError
from bridgex.extract import hub, loading
from bridgex.extract.random_model import make_random_model
from bridgex.report import html
from tests.fakes.hostile import MARK

_CODE = """
from pathlib import Path
from transformers import LlamaConfig, LlamaForCausalLM
Path({mark!r}).touch()
class OwnConfig(LlamaConfig):
    model_type = "own_llama"
class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig
"""


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / MARK


@pytest.fixture
def folder(tmp_path: Path, mark: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A model of a kind that transformers does not know, with the code that it needs."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    place = tmp_path / "own"
    shutil.copytree(make_random_model(tmp_path / "models", 0), place)
    write_config(place, {"AutoConfig": "own_code.OwnConfig", "AutoModelForCausalLM": "own_code.OwnModel"})
    (place / "own_code.py").write_text(_CODE.format(mark=str(mark)))
    return place


def write_config(place: Path, auto_map: dict[str, str]) -> None:
    config = json.loads((place / "config.json").read_text())
    config |= {"model_type": "own_llama", "architectures": ["OwnModel"], "auto_map": auto_map}
    (place / "config.json").write_text(json.dumps(config))


def settings(place: Path, **keys: bool) -> ModelSettings:
    return ModelSettings(kind="hf", name="own", path=str(place), **keys)


def test_it_is_refused_with_a_line_that_names_the_key(folder: Path, mark: Path) -> None:
    with pytest.raises(UserError) as caught:
        loading.load_model(settings(folder), folder)
    assert caught.value.problems == (
        f"{folder}: this model needs Python code of its own (*.py in its folder), which is not run unless asked for. "
        f"Read that code; if you trust it, add model.trust_remote_code=true",
    )
    assert not mark.exists()


def test_a_known_kind_of_model_runs_no_code_whatever_its_config_names(folder: Path, mark: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "llama"}))
    loading.load_model(settings(folder), folder)
    assert not mark.exists()


def test_asked_for_it_runs_and_the_run_says_so(folder: Path, mark: Path, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("".join(f"word{n} mot{n}\n" for n in range(12)))
    run = evaluate(
        tmp_path / "run", model="hf", model__path=str(folder), model__trust_remote_code=True, model__dtype="float32",
        pair="en-fr", bridge="none", data__dictionary=str(words), cache__dir=str(tmp_path / "cache"), task__limit=2,
    )  # fmt: skip
    assert mark.exists()
    note = "model.trust_remote_code=true: transformers may run Python code from the model's folder"
    assert note in run.status.notes
    assert run.config["model"]["trust_remote_code"] is True
    assert note in html.write_run_page(run.folder).read_text(encoding="utf-8").replace("&#x27;", "'")


def test_its_code_is_part_of_what_the_model_is(folder: Path, tmp_path: Path) -> None:
    before = hub.fingerprint([folder], tmp_path / "a")
    (folder / "own_code.py").write_text("pass")
    assert hub.fingerprint([folder], tmp_path / "b") != before


def test_code_of_another_repository_is_refused_all_the_same(folder: Path, mark: Path) -> None:
    write_config(folder, {"AutoConfig": "someone/else--own_code.OwnConfig"})
    with pytest.raises(UserError, match=r"names code of another repository \(someone/else--own_code.OwnConfig\)"):
        loading.load_model(settings(folder, trust_remote_code=True), folder)
    assert not mark.exists()


def test_code_is_downloaded_only_where_it_may_be_run() -> None:
    model = ModelSettings(kind="hf", name="m", path="owner/name")
    assert "*.py" not in hub._patterns(model)
    assert "*.py" in hub._patterns(model.model_copy(update={"trust_remote_code": True}))
    assert not any(".bin" in pattern or ".pt" in pattern for pattern in hub._patterns(model))
