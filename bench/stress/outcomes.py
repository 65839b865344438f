"""What one kind of trouble came to."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Outcome:
    """How often something was tried, and what was lost by it.

    Attributes:
        kind: of trouble.
        tried: how often.
        lost: how many of these lost something, or ended in another way than is promised.
        findings: what, a line each.
        skipped: why nothing, or a part, could be tried here; None: all was.
    """

    kind: str
    tried: int = 0
    lost: int = 0
    findings: list[str] = field(default_factory=list)
    skipped: str | None = None
    start: float = field(default_factory=time.monotonic)

    def count(self, told: str, problems: Sequence[str]) -> None:
        """Counts one trial.

        Args:
            told: what was tried.
            problems: what went wrong; empty: nothing.
        """
        self.tried += 1
        self.lost += bool(problems)
        self.findings += [f"{told}: {problem}" for problem in problems]

    def line(self) -> str:
        """One JSON line."""
        told = {
            "kind": self.kind,
            "tried": self.tried,
            "survived": self.tried - self.lost,
            "lost": self.lost,
            "seconds": round(time.monotonic() - self.start, 1),
            "findings": self.findings,
            "skipped": self.skipped,
        }
        return json.dumps(told, ensure_ascii=False)


@dataclass(frozen=True)
class Bench:
    """Where and how trouble is made.

    Attributes:
        home: an empty folder for all of it.
        seed: of what is random.
        share: of the full number of trials.
        slow: by what limits of time are multiplied.
    """

    home: Path
    seed: int
    share: float
    slow: float

    def trials(self, full: int) -> int:
        """How many of so many trials."""
        return max(1, round(full * self.share))
