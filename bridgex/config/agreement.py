"""Whether a config's values go together, and whether the files and folders that they name are there."""

from __future__ import annotations

import os
from pathlib import Path

from bridgex.config.settings import DataSettings, ModelSettings, Settings
from bridgex.languages import language, near_matches


def pair_problems(settings: Settings) -> list[str]:
    """Why model and pair do not go together: real and invented languages have models of their own."""
    model, pair = settings.model, settings.pair.pair
    is_toy_pair = language(pair.source).is_toy
    if is_toy_pair and model.kind != "toy":
        return [
            f"pair={pair}: an invented pair that only model=toy speaks, and model={model.name} was given. "
            f"Add a pair of real languages, e.g. pair=en-sw"
        ]
    if not is_toy_pair and model.kind == "toy":
        return [
            f"pair={pair}: model=toy speaks its own invented languages only (qaa to qal). "
            f"Choose a model, e.g. model=llama3, or a toy pair, e.g. pair=qaa-qaf"
        ]
    return []


def path_problems(settings: Settings) -> list[str]:
    """Which of the folders and files that the keys name are not there."""
    problems = [*model_problems(settings.model), *data_problems(settings.data)]
    own = settings.data.dictionary
    if own is not None and not Path(own).expanduser().is_file():
        problems.append(
            f"data.dictionary={own}: no such file. Give a text file with one 'word translation' pair a line"
        )
    return problems


def model_problems(model: ModelSettings) -> list[str]:
    """Which folders of the model are not there."""
    problems: list[str] = []
    if model.kind == "hf" and model.path is None:
        problems.append("model.path: not set. model=hf needs model.path=<local folder or hub id>")
    if model.path is not None and model.names_a_folder():
        problems += _folder_problems("model.path", model.path, must_hold="config.json")
    return problems + adapter_problems(model)


def adapter_problems(model: ModelSettings) -> list[str]:
    """Why the model's adapter cannot be loaded; its weights may be no pickle, which would run code when it is read."""
    if model.adapter is None:
        return []
    problems = _folder_problems("model.adapter", model.adapter, must_hold="adapter_config.json")
    if not problems and not (Path(model.adapter).expanduser() / "adapter_model.safetensors").is_file():
        problems.append(
            f"model.adapter={model.adapter}: no adapter_model.safetensors in this folder. bridgex reads no pickled "
            f"weights: convert them with save_pretrained(..., safe_serialization=True)"
        )
    return problems


def data_problems(data: DataSettings) -> list[str]:
    """Which folders and files of data are not there."""
    problems = [] if data.root is None else _folder_problems("data.root", data.root)
    problems += [
        f"data.text.{code}={file}: no such file. Give a text file with one sentence a line"
        for code, file in data.text.items()
        if not Path(file).expanduser().is_file()
    ]
    return problems


def _folder_problems(key: str, value: str, must_hold: str | None = None) -> list[str]:
    folder = Path(value).expanduser()
    if folder.is_file():
        return [f"{key}={value}: is a file. Give its folder"]
    if not folder.is_dir():
        parent = folder.parent
        inside = [child.name for child in parent.iterdir() if child.is_dir()] if parent.is_dir() else []
        near = near_matches(folder.name, inside)
        return [f"{key}={value}: no such folder" + (f" (in {parent} there is: {', '.join(near)})" if near else "")]
    if must_hold is not None and not (folder / must_hold).is_file():
        guess = f". Did you mean {Path(value) / 'model'}?" if (folder / "model" / must_hold).is_file() else ""
        return [f"{key}={value}: no {must_hold} in this folder, so transformers cannot load it{guess}"]
    if not os.access(folder, os.R_OK | os.X_OK):
        return [f"{key}={value}: this folder cannot be read. Check its permissions"]
    return []
