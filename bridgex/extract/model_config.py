"""A model's config, and whether the model needs code of its own, which is run only where it is asked for by name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import transformers
from transformers import AutoConfig, PretrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from bridgex.config.settings import ModelSettings
from bridgex.errors import UserError

_NAMES_CODE = ("config.json", "tokenizer_config.json")


def read_config(folder: Path, trust_remote_code: bool = False) -> PretrainedConfig:
    """The model's config.

    Args:
        folder: of the model.
        trust_remote_code: whether its code may be run.

    Raises:
        UserError: it cannot be read, is of a type that this transformers does not know, contradicts itself, or needs
            code that may not be run.
    """
    if trust_remote_code:
        _refuse_foreign_code(folder)
    try:
        config: PretrainedConfig = AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=trust_remote_code
        )
    except Exception as error:  # transformers raises whatever the file's content leads to
        path = folder / "config.json"
        if not path.is_file():
            raise UserError(f"{folder}: no config.json, so this is no folder of a model. Copy it again") from error
        if needs_code(error):
            raise UserError(code_line(folder)) from error
        model_type = _read(path).get("model_type")
        if model_type is not None and model_type not in CONFIG_MAPPING:
            raise UserError(
                f"{path}: model_type={model_type} is not known to transformers {transformers.__version__}. Run pip "
                f"install --upgrade transformers, or give a model that it knows"
            ) from error
        # Of a validator's complaint the first line names the validator only, and its cause says what is wrong.
        raise UserError(
            f"{path}: the model cannot be loaded from this config ({first_line(error.__cause__ or error)}). Correct "
            f"it, or download or copy it again"
        ) from error
    return config


def needs_code(error: BaseException) -> bool:
    """Whether transformers refuses because it may not run the model's own code."""
    return "trust_remote_code" in str(error)


def code_line(folder: Path) -> str:
    """That a model needs code of its own, and what to do."""
    return (
        f"{folder}: this model needs Python code of its own (*.py in its folder), which is not run unless asked for. "
        f"Read that code; if you trust it, add model.trust_remote_code=true"
    )


def code_notes(settings: ModelSettings) -> list[str]:
    """What a reader of results must know of the code that made them."""
    if not settings.trust_remote_code:
        return []
    return ["model.trust_remote_code=true: transformers may run Python code from the model's folder"]


def first_line(error: BaseException) -> str:
    """What an error says, as far as one line tells it."""
    lines: list[Any] = [line for line in str(error).splitlines() if line.strip()]
    return str(lines[0])[:200] if lines else type(error).__name__


def _refuse_foreign_code(folder: Path) -> None:
    """Refuses code of another repository: it is neither in the model's fingerprint nor what the user has looked at."""
    for name in _NAMES_CODE:
        named = _read(folder / name).get("auto_map")
        places = list(named.values()) if isinstance(named, Mapping) else [named]
        foreign = [place for place in places if "--" in str(place)]
        if foreign:
            raise UserError(
                f"{folder / name}: auto_map names code of another repository ({foreign[0]}). Copy that code into the "
                f"folder, and name it without what stands before --"
            )


def _read(path: Path) -> dict[str, Any]:
    """A JSON object; empty where the file is missing or holds none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
