"""What `engine=vllm` needs; asked before anything heavy is imported."""

from __future__ import annotations

from importlib.util import find_spec

from bridgex.config.settings import Settings


def problems(settings: Settings) -> list[str]:
    """Why a run cannot be answered by vllm; nothing where another engine is asked for."""
    if settings.engine.name != "vllm":
        return []
    found = []
    if find_spec("vllm") is None:
        found.append("engine=vllm: vllm is not installed. Run pip install 'bridgex[vllm]', or use engine=hf")
    for key, value in (("adapter", settings.model.adapter), ("quantization", settings.model.quantization)):
        if value is not None:
            found.append(f"model.{key}={value}: engine=vllm reads the model's folder as it is. Use engine=hf")
    return found
