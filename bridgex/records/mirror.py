"""What a run is called in W&B, from its own files alone: whoever mirrors or reports it calls it the same."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from bridgex.config.settings import LoggerSettings, from_yaml
from bridgex.errors import UserError
from bridgex.records.store import read_status
from bridgex.records.sweep import cells_of

SINGLE = "single"
"""The group of runs that belong to no sweep."""
_UNNAMED = "default"  # sweep.name, where none was given
_MARKS = ("plan.*.json", "multirun.yaml")  # of a sweep's folder, from before its first cell on
_MAX_GROUP = 128  # characters that W&B takes


class Identity(NamedTuple):
    """What W&B knows a run by.

    Attributes:
        group: the sweep's name, or `single`.
        job_type: evaluate or train.
        run_id: the same for the same run, wherever its folder lies and however often it was gone on with.
    """

    group: str
    job_type: str
    run_id: str


def identity_of(folder: Path) -> Identity | None:
    """What a run is called; None: it ended before it had a config, so there is nothing to mirror.

    The id is made of the config's hash and of the run's first start, which status.json keeps when a run is gone on
    with: a copied folder is the same run, and the same config run twice is two.

    Args:
        folder: the run's folder.

    Raises:
        UserError: its status.json is missing or damaged.
    """
    status, config = read_status(folder), from_yaml(folder / "config.yaml")
    if status is None:
        raise UserError(f"{folder}: status.json is missing or damaged, so this run cannot be told from others")
    if not status.config_hash:
        return None
    digest = hashlib.sha256(f"{status.config_hash}/{status.start}".encode()).hexdigest()
    job_type = "evaluate" if "pair" in config else "train"
    return Identity(_group(folder, config, status.config_hash), job_type, digest[:16])


def options_of(folder: Path) -> LoggerSettings:
    """The mirror's settings of a run; the defaults where it was made without a mirror."""
    try:
        options = LoggerSettings.model_validate(from_yaml(folder / "config.yaml").get("logger") or {})
    except ValidationError:
        options = LoggerSettings()
    return options if options.name == "wandb" else LoggerSettings(name="wandb")


def runs_of(path: Path) -> list[Path]:
    """The runs that a folder stands for: itself, or the cells of a sweep.

    Raises:
        UserError: it holds neither.
    """
    if (path / "status.json").is_file():
        return [path]
    cells = cells_of(path)
    if not cells:
        raise UserError(
            f"{path}: holds no run (status.json) and no sweep (folders that hold one). "
            f"Give the folder of a run, or that of a sweep"
        )
    return cells


def _group(folder: Path, config: Mapping[str, Any], config_hash: str) -> str:
    """A sweep's name; one without a name goes by its folder's."""
    parent = folder.resolve().parent
    # The cells of a sweep bear their config's hash, so that one copied out of its sweep still tells.
    has_sweep = any(True for mark in _MARKS for _ in parent.glob(mark))
    if not has_sweep and not folder.resolve().name.endswith(f"_{config_hash}"):
        return SINGLE
    node = config.get("sweep")
    name = str(node.get("name") or _UNNAMED) if isinstance(node, Mapping) else _UNNAMED
    if name == _UNNAMED and has_sweep:
        name = re.sub(r"[^\w.+-]", "-", parent.name)  # what sweep.name may hold: filters take it as it is
    return name[:_MAX_GROUP]
