"""Whether a run's keys go together and what they name is there; asked before anything heavy is imported."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bridgex.config import agreement, settings, train_settings
from bridgex.data import encoder_text, probe_text, sentences
from bridgex.errors import UserError
from bridgex.evaluation.engines import vllm_check
from bridgex.evaluation.freezing import freeze_problems
from bridgex.evaluation.tasks.base import PairTask, Task, pair_task
from bridgex.extract import hub
from bridgex.languages import Pair, language
from bridgex.records.files import place_problem
from bridgex.select.strategies.base import Strategy


def agree(config: Mapping[str, Any]) -> None:
    """Checks a resolved config of evaluate.py whose keys and values are valid one by one.

    Raises:
        UserError: with one line for every thing that is missing or does not fit another.
    """
    found = settings.validate(config)
    mismatch = agreement.pair_problems(found)
    problems = [*agreement.path_problems(found), *mismatch]
    cache = place_problem(Path(found.cache.dir).expanduser().absolute())
    if cache is not None:
        problems.append(f"cache.dir={found.cache.dir}: {cache}. Give another folder")
    strategy, task = found.bridge.build(Strategy), found.task.build(Task)
    problems += strategy.problems(found.pair.pair)
    problems += _ablation_problems(task, strategy.name)
    problems += _world_problems(task, found.pair.pair)
    if not mismatch and not any(line.startswith("data.") for line in problems):
        lacking = task.problems(found)
        if not lacking and strategy.reads_words:
            lacking = probe_text.problems(found)
        problems += lacking
    if not problems and (strategy.reads_profiles or task.ablate is not None):
        pair = found.pair.pair
        problems += sentences.problems(found, [pair.source, pair.target, *strategy.candidates_of(pair)])
    problems += _loading_problems(found.model)
    problems += _process_problems(found)
    problems += hub.problems(found.model)
    problems += vllm_check.problems(found)
    if problems:
        raise UserError(*problems)


def agree_train(config: Mapping[str, Any]) -> None:
    """Checks a resolved config of train.py whose keys and values are valid one by one.

    Raises:
        UserError: with one line for every thing that is missing or does not fit another.
    """
    found = train_settings.validate_train(config)
    if isinstance(found, train_settings.ToyWorldSettings):
        return
    if isinstance(found, train_settings.EncoderSettings):
        if lacking := encoder_text.text_problems(found.data):
            raise UserError(*lacking)
        return
    mismatch = _language_problems(found)
    problems = [*agreement.model_problems(found.model), *agreement.data_problems(found.data), *mismatch]
    cache = place_problem(Path(found.cache.dir).expanduser().absolute())
    if cache is not None:
        problems.append(f"cache.dir={found.cache.dir}: {cache}. Give another folder")
    try:
        task = pair_task(found.task)
    except UserError as error:
        problems += error.problems
    else:
        if not mismatch and not any(line.startswith("data.") for line in problems):
            world = _world_problem(task.name, found.is_toy, f"source {found.sources}")
            problems += [world] if world else _pair_problems(found, task)
    problems += _training_problems(found)
    problems += freeze_problems(found)
    problems += hub.problems(found.model)
    if problems:
        raise UserError(*problems)


def _language_problems(found: train_settings.TrainSettings) -> list[str]:
    """Why model, source and targets do not go together: real and invented languages have models of their own."""
    is_toy_model = found.model.kind == "toy"
    named = [("source", found.source), ("targets", found.targets or [])]
    lines = []
    for key, codes in named:
        wrong = [code for code in codes if language(code).is_toy != is_toy_model]
        if wrong and is_toy_model:
            lines.append(
                f"{key}={'+'.join(wrong)}: model=toy speaks its own invented languages only (qaa to qal). Choose a "
                f"model, e.g. model=mbert, or languages of the toy world"
            )
        elif wrong:
            lines.append(
                f"{key}={'+'.join(wrong)}: invented, and only model=toy speaks it; model={found.model.name} was given. "
                f"Add {key}=<real language>, e.g. {key}=en"
            )
    return lines


def _pair_problems(found: train_settings.TrainSettings, task: PairTask) -> list[str]:
    """Which languages lack rows to train or to be measured on."""
    codes = list(dict.fromkeys([*found.source, *(found.targets or [])]))
    lines = task.pair_problems(found, found.source, found.finetune.split)
    others = [split for split in ("train", "validation") if split != found.finetune.split]
    fitting = [split for split in others if not task.pair_problems(found, found.source, split)]
    if fitting:
        lines = [f"{line}. There are {fitting[0]} rows: finetune.split={fitting[0]}" for line in lines]
    lines += task.pair_problems(found, codes, "test")
    return list(dict.fromkeys(lines))


def _training_problems(found: train_settings.TrainSettings) -> list[str]:
    """What the keys ask of training that it cannot do."""
    model, problems = found.model, []
    for key, value in (
        ("quantization", model.quantization),
        ("device_map", model.device_map),
        ("adapter", model.adapter),
    ):
        if value is not None:
            problems.append(
                f"model.{key}={value}: is for evaluate.py; train.py trains whole weights. Leave the key out"
            )
    if model.dtype == "float16":
        problems.append("model.dtype=float16: weights cannot be trained in it. Use finetune.precision=16-mixed")
    if "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("WORLD_SIZE") != "1":
        problems.append("torchrun: fine-tuning runs on one device. Run a sweep, a cell a device, by python train.py -m")
    if found.trainer.devices > 1:
        problems.append(
            f"trainer.devices={found.trainer.devices}: fine-tuning runs on one device. Run a sweep, a cell a device"
        )
    table = found.drift.distances
    if table is not None and not Path(table).expanduser().is_file():
        problems.append(f"drift.distances={table}: no such file. Give a CSV file of distances")
    return problems


def _loading_problems(model: settings.ModelSettings) -> list[str]:
    """What the keys that say how weights are loaded need, and lack."""
    problems = []
    if model.device_map is not None:
        problems += _package_problems(f"model.device_map={model.device_map}", "accelerate")
    if model.quantization is not None:
        given = f"model.quantization={model.quantization}"
        if model.kind == "hf":
            problems += _package_problems(given, "accelerate", "bitsandbytes")
        else:
            problems.append(
                f"{given}: is for the weights of large models, and model={model.name} is tiny. Leave the key out, or "
                f"use model=hf"
            )
    return problems


def _process_problems(found: settings.Settings) -> list[str]:
    """What does not go together with several processes, each of which has the model on a device of its own."""
    devices = found.trainer.devices
    if devices == 1:
        return []
    problems = []
    if found.engine.name == "vllm":
        problems.append(
            f"trainer.devices={devices}: engine=vllm runs in one process. Use engine.num_gpus={devices} to spread the "
            f"model, or a sweep, a cell a GPU"
        )
    if found.model.device_map is not None:
        problems.append(
            f"trainer.devices={devices}: model.device_map={found.model.device_map} spreads one model over all GPUs, "
            f"and several processes would want a model each. Leave one of the keys out"
        )
    return problems


def _package_problems(given: str, *packages: str) -> list[str]:
    missing = [package for package in packages if find_spec(package) is None]
    if not missing:
        return []
    return [
        f"{given}: needs {' and '.join(missing)}, not installed here. Run pip install 'bridgex[large]', or leave the "
        f"key out"
    ]


# Tasks that are put in a form of their own to the toy world's model, which knows no other.
_TOY_FORMS = {"xnli": "nli", "belebele": "mrc"}


def _world_problems(task: Task, pair: Pair) -> list[str]:
    """Whether a task is put in a form that the pair's world knows."""
    found = _world_problem(task.name, language(pair.source).is_toy, f"pair {pair}")
    return [] if found is None else [found]


def _world_problem(task: str, is_toy: bool, languages: str) -> str | None:
    real_forms = {toy: real for real, toy in _TOY_FORMS.items()}
    other = (_TOY_FORMS if is_toy else real_forms).get(task)
    if other is None:
        return None
    return (
        f"task={task}: is put in a form for {'real' if is_toy else 'invented'} languages, and {languages} is "
        f"{'invented' if is_toy else 'real'}. Use task={other}"
    )


def _ablation_problems(task: Task, strategy: str) -> list[str]:
    if task.ablate is None:
        return []
    if strategy == "none":
        return [f"task.ablate={task.ablate}: compares two routes, and bridge=none has one. Choose a bridge, e.g. hsic"]
    if type(task).gold_texts is Task.gold_texts:
        return [f"task.ablate={task.ablate}: task={task.name} has no answers to weigh. Use task=bli, or leave it out"]
    return []
