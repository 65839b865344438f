"""How sure the model is of its own words on the way through each candidate bridge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch import Callback, Trainer

from bridgex.evaluation.dialogue import Completion, Question, converse, listen
from bridgex.evaluation.tasks.base import DIRECT, Item, Task
from bridgex.extract.loading import LoadedModel
from bridgex.languages import Language
from bridgex.lit.callbacks import CollectOutputs
from bridgex.lit.data import SampleData
from bridgex.lit.modules import ICLModule, Sample

MakeTrainer = Callable[[Sequence[Callback]], Trainer]


class ConfidenceModule(ICLModule):
    """Asks as an evaluation does, and returns each sample's log-probability a token instead of its verdict.

    The token that ends an answer does not count: it says how likely a line ends there or goes on, which a chain of two
    steps knows and a single question does not, so that any bridge would seem surer than going directly.
    """

    verb = "Weighing words"

    def predict_step(self, batch: Sequence[Sample], batch_idx: int = 0, dataloader_idx: int = 0) -> Any:
        """For each sample its bridge or `direct`, its item's id, and its tokens' mean log-probability, nats."""
        heard: list[list[Completion]] = [[] for _ in batch]
        converse([listen(self.dialogue(sample), said) for sample, said in zip(batch, heard, strict=True)], self._weigh)
        return [
            (_code(sample.bridge), sample.item.id, _mean_logprob(said))
            for sample, said in zip(batch, heard, strict=True)
        ]

    def _weigh(self, questions: Sequence[Question]) -> list[Completion]:
        """Answers, each with the log-probability of its tokens less the ending one."""
        with _BestLogprobs(self.model) as best:
            completions = self.answer(questions)
        return [_without_end(said, best.of(row, said.num_tokens)) for row, said in enumerate(completions)]


class _BestLogprobs:
    """Keeps the log-probability of the best next token of each row after each forward pass, while open."""

    def __init__(self, model: torch.nn.Module) -> None:
        self._model = model
        self._steps: list[list[float]] = []

    def __enter__(self) -> _BestLogprobs:
        self._handle = self._model.register_forward_hook(self._take)
        return self

    def __exit__(self, *error: object) -> None:
        self._handle.remove()

    def of(self, row: int, num_tokens: int) -> list[float]:
        """Of a row's first tokens, nats."""
        return [step[row] for step in self._steps[:num_tokens]]

    def _take(self, module: torch.nn.Module, args: Any, output: Any) -> None:
        last = output.logits[:, -1].float()
        self._steps.append((last.amax(dim=-1) - last.logsumexp(dim=-1)).tolist())


def _without_end(said: Completion, logprobs: Sequence[float]) -> Completion:
    assert abs(sum(logprobs) - said.logprob) < 1e-3 * (1 + abs(said.logprob)), "one forward pass gave one token"
    # What ends before it begins is weighed by its end: nothing said is no sign of being sure.
    if said.is_truncated or said.num_tokens < 2:
        return said
    return replace(said, logprob=sum(logprobs[:-1]), num_tokens=said.num_tokens - 1)


def collect_confidence(
    loaded: LoadedModel,
    task: Task,
    items: Sequence[Item],
    source: Language,
    target: Language,
    bridges: Sequence[Language | None],
    make_trainer: MakeTrainer,
    *,
    batch_tokens: int,
) -> dict[str, npt.NDArray[np.float64]]:
    """Mean log-probability a token, over all steps, of what the model says through each bridge or directly.

    The token that ends each answer is left out.

    Args:
        loaded: the model.
        task: what is asked; right answers are not looked at.
        items: the probe items.
        source: language of their text.
        target: language of the answers.
        bridges: candidates; None: directly.
        make_trainer: makes the trainer that runs it, with these callbacks.
        batch_tokens: tokens in one batch at most, padding included.

    Returns:
        By candidate's code or `direct`, `[items]`, nats.
    """
    collect = CollectOutputs()
    module = ConfidenceModule(loaded, task, source, target)
    samples = [Sample(item, bridge) for bridge in bridges for item in items]
    data = SampleData(samples, module.cost, batch_tokens)
    make_trainer([collect]).predict(module, datamodule=data, return_predictions=False)
    found = {(code, name): value for code, name, value in collect.found}
    return {code: np.array([found[code, item.id] for item in items]) for code in map(_code, bridges)}


def _code(bridge: Language | None) -> str:
    return DIRECT if bridge is None else bridge.code


def _mean_logprob(said: Sequence[Completion]) -> float:
    return sum(step.logprob for step in said) / max(1, sum(step.num_tokens for step in said))
