"""Every key of a run, typed and explained; all mistakes of a command are reported at once."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator
from yaml import YAMLError

from bridgex.config.mistakes import lines_of
from bridgex.config.targets import Target
from bridgex.errors import UserError
from bridgex.languages import Pair, language, near_matches


class Node(BaseModel):
    """A config node: frozen, and a key that it does not know is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


def checked_template(template: str, *names: str) -> str:
    """The template itself, if it can be filled with these names and uses the last one, which is what it is about.

    Raises:
        ValueError: it names something else, or not the last one.
    """
    try:
        template.format(**dict.fromkeys(names, ""))
    except (KeyError, IndexError, ValueError) as error:
        allowed = " ".join(f"{{{name}}}" for name in names)
        raise ValueError(f"may name {allowed} only, found {error}") from None
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
    name: Annotated[str, Field(pattern=r"^[\w.+-]+$")] = Field(description="stands in folder names and tables")
    path: str | None = Field(None, description="local folder or hub id")
    revision: str | None = Field(None, description="branch, tag or commit of a hub id")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field("auto", description="auto: as the checkpoint says")
    device_map: Literal["auto"] | None = Field(
        None, description="auto: weights over all GPUs, then memory, then disk; null: where the trainer runs"
    )
    quantization: Literal["8bit", "4bit"] | None = Field(None, description="weights in fewer bits, by bitsandbytes")
    adapter: str | None = Field(None, description="folder of a PEFT adapter")
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
    dictionary: str | None = Field(None, description="a word list of one's own")

    @field_validator("text")
    @classmethod
    def _languages_exist(cls, text: dict[str, str]) -> dict[str, str]:
        return {known_language(code): file for code, file in text.items()}


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

    name: Annotated[str, Field(pattern=r"^[\w.+-]+$")] = Field(description="a multirun writes to outputs/sweeps/<name>")
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
    data: DataSettings
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
        config = OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, ValueError, YAMLError, OmegaConfBaseException):
        return {}
    return {str(key): value for key, value in config.items()} if isinstance(config, dict) else {}


def validate(config: Mapping[str, Any]) -> Settings:
    """Turns a resolved config of evaluate.py into settings.

    Raises:
        UserError: with one line for every mistake in a key or value.
    """
    try:
        return Settings.model_validate(config)
    except ValidationError as error:
        raise UserError(*lines_of(error, Settings)) from None


def pair_problems(settings: Settings) -> list[str]:
    """Why model and pair do not go together: real and invented languages have models of their own."""
    model, pair = settings.model, settings.pair.pair
    is_toy_pair = language(pair.source).is_toy
    if is_toy_pair and model.kind != "toy":
        return [
            f"pair={pair}: an invented pair that only model=toy speaks, and model={model.name} was given. "
            f"Add a pair of real languages, e.g. pair=en-sw"
        ]
    if not is_toy_pair and model.kind == "toy":
        return [
            f"pair={pair}: model=toy speaks its own invented languages only (qaa to qal). "
            f"Choose a model, e.g. model=llama3, or a toy pair, e.g. pair=qaa-qaf"
        ]
    return []


def path_problems(settings: Settings) -> list[str]:
    """Which of the folders and files that the keys name are not there."""
    return [*model_problems(settings.model), *data_problems(settings.data)]


def model_problems(model: ModelSettings) -> list[str]:
    """Which folders of the model are not there."""
    problems: list[str] = []
    if model.kind == "hf" and model.path is None:
        problems.append("model.path: not set. model=hf needs model.path=<local folder or hub id>")
    if model.path is not None and model.names_a_folder():
        problems += _folder_problems("model.path", model.path, must_hold="config.json")
    if model.adapter is not None:
        problems += _folder_problems("model.adapter", model.adapter, must_hold="adapter_config.json")
    return problems


def data_problems(data: DataSettings) -> list[str]:
    """Which folders and files of data are not there."""
    problems = [] if data.root is None else _folder_problems("data.root", data.root)
    problems += [
        f"data.text.{code}={file}: no such file. Give a text file with one sentence a line"
        for code, file in data.text.items()
        if not Path(file).expanduser().is_file()
    ]
    if data.dictionary is not None and not Path(data.dictionary).expanduser().is_file():
        problems.append(
            f"data.dictionary={data.dictionary}: no such file. Give a text file with one 'word translation' pair a line"
        )
    return problems


def _folder_problems(key: str, value: str, must_hold: str | None = None) -> list[str]:
    folder = Path(value).expanduser()
    if folder.is_file():
        return [f"{key}={value}: is a file. Give its folder"]
    if not folder.is_dir():
        parent = folder.parent
        inside = [child.name for child in parent.iterdir() if child.is_dir()] if parent.is_dir() else []
        near = near_matches(folder.name, inside)
        return [f"{key}={value}: no such folder" + (f" (in {parent} there is: {', '.join(near)})" if near else "")]
    if must_hold is not None and not (folder / must_hold).is_file():
        guess = f". Did you mean {Path(value) / 'model'}?" if (folder / "model" / must_hold).is_file() else ""
        return [f"{key}={value}: no {must_hold} in this folder, so transformers cannot load it{guess}"]
    if not os.access(folder, os.R_OK | os.X_OK):
        return [f"{key}={value}: this folder cannot be read. Check its permissions"]
    return []
