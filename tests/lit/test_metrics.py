"""Calibration and corpus scores against slow forms and the field's reference."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from bridgex.languages import language
from bridgex.lit.metrics import calibration, corpus_scores
from bridgex.records.schema import Option, Prediction


def prediction(number: int, **fields: object) -> Prediction:
    return Prediction.model_validate(
        {"id": str(number), "route": "direct", "steps": [], "gold": ["A"], "correct": False, **fields}
    )


def scored(number: int, logprobs: list[float], is_right: bool, worth: list[float] | None = None) -> Prediction:
    options = [
        Option(text="x", logprob=logprob, num_tokens=1, worth=value)
        for logprob, value in zip(logprobs, worth or logprobs, strict=True)
    ]
    return prediction(number, options=options, correct=is_right)


def slow_error(likely: list[float], right: list[bool]) -> float:
    total = 0.0
    for low in np.arange(10) / 10:
        inside = [i for i, p in enumerate(likely) if low < p <= low + 0.1 or (low == 0 and p == 0)]
        if inside:
            gap = np.mean([right[i] for i in inside]) - np.mean([likely[i] for i in inside])
            total += len(inside) / len(likely) * abs(gap)
    return float(total)


def test_calibration_is_the_textbooks() -> None:
    dice = np.random.default_rng(0)
    found, likely, right = [], [], []
    for number in range(300):
        logprobs = dice.normal(size=4) * 2
        shares = np.exp(logprobs) / np.exp(logprobs).sum()
        likely.append(float(shares.max()))
        right.append(bool(dice.random() < 0.5))
        found.append(scored(number, logprobs.tolist(), right[-1]))
    made = calibration(found)
    assert made is not None
    assert made.error == pytest.approx(slow_error(likely, right), abs=1e-6)
    assert made.probability == pytest.approx(np.mean(likely))


def test_a_model_that_knows_how_sure_it_may_be_has_a_small_error() -> None:
    dice = np.random.default_rng(1)
    found = []
    for number in range(4000):
        share = dice.uniform(0.5, 1)
        found.append(scored(number, [float(np.log(share)), float(np.log(1 - share))], bool(dice.random() < share)))
    sure = [one.model_copy(update={"correct": not number % 2}) for number, one in enumerate(found)]
    assert calibration(found).error < 0.03  # type: ignore[union-attr]
    assert calibration(sure).error > 0.2  # type: ignore[union-attr]


def test_the_option_taken_is_the_one_of_highest_worth() -> None:
    made = calibration([scored(0, [-1.0, -3.0], True, worth=[-1.0, -0.1])])
    assert made is not None
    assert made.probability == pytest.approx(np.exp(-3) / (np.exp(-1) + np.exp(-3)))
    assert calibration([prediction(0)]) is None


def sentences(script: str, count: int = 60) -> tuple[list[str], list[str]]:
    dice = random.Random(script)
    letters = {"Latn": "abcdefghij", "Hans": "的一是不了人我在有他"}[script]
    space = " " if script == "Latn" else ""
    right, said = [], []
    for _ in range(count):
        words = ["".join(dice.choices(letters, k=dice.randint(1, 6))) for _ in range(dice.randint(1, 12))]
        right.append(space.join(words))
        said.append(space.join(word for word in words if dice.random() < 0.8))
    return said, right


@pytest.mark.parametrize(("code", "script", "tokenize"), [("de", "Latn", "13a"), ("zh", "Hans", "char")])
def test_corpus_scores_equal_the_reference(code: str, script: str, tokenize: str) -> None:
    said, right = sentences(script)
    found = corpus_scores(
        [
            prediction(number, answer=text or None, gold=[gold], score=0.5)
            for number, (text, gold) in enumerate(zip(said, right, strict=True))
        ],
        language(code),
    )
    assert found is not None
    bleu, chrf = BLEU(smooth_method="none", tokenize=tokenize), CHRF()
    assert found.bleu == pytest.approx(bleu.corpus_score(said, [right]).score / 100, abs=1e-6)
    assert found.chrf == pytest.approx(chrf.corpus_score(said, [right]).score / 100, abs=1e-9)
    assert found.chrf == pytest.approx(slow_chrf(said, right), abs=1e-6)
    signature = str(bleu.get_signature()).rpartition("|version")[0]
    assert found.bleu_signature.startswith(signature)
    assert found.chrf_signature == str(chrf.get_signature())


def slow_chrf(said: list[str], right: list[str]) -> float:
    """Popović 2015 over a corpus: counts summed over sentences, orders without n-grams left out."""

    def grams(text: str, order: int) -> Counter[str]:
        text = "".join(text.split())
        return Counter(text[i : i + order] for i in range(len(text) - order + 1))

    precisions, recalls = [], []
    for order in range(1, 7):
        common = said_count = right_count = 0
        for a, b in zip(said, right, strict=True):
            x, y = grams(a, order), grams(b, order)
            common += (x & y).total()
            said_count += x.total()
            right_count += y.total()
        if said_count and right_count:
            precisions.append(common / said_count)
            recalls.append(common / right_count)
    precision, recall = float(np.mean(precisions)), float(np.mean(recalls))
    return 5 * precision * recall / (4 * precision + recall)


def test_corpus_scores_are_of_sentences_only() -> None:
    assert corpus_scores([prediction(0, answer="A")], language("de")) is None
