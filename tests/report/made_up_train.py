"""Fine-tuning runs that no model ever made: their files are written from numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from bridgex.config.settings import to_yaml
from bridgex.records.files import write_json, write_text
from bridgex.records.schema import Status
from bridgex.records.train_files import write_answers, write_drift
from bridgex.records.train_schema import (
    Controls,
    DriftRecord,
    LabelRecord,
    RelationName,
    RelationRecord,
    TrainMetrics,
    TransferScore,
)
from bridgex.stats.paired import holm
from tests.report.made_up import status, write_status

TOY = tuple(f"qa{letter}" for letter in "abcdefghijkl")
XNLI = ("en", "es", "de", "fr", "bg", "ru", "el", "tr", "vi", "zh", "ar", "hi", "th", "ur", "sw")
_KINDS = ("genetic", "geographic", "syntactic")
# Of XNLI's languages from English, near to far.
_NEAR = (0.0, 0.42, 0.36, 0.41, 0.48, 0.49, 0.5, 0.62, 0.58, 0.61, 0.6, 0.55, 0.6, 0.57, 0.63)


def config(source: str = "qaa", task: str = "nli", model: str = "toy", **more: Any) -> dict[str, Any]:
    return {
        "model": {"name": model, "path": None},
        "task": {"name": task},
        "source": source.split("+"),
        "finetune": {"name": "default", "learning_rate": 2e-5, "batch_size": 32, "max_length": 128, "limit": None},
        "seed": 0,
        **more,
    }


def relation(
    name: RelationName, kind: str, block: int | None, pooling: str | None, spearman: float, p: float, **more: Any
) -> RelationRecord:
    """One correlation; what is not given follows from the rest."""
    values: dict[str, Any] = {
        "ci95": (max(-1.0, spearman - 0.3), min(1.0, spearman + 0.3)),
        "pearson": 0.9 * spearman,
        "p": p,
        "p_corrected": min(1.0, 3 * p),
        "p_holm": min(1.0, 4 * p),
        "n": 11,
        "range": (spearman - 0.1, spearman + 0.1),
        "partial": 0.5 * spearman,
    }
    return RelationRecord(
        relation=name, kind=kind, block=block, pooling=pooling, spearman=spearman, **{**values, **more}
    )


def small_metrics(**more: Any) -> TrainMetrics:
    """Three languages and two blocks, few enough to know every number by heart."""
    values: dict[str, Any] = {
        "task": "nli",
        "model": "toy",
        "source": "qaa",
        "seed": 3,
        "freeze": "none",
        "steps": 1200,
        "loss": 0.25,
        "transfer": {
            "qaa": TransferScore(score=0.9, ci95=(0.85, 0.95), n=200, gap=None),
            "qab": TransferScore(score=0.75, ci95=(0.7, 0.8), n=200, gap=0.15, gap_ci95=(0.1, 0.2)),
            "qac": TransferScore(score=0.4, ci95=(0.3, 0.5), n=200, gap=0.5, gap_ci95=(0.45, 0.55)),
        },
        "pooling": "mean",
        "drift": {"qaa": {0: 0.0, 1: 0.2, 2: 0.8}, "qab": {0: 0.01, 1: 0.1, 2: 0.6}, "qac": {0: 0.02, 1: 0.3, 2: 0.5}},
        "controls": Controls(
            chance=0.333,
            majority=0.35,
            untrained={"qaa": 0.31, "qab": 0.33, "qac": 0.34},
            hypothesis_only={"qaa": 0.5, "qab": 0.45, "qac": 0.42},
            fertility={"qaa": 11.0, "qab": 12.5, "qac": 21.25},
            num_cut={"qaa": 0, "qab": 0, "qac": 7},
            alignment={"qab": {0: 0.5, 1: 0.6, 2: 0.9}, "qac": {0: 0.2, 1: 0.3, 2: 0.4}},
            profile_similarity={"qab": 0.61, "qac": 0.37},
        ),
        "distances": {"genealogical": {"qab": 0.5, "qac": 1.0}},
        "distances_origin": "the toy world as planted",
        "depth": 1.0,
        "base_fingerprint": "ab" * 32,
        "survives": "No relation survives the correction.",
    }
    return TrainMetrics(**{**values, **more})


def drift_rows(
    drift: Mapping[str, Mapping[int, float]], pooling: str = "mean", step: int = 1200, top: Sequence[float] = ()
) -> list[DriftRecord]:
    """Lines of drift.jsonl that say what a map says; what the map lacks is null."""
    num_blocks = 1 + max((block for values in drift.values() for block in values), default=0)
    found = []
    for code, values in drift.items():
        line = [values.get(block) for block in range(num_blocks)]
        shares = [None if value is None else 0.1 for value in line] if not top else list(top)
        found.append(
            DriftRecord(
                language=code,
                step=step,
                pooling=pooling,
                n=200,
                unbiased=line,
                biased=[None if value is None else 0.9 * value for value in line],
                top_row_share=shares,
            )
        )
    return found


def answers(code: str, model: str, right: Sequence[bool]) -> list[LabelRecord]:
    """Answers of one model in one language, three items a group."""
    return [
        LabelRecord(language=code, model=model, id=f"i{place}", group=f"g{place // 3}", answer=int(is_right), gold=1)
        for place, is_right in enumerate(right)
    ]


def write_run(
    folder: Path,
    metrics: TrainMetrics | None = None,
    state: Status | None = None,
    drift: Sequence[DriftRecord] = (),
    labels: Sequence[LabelRecord] = (),
    settings: Mapping[str, Any] | None = None,
) -> Path:
    """Writes a run's folder from records; files without content are not written."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "config.yaml", to_yaml(config() if settings is None else settings))
    write_status(folder, state or status())
    if metrics is not None:
        write_json(folder / "metrics.json", metrics)
    if drift:
        write_drift(folder, drift)
    if labels:
        write_answers(folder, labels)
    return folder


def small_run(folder: Path, **more: Any) -> Path:
    """The run of `small_metrics`, with its drift on record."""
    metrics = small_metrics(**more)
    return write_run(folder, metrics, drift=drift_rows(metrics.drift))


def toy_run(folder: Path) -> Path:
    """The toy world: twelve languages, five blocks, distances of a half and 1 only."""
    distances = {"genealogical": {code: 0.5 if code in ("qab", "qac") else 1.0 for code in TOY[1:]}}
    near = {code: 0.2 if place == 0 else distances["genealogical"][code] for place, code in enumerate(TOY)}
    metrics = _metrics("nli", "toy", "qaa", TOY, 5, near, distances, ("mean",), 0, 200)
    labels = []
    rng = np.random.default_rng(5)
    only = metrics.controls.hypothesis_only or {}
    for code, found in metrics.transfer.items():
        for model, score in (("fine-tuned", found.score), ("hypothesis-only", only[code])):
            labels += answers(code, model, [bool(x) for x in rng.permutation(200) < round(200 * score)])
    return write_run(folder, metrics, drift=drift_rows(metrics.drift), labels=labels)


def xnli_run(folder: Path) -> Path:
    """XNLI: fifteen languages, twelve blocks, three kinds of distance, two poolings, four steps."""
    near = dict(zip(XNLI, _NEAR, strict=True))
    rng = np.random.default_rng(1)
    distances = {
        kind: {code: round(float(np.clip(near[code] + spread * rng.normal(), 0.05, 1)), 3) for code in XNLI[1:]}
        for kind, spread in zip(_KINDS, (0.15, 0.1, 0.05), strict=True)
    }
    distances["genetic"].update(dict.fromkeys(("tr", "vi", "zh", "ar", "th", "sw"), 1.0))
    metrics = _metrics("xnli", "mbert", "en", XNLI, 12, near, distances, ("cls", "mean"), 1, 5010)
    rows = []
    for step, share in ((9000, 0.35), (18000, 0.6), (27000, 0.85), (36816, 1.0)):
        for pooling, factor in (("cls", 1.0), ("mean", 0.8)):
            scaled = {
                code: {
                    block: share * factor * value
                    for block, value in values.items()
                }
                for code, values in metrics.drift.items()
            }  # fmt: skip
            top = [0.05] * 11 + [0.62 if pooling == "cls" else 0.2, 0.3]
            rows += drift_rows(scaled, pooling, step, top)
    notes = ["3 of 15 languages have pairs that were cut to 128 tokens"]
    state = status(notes=notes, details=["Block 0 with cls pooling does not vary: left out"], device="cuda")
    return write_run(folder, metrics, state, rows, settings=config("en", "xnli", "mbert"))


def _metrics(
    task: str,
    model: str,
    source: str,
    codes: Sequence[str],
    num_blocks: int,
    near: Mapping[str, float],
    distances: Mapping[str, Mapping[str, float]],
    poolings: Sequence[str],
    first_block: int,
    n: int,
) -> TrainMetrics:
    """Records that hang together: far languages score less and drift less in deep blocks."""
    rng = np.random.default_rng(0)
    scores = {
        code: round(float(np.clip(0.82 - 0.42 * near[code] * (code != source) + 0.04 * rng.normal(), 0.3, 1)) * n) / n
        for code in codes
    }
    drift = {
        code: {
            block: round(
                float(
                    np.clip(
                        0.93 / (1 + math.exp(-1.1 * (10 * block / num_blocks - 6))) * (1.08 - 0.25 * near[code])
                        + (0.02 if block else 0.0003) * abs(rng.normal()),
                        0,
                        1,
                    )
                ),
                4,
            )
            for block in range(first_block, num_blocks + 1)
        }
        for code in codes
    }
    targets = [code for code in codes if code != source]
    fertility = {code: 35 + 60 * near[code] + 4 * float(rng.random()) for code in codes}
    half = 1.96 * 0.5 / math.sqrt(n)
    top = scores[source]
    means = [float(np.mean([drift[code][block] for code in codes])) for block in range(first_block, num_blocks + 1)]
    return TrainMetrics(
        task=task,
        model=model,
        source=source,
        seed=0,
        freeze="none",
        steps=36816 if task == "xnli" else 1200,
        loss=0.412,
        transfer={
            code: TransferScore(
                score=scores[code],
                ci95=(scores[code] - half, scores[code] + half),
                n=n,
                gap=None if code == source else top - scores[code],
                gap_ci95=None if code == source else (top - scores[code] - half, top - scores[code] + half),
            )
            for code in codes
        },
        pooling=poolings[0],
        drift=drift,
        controls=Controls(
            chance=1 / 3,
            majority=0.333 if task == "xnli" else 0.36,
            untrained={code: 0.33 + 0.01 * float(rng.normal()) for code in codes},
            hypothesis_only={
                code: round((0.5 - 0.1 * near[code] + 0.02 * float(rng.normal())) * n) / n for code in codes
            },
            fertility=fertility,
            num_cut={code: 12 if code in ("hi", "th", "ur") else 0 for code in codes},
            alignment={
                code: {block: round(0.9 - 0.5 * near[code], 3) for block in range(1, num_blocks + 1)}
                for code in targets
            },
            profile_similarity={code: round(0.8 - 0.5 * near[code], 3) for code in targets},
        ),
        distances={kind: dict(values) for kind, values in distances.items()},
        distances_origin="URIEL+ 1.3" if task == "xnli" else "the toy world as planted",
        relations=_relations(targets, scores, drift, distances, poolings),
        depth=float(stats.spearmanr(range(len(means)), means)[0]),
        base_fingerprint="0f" * 32,
        survives="drift ~ distance: none of 36 correlations over 14 languages survives correction, the strongest is "
        "genetic block 12 -0.75 (corrected p = 0.056); drift ~ transfer: 4 of 12 correlations over 14 languages "
        "survive correction, the strongest block 9 +0.84 (corrected p = 0.0018).",
    )


def _relations(
    targets: Sequence[str],
    scores: Mapping[str, float],
    drift: Mapping[str, Mapping[int, float]],
    distances: Mapping[str, Mapping[str, float]],
    poolings: Sequence[str],
) -> list[RelationRecord]:
    blocks = sorted(drift[targets[0]])
    found: list[RelationRecord] = []
    score = [scores[code] for code in targets]
    far = {kind: [values[code] for code in targets] for kind, values in distances.items()}
    for pooling in poolings:
        moved = {block: [drift[code][block] for code in targets] for block in blocks}
        found += _family("drift ~ distance", pooling, [(kind, b, far[kind], moved[b]) for kind in far for b in blocks])
        found += _family("drift ~ transfer", pooling, [("transfer", b, moved[b], score) for b in blocks])
    return found + _family("distance ~ transfer", None, [(kind, None, far[kind], score) for kind in far])


def _family(
    name: RelationName, pooling: str | None, tests: Sequence[tuple[str, int | None, list[float], list[float]]]
) -> list[RelationRecord]:
    n = len(tests[0][2])
    rho = [float(stats.spearmanr(x, y)[0]) for _, _, x, y in tests]
    p = [float(stats.spearmanr(x, y)[1]) for _, _, x, y in tests]
    return [
        relation(name, kind, block, pooling, r, p_one, p_corrected=0.8 * held, p_holm=held, n=n,
                 range=(max(-1.0, r - 0.07), min(1.0, r + 0.12)), ci95=_interval(r, n))
        for (kind, block, _, _), r, p_one, held in zip(tests, rho, p, holm(p), strict=True)
    ]  # fmt: skip


def _interval(r: float, n: int) -> tuple[float, float]:
    half = 1.96 * math.sqrt((1 + r * r / 2) / (n - 3))
    return math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)
