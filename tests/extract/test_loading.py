"""Loading: exactly one BOS, chat templates, and damaged files by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from tokenizers import processors
from transformers import LlamaConfig, LlamaForCausalLM

from bridgex.config.settings import ModelSettings, config_hash
from bridgex.errors import UserError
from bridgex.extract import loading
from bridgex.extract.profiles import ProbeMatrix
from bridgex.extract.random_model import byte_tokenizer, make_random_model
from bridgex.lit.probe import collect_probe_matrix
from tests.fakes.tiny_classifiers import write_model
from tests.fakes.trainer import make_trainer

pytestmark = [
    # Reading is the work here; workers that only cut lists of ids would add to it.
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    # Lightning 2.6 uses a name that torch 2.13 has set aside.
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
]

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


def test_weights_that_are_not_in_the_files_are_not_drawn_at_random(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "m")
    weights = tmp_path / "m" / "model.safetensors"
    whole, name = weights.read_bytes(), b"layers.1.mlp.up_proj.weight"
    assert whole.count(name) == 1
    weights.write_bytes(whole.replace(name, b"layers.1.mlp.uq_proj.weight"))  # one bit of the header
    with pytest.raises(
        UserError, match=r"its files lack 1 weights of the model, e\.g\. model\.layers\.1\.mlp\.up_proj"
    ):
        loading.load_model(model(), tmp_path / "m")


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json"])
def test_another_damaged_file_is_a_users_line(folder: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(folder, tmp_path / "m")
    (tmp_path / "m" / name).write_text('{"model')
    with pytest.raises(UserError, match="cannot be loaded") as caught:
        loading.load_model(model(), tmp_path / "m")
    assert len(caught.value.problems) == 1
    assert "\n" not in caught.value.problems[0]


def test_a_model_type_that_transformers_does_not_know_is_named(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "m")
    (tmp_path / "m" / "config.json").write_text('{"model_type": "nonsense"}')
    line = (
        f"{tmp_path}/m/config.json: model_type=nonsense is not known to transformers {transformers.__version__}. Run "
        f"pip install --upgrade transformers, or give a model that it knows"
    )
    for load in (loading.load_encoder, loading.load_model):
        with pytest.raises(UserError) as caught:
            load(model(), tmp_path / "m")
        assert caught.value.problems == (line,)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"num_attention_heads": 7}, "The hidden size (64) is not a multiple of the number of attention heads (7)."),
        ({"hidden_size": "wide"}, "Field 'hidden_size' expected int, got str (value: 'wide')"),
    ],
)
def test_a_config_that_contradicts_itself_is_blamed_and_no_other_file(
    folder: Path, tmp_path: Path, change: dict[str, object], fault: str
) -> None:
    shutil.copytree(folder, tmp_path / "m")
    config = tmp_path / "m" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | change))
    with pytest.raises(UserError) as caught:
        loading.load_model(model(), tmp_path / "m")
    assert caught.value.problems == (
        f"{config}: the model cannot be loaded from this config ({fault}). Correct it, or download or copy it again",
    )


@pytest.mark.parametrize("content", ["{}", "[1]"])
def test_a_config_without_a_model_type_is_a_users_line(folder: Path, tmp_path: Path, content: str) -> None:
    shutil.copytree(folder, tmp_path / "m")
    (tmp_path / "m" / "config.json").write_text(content)
    with pytest.raises(UserError, match="config.json: the model cannot be loaded from this config .*model_type"):
        loading.load_model(model(), tmp_path / "m")


def test_a_folder_without_a_config_is_a_users_line(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "m")
    (tmp_path / "m" / "config.json").unlink()
    with pytest.raises(UserError, match=r"m: no config.json, so this is no folder of a model. Copy it again$"):
        loading.load_model(model(), tmp_path / "m")


def test_weights_that_do_not_fit_are_refused_before_reading(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "_free_bytes", lambda: 1000)
    line = (
        r"^model=m: needs 0.0 GiB for its weights in float32, and 0.0 GiB are free. Use model.dtype=bfloat16, "
        r"model.quantization=8bit or 4bit, model.device_map=auto, a smaller model, or a larger machine$"
    )
    with pytest.raises(UserError, match=line):
        loading.load_model(model(), folder)


@pytest.mark.parametrize(
    ("more", "share"),
    [({}, 1), ({"dtype": "bfloat16"}, 1 / 2), ({"quantization": "8bit"}, 1 / 4), ({"quantization": "4bit"}, 9 / 64)],
)
def test_weights_are_weighed_in_the_bits_that_they_will_have(
    folder: Path, monkeypatch: pytest.MonkeyPatch, more: dict[str, str], share: float
) -> None:
    on_disk = (folder / "model.safetensors").stat().st_size
    monkeypatch.setattr(loading, "_free_bytes", lambda: int(on_disk * share) - 1)
    with pytest.raises(UserError, match=f"for its weights in {[*more.values(), 'float32'][0]}, and"):
        loading.load_model(model(**more), folder)
    monkeypatch.setattr(loading, "_free_bytes", lambda: int(on_disk * share) + 1)
    loading.weigh(model(**more), folder)


def test_quantisation_is_part_of_the_fingerprint_and_the_device_map_is_not(folder: Path, tmp_path: Path) -> None:
    ways = ({}, {"device_map": "auto"}, {"quantization": "8bit"}, {"quantization": "4bit"})
    plain, mapped, eight, four = (loading.model_fingerprint(model(**more), folder, tmp_path) for more in ways)
    assert plain == mapped
    assert len({plain, eight, four}) == 3
    assert all(len(found) == 64 for found in (plain, eight, four))
    hashes = [config_hash({"model": {"path": "x", **more}}) for more in ways]
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3


def probe(loaded: loading.LoadedModel) -> ProbeMatrix:
    return collect_probe_matrix(
        loaded, ["one prompt", "and another one", "x"], [np.arange(20)] * 4, make_trainer, batch_tokens=None
    )


def test_a_model_that_holds_still_is_not_moved_by_a_trainer(folder: Path) -> None:
    loaded = loading.load_model(model(), folder)
    expected = probe(loaded)
    loading._hold_still(loaded.model)
    around = torch.nn.ModuleList([loaded.model, torch.nn.Linear(2, 2)])
    around.to("meta")
    assert {weight.device.type for weight in loaded.model.parameters()} == {"cpu"}
    assert around[1].weight.device.type == "meta"
    for mine, theirs in zip(probe(loaded).values, expected.values, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("more", [{"device_map": "auto"}, {}])
def test_weights_that_are_fetched_when_needed_give_the_same(folder: Path, more: dict[str, str], tmp_path: Path) -> None:
    accelerate = pytest.importorskip("accelerate", reason="accelerate, of the extra large, is not installed")
    expected = probe(loading.load_model(model(), folder))
    loaded = loading.load_model(model(**more), folder)
    if not more:  # as device_map=auto does with what fits into no memory
        accelerate.disk_offload(loaded.model, tmp_path, execution_device=torch.device("cpu"))
        loading._hold_still(loaded.model)
        assert {weight.device.type for weight in loaded.model.parameters()} == {"meta"}
    for _ in range(2):
        for mine, theirs in zip(probe(loaded).values, expected.values, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("quantization", "least", "most"), [("8bit", 1e-3, 5e-2), ("4bit", 2e-2, 4e-1)])
def test_quantised_weights_pass_the_check_and_are_near(
    tmp_path: Path, quantization: str, least: float, most: float
) -> None:
    for package in ("accelerate", "bitsandbytes"):
        pytest.importorskip(package, reason=f"{package}, of the extra large, is not installed")
    tokenizer = byte_tokenizer()
    # Wide enough for blocks of 64 weights.
    config = LlamaConfig(
        hidden_size=128, intermediate_size=256, num_hidden_layers=4, num_attention_heads=4, vocab_size=len(tokenizer)
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    expected = probe(loading.load_model(model(kind="hf"), tmp_path))
    found = probe(loading.load_model(model(kind="hf", quantization=quantization), tmp_path))
    for mine, theirs in zip(found.values, expected.values, strict=True):
        assert least < np.linalg.norm(mine - theirs) / np.linalg.norm(theirs) < most


def test_loading_leaves_the_random_state_alone(folder: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    loading.load_model(model(), folder)
    assert torch.equal(torch.rand(3), expected)


def test_an_encoder_is_refused_where_answers_are_wanted(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "encoder")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["BertForMaskedLM"]}))
    with pytest.raises(UserError, match=r"an encoder \(BertForMaskedLM\), which writes no answers"):
        loading.load_model(ModelSettings(kind="hf", name="tiny", path=str(folder)), folder)
