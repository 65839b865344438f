"""Every key of a run, typed and explained; all mistakes of a command are reported at once."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Literal, Protocol

import yaml
from omegaconf import OmegaConf
from omegaconf._utils import get_yaml_loader
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator
from yaml import YAMLError

from bridgex.config.mistakes import lines_of
from bridgex.config.targets import Target
from bridgex.errors import UserError
from bridgex.languages import Pair, language


class Node(BaseModel):
    """A config node: frozen, and a key that it does not know is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


# No path can be made of it that leaves the folder it is in, and four of them make a name that a folder can have.
FolderName = Annotated[str, Field(pattern=r"^[\w+-][\w.+-]*$", max_length=60)]


def checked_template(template: str, *names: str) -> str:
    """The template itself, if it can be filled with these names and uses the last one, which is what it is about.

    Raises:
        ValueError: it names something else, a part of what a name stands for among it, or not the last one.
    """
    allowed = " ".join(f"{{{name}}}" for name in names)
    try:
        template.format(**dict.fromkeys(names, ""))
    except (KeyError, IndexError, ValueError) as error:
        raise ValueError(f"may name {allowed} only, found {error}") from None
    found = [name for _, name, _, _ in Formatter().parse(template) if name is not None]
    if others := [name for name in found if name not in names]:
        raise ValueError(f"may name {allowed} only, found {others[0]!r}")
    if f"{{{names[-1]}}}" not in template:
        raise ValueError(f"must name {{{names[-1]}}}")
    return template


def known_language(code: str) -> str:
    """The code itself, if the language table has it.

    Raises:
        ValueError: it has not; names near matches.
    """
    try:
        return language(code).code
    except UserError as error:
        raise ValueError(error.problems[0]) from None


class ModelSettings(Node):
    """Which model, and how it is loaded."""

    kind: Literal["hf", "toy", "random"] = Field(description="where the model comes from")
    name: FolderName = Field(description="stands in folder names and tables")
    path: str | None = Field(None, description="local folder or hub id")
    revision: str | None = Field(None, description="branch, tag or commit of a hub id")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field("auto", description="auto: as the checkpoint says")
    device_map: Literal["auto"] | None = Field(
        None, description="auto: weights over all GPUs, then memory, then disk; null: where the trainer runs"
    )
    quantization: Literal["8bit", "4bit"] | None = Field(None, description="weights in fewer bits, by bitsandbytes")
    adapter: str | None = Field(None, description="folder of a PEFT adapter")
    trust_remote_code: bool = Field(
        False, description="true: Python code in the model's folder is run, for a model that transformers does not know"
    )
    chat_template: Literal["auto", "on", "off"] = Field("auto", description="auto: on where the tokenizer has one")
    system_prompt: str | None = Field(None, description="system message, with the chat template only")
    neuron_share: float = Field(0.01, description="default of probe.neuron_share")
    depth: tuple[float, float] = Field((0.3125, 0.6875), description="default of probe.depth")
    learning_rate: float = Field(2e-5, gt=0, description="default of finetune.learning_rate")
    epochs: float = Field(3.0, gt=0, description="default of finetune.epochs")
    pair_input: str | None = Field(
        None,
        description="how two texts become one input of a model to fine-tune, names {language} {first} {second}; null: "
        "as the tokenizer joins them, or on two lines where it has no separator",
    )

    @field_validator("pair_input")
    @classmethod
    def _pair_input_fits(cls, template: str | None) -> str | None:
        return None if template is None else checked_template(template, "language", "first", "second")

    def names_a_folder(self) -> bool:
        """Whether `path` can only be meant as a local folder (a hub id has the form `name` or `owner/name`)."""
        if self.path is None:
            return False
        return Path(self.path).expanduser().exists() or not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", self.path)


class PairSettings(Node):
    """The language pair, as `pair=<source>-<target>` makes it."""

    name: str = Field(description="stands in folder names and tables")
    source: str = Field(description="code of the input's language")
    target: str = Field(description="code of the output's language")

    @property
    def pair(self) -> Pair:
        """The pair itself."""
        return Pair(self.source, self.target)


class ProbeSettings(Node):
    """How neurons are read."""

    neuron_share: float = Field(0.01, gt=0, le=0.5, description="share of all neurons that are a language's neurons")
    depth: tuple[float, float] = Field((0.3125, 0.6875), description="blocks l of L with (l - 0.5) / L in [low, high)")
    limit: int = Field(256, ge=4, description="probe words at most")
    filter: Literal["all", "correct"] = Field(
        "all", description="correct: only words that the model translates rightly"
    )
    partial_length: bool = Field(True, description="take out what the number of tokens does to mean and spread")
    prompt: str = Field(description="names {source} and {target} and the {word}")
    chain: str = Field(description="names also {bridge} and the {bridge_word} that the first step gave")
    batch_tokens: int | None = Field(
        None, ge=1, description="tokens in one batch at most, fewer where memory does not suffice; null: by device"
    )

    @field_validator("prompt")
    @classmethod
    def _prompt_fits(cls, prompt: str) -> str:
        return checked_template(prompt, "source", "target", "word")

    @field_validator("chain")
    @classmethod
    def _chain_fits(cls, chain: str) -> str:
        return checked_template(chain, "source", "target", "word", "bridge", "bridge_word")

    @field_validator("depth")
    @classmethod
    def _depth_is_a_range(cls, depth: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= depth[0] < depth[1] <= 1:
            raise ValueError("should be [low, high] with 0 <= low < high <= 1")
        return depth


class EngineSettings(Node):
    """What runs the model."""

    name: Literal["hf", "vllm"] = Field(description="which one answers")
    batch_tokens: int | None = Field(
        None,
        ge=1,
        description="prompt and answer tokens in one pass at most, padding included, fewer where memory does not "
        "suffice; null: by device",
    )
    boundary: Literal["merged", "lm_eval"] = Field(
        "merged", description="where an option begins whose first token the tokenizer joins to the prompt's end"
    )
    parity: int = Field(
        64, ge=0, description="with vllm: so many items are asked of transformers too, and disagreements counted"
    )
    memory_share: float = Field(0.5, gt=0, le=1, description="with vllm: share of the GPU's memory that it takes")
    num_gpus: int = Field(1, ge=1, description="with vllm: GPUs that it spreads each layer over")
    max_length: int | None = Field(None, ge=2, description="with vllm: tokens it reads at most; null: the model's own")


class TrainerSettings(Node):
    """What the Lightning trainer is given."""

    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = Field("auto", description="where the model runs")
    devices: int = Field(1, ge=1, description="devices over which the questions are dealt out, a process each")


class LoggerSettings(Node):
    """Where a finished run is mirrored to; the keys beside `name` are W&B's."""

    name: Literal["none", "wandb"] = Field("none", description="where to")
    project: str = Field("bridgex", min_length=1, description="where the run appears")
    entity: str | None = Field(None, description="user or team; null: the key's own default")
    mode: Literal["auto", "online", "offline", "disabled"] = Field(
        "auto", description="auto: online with an API key, offline without; WANDB_MODE beats it"
    )
    tags: list[str] = Field(default_factory=list, description="words to find the run by")
    max_rows: int = Field(2000, ge=1, le=10_000, description="predictions in the table at most")
    dir: str | None = Field(None, description="folder that gets a wandb/ folder; null: the run's own")


class DataSettings(Node):
    """Where the data lie."""

    root: str | None = Field(None, description="folder that holds the data sets, each in its own layout")
    text: dict[str, str] = Field(default_factory=dict, description="text of one's own by language")

    @field_validator("text")
    @classmethod
    def _languages_exist(cls, text: dict[str, str]) -> dict[str, str]:
        return {known_language(code): file for code, file in text.items()}


class EvaluateDataSettings(DataSettings):
    """Where the data of evaluate.py lie, which needs words, too."""

    dictionary: str | None = Field(None, description="a word list of one's own; evaluate.py only")


class ReadsData(Protocol):
    """Settings of a run that reads data sets, of evaluate.py or train.py."""

    @property
    def data(self) -> DataSettings:
        """Where they lie."""

    @property
    def model(self) -> ModelSettings:
        """A toy model's lie beside it."""


class CacheSettings(Node):
    """Where runs share what they need not compute twice."""

    dir: str = Field(description="folder shared by all runs; safe to delete")


class SweepSettings(Node):
    """A multirun: where it writes, and how its cells are run."""

    name: FolderName = Field(description="a multirun writes to outputs/sweeps/<name>")
    fail_fast: bool = Field(False, description="true: the first cell that fails ends the sweep")
    cells_per_job: int = Field(
        8, ge=1, description="on a cluster: cells of one model that a job runs one after the other, loading it once"
    )


TargetNode = Annotated[Target, BeforeValidator(Target.checked)]
# Checked when it is built: importing Lightning, which callbacks need, would take longer than every other check.
LateTargetNode = Annotated[Target, BeforeValidator(Target.from_node)]


class Settings(Node):
    """All keys of evaluate.py."""

    model: ModelSettings
    pair: PairSettings
    task: TargetNode
    bridge: TargetNode
    probe: ProbeSettings
    engine: EngineSettings
    callbacks: dict[str, LateTargetNode]
    logger: LoggerSettings
    trainer: TrainerSettings
    data: EvaluateDataSettings
    cache: CacheSettings
    sweep: SweepSettings
    seed: int = Field(0, ge=0, lt=2**32, description="seeds every random choice of a run")


# What may change between two runs of which the second goes on with the first: none of it changes a number.
_NOT_HASHED = ("hydra", "cache", "callbacks", "logger", "trainer", "sweep")
_NOT_HASHED_KEYS = (
    *(("engine", key) for key in ("batch_tokens", "parity", "memory_share", "num_gpus")),
    ("probe", "batch_tokens"),
    ("drift", "batch_tokens"),
    ("finetune", "keep_model"),
    ("model", "device_map"),
)


def hashed_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a resolved config that decides a run's numbers."""
    kept = {key: value for key, value in config.items() if key not in _NOT_HASHED}
    for node, key in _NOT_HASHED_KEYS:
        if isinstance(kept.get(node), Mapping):
            kept[node] = {k: v for k, v in kept[node].items() if k != key}
    return kept


def config_hash(config: Mapping[str, Any]) -> str:
    """Eight hex digits that name a resolved config; folders, callbacks, trainer and launcher are left out."""
    text = json.dumps(hashed_config(config), sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def flat_config(node: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """A config's values as JSON, by their dotted keys."""
    flat: dict[str, str] = {}
    for key, value in node.items():
        if isinstance(value, Mapping):
            flat.update(flat_config(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = json.dumps(value, default=str)
    return flat


def to_yaml(config: Mapping[str, Any]) -> str:
    """A resolved config as yaml."""
    return OmegaConf.to_yaml(OmegaConf.create(dict(config)))


def from_yaml(path: Path) -> dict[str, Any]:
    """A config as a run wrote it; empty where the file is missing or damaged."""
    try:
        config = yaml.load(path.read_text(encoding="utf-8"), _FastLoader)  # noqa: S506 (it is a safe one)
    except (OSError, ValueError, YAMLError):
        return {}
    return {str(key): value for key, value in config.items()} if isinstance(config, dict) else {}


class _FastLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Reads plain values as OmegaConf does (1e-5 is a number, no date is a date), in C: a sweep has many configs."""

    yaml_implicit_resolvers = get_yaml_loader().yaml_implicit_resolvers


def validate(config: Mapping[str, Any]) -> Settings:
    """Turns a resolved config of evaluate.py into settings.

    Raises:
        UserError: with one line for every mistake in a key or value.
    """
    try:
        return Settings.model_validate(config)
    except ValidationError as error:
        raise UserError(*lines_of(error, Settings)) from None
