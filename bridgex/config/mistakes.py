"""From what pydantic says of a mistake to one clear line: key, value, what is allowed, nearest match."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from bridgex.languages import near_matches

if TYPE_CHECKING:  # pydantic takes longer to import than a query such as --cfg may take
    from pydantic import BaseModel, ValidationError


class InvalidNode(ValueError):
    """A config node that checked itself and found mistakes; the lines' keys are relative to the node.

    Attributes:
        lines: one for every mistake.
    """

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = tuple(lines)


def lines_of(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """One line for every mistake that pydantic found.

    Args:
        error: what pydantic raised.
        model: the model that was validated; unknown keys are compared with its fields.
    """
    lines = []
    for item in error.errors(include_url=False):
        key = ".".join(str(part) for part in item["loc"])
        context: Mapping[str, Any] = item.get("ctx", {})
        raised = context.get("error")
        if isinstance(raised, InvalidNode):
            lines += [f"{key}.{line}" if key else line for line in raised.lines]
        elif item["type"] == "extra_forbidden":
            lines.append(unknown_key(key, known_keys(model, [str(part) for part in item["loc"][:-1]])))
        elif item["type"] == "missing":
            lines.append(f"{key}: missing, and it has no default")
        elif item["type"] in ("tuple_type", "list_type"):
            lines.append(f"{key}={item['input']}: should be a list. Write [{item['input']}]")
        elif item["type"] == "too_short":
            lines.append(f"{key}=[]: is empty. Name at least one, or give null for the default")
        elif item["type"] == "literal_error":
            lines.append(not_allowed(key, item["input"], re.findall(r"'([^']*)'", str(context.get("expected", "")))))
        else:
            text = item["msg"].removeprefix("Input ").removeprefix("Value error, ")
            lines.append(f"{key}={item['input']}: {text[0].lower()}{text[1:]}")
    return lines


def unknown_key(key: str, allowed: Sequence[str]) -> str:
    """The line for a key that does not exist; `allowed` are the keys of its node."""
    near = near_matches(key.rpartition(".")[2], allowed)
    guess = f", did you mean {' or '.join(near)}?" if near else "."
    return f"{key}: no such key{guess}" + (f" Allowed here: {', '.join(sorted(allowed))}" if allowed else "")


def not_allowed(key: str, given: object, allowed: Sequence[str]) -> str:
    """The line for a value outside a fixed list."""
    near = near_matches(str(given), allowed)
    guess = f" (nearest: {', '.join(near)})" if near else ""
    return f"{key}={given}: not allowed{guess}. Allowed: {', '.join(allowed)}"


def known_keys(model: type[BaseModel], path: Sequence[str]) -> list[str]:
    """The keys that a node of `model` knows; empty where the node is free-form."""
    node: object = model
    for part in path:
        field = getattr(node, "model_fields", {}).get(part)
        node = None if field is None else cast(object, field.annotation)
    return list(getattr(node, "model_fields", {}))


_LAUNCHERS = {"slurm": "submitit", "submitit_slurm": "submitit", "submitit_local": "submitit", "ray": "ray"}
"""Launchers by name, with the plugin that brings each."""
_EXTRAS = {"submitit": "slurm", "ray": "ray"}


def launcher_problem(name: str) -> str:
    """Why a launcher is not there: its plugin is not installed, or there is none of that name."""
    plugin = _LAUNCHERS.get(name)
    if plugin is None:
        return not_allowed("hydra/launcher", name, sorted({"basic", *_LAUNCHERS}))
    return (
        f"hydra/launcher={name.removeprefix('submitit_')}: needs hydra-{plugin}-launcher, not installed here. Run pip "
        f"install 'bridgex[{_EXTRAS[plugin]}]'"
    )


def secret_on_disk(override: str) -> str:
    """The line for a secret among a sweep's overrides, which its plan keeps for the processes that run its cells."""
    key = override.partition("=")[0].lstrip("+")
    return f"{key}: a sweep keeps its overrides on disk, and this one holds a secret. Write '{key}=${{oc.env:NAME}}'"
