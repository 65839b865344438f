"""Nodes with `_target_: package.module.Class`: a user's own class needs only an importable path."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from bridgex.config.mistakes import InvalidNode, lines_of
from bridgex.errors import UserError

T = TypeVar("T")


@dataclass(frozen=True)
class Target:
    """A class by its path, with keyword arguments that fit its typed constructor.

    Attributes:
        path: `package.module.Class`.
        arguments: the node's other keys.
    """

    path: str
    arguments: Mapping[str, Any]

    @classmethod
    def from_node(cls, node: object) -> Target:
        """Reads a node, without importing its class.

        Raises:
            InvalidNode: no `_target_`.
        """
        if isinstance(node, Target):
            return node
        if not isinstance(node, Mapping) or not isinstance(node.get("_target_"), str):
            raise InvalidNode(["_target_: missing. Give the import path of a class, e.g. my_package.MyClass"])
        return cls(node["_target_"], {str(key): value for key, value in node.items() if key != "_target_"})

    @classmethod
    def checked(cls, node: object) -> Target:
        """Reads a node and checks its keys against the constructor; the class is imported, not built.

        Raises:
            InvalidNode: no `_target_`, a path that cannot be imported, or arguments that do not fit, one line each.
        """
        target = cls.from_node(node)
        target._check()
        return target

    def build(self, base: Callable[..., T]) -> T:  # not type[T]: an abstract class is welcome
        """Builds the object.

        Args:
            base: the class, abstract or not, that it must be an instance of.

        Raises:
            UserError: it is something else, or its arguments do not fit.
        """
        assert inspect.isclass(base)
        try:
            self._check()
            built = self._load()(**self.arguments)
        except InvalidNode as error:
            raise UserError(*(f"{self.path}: {line}" for line in error.lines)) from None
        if not isinstance(built, base):
            raise UserError(f"_target_={self.path}: must be a {base.__module__}.{base.__qualname__}")
        return cast(T, built)

    def _load(self) -> Any:
        module, _, name = self.path.rpartition(".")
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise InvalidNode(
                [f"_target_={self.path}: cannot be imported ({error}). Check the path and PYTHONPATH"]
            ) from None

    def _check(self) -> None:
        settings = _constructor_model(self._load())
        if settings is None:
            return
        try:
            settings.model_validate(dict(self.arguments))
        except ValidationError as error:
            raise InvalidNode(lines_of(error, settings)) from None


def _constructor_model(made: Any) -> type[BaseModel] | None:
    """A model of a constructor's typed arguments; None where it takes anything and must complain itself."""
    if inspect.isclass(made) and issubclass(made, BaseModel):
        return made
    hints = get_type_hints(made.__init__ if inspect.isclass(made) else made, include_extras=True)
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(made).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            return None
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[name] = (hints.get(name, Any), default)
    config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)
    model: type[BaseModel] = create_model(made.__name__, __config__=config, **fields)
    return model
