"""What processes of a run send each other: modules without the weights that each of them has, and errors."""

from __future__ import annotations

import io
import pickle
from typing import Any

from torch import nn

from bridgex.extract.loading import LoadedModel


class _Packer(pickle.Pickler):
    """Leaves a model's weights out: every process has them."""

    def __init__(self, file: io.BytesIO, loaded: LoadedModel) -> None:
        super().__init__(file)
        self._names: dict[int, str] = {id(module): name for name, module in loaded.model.named_modules()}
        self._loaded = loaded

    def persistent_id(self, value: Any) -> tuple[str, str] | None:
        if value is self._loaded:
            return "loaded", ""
        if value is self._loaded.encoder:
            return "encoder", ""
        if isinstance(value, nn.Module) and id(value) in self._names:
            return "module", self._names[id(value)]
        return None


class _Unpacker(pickle.Unpickler):
    """Puts this process's own weights in their place."""

    def __init__(self, file: io.BytesIO, loaded: LoadedModel) -> None:
        super().__init__(file)
        self._loaded = loaded

    def persistent_load(self, told: tuple[str, str]) -> Any:
        kind, name = told
        if kind == "module":
            return self._loaded.model.get_submodule(name)
        return self._loaded if kind == "loaded" else self._loaded.encoder


def packed(loaded: LoadedModel, value: Any) -> bytes:
    """A value as bytes, the model that it holds left out.

    Args:
        loaded: the model, which every process has.
        value: what is sent.
    """
    file = io.BytesIO()
    _Packer(file, loaded).dump(value)
    return file.getvalue()


def unpacked(loaded: LoadedModel, content: bytes) -> Any:
    """What `packed` was given, with this process's model in it.

    Args:
        loaded: the model.
        content: what `packed` made, of the same model.
    """
    return _Unpacker(io.BytesIO(content), loaded).load()


def carried(error: Exception | None) -> Exception | None:
    """An error as it can go from process to process; None: none."""
    if error is None:
        return None
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
