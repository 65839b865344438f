"""A large sweep that no model ever made: models x tasks x pairs, every kind of cell, numbers from a seed."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from bridgex.records.schema import Metrics, OracleScore, Paired, Status, StrategyRecord
from tests.report import made_up as made

MODELS = ("llama3", "qwen3-8b", "aya", "mistral", "bloomz_7b1")
TASKS = ("bli", "xnli", "belebele", "xcopa")
LANGUAGES = ("en", "sw", "zh", "ja", "ta", "ar")
CANDIDATES = ("fr", "it", "es", "de", "pt", "ru")
_STRATEGIES = ("hsic", "overlap", "cosine", "lexical")


def pairs(count: int) -> list[str]:
    """So many pairs of the languages."""
    return [f"{source}-{target}" for source, target in product(LANGUAGES, LANGUAGES) if source != target][:count]


def state_of(place: int) -> Status:
    """Every kind of end, most of them good."""
    if place % 25 == 7:
        return made.status("failed", error=f"en-sw: no dictionary.\nFrom English there are: {', '.join(LANGUAGES)}")
    if place % 50 == 13:
        return made.status("interrupted")
    return made.status("done", seconds=60.0 * (place % 60) + 30)


def scores(model: str, task: str, pair: str, chance: random.Random, is_gold: bool) -> Metrics:
    """A cell's numbers: a chosen bridge, its test, the oracle, a gold route where asked for."""
    direct = round(chance.uniform(0.2, 0.7), 4)
    via = {code: min(1.0, max(0.0, direct + chance.gauss(0.05, 0.15))) for code in CANDIDATES}
    chosen = chance.choice(CANDIDATES)
    gain = via[chosen] - direct
    p = 0.0004 if abs(gain) > 0.15 else 0.3
    word = "no evidence" if p > 0.05 else "bridge helps" if gain > 0 else "bridge hurts"
    best = max(via, key=lambda code: via[code])
    found = made.metrics(
        pair,
        direct,
        via,
        chosen,
        task=task,
        model=model,
        paired=Paired(difference=gain, ci95=(gain - 0.1, gain + 0.1), mcnemar_p=p, verdict=word),
        oracle=OracleScore(bridge=best, score=via[best], regret=via[best] - via[chosen], regret_with_direct=None),
    )
    if not is_gold:
        return found
    gold = {f"via {chosen} (gold)": made.route_score(min(1.0, via[chosen] + 0.08))}
    return found.model_copy(update={"routes": {**found.routes, **gold}})


def rankings(chance: random.Random) -> dict[str, StrategyRecord]:
    """What every strategy made of the candidates."""
    return {
        name: made.strategy({code: chance.random() for code in CANDIDATES}, seconds=chance.uniform(0.1, 9))
        for name in _STRATEGIES
    }


def config(model: str, task: str, pair: str, **more: Any) -> Mapping[str, Any]:
    """A cell's config."""
    return {**made.config(pair, "compare", model), "task": {"name": task}, **more}


def write_sweep(
    folder: Path, models: Sequence[str] = MODELS, tasks: Sequence[str] = TASKS, num_pairs: int = 25, seed: int = 0
) -> list[Path]:
    """Writes a sweep; 500 cells as it stands."""
    chance, cells = random.Random(seed), []
    for place, (model, task, pair) in enumerate(product(models, tasks, pairs(num_pairs))):
        state = state_of(place)
        is_done = state.state == "done"
        cell = made.write_run(
            folder / f"{model}_{pair}_{task}_compare_{place:08x}",
            state,
            scores(model, task, pair, chance, is_gold=task == "belebele") if is_done else None,
            rankings(chance) if is_done else None,
            settings=config(model, task, pair),
        )
        (cell / "report.html").write_text("<!doctype html><title>a run</title>", encoding="utf-8")
        cells.append(cell)
    return cells
