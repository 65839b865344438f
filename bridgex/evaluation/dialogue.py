"""How a task talks to a model it does not know: it yields questions, is sent answers, and returns a record."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Literal

from bridgex.records.schema import Prediction, Step


@dataclass(frozen=True)
class Question:
    """One prompt to be continued greedily.

    Attributes:
        kind: `bridge` asks for the bridge text, `answer` for the answer.
        prompt: the text, before any chat template.
        max_tokens: generated tokens at most.
        stop: generation ends as soon as this matches the generated text.
    """

    kind: Literal["bridge", "answer"]
    prompt: str
    max_tokens: int
    stop: re.Pattern[str]


@dataclass(frozen=True)
class Completion:
    """What the model said.

    Attributes:
        given: exactly the text it was given, less the BOS.
        text: exactly what came back.
        num_tokens: generated tokens, the ending one included.
        logprob: sum of their log-probabilities, nats.
        is_truncated: whether it stopped at `max_tokens` only.
        logprobs: of each generated token, nats; empty where an answer is read again from its record.
    """

    given: str
    text: str
    num_tokens: int
    logprob: float
    is_truncated: bool
    logprobs: tuple[float, ...] = ()

    def step(self, kind: Literal["bridge", "answer"]) -> Step:
        """The record of this exchange."""
        return Step(kind=kind, prompt=self.given, output=self.text, num_tokens=self.num_tokens)


Dialogue = Generator[Question, Completion, Prediction]
Answer = Callable[[Sequence[Question]], Sequence[Completion]]


def converse(dialogues: Sequence[Dialogue], answer: Answer) -> list[Prediction]:
    """Runs dialogues side by side: all first questions in one batch, then the second ones of those that ask again.

    Args:
        dialogues: fresh ones.
        answer: answers a batch of questions, in order.

    Returns:
        The predictions in the order of the dialogues.
    """
    done: dict[int, Prediction] = {}
    waiting = {index: next(dialogue) for index, dialogue in enumerate(dialogues)}
    while waiting:
        completions = dict(zip(waiting, answer(list(waiting.values())), strict=True))
        waiting = {}
        for index, completion in completions.items():
            try:
                waiting[index] = dialogues[index].send(completion)
            except StopIteration as stop:
                done[index] = stop.value
    return [done[index] for index in range(len(dialogues))]


def listen(dialogue: Dialogue, heard: list[Completion]) -> Dialogue:
    """The same dialogue, with everything that the model says in it put on a list."""
    question = next(dialogue)
    while True:
        completion = yield question
        heard.append(completion)
        try:
            question = dialogue.send(completion)
        except StopIteration as stop:
            prediction: Prediction = stop.value
            return prediction
