"""Which ranking finds the right bridge: convergence by block, words and prompt form, beside the other strategies.

    python -m bench.convergence                                   the shipped toy world
    python -m bench.convergence --world bridgex/toy OUTPUT --muse9 DIR --sweep outputs/sweeps/toy_grid

Of every world all weak pairs (toy worlds: across families; muse9: nine pairs without English). Each pair is evaluated
by all routes first, with `bridge=compare`, unless a finished sweep has it. One JSON line on stdout a measure and group.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from bench.worlds import FIELDS, Measured, numbers, run
from bridgex.languages import language
from bridgex.lit.states import collect_states
from bridgex.lit.trainer import make_trainer
from bridgex.records.schema import StrategyRecord
from bridgex.report.league import Compared, standings
from bridgex.select.strategies.base import ranking_of
from bridgex.stats.cka import cka

PROMPTS = {
    "quote": '{language}:"{word}"→{bridge}:"',
    "no quote": '{language}:"{word}"→{bridge}:',
    "no language": '"{word}"→{bridge}:"',
    "bridge first": '{bridge}←{language}:"{word}":"',
}
WORDS = (32, 64, 100, 150, 256)
DEFAULT = ("quote", "last", max(WORDS))
Variant = tuple[str, int | str, int]

_FIELDS = f"""
fields:{FIELDS}
  measure      convergence; a strategy of bridge=compare, with its defaults; `ranks` and `z-scores`: convergence
               (last block, quote, all words) combined with confidence by the mean of ranks, of standardised scores;
               direct, random (expected), oracle (out of fold). By kind of pair: convergence with its defaults only
  block, words, prompt   of convergence: last is after the final norm; words at most, as many as there are
  seconds      of the world, in the last line
"""


def lines(measured: Measured) -> Iterator[Mapping[str, Any]]:
    """One a measure and group."""
    start = time.perf_counter()
    cells, measures = [], {}
    for place, pair in enumerate(measured.pairs, start=1):
        compared, found = _pair(measured, pair)
        measures.update({name: described for name, (described, _) in found.items()})
        rankings = {**compared.rankings, **{name: ranking for name, (_, ranking) in found.items()}}
        cells.append(replace(compared, rankings=rankings))
        print(f"{place} of {len(measured.pairs)} pairs", file=sys.stderr)
    for group, members in measured.groups(cells).items():
        for row in standings(members):
            described = measures.get(row.strategy, {"measure": row.strategy})
            if group != "all" and described["measure"] == "convergence" and described != _described(DEFAULT):
                continue
            yield {"group": group, **described, **numbers(row, members)}
    yield {"seconds": round(time.perf_counter() - start, 1)}


def _pair(measured: Measured, pair: str) -> tuple[Compared, dict[str, tuple[dict[str, Any], StrategyRecord]]]:
    """A pair's routes and strategies, and every measure of its own with what it is."""
    compared = measured.compared(pair)
    found = {}
    for variant, scores in _convergence(measured, pair, list(compared.via)).items():
        described = _described(variant)
        found[f"convergence {variant}"] = (described, ranking_of(scores))
        if variant == DEFAULT and "confidence" in compared.rankings:
            sure = {code: record.score for code, record in compared.rankings["confidence"].scores.items()}
            for name, combined in _combined(scores, sure).items():
                found[name] = ({**described, "measure": name}, ranking_of(combined))
    return compared, found


def _convergence(measured: Measured, pair: str, candidates: Sequence[str]) -> dict[Variant, dict[str, float]]:
    """CKA by candidate, for every prompt form, block and number of words."""
    made = measured.settings(pair)
    loaded = measured.model(made)
    with measured.evidence(made, candidates) as evidence:
        pairs = evidence.probe_pairs()
    blocks = [*range(1, loaded.model.config.num_hidden_layers + 1), "last"]
    found: dict[Variant, dict[str, float]] = {}
    for form, template in PROMPTS.items():
        encoded = [
            loaded.encoder.encode(
                template.format(language=language(code).name, word=word, bridge=language(bridge).name)
            )
            for bridge in candidates
            for code, words in zip(pair.split("-"), zip(*pairs, strict=True), strict=True)
            for word in words
        ]
        states = collect_states(
            loaded, encoded, lambda more: make_trainer(made, more), blocks=blocks, pooling="last", batch_tokens=8192
        )
        sides = torch.from_numpy(states).reshape(len(blocks), len(candidates), 2, len(pairs), -1)
        for block, of_block in zip(blocks, sides, strict=True):
            for place, words in enumerate(WORDS):
                if words < max(WORDS) and len(pairs) <= ([0, *WORDS][place]):
                    continue  # the same words as the number before
                values = [cka(*of_candidate[:, :words]) for of_candidate in of_block]
                # Sides that do not vary show nothing.
                scores = {code: value or 0.0 for code, value in zip(candidates, values, strict=True)}
                found[form, block, words] = scores
    return found


def _described(variant: Variant) -> dict[str, Any]:
    prompt, block, words = variant
    return {"measure": "convergence", "block": block, "words": words, "prompt": prompt}


def _combined(first: Mapping[str, float], second: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Two scores of the same candidates as one, in two ways."""
    codes = [code for code in first if code in second]
    table = np.array([[scores[code] for code in codes] for scores in (first, second)])
    ranks = (table[:, :, None] > table[:, None, :]).sum(axis=2) + 0.5 * (table[:, :, None] == table[:, None, :]).sum(
        axis=2
    )
    spread = table.std(axis=1, keepdims=True)
    standard = (table - table.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1.0)
    return {
        "ranks": dict(zip(codes, ranks.mean(axis=0).tolist(), strict=True)),
        "z-scores": dict(zip(codes, standard.mean(axis=0).tolist(), strict=True)),
    }


if __name__ == "__main__":
    run("convergence", __doc__, _FIELDS, lines)
