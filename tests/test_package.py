"""What is installed is what lies here, and every yaml file composes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bridgex.config import command, settings, train_settings
from bridgex.errors import UserError

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover
    tomllib = pytest.importorskip("tomli")

CONF = command.config_dir()
VALIDATE = {"evaluate": settings.validate, "train": train_settings.validate_train}


def groups_of(entry: str) -> list[str]:
    """The config groups that an entry file knows; experiments and recipes that make a model are tested by name."""
    text = (CONF / f"{entry}.yaml").read_text(encoding="utf-8")
    found = re.findall(r"^  - (?:optional )?(\w+):", text, flags=re.MULTILINE)
    return [group for group in found if (CONF / group).is_dir() and group not in ("experiment", "finetune")]


CHOICES = [
    (entry, group, file.stem)
    for entry in VALIDATE
    for group in groups_of(entry)
    for file in sorted((CONF / group).glob("[!_]*.yaml"))
]


def test_pyproject_lists_every_package(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))
    found = {
        ".".join(path.parent.relative_to(repository).parts) for path in (repository / "bridgex").rglob("__init__.py")
    }
    assert set(project["tool"]["setuptools"]["packages"]) == found | {"bridgex.conf"}


@pytest.mark.parametrize(("entry", "group", "choice"), CHOICES)
def test_every_choice_composes_and_validates(entry: str, group: str, choice: str) -> None:
    overrides = [f"{group}={choice}"]
    if choice == "hf" and group == "model":
        overrides.append("model.path=some/model")
    cells = command.check(entry, overrides, VALIDATE[entry])
    assert len(cells) == 1


@pytest.mark.parametrize("file", sorted(CONF.glob("experiment/*.yaml")), ids=lambda file: file.stem)
def test_every_experiment_composes_and_validates(file: Path) -> None:
    entry = "train" if "train.py" in file.read_text(encoding="utf-8") else "evaluate"
    cells = command.check(entry, [f"experiment={file.stem}", "seed=3"], VALIDATE[entry])
    assert cells
    assert all(VALIDATE[entry](cell.config).seed == 3 for cell in cells)


def test_every_group_belongs_to_an_entry() -> None:
    folders = {path.name for path in CONF.iterdir() if path.is_dir() and path.name not in ("__pycache__", "hydra")}
    assert folders == {*groups_of("evaluate"), *groups_of("train"), "experiment", "finetune"}


def test_every_key_is_commented() -> None:
    """A key without a reason beside it is one that nobody can choose."""
    bare = [
        f"{path.relative_to(CONF)}: {line}"
        for path in sorted(CONF.rglob("*.yaml"))
        if path.parent != CONF
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.match(r"^[a-z_]+: \S", line)
        and "#" not in line
        and not line.startswith(
            ("_target_", "name:", "defaults:", "kind:", "path:", "accelerator:", "devices:", "strategy:", "dtype:")
        )
    ]
    assert bare == []


def test_entry_files_have_no_logic(repository: Path) -> None:
    for name in ("evaluate.py", "train.py"):
        lines = (repository / name).read_text(encoding="utf-8").split("\n")
        assert len([line for line in lines if line]) == 3


@pytest.mark.parametrize("query", [["--cfg", "job"], ["--help"], ["--info", "searchpath"]])
def test_a_query_imports_neither_torch_nor_lightning(repository: Path, query: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "evaluate.py", *query],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert not imported & {"torch", "lightning", "transformers", "pydantic"}
    assert "hydra" in imported


@pytest.mark.parametrize("entry", sorted(VALIDATE))
def test_help_names_every_choice(repository: Path, entry: str) -> None:
    done = subprocess.run(
        [sys.executable, f"{entry}.py", "--help"], cwd=repository, capture_output=True, text=True, timeout=60
    )
    for own, group, choice in CHOICES:
        if own == entry:
            assert re.search(rf"^{group}: .*\b{choice}\b", done.stdout, flags=re.MULTILINE)


def test_user_errors_hold_lines() -> None:
    assert UserError("a", "b").problems == ("a", "b")
