"""What is said of data sets: in a table of them, and of rows that were looked at; shown, not kept in a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "note", "fine"]


@dataclass(frozen=True)
class Finding:
    """One thing found in a data set's rows.

    Attributes:
        severity: `error` stops a run that reads them, `note` stands beside its results, `fine` is as it should be.
        text: one line.
    """

    severity: Severity
    text: str


@dataclass(frozen=True)
class DataSetLine:
    """One data set, as a table shows it.

    Attributes:
        name: its folder under `data.root`.
        tasks: what a command writes to use it.
        languages: our codes.
        splits: each with its rows, the evaluated one first.
        licence: its name.
        conditions: what it asks for besides attribution.
        kilobytes: roughly, of one language or pair.
        place: `yes`, `cache` (the hub's) or `no`.
    """

    name: str
    tasks: tuple[str, ...]
    languages: tuple[str, ...]
    splits: tuple[str, ...]
    licence: str
    conditions: tuple[str, ...]
    kilobytes: int
    place: str
