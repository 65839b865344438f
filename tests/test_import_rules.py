"""Imports go one way through the rooms, and each heavy library enters by its own doors only."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ORDER = [
    "config",
    "records",
    "data",
    "extract",
    "select",
    "evaluation",
    "lit",
    "gathering",
    "controls",
    "pipeline",
    "train_stage",
    "training",
    "jobs",
    "sweeping",
    "cli",
]
LEAVES = {"bounded", "errors", "languages", "secrets", "shown", "signals"}
# Room or module -> the rooms to its left; report and stats stand beside the line.
ALLOWED: dict[str, set[str]] = {room: set(ORDER[: index + 1]) | LEAVES for index, room in enumerate(ORDER)}
for beyond in ("select", "evaluation", "lit", "gathering", "controls", "pipeline", "train_stage", "training"):
    ALLOWED[beyond].add("stats")
ALLOWED["select"] -= {"extract"}
ALLOWED["evaluation"] -= {"select"}
ALLOWED["report"] = {"records", "report", "config", "stats"} | LEAVES
for entry in ("jobs", "sweeping", "cli"):
    ALLOWED[entry] |= {"report", "exits"}
# What needs no heavy import stands beside the main path: the check before it, and the face for Python.
ALLOWED["preflight"] = {"config", "records", "data", "extract", "select", "evaluation", "preflight"} | LEAVES
# The two studies do not know each other's main paths.
ALLOWED["pipeline"] -= {"controls"}
ALLOWED["controls"] -= {"gathering"}
ALLOWED["train_stage"] -= {"pipeline", "gathering", "controls"}
ALLOWED["training"] -= {"pipeline", "gathering"}
ALLOWED["api"] = {"config", "records", "preflight", "lit", "pipeline", "training", "api"} | LEAVES
ALLOWED["cli"] |= {"preflight"}
ALLOWED["exits"] = {"errors", "shown"}
ALLOWED["commands"] = ALLOWED["cli"] | {"commands"}
ALLOWED["stats"] = {"stats", "errors"}
ALLOWED["errors"] = set()
ALLOWED["bounded"] = {"bounded"}
ALLOWED["secrets"] = set()
ALLOWED["shown"] = {"secrets"}
ALLOWED["signals"] = set()
ALLOWED["languages"] = {"errors"}

FENCES: dict[str, tuple[str, ...]] = {
    "hydra": ("cli", "config", "sweeping"),
    "omegaconf": ("cli", "config", "sweeping"),
    "lightning": ("lit", "gathering", "pipeline", "train_stage", "training"),
    "torchmetrics": ("lit", "pipeline"),
    "sacrebleu": ("lit.metrics", "evaluation.texts"),
    "py3langid": ("evaluation.texts",),
    "transformers": (
        "extract.classifier",
        "extract.encoder_model",
        "extract.families",
        "extract.loading",
        "extract.model_config",
        "extract.random_model",
        "extract.toy_model",
    ),
    "tokenizers": ("extract.encoder_model", "extract.random_model", "extract.toy_model"),
    "datasets": ("data.raw_rows",),
    "wandb": ("lit.wandb_process", "report.wandb_report"),
    "wandb_workspaces": ("report.wandb_report",),
}
STATS_LIBRARIES = {"torch", "numpy", "scipy", "bridgex"}


def imports_of(source: str) -> Iterator[tuple[str, bool]]:
    """Every imported module with whether it is imported when the file is."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = [ast.Pass()]  # read by type checkers only
    late = {id(inner) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [
                f"{node.module}.{alias.name}" if node.module == "bridgex" else str(node.module) for alias in node.names
            ]
        for name in names:
            yield name, id(node) not in late


def broken_rules(module: str, source: str) -> list[str]:
    """What a module (dotted, without `bridgex.`) imports against the rules."""
    import sys

    room = module.split(".")[0]
    found = []
    for name, is_early in imports_of(source):
        top, *rest = name.split(".")
        if top == "bridgex" and rest and rest[0] not in ALLOWED[room]:
            found.append(f"{module} imports bridgex.{rest[0]}")
        if top in FENCES and not any(module == door or module.startswith(f"{door}.") for door in FENCES[top]):
            found.append(f"{module} imports {top}")
        if room == "stats" and top not in STATS_LIBRARIES and top not in sys.stdlib_module_names:
            found.append(f"{module} imports {top}")
        if room in ("cli", "config", "report", "errors", "languages") and top in ("torch", "lightning", "transformers"):
            found.append(f"{module} imports {top}")
        if room == "cli" and is_early and top in ("hydra", "omegaconf", "pydantic"):
            found.append(f"{module} imports {top} early")
    return found


def modules(package: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(package.rglob("*.py")):
        name = ".".join(path.relative_to(package).with_suffix("").parts).removesuffix(".__init__")
        if name != "__init__":
            yield name, path.read_text(encoding="utf-8")


def test_every_module_keeps_the_rules(repository: Path) -> None:
    found = [line for name, source in modules(repository / "bridgex") for line in broken_rules(name, source)]
    assert found == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("config.settings", "from bridgex.records.store import RunFolder"),
        ("select.neurons", "from bridgex.extract import loading"),
        ("evaluation.engines.hf", "def f():\n    import bridgex.select.neurons"),
        ("records.store", "from omegaconf import OmegaConf"),
        ("data.sources", "import transformers"),
        ("stats.hsic", "import pandas"),
        ("report.html", "import torch"),
        ("lit.data", "from bridgex import pipeline"),
    ],
)
def test_a_broken_rule_is_found(module: str, source: str) -> None:
    assert len(broken_rules(module, source)) == 1
