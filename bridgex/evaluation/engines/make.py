"""Which engine a run asks, with what was answered before at hand."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from bridgex.config.settings import EngineSettings
from bridgex.evaluation.engines.hf import HFEngine
from bridgex.evaluation.engines.prompts import PromptReader
from bridgex.evaluation.engines.remembered import Engine, RememberingEngine
from bridgex.evaluation.engines.vllm import start_vllm
from bridgex.extract.limits import longest_input
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

    Raises:
        UserError: vllm is asked for and does not start.
    """
    longest = longest_input(loaded)
    engine: Engine
    packages: tuple[str, ...]
    if settings.name == "vllm":
        longest = settings.max_length or longest
        engine, packages = start_vllm(loaded, settings), ("vllm",)
    else:
        engine, packages = HFEngine(loaded, settings.boundary, settings.batch_tokens), ("transformers", "torch")
    # What decides an answer beside the prompt's ids; the ids themselves are in each answer's key.
    decided_by = {
        "model": model_fingerprint,
        "dtype": str(loaded.model.dtype),
        "ends": str(loaded.end_ids),
        "engine": settings.name,
        "version": ", ".join(f"{name} {_version(name)}" for name in packages),
        "longest": str(longest),
        "decoding": "greedy",
    }
    return RememberingEngine(engine, PromptReader(loaded, settings.boundary, longest), AnswerCache(cache, decided_by))


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"
