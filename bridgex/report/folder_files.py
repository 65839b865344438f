"""What the folder of a run of either command holds, as a page needs it; what is missing or damaged is said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from bridgex.config.settings import from_yaml
from bridgex.records.schema import Status
from bridgex.records.store import read_status


@dataclass(frozen=True)
class FolderFiles:
    """What is in every run's folder.

    Attributes:
        folder: where it lies.
        status: None where status.json is missing or damaged.
        config: empty where config.yaml is missing or damaged.
        config_text: config.yaml as it is.
        problems: which files could not be read.
    """

    folder: Path
    status: Status | None
    config: Mapping[str, Any]
    config_text: str
    problems: tuple[str, ...]

    @property
    def is_done(self) -> bool:
        """Whether the run ended well."""
        return self.status is not None and self.status.state == "done"

    def name(self, group: str) -> str:
        """The name of a config group's choice; empty where the config does not tell."""
        return str(self.settings(group).get("name", ""))

    def settings(self, group: str) -> Mapping[str, Any]:
        """What the config says of a group; empty where it does not."""
        node = self.config.get(group)
        return node if isinstance(node, Mapping) else {}


class Head(NamedTuple):
    """The two files that every run begins with, as `FolderFiles` has them."""

    status: Status | None
    config: Mapping[str, Any]
    config_text: str


def read_head(folder: Path, problems: list[str]) -> Head:
    """Reads what every run begins with.

    Args:
        folder: of the run.
        problems: gets which files could not be read.
    """
    status, config = read_status(folder), from_yaml(folder / "config.yaml")
    if status is None:
        problems.append("status.json is missing or damaged")
    if not config:
        problems.append("config.yaml is missing or damaged")
    return Head(status, config, text_of(folder / "config.yaml"))


def text_of(path: Path) -> str:
    """A file's text, what is not UTF-8 replaced; empty where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
