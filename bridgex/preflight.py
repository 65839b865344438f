"""Whether a run's keys go together and what they name is there; asked before anything heavy is imported."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bridgex.config import settings
from bridgex.data import probe_text, sentences
from bridgex.errors import UserError
from bridgex.evaluation.engines import vllm_check
from bridgex.evaluation.tasks.base import Task
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
    mismatch = settings.pair_problems(found)
    problems = [*settings.path_problems(found), *mismatch]
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
    problems += hub.problems(found.model)
    problems += vllm_check.problems(found)
    if problems:
        raise UserError(*problems)


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
    is_toy = language(pair.source).is_toy
    real_forms = {toy: real for real, toy in _TOY_FORMS.items()}
    other = (_TOY_FORMS if is_toy else real_forms).get(task.name)
    if other is None:
        return []
    return [
        f"task={task.name}: is put in a form for {'real' if is_toy else 'invented'} languages, and pair {pair} is of "
        f"{'invented' if is_toy else 'real'} ones. Use task={other}"
    ]


def _ablation_problems(task: Task, strategy: str) -> list[str]:
    if task.ablate is None:
        return []
    if strategy == "none":
        return [f"task.ablate={task.ablate}: compares two routes, and bridge=none has one. Choose a bridge, e.g. hsic"]
    if type(task).gold_texts is Task.gold_texts:
        return [f"task.ablate={task.ablate}: task={task.name} has no answers to weigh. Use task=bli, or leave it out"]
    return []
