"""Whether a run's keys go together and what they name is there; asked before anything heavy is imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bridgex.config import settings
from bridgex.data import sentences, sources
from bridgex.errors import UserError
from bridgex.extract import hub
from bridgex.select.strategies.base import Strategy


def agree(config: Mapping[str, Any]) -> None:
    """Checks a resolved config of evaluate.py whose keys and values are valid one by one.

    Raises:
        UserError: with one line for every thing that is missing or does not fit another.
    """
    found = settings.validate(config)
    problems = [*settings.path_problems(found), *settings.pair_problems(found)]
    strategy = found.bridge.build(Strategy)
    problems += strategy.problems(found.pair.pair)
    if not problems:
        problems += sources.problems(found, ("test", "train") if strategy.reads_words else ("test",))
    if not problems and strategy.reads_profiles:
        pair = found.pair.pair
        problems += sentences.problems(found, [pair.source, pair.target, *strategy.candidates_of(pair)])
    problems += hub.problems(found.model)
    if problems:
        raise UserError(*problems)
