"""Whether a run's keys go together and what they name is there; asked before anything heavy is imported."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bridgex.config import settings
from bridgex.data import sentences, sources
from bridgex.errors import UserError
from bridgex.extract import hub
from bridgex.records.files import place_problem
from bridgex.select.strategies.base import Strategy


def agree(config: Mapping[str, Any]) -> None:
    """Checks a resolved config of evaluate.py whose keys and values are valid one by one.

    Raises:
        UserError: with one line for every thing that is missing or does not fit another.
    """
    found = settings.validate(config)
    mismatch = settings.pair_problems(found)
    problems = [*settings.path_problems(found), *mismatch]
    cache = place_problem(Path(found.cache.dir).expanduser().absolute())
    if cache is not None:
        problems.append(f"cache.dir={found.cache.dir}: {cache}. Give another folder")
    strategy = found.bridge.build(Strategy)
    problems += strategy.problems(found.pair.pair)
    if not mismatch and not any(line.startswith("data.") for line in problems):
        problems += sources.problems(found, ("test", "train") if strategy.reads_words else ("test",))
    if not problems and strategy.reads_profiles:
        pair = found.pair.pair
        problems += sentences.problems(found, [pair.source, pair.target, *strategy.candidates_of(pair)])
    problems += hub.problems(found.model)
    if problems:
        raise UserError(*problems)
