from __future__ import annotations

import re
from collections.abc import Sequence

from bridgex.evaluation.dialogue import Completion, Dialogue, Question, converse
from bridgex.records.schema import Prediction

STOP = re.compile("\n")


def talk(name: str, num_questions: int) -> Dialogue:
    steps = []
    for number in range(num_questions):
        completion = yield Question("answer", f"{name}{number}", 5, STOP)
        steps.append(completion.step("answer"))
    return Prediction(id=name, route="direct", steps=steps, gold=[], correct=False, miss="wrong")


def test_questions_of_one_round_go_in_one_batch_and_answers_find_their_dialogue() -> None:
    batches: list[list[str]] = []

    def answer(questions: Sequence[Question]) -> list[Completion]:
        batches.append([question.prompt for question in questions])
        return [Completion(q.prompt, q.prompt.upper(), 1, 0.0, False) for q in questions]

    found = converse([talk("a", 1), talk("b", 3), talk("c", 2)], answer)
    assert batches == [["a0", "b0", "c0"], ["b1", "c1"], ["b2"]]
    assert [prediction.id for prediction in found] == ["a", "b", "c"]
    assert [step.output for step in found[1].steps] == ["B0", "B1", "B2"]
    assert converse([], answer) == []
