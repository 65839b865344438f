from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch.nn import functional

from bridgex import commands
from bridgex.errors import UserError
from bridgex.extract import families
from bridgex.extract.families import BLOCKS, FAMILIES, TinyFamily, check_family, check_folder, make_tiny_model
from bridgex.extract.random_model import byte_tokenizer, make_random_model
from bridgex.records.model_checks import FamilyCheck, NeuronSite
from bridgex.report.models_table import show_families, show_folder
from tests.fakes import tiny_models

REFUSED = {name for name, given in FAMILIES.items() if given.refused is not None}


@pytest.fixture(scope="module")
def checked() -> dict[str, FamilyCheck]:
    """Every family, checked once."""
    return {family: check_family(family) for family in FAMILIES}


def test_the_families_of_the_issue_are_there() -> None:
    wanted = (
        "llama mistral qwen2 qwen3 gemma gemma2 gemma3_text olmo olmo2 cohere phi3 gpt_neox falcon gpt2 bloom opt xglm "
        "stablelm granite smollm3"
    )
    assert set(wanted.split()) <= set(tiny_models.FAMILIES)
    assert set(tiny_models.FAMILIES) == set(FAMILIES) - REFUSED
    assert {"mixtral", "qwen2_moe", "qwen3_moe", "olmoe"} <= REFUSED


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - REFUSED))
def test_a_family_is_verified(family: str, checked: dict[str, FamilyCheck]) -> None:
    found, expected = checked[family], tiny_models.FAMILIES[family]
    assert (found.state, found.reason) == ("verified", None)
    assert found.site is not None
    assert found.site.num_neurons == [expected.neurons] * BLOCKS
    assert found.site.projection == expected.projection.rsplit(".", 1)[-1]
    assert "*" in found.site.path
    assert found.site.batch_difference < 1e-5
    assert found.site.recomputed_difference is not None
    assert found.site.recomputed_difference < 1e-6


@pytest.mark.parametrize("family", sorted(REFUSED))
def test_a_family_is_refused_with_its_reason(family: str, checked: dict[str, FamilyCheck]) -> None:
    found = checked[family]
    assert (found.state, found.site, found.reason) == ("refused", None, FAMILIES[family].refused)


ENCODERS = ("mbert", "mdeberta", "xlmr_base", "xlmr_large")


def test_every_ready_config_belongs_to_one_family(repository: Path, tmp_path: Path) -> None:
    named = sorted(name for given in FAMILIES.values() for name in given.ready)
    others = ("hf", *ENCODERS)  # any model, and those for train.py
    assert named == sorted(path.stem for path in (repository / "conf/model").glob("*.yaml") if path.stem not in others)
    toy, random = repository / "bridgex/toy/model", make_random_model(tmp_path, seed=0)
    for name, folder in (("toy", toy), ("random", random)):
        model_type = json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"]
        assert name in FAMILIES[model_type].ready


def test_a_tiny_model_is_the_same_again_and_leaves_the_random_numbers_alone() -> None:
    before = torch.random.get_rng_state()
    first, again, other = (dict(make_tiny_model("gpt2", seed).named_parameters()) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["transformer.h.0.mlp.c_fc.weight"], other["transformer.h.0.mlp.c_fc.weight"])


def test_a_family_of_another_version_of_transformers_is_not_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, "llama9", TinyFamily({}))
    found = check_family("llama9")
    assert (found.state, found.site) == ("not verified", None)
    assert found.reason is not None
    assert found.reason.startswith("transformers ")
    assert "cannot make one (Unrecognized model identifier: llama9" in found.reason


def test_a_family_that_should_be_refused_and_is_not_is_not_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, "gpt2", FAMILIES["gpt2"]._replace(refused="a mixture of experts"))
    found = check_family("gpt2")
    assert found.state == "not verified"
    assert found.reason == "neurons were found at h.*.mlp.act, and the family should be refused: a mixture of experts"


@pytest.mark.parametrize("refused", [None, "a mixture of experts"])
def test_a_family_that_is_refused_for_another_reason_is_not_verified(
    refused: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_tiny_model("llama")
    for layer in tiny_models.layers_of(model):
        layer.mlp.forward = lambda x, m=layer.mlp: m.down_proj(functional.silu(m.gate_proj(x)) * m.up_proj(x))
    monkeypatch.setattr(families, "make_tiny_model", lambda family: model)
    monkeypatch.setitem(FAMILIES, "llama", TinyFamily({}, refused=refused))
    found = check_family("llama")
    assert found.state == "not verified"
    assert found.reason is not None
    assert "layers.0.mlp.act_fn: not called" in found.reason


def test_a_folder_is_checked(tmp_path: Path) -> None:
    site = check_folder(make_random_model(tmp_path, seed=0))
    assert (site.num_blocks, site.num_neurons) == (4, [256] * 4)
    assert (site.path, site.projection, site.is_gated) == ("layers.*.mlp.act_fn", "gate_proj", True)
    assert "allowed: 0.0001 in float32" in site.notes[0]


@pytest.fixture
def experts(tmp_path: Path) -> Path:
    """A folder of a mixture of experts."""
    folder = tmp_path / "experts"
    make_tiny_model("mixtral").save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


def test_a_folder_is_refused_by_name_and_reason(experts: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"experts: MixtralForCausalLM: a mixture of experts\. .* Choose a dense model"):
        check_folder(experts)
    with pytest.raises(UserError, match=r"nowhere: no such folder\. Give a local folder with a model's config\.json"):
        check_folder(tmp_path / "nowhere")
    (experts / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"no \.safetensors file in .*experts"):
        check_folder(experts)


def models(monkeypatch: pytest.MonkeyPatch, *paths: Path) -> int:
    """Runs `bridgex models` in this process, 100 columns wide; gives its exit status."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(sys, "argv", ["bridgex", "models", *map(str, paths)])
    with pytest.raises(SystemExit) as stopped:
        commands.main()
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


def test_the_command_prints_the_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    some = {name: FAMILIES[name] for name in ("llama", "phi3", "bloom", "mixtral")}
    monkeypatch.setattr(families, "FAMILIES", {**some, "llama9": TinyFamily({})})
    assert models(monkeypatch) == 0
    printed = capsys.readouterr()
    rows = {line.split()[1]: line.split()[3::2] for line in printed.out.splitlines() if line.startswith("│")}
    assert rows["llama"] == ["llama3", "SiLU(gate_proj)", "mlp.act_fn", "gated", "yes"]
    assert rows["bloom"] == ["bloom", "BloomGelu(dense_h_to_4h)", "mlp.gelu_impl", "plain", "yes"]
    assert "refused" in rows["mixtral"]
    text = " ".join(printed.out.split())
    assert "3 of 4 families verified, 1 refused as they must be" in text
    assert "refused: mixtral: a mixture of experts" in text
    assert "no: llama9: transformers" in text
    assert "since they cannot be packed: bloom" in text


def test_the_whole_table_fits_100_columns(checked: dict[str, FamilyCheck]) -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    show_families(list(checked), checked.__getitem__, console)
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 100
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if line.startswith("│")]
    assert [row[0] for row in cells if row[0]] == list(FAMILIES)
    for row in cells:
        site = checked[row[0]].site if row[0] else None
        if site is not None:
            assert (row[2].split("(")[1], row[3]) == (f"{site.projection})", site.path.split("*.")[1])


def test_the_command_checks_folders_and_tells_of_each(
    experts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good = make_random_model(tmp_path, seed=0)
    assert models(monkeypatch, good) == 0
    printed = capsys.readouterr()
    row = next(line for line in printed.out.splitlines() if line.startswith("│"))
    assert row.split()[1::2] == ["4", "256", "SiLU(gate_proj)", "mlp.act_fn", "gated"]
    assert "self-check: neurons read in batches differ by" in printed.out
    assert models(monkeypatch, experts, good, tmp_path / "nowhere") == 1
    printed = capsys.readouterr()
    assert "SiLU(gate_proj)" in printed.out
    first, second = (line for line in printed.err.splitlines() if line.startswith("error: "))
    assert first.startswith(f"error: {experts}: MixtralForCausalLM: a mixture of experts")
    assert second.startswith(f"error: {tmp_path / 'nowhere'}: no such folder")


def test_a_folder_of_unequal_blocks_is_shown_with_its_range() -> None:
    site = NeuronSite(
        num_blocks=2,
        num_neurons=[1000, 20000],
        path="layers.*.[b]act",
        function="SiLUActivation",
        projection="w1",
        is_gated=False,
        cannot_pack=None,
        recomputed_difference=None,
        batch_difference=0.0,
        notes=["[red]said"],
    )
    console = Console(width=100, record=True, file=io.StringIO())
    show_folder(Path("[b]folder"), site, console)
    text = console.export_text()
    for part in ("[b]folder", "1,000 to 20,000", "SiLU(w1)", "[b]act", "plain", "self-check: [red]said"):
        assert part in text


def test_help_imports_no_torch() -> None:
    code = "import sys; sys.argv[1:] = ['models', '--help']; from bridgex.commands import main; main()"
    done = subprocess.run([sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "local folder of a model" in " ".join(done.stdout.split())
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert not imported & {"torch", "lightning", "transformers", "pydantic"}
