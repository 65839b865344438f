"""What is installed is what lies here, and every yaml file composes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bridgex.config import command, settings
from bridgex.errors import UserError

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover
    tomllib = pytest.importorskip("tomli")

CONF = command.config_dir()
CHOICES = [
    (group.name, file.stem)
    for group in sorted(CONF.iterdir())
    if group.is_dir() and group.name not in ("__pycache__", "experiment", "finetune")
    for file in sorted(group.glob("[!_]*.yaml"))
]


def test_pyproject_lists_every_package(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))
    found = {
        ".".join(path.parent.relative_to(repository).parts) for path in (repository / "bridgex").rglob("__init__.py")
    }
    assert set(project["tool"]["setuptools"]["packages"]) == found | {"bridgex.conf"}


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_every_choice_composes_and_validates(group: str, choice: str) -> None:
    overrides = [f"{group}={choice}"]
    if choice == "hf" and group == "model":
        overrides.append("model.path=some/model")
    cells = command.check("evaluate", overrides, settings.validate)
    assert len(cells) == 1


def test_the_toy_recipe_composes_and_validates() -> None:
    (cell,) = command.check("train", ["experiment=toy_world", "seed=3"], settings.validate_train)
    assert settings.validate_train(cell.config).seed == 3


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


def test_help_names_every_choice(repository: Path) -> None:
    done = subprocess.run(
        [sys.executable, "evaluate.py", "--help"], cwd=repository, capture_output=True, text=True, timeout=60
    )
    for group, choice in CHOICES:
        assert re.search(rf"^{group}: .*\b{choice}\b", done.stdout, flags=re.MULTILINE)


def test_user_errors_hold_lines() -> None:
    assert UserError("a", "b").problems == ("a", "b")
