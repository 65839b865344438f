"""What a run would ask and cost, from the tokenizer alone (`task.dry_run=true`)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open

from bridgex.evaluation.routes import Route
from bridgex.evaluation.tasks.base import Item, Task
from bridgex.extract.hub import weight_files
from bridgex.extract.loading import Encoder
from bridgex.languages import Language
from bridgex.records.schema import Preview, PreviewPrompt

_SHOWN = 3


def preview(
    task: Task, items: Sequence[Item], source: Language, target: Language, encoder: Encoder, folder: Path
) -> Preview:
    """Counts what the direct route would ask.

    Args:
        task: what is asked.
        items: the run's items.
        source: language of their text.
        target: language of the answers.
        encoder: the model's.
        folder: the model's files; their sizes give the number of parameters, no weight is read.
    """
    questions = [next(task.dialogue(item, source, target, Route())) for item in items]
    ids = [encoder.encode(question.prompt) for question in questions]
    shown = [
        PreviewPrompt(
            text=encoder.text(question.prompt), ids=tokens, tokens=encoder.tokenizer.convert_ids_to_tokens(tokens)
        )
        for question, tokens in zip(questions[:_SHOWN], ids[:_SHOWN], strict=True)
    ]
    prompt_tokens = sum(map(len, ids))
    answer_tokens = sum(question.max_tokens for question in questions)
    operations = 2.0 * _num_parameters(folder) * (prompt_tokens + answer_tokens)
    return Preview(
        prompts=shown,
        num_questions=len(questions),
        prompt_tokens=prompt_tokens,
        answer_tokens=answer_tokens,
        hours=operations / _rate() / 3600,
    )


def _num_parameters(folder: Path) -> int:
    total = 0
    for path in weight_files(folder):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - no mapping, only a method of this name
                size = 1
                for length in file.get_slice(name).get_shape():
                    size *= length
                total += size
    return total


def _rate() -> float:
    """Multiplications and additions a second in one float32 matrix product on the device that a run would use."""
    device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    size = 1024
    matrix = torch.randn(size, size, device=device)
    best = float("inf")
    for _ in range(4):  # the first one warms up
        start = time.perf_counter()
        (matrix @ matrix)[0, 0].item()
        best = min(best, time.perf_counter() - start)
    return 2.0 * size**3 / best
