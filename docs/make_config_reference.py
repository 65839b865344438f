"""Writes docs/config.md from the settings' classes and the yaml files: `python docs/make_config_reference.py`."""

from __future__ import annotations

import html
import importlib
import re
import types
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from bridgex.config.command import config_dir
from bridgex.config.encoder_recipe import EncoderRecipe
from bridgex.config.settings import (
    EngineSettings,
    LoggerSettings,
    ModelSettings,
    PairSettings,
    ProbeSettings,
    Settings,
    TrainerSettings,
)
from bridgex.config.toy_recipe import ToyRecipe
from bridgex.config.train_settings import FinetuneSettings, FreezeSettings, TrainSettings

PAGE = Path(__file__).with_name("config.md")

# By group: its keys, the choices whose values are the defaults (the first one wins), and what else a reader needs.
GROUPS: Mapping[str, tuple[type[BaseModel], tuple[str, ...], str]] = {
    "model": (
        ModelSettings,
        ("hf",),
        "Any other model is `model=hf model.path=<folder or hub id>`; the defaults below are those of `model=hf`. "
        "[Models](models.md).",
    ),
    "probe": (ProbeSettings, ("default",), "`evaluate.py` only. [How bridges are ranked](concepts-bridges.md)."),
    "engine": (
        EngineSettings,
        ("hf", "vllm"),
        "`evaluate.py` only. What is said to be *with vllm* belongs to `engine=vllm`. [Engine](engine.md).",
    ),
    "logger": (LoggerSettings, ("none", "wandb"), "The keys beside `name` belong to `logger=wandb`."),
    "trainer": (TrainerSettings, ("default",), ""),
    "finetune": (FinetuneSettings, ("default",), "`train.py` only. [Drift](drift.md)."),
    "freeze": (FreezeSettings, ("none",), "`train.py` only. [Freezing](drift.md#freezing)."),
}
RECIPES: Mapping[str, type[BaseModel]] = {"toy_world": ToyRecipe, "small_encoder": EncoderRecipe}

ENVIRONMENT = (
    ("BRIDGEX_LANGUAGES", "CSV file of languages of your own ([add a language](extend/language.md))"),
    ("BRIDGEX_TRACEBACK", "`1`: a mistake shows where in the code it was found, beside its line"),
    ("HF_HOME, HF_HUB_CACHE", "where the hub's downloads lie"),
    ("HF_HUB_OFFLINE", "`1`: nothing is asked of the hub; what lies in its cache is used"),
    ("OMP_NUM_THREADS", "CPU threads of one process"),
    ("WANDB_API_KEY, WANDB_MODE", "W&B's own; `WANDB_MODE` beats `logger.mode`"),
    ("BRIDGEX_TEST_DATA", "tests: folder of real data sets"),
    ("BRIDGEX_REFERENCE, BRIDGEX_REFERENCE_DRIFT", "tests and benches: checkouts of the two papers' published code"),
    ("BRIDGEX_SLOW_MACHINE", "tests: by how much limits on seconds are stretched"),
)

HEAD = """# Config reference

Every key of `evaluate.py` and `train.py`, and every choice of every group. This page is made from the code
(`python docs/make_config_reference.py`); `python evaluate.py --help` shows the same keys in your terminal, and
`python evaluate.py --cfg job` the values that a command would run with.

A command is made of choices (`group=choice`) and of keys (`group.key=value`):

```
python evaluate.py model=random pair=zh-ja bridge=confidence probe.limit=64
```

Several values of one key (`pair=en-sw,zh-ja`) are a sweep and need `-m`. A list is written `[en,es]`, and a text that
holds spaces, commas or brackets stands in quotes. A key that does not exist, or a value that is not allowed, comes back
as one line with what is allowed, before anything is loaded.

`task._target_` and `bridge._target_` take the import path of a class of your own ([task](extend/task.md),
[strategy](extend/strategy.md)); the other keys of the group are then that class's.
"""

FOLDERS = (
    (
        "`hydra.run.dir`",
        "`outputs/<task>/<model>/<pair>/<time>`; `train.py`: `outputs/train/<task>/<model>/<source>/<time>`",
        "a single run's folder; name an old one to go on with it",
    ),
    (
        "`hydra.sweep.dir`",
        "`outputs/sweeps/<sweep.name>`",
        "a sweep's folder; the same command again runs what is missing",
    ),
    ("`-m`", "", "several values of a key are a sweep, one cell for each combination"),
    (
        "`--config-dir <folder>`",
        "",
        "a folder of your own with yaml files (`<folder>/model/mine.yaml`), beside those of the package",
    ),
    ("`--cfg job`, `--help`", "", "show the resolved config; show choices and keys. Nothing is loaded"),
)


@dataclass(frozen=True)
class Row:
    """A key of a table.

    Attributes:
        key: with its dots.
        allowed: which values.
        meaning: in words.
        default: where no yaml file has one; empty: there is none.
    """

    key: str
    allowed: str
    meaning: str
    default: str


def code(text: object) -> str:
    """A text in a code span that a table's cell can hold."""
    shown = str(text).replace("\n", "\\n")
    return f"<code>{html.escape(shown, quote=False).replace('|', '&#124;')}</code>" if "|" in shown else f"`{shown}`"


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """A table in Markdown."""
    lines = [head, tuple("---" for _ in head), *rows]
    return ["| " + " | ".join(cell if cell else " " for cell in line) + " |" for line in lines] + [""]


def bounds(metadata: list[Any]) -> str:
    """What constraints say of a number, such as ` from 1`."""
    words = {"ge": "from", "gt": "above", "le": "to", "lt": "below"}
    found = [(word, getattr(item, name)) for item in metadata for name, word in words.items() if hasattr(item, name)]
    return "".join(f" {word} {value:,}" for word, value in found)


def allowed(annotation: Any, metadata: list[Any]) -> str:
    """Which values a typed field takes, in words."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return allowed(arguments[0], [*arguments[1:], *metadata])
    if origin in (Union, types.UnionType):
        return ", ".join(allowed(each, metadata) for each in arguments)
    if origin is Literal:
        return ", ".join(code(value) for value in arguments)
    if origin in (list, tuple) and arguments:
        kinds = [allowed(each, []) for each in arguments if each is not Ellipsis]
        return f"list of {kinds[0]}" if origin is list or Ellipsis in arguments else f"[{', '.join(kinds)}]"
    if isinstance(annotation, type) and annotation is not type(None) and not isinstance(annotation, types.GenericAlias):
        names = {bool: "`true`, `false`", int: "integer", float: "number", str: "text"}
        return names.get(annotation, "mapping") + ("" if annotation is str else bounds(metadata))
    return "`null`" if annotation is type(None) else "mapping"


def nested(field: FieldInfo) -> type[BaseModel] | None:
    """The model below a key, if it has keys of its own."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def rows_of(model: type[BaseModel], prefix: str) -> list[Row]:
    """All keys of a model, dotted.

    Raises:
        ValueError: a key has no description.
    """
    rows: list[Row] = []
    for name, field in model.model_fields.items():
        below = nested(field)
        if below is not None:
            rows += rows_of(below, f"{prefix}{name}.")
            continue
        if not field.description:
            raise ValueError(f"{prefix}{name}: no description")
        rows.append(row_of(f"{prefix}{name}", field))
    return rows


def row_of(key: str, field: FieldInfo) -> Row:
    """One key."""
    default = "" if field.is_required() else shown(field.get_default(call_default_factory=True))
    return Row(key, allowed(field.annotation, field.metadata), field.description or "", default)


def values(node: object, prefix: str = "") -> dict[str, Any]:
    """A yaml mapping by dotted keys, its mappings also whole."""
    found: dict[str, Any] = {}
    for key, value in node.items() if isinstance(node, Mapping) else ():
        found[f"{prefix}{key}"] = value
        found.update(values(value, f"{prefix}{key}."))
    return found


def read(path: Path) -> dict[str, Any]:
    """A choice's yaml file, with those that it builds on."""
    own: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    merged: dict[str, Any] = {}
    for base in own.pop("defaults", None) or []:
        if isinstance(base, str):
            merged.update(read(path.with_name(f"{base}.yaml")))
    return {**merged, **own}


def default_of(row: Row, of_yaml: Mapping[str, Any]) -> str:
    """A key's default: what a yaml file says, else the class."""
    return shown(of_yaml[row.key]) if row.key in of_yaml else row.default


def shown(value: Any) -> str:
    """A default as it would be typed."""
    if isinstance(value, Mapping):
        return "`{}`" if not value else "in the yaml file"
    if isinstance(value, list | tuple):
        return code(f"[{', '.join(map(str, value))}]")
    if isinstance(value, str) and (chosen := re.fullmatch(r"\$\{oc\.select:([\w.]+),(.*)\}", value)):
        return f"{code(chosen[1])} ({code(chosen[2])})"
    if value is None or isinstance(value, bool):
        return code({None: "null", True: "true", False: "false"}[value])
    return code(value)


def words_of(path: Path) -> str:
    """What the first lines of a yaml file say it is."""
    lines: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line[1:].strip())
    return " ".join(line for line in lines if not line.startswith("@package"))


def choice_files(group: str) -> list[Path]:
    """The yaml files of a group."""
    return sorted((config_dir() / group).glob("[!_]*.yaml"))


def cell(text: str) -> str:
    """Words that a table's cell can hold: what looks like a tag, a border or emphasis is none."""
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\_", html.escape(text, quote=False).replace("|", "&#124;"))


def choices(group: str, base: str | None) -> list[str]:
    """The table of a group's choices; what they set is shown where they are compared with a base."""
    of_base = read(config_dir() / group / f"{base}.yaml") if base else {}
    rows = []
    for path in choice_files(group):
        own = read(path)
        sets = [f"{key}={value}" for key, value in own.items() if key != "name" and of_base.get(key) != value]
        rows.append((code(path.stem), cell(words_of(path)), ", ".join(map(code, sets)) if base else ""))
    if not base:
        return table((f"`{group}=`", "what it is"), [row[:2] for row in rows])
    return table((f"`{group}=`", "what it is", "sets"), rows)


def keys(rows: list[Row], of_yaml: Mapping[str, Any]) -> list[str]:
    """The table of a group's keys."""
    lines = [(code(row.key), row.allowed, default_of(row, of_yaml), cell(row.meaning)) for row in rows]
    return table(("key", "allowed", "default", "meaning"), lines)


def target_of(path: Path) -> type[BaseModel]:
    """The class that a yaml file names."""
    module, _, name = str(read(path)["_target_"]).rpartition(".")
    found: type[BaseModel] = getattr(importlib.import_module(module), name)
    return found


def tasks() -> list[str]:
    """Choices and keys of tasks, class by class."""
    lines = ["## task", "", *choices("task", None)]
    lines += ["`train.py` reads `name`, `limit` and `variant` of `xnli` and `nli` only. [Tasks](tasks.md).", ""]
    by_class: dict[type[BaseModel], list[Path]] = {}
    for path in choice_files("task"):
        by_class.setdefault(target_of(path), []).append(path)
    for made, files in by_class.items():
        lines += [f"### {', '.join(f'task={path.stem}' for path in files)}", ""]
        defaults = [values(read(path), "task.") for path in files]
        rows = [
            (code(row.key), row.allowed, *(default_of(row, of) for of in defaults), cell(row.meaning))
            for row in rows_of(made, "task.")
        ]
        heads = ["default"] if len(files) == 1 else [f"default of {path.stem}" for path in files]
        lines += table(("key", "allowed", *heads, "meaning"), rows)
    return lines


def bridges() -> list[str]:
    """Choices of strategies, and the keys that all of them have."""
    file = config_dir() / "bridge" / "hsic.yaml"
    lines = ["## bridge", "", "`evaluate.py` only. [How a bridge is chosen](strategies.md).", ""]
    return [*lines, *choices("bridge", None), *keys(rows_of(target_of(file), "bridge."), values(read(file), "bridge."))]


def recipes() -> list[str]:
    """Keys of the recipes that make a model from nothing."""
    lines: list[str] = []
    for name, model in RECIPES.items():
        lines += [f"### finetune={name}", "", f"As `python train.py experiment={name}` has it.", ""]
        defaults = values(read(config_dir() / "finetune" / f"{name}.yaml"), "finetune.")
        lines += keys(rows_of(model, "finetune."), defaults)
    return lines


def group(name: str) -> list[str]:
    """Heading, choices and keys of a group."""
    model, bases, words = GROUPS[name]
    lines = [f"## {name}", "", *([words, ""] if words else [])]
    lines += choices(name, bases[0] if name == "model" else None)
    of_yaml: dict[str, Any] = {}
    for base in reversed(bases):
        of_yaml.update(values(read(config_dir() / name / f"{base}.yaml"), f"{name}."))
    return lines + keys(rows_of(model, f"{name}."), of_yaml)


def top_keys(model: type[BaseModel], entry: str, *names: str) -> list[str]:
    """Keys of a command that belong to no group."""
    rows: list[Row] = []
    for name in names:
        field = model.model_fields[name]
        below = nested(field)
        rows += rows_of(below, f"{name}.") if below is not None else [row_of(name, field)]
    of_yaml = yaml.safe_load((config_dir() / f"{entry}.yaml").read_text(encoding="utf-8"))
    return [f"## {', '.join(names)}", "", *keys(rows, values(of_yaml))]


def launchers() -> list[str]:
    """Choices of where a sweep's cells run."""
    rows = [(code(path.stem), cell(words_of(path))) for path in choice_files("hydra/launcher")]
    return table(("`hydra/launcher=`", "what it is"), rows) if rows else []


def page() -> str:
    """The whole page."""
    pair = "`pair=<source>-<target>`, any two codes of the language table; `evaluate.py` only, default `qaa-qaf`."
    lines = [HEAD, *group("model"), "## pair", "", pair, "", *keys(rows_of(PairSettings, "pair."), {}), *tasks()]
    lines += [*bridges(), *group("probe"), *group("engine"), *group("finetune"), *recipes(), *group("freeze")]
    lines += [*top_keys(TrainSettings, "train", "source", "targets", "drift", "controls")]
    lines += [*top_keys(Settings, "evaluate", "data", "cache", "sweep", "seed"), *group("trainer"), *group("logger")]
    lines += ["## callbacks", "", "Lightning callbacks by `_target_`, each under a name of your own.", ""]
    lines += [*choices("callbacks", None), "## experiment", "", "Recipes; their keys win over the groups.", ""]
    lines += [*choices("experiment", None), "## Folders and sweeps", ""]
    lines += [
        *table(("key or flag", "default", "meaning"), list(FOLDERS)),
        *launchers(),
        "## Environment variables",
        "",
    ]
    variables = [(", ".join(map(code, names.split(", "))), text) for names, text in ENVIRONMENT]
    return "\n".join([*lines, *table(("variable", "meaning"), variables)]).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
