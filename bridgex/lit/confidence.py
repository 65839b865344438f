"""How sure the model is of its own words on the way through each candidate bridge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bridgex.evaluation.dialogue import Completion, converse, listen
from bridgex.evaluation.engines.remembered import Engine
from bridgex.evaluation.routes import DIRECT, Route
from bridgex.evaluation.tasks.base import Item, Task
from bridgex.extract.loading import LoadedModel
from bridgex.languages import Language
from bridgex.lit.callbacks import CollectOutputs
from bridgex.lit.data import SampleData
from bridgex.lit.modules import ICLModule, Sample
from bridgex.lit.trainer import MakeTrainer
from bridgex.select.evidence import RouteConfidence


class ConfidenceModule(ICLModule):
    """Asks as an evaluation does, and returns how sure the model was of each sample instead of its verdict.

    The token that ends an answer does not count: it says how likely a line ends there or goes on, which a chain of two
    steps knows and a single question does not, so that any bridge would seem surer than going directly.
    """

    verb = "Weighing words"

    def predict_step(self, batch: Sequence[Sample], batch_idx: int = 0, dataloader_idx: int = 0) -> Any:
        """For each sample its bridge or `direct`, its item's id, and its log-probability a token, nats.

        The latter twice: mean over the tokens of all steps, and mean over those of the step in which it is lowest.
        """
        heard: list[list[Completion]] = [[] for _ in batch]
        converse([listen(self.dialogue(sample), said) for sample, said in zip(batch, heard, strict=True)], self.answer)
        return [
            (_code(sample.route.bridge), sample.item.id, *_mean_and_weakest(said))
            for sample, said in zip(batch, heard, strict=True)
        ]


def collect_confidence(
    loaded: LoadedModel,
    engine: Engine,
    task: Task,
    items: Sequence[Item],
    source: Language,
    target: Language,
    bridges: Sequence[Language | None],
    make_trainer: MakeTrainer,
    *,
    batch_tokens: int | None,
) -> dict[str, RouteConfidence]:
    """Log-probability a token of what the model says through each bridge or directly.

    The token that ends each answer is left out.

    Args:
        loaded: the model.
        engine: asks it.
        task: what is asked; right answers are not looked at.
        items: the probe items.
        source: language of their text.
        target: language of the answers.
        bridges: candidates; None: directly.
        make_trainer: makes the trainer that runs it, with these callbacks.
        batch_tokens: tokens in one batch at most, padding included; None: 4,096.

    Returns:
        By candidate's code or `direct`; values `[items]`, nats.
    """
    collect = CollectOutputs()
    module = ConfidenceModule(loaded, engine, task, source, target)
    samples = [Sample(item, Route.to(bridge)) for bridge in bridges for item in items]
    data = SampleData(samples, module.cost, batch_tokens, devices=1)
    make_trainer([collect]).predict(module, datamodule=data, return_predictions=False)
    found = {(code, name): values for code, name, *values in collect.found}
    tables = {code: np.array([found[code, item.id] for item in items]) for code in map(_code, bridges)}
    return {code: RouteConfidence(mean=table[:, 0], weakest=table[:, 1]) for code, table in tables.items()}


def _code(bridge: Language | None) -> str:
    return DIRECT if bridge is None else bridge.code


def _mean_and_weakest(said: Sequence[Completion]) -> tuple[float, float]:
    steps = [_without_end(step) for step in said]
    return _mean([logprob for step in steps for logprob in step]), min(map(_mean, steps))


def _without_end(said: Completion) -> Sequence[float]:
    # What ends before it begins is weighed by its end: nothing said is no sign of being sure.
    return said.logprobs if said.is_truncated or said.num_tokens < 2 else said.logprobs[:-1]


def _mean(logprobs: Sequence[float]) -> float:
    return sum(logprobs) / len(logprobs)
