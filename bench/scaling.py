"""What a sweep of many cells takes: tokens, hours and disk, from rates that are measured here or given."""

from __future__ import annotations

import argparse
import json
import re
import statistics
from dataclasses import dataclass

import numpy as np
import torch

from bench.harness import make_loaded, make_text
from bench.timing import timed
from bridgex.evaluation.dialogue import Question
from bridgex.evaluation.engines.hf import HFEngine

FIELDS = """\
One JSON line for the measured rates (without --no-measure), then one for each machine of the plan.
  prompt_share     floating-point operations of reading prompts as a share of what a plain matrix product reaches here
  answer_share     the same of writing answers, in batches as the engine makes them
  cells            models x pairs x tasks x strategies
  asked            combinations of model, pair and task: strategies share their answers through cache.dir
  prompt_tokens    that go through the models; options that are scored count as such
  answer_tokens    that are written one after another
  hours            prompt and answer tokens, each at its rate, on all GPUs together
  cell_hours       what every cell takes beside, start, statistics and page, at --cell-seconds, on all GPUs together
  disk_gb          predictions, answers kept and profiles
"""
NOTHING = re.compile(r"(?!)")


@dataclass(frozen=True)
class TaskSize:
    """What an item of a task takes, in characters: means over the public test sets, as task.dry_run counts them.

    Attributes:
        items: of the whole test set.
        context: what is translated for a bridge.
        prompt: a direct question, context included.
        options: all options together; 0: the answer is written.
        answer: tokens of a written answer.
    """

    items: int
    context: int
    prompt: int
    options: int
    answer: int


TASKS = {
    "bli": TaskSize(1500, 8, 29, 0, 5),
    "mt": TaskSize(1000, 125, 143, 0, 45),
    "xnli": TaskSize(5010, 105, 117, 172, 0),
    "belebele": TaskSize(900, 480, 752, 8, 0),
    "xcopa": TaskSize(500, 36, 42, 58, 0),
    "mgsm": TaskSize(250, 235, 273, 0, 150),
}
# Parameters, and neurons over all blocks.
MODELS = {
    "llama3 8B": (8.0e9, 32 * 14_336), "mistral 7B": (7.2e9, 32 * 14_336), "qwen3 8B": (8.2e9, 36 * 12_288),
    "gemma3 12B": (12.2e9, 48 * 15_360),
}  # fmt: skip


def tokens_of(task: str, candidates: int, chars_per_token: float) -> tuple[float, float, int]:
    """Prompt and answer tokens of one model, pair and task with every route, and its questions.

    Args:
        task: which.
        candidates: bridges.
        chars_per_token: of the model's tokenizer, a mean over the languages.
    """
    size = TASKS[task]
    chains = candidates + (0 if task in ("bli", "mt") else 1)  # a task with a context has the route `translated`, too
    context, prompt, options = (chars / chars_per_token for chars in (size.context, size.prompt, size.options))
    translation = size.answer if task in ("bli", "mt") else context
    prompts = size.items * ((1 + chains) * (prompt + options) + chains * (context + 8))
    answers = size.items * ((1 + chains) * size.answer + chains * translation)
    return prompts, answers, size.items * (1 + 2 * chains)


def measure(rounds: int) -> dict[str, float]:
    """Rates of the engine here, beside a plain matrix product, turn by turn."""
    loaded = make_loaded("float32", "cpu")
    engine, generator = HFEngine(loaded), np.random.default_rng(0)
    parameters = sum(p.numel() for p in loaded.model.model.layers.parameters())
    long = [Question("answer", make_text(generator, 240, 240), 1, NOTHING) for _ in range(32)]
    short = [Question("answer", make_text(generator, 16, 16), 30, NOTHING) for _ in range(96)]
    square = torch.randn(1024, 1024)
    found: dict[str, list[float]] = {"prompt": [], "answer": []}
    for _ in range(rounds + 1):
        peak = 2 * 1024**3 * 8 / timed(lambda: [square @ square for _ in range(8)])
        for name, asked, count in (("prompt", long, 32 * 241), ("answer", short, 96 * 30)):
            rate = count / timed(lambda asked=asked: engine.complete(asked))
            found[name].append(2 * parameters * rate / peak)
    return {f"{name}_share": statistics.median(shares[1:]) for name, shares in found.items()}


def plan(options: argparse.Namespace, shares: dict[str, float], gpus: int) -> dict[str, object]:
    """The worked plan on so many GPUs."""
    prompts = answers = questions = 0.0
    seconds = 0.0
    for parameters, _ in MODELS.values():
        for task in TASKS:
            read, written, asked = tokens_of(task, options.candidates, options.chars_per_token)
            prompts, answers, questions = prompts + read, answers + written, questions + asked
            operations = 2 * parameters / (options.tflops * 1e12)
            seconds += operations * (read / shares["prompt_share"] + written / shares["answer_share"])
    prompts, answers, questions, seconds = (value * options.pairs for value in (prompts, answers, questions, seconds))
    cells = len(MODELS) * options.pairs * len(TASKS) * options.strategies
    # A line of predictions.jsonl holds the prompts of its steps; every strategy's cell has direct and a bridge.
    line = 500 + 4 * statistics.fmean(size.prompt for size in TASKS.values())
    lines = (
        len(MODELS)
        * options.pairs
        * sum(size.items for size in TASKS.values())
        * (2.5 * (options.strategies - 1) + 2 + options.candidates)
    )
    profiles = options.languages * sum(neurons for _, neurons in MODELS.values()) * 16
    return {
        "gpus": gpus,
        "cells": cells,
        "asked": len(MODELS) * options.pairs * len(TASKS),
        "questions": round(questions),
        "prompt_tokens": round(prompts),
        "answer_tokens": round(answers),
        "hours": round(seconds / 3600 / gpus, 1),
        "cell_hours": round(cells * options.cell_seconds / 3600 / gpus, 1),
        "disk_gb": round((lines * line + questions * 400 + profiles) / 1e9, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.scaling",
        description=__doc__,
        epilog=FIELDS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--strategies", type=int, default=8, help="values of the group bridge, compare among them")
    parser.add_argument("--candidates", type=int, default=6, help="bridges that compare evaluates")
    parser.add_argument("--languages", type=int, default=21, help="whose profiles are made")
    parser.add_argument("--chars-per-token", type=float, default=3.0, help="over all languages; English has about 4.5")
    parser.add_argument("--tflops", type=float, default=400.0, help="of a GPU in matrix products, as measured there")
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 8, 32], help="one plan each")
    parser.add_argument("--cell-seconds", type=float, default=20.0, help="of a cell beside its tokens")
    parser.add_argument("--prompt-share", type=float, help="not given: measured here")
    parser.add_argument("--answer-share", type=float, help="not given: measured here")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    shares = {"prompt_share": options.prompt_share, "answer_share": options.answer_share}
    if None in shares.values():
        measured = measure(options.rounds)
        print(json.dumps({name: round(value, 3) for name, value in measured.items()}), flush=True)
        shares = {name: measured[name] if value is None else value for name, value in shares.items()}
    for gpus in options.gpus:
        print(json.dumps(plan(options, shares, gpus)), flush=True)


if __name__ == "__main__":
    main()
