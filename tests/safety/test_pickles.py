"""No file that is read may be a pickle that runs: one with a payload lies in every place that is read."""

from __future__ import annotations

import io
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from bridgex.config.agreement import model_problems
from bridgex.config.settings import ModelSettings, from_yaml
from bridgex.data.catalogue import data_set
from bridgex.data.raw_rows import rows_of_folder
from bridgex.errors import UserError
from bridgex.extract.hub import find_model
from bridgex.extract.loading import load_model
from bridgex.extract.random_model import make_random_model
from bridgex.lit import finetune
from bridgex.records import cache as cache_module
from bridgex.records.answers import AnswerCache
from bridgex.records.cache import ArrayCache
from bridgex.records.store import read_status
from tests.fakes.hostile import MARK

Payload = Callable[[], bytes]


class Run:
    """What a pickle can do when it is read."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> tuple[Callable[..., object], tuple[Path]]:
        return Path.touch, (self._file,)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / MARK


@pytest.fixture
def payload(mark: Path) -> bytes:
    content = pickle.dumps(Run(mark))
    pickle.loads(content)
    assert mark.exists(), "reading it as a pickle would run it"
    mark.unlink()
    return content


@pytest.fixture(scope="module")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_random_model(tmp_path_factory.mktemp("models"), 0)


def as_torch_file(mark: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save({"state_dict": Run(mark), "global_step": 3}, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["checkpoint.ckpt", "checkpoint-hypothesis.ckpt"])
def test_a_checkpoint(name: str, mark: Path, payload: bytes, tmp_path: Path) -> None:
    for content in (payload, as_torch_file(mark)):
        (tmp_path / name).write_bytes(content)
        assert finetune._readable(tmp_path / name) is None
        assert not mark.exists()
        assert not (tmp_path / name).exists(), "Lightning, which reads it after this, finds none"


def test_an_array_of_the_cache(mark: Path, payload: bytes, tmp_path: Path) -> None:
    cache, key = ArrayCache(tmp_path, "profiles"), {"model": "m"}
    objects = io.BytesIO()
    np.savez(objects, allow_pickle=True, __key__=np.array('{"model":"m"}'), a=np.array([Run(mark)], object))
    mark.unlink(missing_ok=True)
    for content in (payload, objects.getvalue(), as_torch_file(mark)):
        body = content[:-2] + cache_module._REMARKED
        digest = cache_module.hashlib.sha256(body).digest()
        for bytes_there in (content, body + digest):  # the second passes the check against damage
            cache.path(key).parent.mkdir(exist_ok=True)
            cache.path(key).write_bytes(bytes_there)
            assert cache.get(key) is None
            assert not mark.exists()


def test_answers_records_and_configs(mark: Path, payload: bytes, tmp_path: Path) -> None:
    decided_by = {"model": "m"}
    answers = AnswerCache(tmp_path, decided_by)
    answers.put({"key": {"text": "a"}})
    for shard in (tmp_path / "answers").rglob("*.jsonl"):
        shard.write_bytes(payload + b"\n")
    AnswerCache(tmp_path, decided_by).look()
    for name in ("status.json", "config.yaml"):
        (tmp_path / name).write_bytes(payload)
    assert read_status(tmp_path) is None
    assert from_yaml(tmp_path / "config.yaml") == {}
    assert not mark.exists()


@pytest.mark.parametrize("text", ["!!python/object/apply:pathlib.Path.touch", "!!python/object/new:os.system"])
def test_a_yaml_that_names_a_function(text: str, mark: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(f"a: {text} ['{mark}']\n")
    assert from_yaml(tmp_path / "config.yaml") == {}
    folder = tmp_path / "xnli"
    folder.mkdir()
    (folder / "README.md").write_text(f"---\nconfigs: {text} ['{mark}']\n---\n")
    with pytest.raises(UserError, match="header cannot be read"):
        rows_of_folder(folder, data_set("xnli"), "sw", "test")
    assert not mark.exists()


@pytest.mark.parametrize("is_named_so", [True, False], ids=["readme", "file name"])
@pytest.mark.parametrize("ending", ["pkl", "pickle", "pt", "npz", "parquet", "jsonl", "py"])
def test_a_data_set(ending: str, is_named_so: bool, mark: Path, payload: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "xnli"
    (folder / "sw").mkdir(parents=True)
    (folder / "sw" / f"test.{ending}").write_bytes(payload)
    (folder / "xnli.py").write_text(f"from pathlib import Path\nPath({str(mark)!r}).touch()\n")
    if is_named_so:
        header = {"configs": [{"config_name": "sw", "data_files": [{"split": "test", "path": f"sw/test.{ending}"}]}]}
        (folder / "README.md").write_text(f"---\n{json.dumps(header)}\n---\n")
    with pytest.raises(UserError, match="cannot be read|holds no test rows|not UTF-8|expected a JSON"):
        rows_of_folder(folder, data_set("xnli"), "sw", "test")
    assert not mark.exists()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.ckpt", "pytorch_model-00001-of-00001.bin"])
@pytest.mark.parametrize("has_other", [True, False], ids=["beside another .safetensors", "alone"])
def test_a_model(name: str, has_other: bool, mark: Path, random_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(random_model, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    (folder / name).write_bytes(as_torch_file(mark))
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": {"a": name}, "metadata": {}}))
    if has_other:
        save_file({"a": torch.zeros(1)}, folder / "another.safetensors")
    settings = ModelSettings(kind="hf", name="m", path=str(folder))
    with pytest.raises(UserError, match="reads no pickled weights|cannot be loaded"):
        load_model(settings, find_model(settings))
    assert not mark.exists()


def test_an_adapter(mark: Path, random_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.bin").write_bytes(as_torch_file(mark))
    settings = ModelSettings(kind="hf", name="m", path=str(random_model), adapter=str(folder))
    with pytest.raises(UserError, match=r"no adapter_model\.safetensors .* reads no pickled weights") as caught:
        load_model(settings, random_model)
    assert list(caught.value.problems) == model_problems(settings), "and it is said before anything is loaded"
    assert not mark.exists()
