"""What a run would ask and cost, from the tokenizer alone (`task.dry_run=true`)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors import safe_open

from bridgex.evaluation.dialogue import Completion, Question, Reply, Request, ScoredOption, Scores
from bridgex.evaluation.routes import Route
from bridgex.evaluation.tasks.base import Item, Task
from bridgex.extract.hub import weight_files
from bridgex.extract.loading import Encoder
from bridgex.languages import Language
from bridgex.records.schema import Preview, PreviewOption, PreviewPrompt

_SHOWN = 3


def preview(
    task: Task,
    items: Sequence[Item],
    source: Language,
    target: Language,
    routes: Sequence[Route],
    encoder: Encoder,
    folder: Path,
) -> Preview:
    """Counts what the routes would ask.

    Args:
        task: what is asked.
        items: the run's items.
        source: language of their text.
        target: language of the answers.
        routes: on which they are asked.
        encoder: the model's.
        folder: the model's files; their sizes give the number of parameters, no weight is read.
    """
    requests = [
        request for route in routes for item in items for request in _requests(task, item, source, target, route)
    ]
    prompt_tokens = sum(len(encoder.encode(request.prompt)) for request in requests)
    answer_tokens = sum(
        request.max_tokens
        if isinstance(request, Question)
        else sum(len(_option(encoder, request.prompt, option).tokens) for option in request.options)
        for request in requests
    )
    shown = [next(_requests(task, item, source, target, routes[0])) for item in items[:_SHOWN]]
    operations = 2.0 * _num_parameters(folder) * (prompt_tokens + answer_tokens)
    return Preview(
        prompts=[_prompt(encoder, request) for request in shown],
        routes=[route.name for route in routes],
        num_questions=len(requests),
        prompt_tokens=prompt_tokens,
        answer_tokens=answer_tokens,
        hours=operations / _rate() / 3600,
    )


def _requests(task: Task, item: Item, source: Language, target: Language, route: Route) -> Iterator[Request]:
    """What an item is asked on a route, were every bridge text the text that it translates."""
    dialogue = task.dialogue(item, source, target, route)
    request = next(dialogue)
    while True:
        yield request
        reply: Reply
        if isinstance(request, Question):
            reply = Completion(request.prompt, f'"{item.text}"', 0, 0.0, is_truncated=False)
        else:
            reply = Scores(request.prompt, tuple(ScoredOption(0.0, 1) for _ in request.options))
        try:
            request = dialogue.send(reply)
        except StopIteration:
            return


def _prompt(encoder: Encoder, request: Request) -> PreviewPrompt:
    ids = encoder.encode(request.prompt)
    options = [] if isinstance(request, Question) else request.options
    return PreviewPrompt(
        text=encoder.text(request.prompt),
        ids=ids,
        tokens=encoder.tokenizer.convert_ids_to_tokens(ids),
        options=[_option(encoder, request.prompt, option) for option in options],
    )


def _option(encoder: Encoder, prompt: str, option: str) -> PreviewOption:
    alone, together = encoder.encode(prompt), encoder.encode_given(encoder.text(prompt) + option)
    start = next(
        (place for place, pair in enumerate(zip(alone, together, strict=False)) if pair[0] != pair[1]), len(alone)
    )
    tokens = encoder.tokenizer.convert_ids_to_tokens(together[start:])
    return PreviewOption(text=option, tokens=tokens, is_merged=start < len(alone))


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
