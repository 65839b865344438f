"""How a task talks to a model it does not know: it yields requests, is sent replies, and returns a record."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from bridgex.records.schema import Option, Prediction, Step

StepKind: TypeAlias = Literal["bridge", "answer"]


@dataclass(frozen=True)
class Question:
    """One prompt to be continued greedily.

    Attributes:
        kind: `bridge` asks for the bridge text, `answer` for the answer.
        prompt: the text, before any chat template.
        max_tokens: generated tokens at most.
        stop: generation ends as soon as this matches the generated text.
        context: where in the prompt the text stands that may be cut from its end if the model's window is too small
            (start and end, characters); None: nothing may.
    """

    kind: StepKind
    prompt: str
    max_tokens: int
    stop: re.Pattern[str]
    context: tuple[int, int] | None = None


@dataclass(frozen=True)
class Choice:
    """Texts whose probabilities after one prompt are asked for.

    Attributes:
        prompt: the text, before any chat template; it ends without white space.
        options: what may follow, each with the white space that it begins with.
        context: as in a question.
    """

    prompt: str
    options: tuple[str, ...]
    context: tuple[int, int] | None = None


@dataclass(frozen=True)
class Completion:
    """What the model said to a question.

    Attributes:
        given: exactly the text it was given, less the BOS.
        text: exactly what came back.
        num_tokens: generated tokens, the ending one included.
        logprob: sum of their log-probabilities, nats.
        is_truncated: whether it stopped at `max_tokens` only.
        logprobs: of each generated token, nats; empty where an answer is read again from its record.
        num_cut: characters that the model's window left no room for, cut from the end of the prompt's context.
    """

    given: str
    text: str
    num_tokens: int
    logprob: float
    is_truncated: bool
    logprobs: tuple[float, ...] = ()
    num_cut: int = 0

    def step(self, kind: StepKind) -> Step:
        """The record of this exchange."""
        return Step(
            kind=kind, prompt=self.given, output=self.text, num_tokens=self.num_tokens, num_cut=self.num_cut or None
        )


@dataclass(frozen=True)
class ScoredOption:
    """How likely one option is.

    Attributes:
        logprob: sum of its tokens' log-probabilities after the prompt, nats.
        num_tokens: its tokens.
        is_merged: whether the tokenizer joins the prompt's end and the option's beginning into one token, which then
            counts as the option's.
    """

    logprob: float
    num_tokens: int
    is_merged: bool = False


@dataclass(frozen=True)
class Scores:
    """How likely the options of a choice are.

    Attributes:
        given: exactly the text that the options followed, less the BOS.
        options: in the order asked.
        num_cut: as in a completion.
    """

    given: str
    options: tuple[ScoredOption, ...]
    num_cut: int = 0

    def step(self) -> Step:
        """The record of this exchange; nothing was generated."""
        return Step(kind="answer", prompt=self.given, output="", num_tokens=0, num_cut=self.num_cut or None)

    def records(self, texts: Sequence[str], worth: Sequence[float]) -> list[Option]:
        """The options as they stand in a record.

        Args:
            texts: what was scored.
            worth: what is compared.
        """
        return [
            Option(
                text=text,
                logprob=option.logprob,
                num_tokens=option.num_tokens,
                worth=value,
                is_merged=option.is_merged or None,
            )
            for text, option, value in zip(texts, self.options, worth, strict=True)
        ]


Request: TypeAlias = Question | Choice
Reply: TypeAlias = Completion | Scores
Dialogue: TypeAlias = Generator[Request, Reply, Prediction]
Answer: TypeAlias = Callable[[Sequence[Request]], Sequence[Reply]]


def ask(question: Question) -> Generator[Request, Reply, Completion]:
    """One question within a dialogue: `completion = yield from ask(question)`."""
    reply = yield question
    assert isinstance(reply, Completion), "a question is answered by a completion"
    return reply


def weigh(choice: Choice) -> Generator[Request, Reply, Scores]:
    """One choice within a dialogue: `scores = yield from weigh(choice)`."""
    reply = yield choice
    assert isinstance(reply, Scores), "a choice is answered by scores"
    return reply


def converse(dialogues: Sequence[Dialogue], answer: Answer) -> list[Prediction]:
    """Runs dialogues side by side: all first requests in one batch, then the second ones of those that ask again.

    Args:
        dialogues: fresh ones.
        answer: answers a batch of requests, in order.

    Returns:
        The predictions in the order of the dialogues.
    """
    done: dict[int, Prediction] = {}
    waiting = {index: next(dialogue) for index, dialogue in enumerate(dialogues)}
    while waiting:
        replies = dict(zip(waiting, answer(list(waiting.values())), strict=True))
        waiting = {}
        for index, reply in replies.items():
            try:
                waiting[index] = dialogues[index].send(reply)
            except StopIteration as stop:
                done[index] = stop.value
    return [done[index] for index in range(len(dialogues))]


def listen(dialogue: Dialogue, heard: list[Completion]) -> Dialogue:
    """The same dialogue, with everything that the model says in it put on a list."""
    request = next(dialogue)
    while True:
        reply = yield request
        if isinstance(reply, Completion):
            heard.append(reply)
        try:
            request = dialogue.send(reply)
        except StopIteration as stop:
            prediction: Prediction = stop.value
            return prediction
