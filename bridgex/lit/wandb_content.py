"""What of a run's records is mirrored in tables; no W&B in here."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

from bridgex.records.predictions import read_predictions
from bridgex.records.schema import MeasureRow, Miss, Prediction

_MAX_MEASURES = 10_000


class Sheet(NamedTuple):
    """The rows of a table, and how many there are beside those shown."""

    name: str
    columns: Sequence[str]
    rows: list[list[Any]]
    total: int

    @property
    def title(self) -> str:
        """The table's name, with the cap where there is one."""
        return self.name if self.total == len(self.rows) else f"{self.name}_{len(self.rows)}_of_{self.total}"


_RANKING = ("score", "raw", "rank", "p_rank1", "p_any_dependence", "smaller_leg", "self_matches")
_BRIDGE_STEP = ("n_known", "correct", "score_if_correct", "score_if_wrong", "chrf")
_PREDICTION = (
    "id", "route", "correct", "score", "miss", "answer", "gold", "prompt", "output", "num_tokens", "bridge_text",
    "bridge_correct", "bridge_prompt", "bridge_output", "options",
)  # fmt: skip


def ranking_sheets(folder: Path) -> Iterator[Sheet]:
    """The tables `ranking` and `routes`, as far as their files are there."""
    rows = [
        [strategy, candidate, *ends(found), *map(found.get, _RANKING), found.get("rank") == 1]
        for strategy, ranking in (read_json(folder / "ranking.json").get("strategies") or {}).items()
        for candidate, found in (ranking.get("scores") or {}).items()
    ]
    if rows:
        columns = ["strategy", "candidate", "ci95_low", "ci95_high", *_RANKING, "first_choice"]
        yield Sheet("ranking", columns, rows, len(rows))
    rows = [
        [
            route, found.get("score"), *ends(found), found.get("n"),
            *((found.get("misses") or {}).get(miss, 0) for miss in get_args(Miss)),
            *map((found.get("bridge_step") or {}).get, _BRIDGE_STEP),
        ]
        for route, found in (read_json(folder / "metrics.json").get("routes") or {}).items()
    ]  # fmt: skip
    if rows:
        steps = [f"bridge_{key}" for key in _BRIDGE_STEP]
        yield Sheet(
            "routes", ["route", "score", "ci95_low", "ci95_high", "n", *get_args(Miss), *steps], rows, len(rows)
        )


def prediction_sheets(folder: Path, limit: int) -> Iterator[Sheet]:
    """The predictions, at most `limit` of them, drawn evenly over routes and reasons of misses."""
    predictions = read_predictions(folder)
    if predictions:
        kept = evenly([(p.route, p.miss or "") for p in predictions], limit)
        yield Sheet("predictions", _PREDICTION, [_cells(predictions[i]) for i in kept], len(predictions))


def measure_sheets(folder: Path) -> Iterator[Sheet]:
    """The long table."""
    columns, path = list(MeasureRow.model_fields), folder / "measures.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    rows = [[json.loads(line).get(column) for column in columns] for line in lines[:_MAX_MEASURES]]
    if rows:
        yield Sheet("measures", columns, rows, len(lines))


def _cells(prediction: Prediction) -> list[Any]:
    bridge = next((step for step in prediction.steps if step.kind == "bridge"), None)
    answer = next((step for step in prediction.steps if step.kind == "answer"), None)
    options = "\n".join(f"{option.logprob:.4f} {option.text}" for option in prediction.options)
    return [
        prediction.id, prediction.route, prediction.correct, prediction.score, prediction.miss, prediction.answer,
        " | ".join(prediction.gold), answer and answer.prompt, answer and answer.output, answer and answer.num_tokens,
        prediction.bridge_text, prediction.bridge_correct, bridge and bridge.prompt, bridge and bridge.output,
        options or None,
    ]  # fmt: skip


def evenly(strata: Sequence[tuple[str, str]], limit: int) -> list[int]:
    """Which of the items to show, in their order: from each stratum its share, at least one as far as the limit goes.

    Args:
        strata: the stratum of each item.
        limit: items at most.
    """
    members: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, stratum in enumerate(strata):
        members[stratum].append(index)
    if len(strata) <= limit:
        return list(range(len(strata)))
    # First one item of each stratum, then so that all strata are shown in equal shares.
    order = [
        ((place + 0.5) / len(found) if place else 0.0, -len(found), index)
        for found in members.values()
        for place, index in enumerate(_spread(found))
    ]
    return sorted(index for _, _, index in sorted(order)[:limit])


def _spread(items: list[int]) -> list[int]:
    """The same items, in an order of which every beginning lies evenly over the whole (van der Corput)."""
    width = max(1, math.ceil(math.log2(len(items)))) if len(items) > 1 else 1
    places = sorted(range(len(items)), key=lambda place: int(f"{place:0{width}b}"[::-1], 2))
    return [items[place] for place in places]


def block_scores(folder: Path) -> dict[str, dict[str, dict[int, float]]]:
    """Raw scores by strategy, candidate and block, where there are any."""
    found: dict[str, dict[str, dict[int, float]]] = {}
    for strategy, ranking in (read_json(folder / "ranking.json").get("strategies") or {}).items():
        for candidate, record in (ranking.get("scores") or {}).items():
            by_block = {int(b): value for b, value in (record.get("block_scores") or {}).items() if value is not None}
            if by_block:
                found.setdefault(strategy, {})[candidate] = by_block
    return found


def ends(record: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """A record's 95 % interval."""
    low, high = record.get("ci95") or (None, None)
    return low, high


def read_json(path: Path) -> dict[str, Any]:
    """A file of the run; empty where it is missing. Not by its schema: a mirror shows what is there."""
    found = json.loads(path.read_bytes()) if path.is_file() else {}
    return found if isinstance(found, dict) else {}
