"""The numbers in the pictures of the concept pages, from the default runs on the toy world."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bridgex import evaluate, rank_bridges, train
from bridgex.records.schema import StrategyRecord
from bridgex.select.evidence import Evidence
from bridgex.select.neurons import language_neurons
from bridgex.select.strategies.base import Strategy, ranking_of
from bridgex.stats.cka import cka
from bridgex.stats.hsic import hsic_matrix

PAIR, BLOCK = "qaa-qaf", 3


def measure() -> dict[str, Any]:
    """Runs `evaluate.py bridge=compare` and `train.py`, and reads one block's neurons."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        return {**_routes(folder), **_neurons(folder), **_clouds(), **_drift(folder)}


def _routes(folder: Path) -> dict[str, Any]:
    run = evaluate(folder / "run", pair=PAIR, bridge="compare", cache__dir=str(folder / "cache"))
    assert run.metrics is not None
    assert run.ranking is not None
    by_route = {
        route: {line.id: line for line in run.predictions if line.route == route} for route in run.metrics.routes
    }
    direct, via = by_route["direct"], by_route["via qad"]
    word = next(name for name, line in via.items() if line.correct and line.bridge_correct and not direct[name].correct)
    hsic = run.ranking.strategies["hsic"].scores
    return {
        "word": word,
        "bridge_word": via[word].bridge_text,
        "direct_answer": direct[word].answer,
        "via_answer": via[word].answer,
        "gold": " or ".join(via[word].gold),
        "routes": {route: {"score": found.score} for route, found in run.metrics.routes.items()},
        "candidates": {
            code: {"score": hsic[code].score, "ci95": hsic[code].ci95, "route": run.metrics.routes[f"via {code}"].score}
            for code in sorted(hsic, key=lambda code: hsic[code].rank)
        },
    }


class Looking(Strategy):
    """A strategy that ranks nothing: it hands on what a strategy may look at."""

    def rank(self, evidence: Evidence) -> StrategyRecord:
        """All candidates alike."""
        _SEEN.update(_neuron_pairs(evidence))
        return ranking_of(dict.fromkeys(evidence.candidates, 0.0))


_SEEN: dict[str, Any] = {}


def _neurons(folder: Path) -> dict[str, Any]:
    target = {"bridge___target_": "measure_concepts.Looking", "bridge__name": "looking"}
    rank_bridges(folder / "looking", pair=PAIR, cache__dir=str(folder / "cache"), **target)
    return _SEEN


def _neuron_pairs(evidence: Evidence) -> dict[str, Any]:
    share = evidence.probe_settings.neuron_share
    masks = {code: language_neurons(evidence.profile(code), share)[BLOCK - 1] for code in ("qaa", "qaf", "qad")}
    overlap, bridge = np.flatnonzero(masks["qaa"] & masks["qaf"]), np.flatnonzero(masks["qad"])
    chosen = np.union1d(overlap, bridge)
    none = np.array([], dtype=np.int64)
    blocks = len(evidence.profile("qaa").share)
    values = evidence.probe([chosen if block == BLOCK - 1 else none for block in range(blocks)]).values[BLOCK - 1]
    rows = {int(neuron): values[place] for place, neuron in enumerate(chosen)}
    left, right = (
        torch.tensor(np.stack([rows[int(i)] for i in part]), dtype=torch.float64) for part in (overlap, bridge)
    )
    table = hsic_matrix(left, right).values.numpy()
    table[overlap[:, None] == bridge[None, :]] = np.nan  # a neuron with itself shows nothing
    places = [
        np.unravel_index(np.nanargmax(table), table.shape),
        np.unravel_index(np.nanargmin(np.abs(table)), table.shape),
    ]
    return {
        "block": BLOCK,
        "width": len(masks["qaa"]),
        "masks": {code: np.flatnonzero(mask).tolist() for code, mask in masks.items()},
        "neuron_pairs": [
            {
                "i": int(overlap[i]),
                "j": int(bridge[j]),
                "hsic": round(float(table[i, j]), 4),
                "x": [round(float(value), 4) for value in rows[int(overlap[i])]],
                "y": [round(float(value), 4) for value in rows[int(bridge[j])]],
            }
            for i, j in places
        ],
    }


def _clouds() -> dict[str, Any]:
    generator = np.random.default_rng(0)
    first = generator.normal(size=(36, 2)) * (1.2, 0.5)
    angle = 0.9
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    clouds = {
        "before": first,
        "turned and grown": 1.3 * first @ turn.T,
        "stretched": first * (0.35, 2.6),
        "rearranged": generator.permutation(first),
    }
    found = []
    for name, points in clouds.items():
        value = cka(torch.tensor(first), torch.tensor(points))
        assert value is not None
        says = "" if name == "before" else f"CKA {round(value, 2) + 0.0:.2f}, drift {round(1 - value, 2) + 0.0:.2f}"
        found.append({"name": name, "says": says, "points": points.round(3).tolist()})
    return {"clouds": found, "thirds": (first[:, 0].argsort().argsort() // 12).tolist()}


def _drift(folder: Path) -> dict[str, Any]:
    metrics = train(folder / "train", cache__dir=str(folder / "cache")).metrics
    assert metrics is not None
    found = next(row for row in metrics.relations if (row.relation, row.block) == ("drift ~ transfer", 5))
    return {
        "drift": {
            code: {str(block): round(value, 4) for block, value in row.items()} for code, row in metrics.drift.items()
        },
        "gap": {code: row.gap for code, row in metrics.transfer.items() if row.gap is not None},
        "relation": f"drift and accuracy in block 5: Spearman {found.spearman:+.2f}, corrected p = "
        f"{found.p_corrected:.2g}, {found.n} languages",
    }
