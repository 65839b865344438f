"""Loading: exactly one BOS, chat templates, and damaged files by name."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from tokenizers import processors

from bridgex.config.settings import ModelSettings
from bridgex.errors import UserError
from bridgex.extract import loading
from bridgex.extract.random_model import byte_tokenizer, make_random_model

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}[end]{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_random_model(tmp_path_factory.mktemp("models"), seed=0)


def model(**more: object) -> ModelSettings:
    return ModelSettings.model_validate({"kind": "random", "name": "m", "dtype": "float32", **more})


def test_the_random_model_is_made_once_and_by_its_seed(tmp_path: Path, folder: Path) -> None:
    again = make_random_model(tmp_path, seed=0)
    weights = [(place / "model.safetensors").read_bytes() for place in (folder, again, make_random_model(tmp_path, 1))]
    assert weights[0] == weights[1] != weights[2]
    time = (again / "model.safetensors").stat().st_mtime_ns
    assert make_random_model(tmp_path, seed=0) == again
    assert (again / "model.safetensors").stat().st_mtime_ns == time
    assert sorted(path.name for path in tmp_path.iterdir()) == ["random-0", "random-1"]


@pytest.mark.parametrize("text", ['Deutsch:"Straße"→עברית:', '中文:"狗"→日本語:', "", "a\nb", "العربية"])
def test_every_script_survives_with_one_bos(folder: Path, text: str) -> None:
    encoder = loading.load_encoder(model(), folder)
    ids = encoder.encode(text)
    assert ids.count(encoder.tokenizer.bos_token_id) == 1
    assert ids[0] == encoder.tokenizer.bos_token_id
    assert len(ids) == 1 + len(text.encode())
    assert encoder.decode(ids) == text


def test_a_tokenizer_that_doubles_the_bos_is_given_one(folder: Path, tmp_path: Path) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> <s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    shutil.copytree(folder, tmp_path / "m")
    tokenizer.save_pretrained(tmp_path / "m")
    encoder = loading.load_encoder(model(), tmp_path / "m")
    assert encoder.prefix == (0,)
    assert encoder.encode("a") == [0, *encoder.tokenizer("a", add_special_tokens=False).input_ids]
    assert "one BOS in front" in encoder.notes()


def test_a_tokenizer_without_bos_is_left_alone_and_says_so(folder: Path, tmp_path: Path) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.ByteLevel()
    shutil.copytree(folder, tmp_path / "m")
    tokenizer.save_pretrained(tmp_path / "m")
    encoder = loading.load_encoder(model(), tmp_path / "m")
    assert encoder.prefix == ()
    assert "no BOS: the tokenizer puts none" in encoder.notes()


@pytest.fixture(scope="module")
def chat_folder(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("chat") / "m"
    shutil.copytree(folder, place)
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(place)
    return place


def test_a_chat_template_is_used_once_with_one_bos(chat_folder: Path) -> None:
    encoder = loading.load_encoder(model(system_prompt="be brief"), chat_folder)
    assert encoder.text("hi") == "[system]be brief[end][user]hi[end][assistant]"
    ids = encoder.encode("hi")
    assert ids.count(0) == 1
    assert encoder.decode(ids) == encoder.text("hi")
    assert "prompts go through the model's chat template" in encoder.notes()


def test_the_chat_template_can_be_forced_and_refused(folder: Path, chat_folder: Path) -> None:
    assert loading.load_encoder(model(chat_template="off"), chat_folder).text("hi") == "hi"
    assert loading.load_encoder(model(), folder).text("hi") == "hi"
    with pytest.raises(UserError, match="model.chat_template=on: the tokenizer in .* has no chat template"):
        loading.load_encoder(model(chat_template="on"), folder)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_dtype_is_the_one_asked_for(folder: Path, dtype: str) -> None:
    loaded = loading.load_model(model(dtype=dtype), folder)
    assert {str(weight.dtype) for weight in loaded.model.parameters()} == {f"torch.{dtype}"}
    assert not loaded.model.training


@pytest.mark.parametrize("keep", [0, 7, 100, 100_000])
def test_a_truncated_weight_file_is_named(folder: Path, tmp_path: Path, keep: int) -> None:
    shutil.copytree(folder, tmp_path / "m")
    weights = tmp_path / "m" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"model.safetensors: damaged or cut short. Download or copy it again"):
        loading.load_model(model(), tmp_path / "m")


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json"])
def test_another_damaged_file_is_a_users_line(folder: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(folder, tmp_path / "m")
    (tmp_path / "m" / name).write_text('{"model')
    with pytest.raises(UserError, match="cannot be loaded") as caught:
        loading.load_model(model(), tmp_path / "m")
    assert len(caught.value.problems) == 1
    assert "\n" not in caught.value.problems[0]


def test_weights_that_do_not_fit_are_refused_before_reading(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "_free_bytes", lambda: 1000)
    with pytest.raises(UserError, match=r"model=m: needs 0.0 GiB for its weights in float32, and 0.0 GiB are free"):
        loading.load_model(model(), folder)


def test_loading_leaves_the_random_state_alone(folder: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    loading.load_model(model(), folder)
    assert torch.equal(torch.rand(3), expected)
