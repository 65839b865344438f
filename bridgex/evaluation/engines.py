"""Which engine a run asks, with what was answered before at hand."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from bridgex.config.settings import EngineSettings
from bridgex.evaluation.engine import HFEngine
from bridgex.evaluation.prompts import PromptReader
from bridgex.evaluation.remembered import RememberingEngine
from bridgex.extract.loading import LoadedModel
from bridgex.records.answers import AnswerCache


def make_engine(
    settings: EngineSettings, loaded: LoadedModel, model_fingerprint: str, cache: Path
) -> RememberingEngine:
    """The engine of a run.

    Args:
        settings: which, and how it is asked.
        loaded: the model.
        model_fingerprint: of its files.
        cache: `cache.dir`.
    """
    reader = PromptReader(loaded, settings.boundary)
    engine = HFEngine(loaded, settings.boundary, settings.batch_tokens)
    # What decides an answer beside the prompt's ids; the ids themselves are in each answer's key.
    decided_by = {
        "model": model_fingerprint,
        "dtype": str(loaded.model.dtype),
        "ends": str(loaded.end_ids),
        "engine": settings.name,
        "version": f"transformers {metadata.version('transformers')}, torch {metadata.version('torch')}",
        "decoding": "greedy",
    }
    return RememberingEngine(engine, reader, AnswerCache(cache, decided_by))
