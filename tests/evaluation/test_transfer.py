"""From answers and drift to scores, gaps, relations and the sentence on what survives."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from bridgex.data.typology import KindDistances
from bridgex.evaluation.transfer import (
    Beside,
    Training,
    relations_of,
    summarise_training,
    survivors,
    transfer_scores,
)
from bridgex.records.train_schema import DriftRecord, LabelRecord, Measured

CODES = ["en", "de", "es", "fr", "ru", "sw", "tr"]
TARGETS = CODES[1:]


def measured(code: str, hits: list[bool], drift: list[float | None], model: str = "fine-tuned") -> Measured:
    answers = [
        LabelRecord(
            language=code, model=model, id=str(n), group=str(n // 3), gold=n % 3, answer=n % 3 if hit else (n + 1) % 3
        )
        for n, hit in enumerate(hits)
    ]
    record = DriftRecord(
        language=code, step=9, pooling="mean", n=len(hits), unbiased=drift, biased=drift, top_row_share=drift
    )
    return Measured(language=code, model=model, step=9, answers=answers, drift=[record])


def drawn(seed: int = 0) -> dict[str, Measured]:
    random = np.random.RandomState(seed)
    return {
        code: measured(code, (random.rand(30) < 0.8 - 0.1 * place).tolist(), [None, *random.rand(3).tolist()])
        for place, code in enumerate(CODES)
    }


def training(**more: object) -> Training:
    given: dict[str, object] = {
        "task": "xnli", "model": "tiny", "sources": ["en"], "seed": 0, "freeze": "none", "steps": 9, "loss": 0.5,
        "num_classes": 3, "majority": 1, "base_fingerprint": "ab",
    }  # fmt: skip
    return Training(**{**given, **more})  # type: ignore[arg-type]


def beside() -> Beside:
    untrained = {code: measured(code, [n % 3 == 0 for n in range(30)], [], "untrained") for code in CODES}
    return Beside(untrained, None, {code: 10.0 + n * n for n, code in enumerate(CODES)}, dict.fromkeys(CODES, 0))


def test_scores_and_gaps_are_means_over_the_same_items() -> None:
    found = drawn()
    right = {
        code: np.array([record.answer == record.gold for record in one.answers], dtype=float)
        for code, one in found.items()
    }
    scores = transfer_scores(found, ["en"], seed=0)
    for code, hits in right.items():
        assert scores[code].score == pytest.approx(hits.mean())
        assert scores[code].ci95[0] <= hits.mean() <= scores[code].ci95[1]
        if code == "en":
            assert scores[code].gap is None
        else:
            assert scores[code].gap == pytest.approx((right["en"] - hits).mean())
    both = transfer_scores(found, ["en", "de"], seed=0)
    assert both["de"].gap is None
    assert both["sw"].gap == pytest.approx(((right["en"] + right["de"]) / 2 - right["sw"]).mean())


def test_the_summary_holds_every_part() -> None:
    found = drawn()
    distances = KindDistances({"syntactic": {code: 0.1 * n for n, code in enumerate(TARGETS)}}, "made up")
    metrics = summarise_training(training(), found, beside(), distances)
    assert metrics.drift["sw"] == {
        block: value for block, value in enumerate(found["sw"].drift[0].unbiased) if value is not None
    }
    assert 0 not in metrics.drift["sw"]  # missing
    assert metrics.controls.majority == pytest.approx(1 / 3)
    assert metrics.controls.untrained["de"] == pytest.approx(1 / 3)
    assert metrics.controls.hypothesis_only is None
    assert {(row.relation, row.kind, row.block) for row in metrics.relations} == {
        *(("drift ~ distance", "syntactic", block) for block in (1, 2, 3)),
        *(("drift ~ transfer", "transfer", block) for block in (1, 2, 3)),
        ("distance ~ transfer", "syntactic", None),
    }
    assert metrics.model_validate_json(metrics.model_dump_json()) == metrics
    for row in metrics.relations:
        if row.relation == "drift ~ distance":
            assert row.block is not None
            values = [found[code].drift[0].unbiased[row.block] for code in TARGETS]
            expected = stats.spearmanr(values, [distances.values["syntactic"][code] for code in TARGETS]).statistic
            assert row.spearman == pytest.approx(expected)
            assert row.n == len(TARGETS)
            assert row.p_corrected >= row.p - 1e-12


def test_languages_that_chose_something_are_left_out_of_relations() -> None:
    metrics = summarise_training(training(unreported=("sw",)), drawn(), beside(), None)
    assert {row.n for row in metrics.relations} == {len(TARGETS) - 1}
    assert metrics.unreported == ["sw"]


def related(drift: dict[str, dict[int, float]], **more: dict[str, float]) -> list[tuple[str, int | None]]:
    kinds = {"far": {code: float(n) for n, code in enumerate(TARGETS)}}
    found = relations_of(TARGETS, {"mean": drift}, more.get("transfer", {}), kinds, {}, seed=0)
    return [(row.relation, row.block) for row in found]


def test_a_frozen_block_is_in_no_relation() -> None:
    frozen = {code: {1: 0.0, 2: 0.1 * n} for n, code in enumerate(TARGETS)}
    assert related(frozen) == [("drift ~ distance", 2)]


def test_the_order_of_languages_changes_nothing() -> None:
    random = np.random.RandomState(1)
    drift = {"mean": {code: {1: float(random.rand()), 2: float(random.rand())} for code in TARGETS}}
    transfer = {code: float(random.rand()) for code in TARGETS}
    kinds = {"far": {code: float(random.rand()) for code in TARGETS}}
    one = relations_of(TARGETS, drift, transfer, kinds, transfer, seed=0)
    other = relations_of(TARGETS[::-1], drift, transfer, kinds, transfer, seed=0)
    assert one == other


def test_the_sentence_says_what_survives_and_what_does_not() -> None:
    assert survivors([], ["mean"]).startswith("Nothing could be related")
    drift = {"mean": {code: {1: float(n), 2: float(n % 2)} for n, code in enumerate(TARGETS)}}
    transfer = {code: float(n * 7 % 5) for n, code in enumerate(TARGETS)}
    kinds = {"syntactic": {code: -float(n) for n, code in enumerate(TARGETS)}}
    found = relations_of(TARGETS, drift, transfer, kinds, {}, seed=0)
    told = survivors(found, ["mean"])
    assert "drift ~ distance: 1 of 2 correlations over 6 languages survive correction" in told
    assert "syntactic block 1 -1.00" in told
    assert "drift ~ transfer: none of 2 correlations over 6 languages survives correction" in told


def test_corrected_p_holds_its_level_when_nothing_is_related() -> None:
    """Twelve blocks and two kinds, all noise: at most about one family in twenty claims something."""
    random = np.random.RandomState(0)
    codes = [*TARGETS, "ur", "zh", "vi", "th"]
    claims = 0
    for _ in range(60):
        drift = {code: {block: float(value) for block, value in enumerate(random.rand(12), 1)} for code in codes}
        kinds = {kind: {code: float(random.rand()) for code in codes} for kind in ("a", "b")}
        found = relations_of(codes, {"mean": drift}, {}, kinds, {}, seed=0)
        claims += min(row.p_corrected for row in found) < 0.05
    assert claims <= stats.binom.ppf(0.999, 60, 0.05)
    uncorrected = [row.p for row in found]
    assert len(uncorrected) == len(list(itertools.product(range(12), "ab")))
