"""Several fine-tuning runs that no model ever made, told apart by source, seed and freezing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bridgex.records.train_schema import Controls, LabelRecord, TrainMetrics, TransferScore
from tests.report import made_up_train as made

CODES = ("en", "de", "fr", "sw", "tr", "zh", "ar", "vi")
FREEZE: dict[str, dict[str, Any]] = {
    "none": {"name": "none"},
    "bottom": {"name": "bottom", "bottom": 2},
    "random": {"name": "random", "num_layers": 2},
    "by_correlation": {"name": "by_correlation", "num_layers": 2, "kind": "genetic"},
}
FROZEN = {"none": "none", "bottom": "embeddings, blocks 1 2", "random": "blocks 1 3", "by_correlation": "blocks 2 3"}
NUM_BLOCKS = 4

Values = Callable[[str], float]


def metrics(
    source: str = "en",
    seed: int = 0,
    freeze: str = "none",
    codes: Sequence[str] = CODES,
    score: Values | None = None,
    drift: Callable[[str, int], float] | None = None,
    distances: Mapping[str, Values] | None = None,
    fertility: Values | None = None,
    **more: Any,
) -> TrainMetrics:
    """A run's metrics; what is not given is drawn by source, seed and freezing."""
    dice = np.random.default_rng([*map(ord, source + freeze), seed])
    sources = source.split("+")
    order = [*sources, *(code for code in codes if code not in sources)]
    targets = order[len(sources) :]
    scores = {code: float(dice.uniform(0.4, 0.9)) if score is None else score(code) for code in order}
    top = sum(scores[code] for code in sources) / len(sources)
    drawn = {code: {block: float(dice.uniform(0, 1)) for block in range(NUM_BLOCKS + 1)} for code in order}
    far = {"genetic": lambda code: float(ord(code[0]) % 7), "syntactic": lambda code: float(ord(code[1]) % 5)}
    kinds = far if distances is None else distances
    values: dict[str, Any] = {
        "task": "xnli",
        "model": "mbert",
        "source": source,
        "seed": seed,
        "freeze": FROZEN[freeze],
        "steps": 300,
        "loss": 0.4,
        "transfer": {
            code: TransferScore(
                score=value, ci95=(0.0, 1.0), n=60, gap=None if code in sources else top - value,
                gap_ci95=None if code in sources else (-1.0, 1.0),
            )
            for code, value in scores.items()
        },
        "pooling": "cls",
        "drift": drawn
        if drift is None
        else {code: {block: drift(code, block) for block in range(NUM_BLOCKS + 1)} for code in order},
        "controls": Controls(
            chance=1 / 3,
            majority=0.34,
            untrained=dict.fromkeys(order, 0.33),
            fertility={
                code: 30.0 + 7 * CODES.index(code) % 11 if fertility is None else fertility(code) for code in order
            },
            num_cut=dict.fromkeys(order, 0),
            alignment={code: {block: float(dice.uniform()) for block in range(NUM_BLOCKS + 1)} for code in targets},
            profile_similarity={code: float(dice.uniform()) for code in targets},
            hsic={code: float(dice.uniform()) for code in targets},
        ),
        "distances": {kind: {code: of(code) for code in targets} for kind, of in kinds.items()},
        "distances_origin": "a table",
        "depth": 1.0,
        "base_fingerprint": "ab" * 32,
        "survives": "nothing",
    }  # fmt: skip
    return TrainMetrics(**{**values, **more})


def config(source: str, seed: int, freeze: str, **more: Any) -> dict[str, Any]:
    return made.config(source, "xnli", "mbert", **{"seed": seed, "freeze": FREEZE[freeze], **more})


def run(
    sweep: Path,
    source: str = "en",
    seed: int = 0,
    freeze: str = "none",
    labels: Sequence[LabelRecord] = (),
    settings: Mapping[str, Any] | None = None,
    **more: Any,
) -> Path:
    """Writes a finished run into a sweep's folder."""
    return made.write_run(
        sweep / f"mbert_{source}_xnli_{freeze}_s{seed}",
        metrics(source, seed, freeze, **more),
        labels=labels,
        settings=config(source, seed, freeze) if settings is None else settings,
    )


def answered(
    sweep: Path, right: Mapping[str, Sequence[bool]], source: str, seed: int, freeze: str = "none", **more: Any
) -> Path:
    """Writes a run whose scores are those of its answers, three items a group."""
    labels = [row for code, hits in right.items() for row in made.answers(code, "fine-tuned", list(hits))]
    share = {code: float(np.mean(hits)) for code, hits in right.items()}
    return run(sweep, source, seed, freeze, labels, codes=list(right), score=lambda code: share[code], **more)
