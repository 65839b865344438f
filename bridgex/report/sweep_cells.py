"""The cells of a sweep as its page needs them: what each came to after the correction, and what sets it apart."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from scipy.stats import false_discovery_control

from bridgex.config.settings import flat_config, hashed_config
from bridgex.records.schema import Paired
from bridgex.report.league import DIRECT
from bridgex.report.markup import Html, tag
from bridgex.report.run_files import RunFiles
from bridgex.report.words import ALPHA, SIGNS, Kind, kind_of, test_of, uses_labels

WORDS: dict[Kind, str] = {"helps": "helps", "hurts": "hurts", "open": "no evidence", "none": "no bridge"}
TITLES = {"bridge": "strategy"}
"""Headings of axes that the config calls otherwise."""
_GROUPS = ("model", "bridge", "task")
MARKS = (
    ("*", f"p < {ALPHA:g} after Benjamini-Hochberg over this sweep."),
    ("†", "The bridge was chosen with labels, which nobody has who needs a bridge."),
)
TRANSLATED = "translated"
HINTS = {
    TRANSLATED: "the context put straight into the target language, no bridge: the fair opponent of a bridge",
    "gold": "through the data set's own text in the chosen bridge",
}
"""What columns hold that several tables have."""
_GOLD = " (gold)"


@dataclass(frozen=True)
class SweepCell:
    """One cell.

    Attributes:
        run: its files.
        p_corrected: its test's p after Benjamini-Hochberg over the sweep; None: no test.
        axes: what sets it apart besides its pair, by the names of all axes of the sweep, in their order.
    """

    run: RunFiles
    p_corrected: float | None
    axes: Mapping[str, str]

    @property
    def label(self) -> str:
        """Its pair; its folder's name where no file tells."""
        return self.run.pair or self.run.folder.name

    @property
    def kind(self) -> Kind:
        """What it comes to after the correction."""
        metrics = self.run.metrics
        if not self.run.is_done:
            is_failed = self.run.status is None or self.run.status.state == "failed"
            return "failed" if is_failed else "unfinished"
        if metrics is None:
            return "failed"
        if metrics.paired is None:
            return "none"
        is_clear = self.p_corrected is None or self.p_corrected < ALPHA
        return kind_of(metrics.paired) if is_clear else "open"

    @property
    def word(self) -> str:
        """The same in a word: of a cell that is not done, its state."""
        return WORDS.get(self.kind) or self.state

    @property
    def state(self) -> str:
        """done, failed, interrupted, running, or damaged: what it came to cannot be read."""
        if self.run.status is None or (self.run.is_done and self.run.metrics is None):
            return "damaged"
        return self.run.status.state

    @property
    def paired(self) -> Paired | None:
        """The chosen bridge against direct."""
        return self.run.metrics.paired if self.run.metrics is not None and self.run.is_done else None

    @property
    def uses_labels(self) -> bool:
        """Whether its bridge was chosen with labels."""
        return uses_labels(self.paired)

    @property
    def mark(self) -> str:
        """Its verdict's marks in a LaTeX table."""
        is_clear = self.p_corrected is not None and self.p_corrected < ALPHA
        return ("*" if is_clear else "") + ("†" if self.uses_labels else "")

    @property
    def scores(self) -> dict[str, float]:
        """Score by route; empty until it is done."""
        metrics = self.run.metrics if self.run.is_done else None
        return {route: found.score for route, found in metrics.routes.items()} if metrics is not None else {}

    @property
    def via(self) -> dict[str, float]:
        """Score by bridge, in the model's own text."""
        return {
            route.removeprefix("via "): score
            for route, score in self.scores.items()
            if route.startswith("via ") and not route.endswith(_GOLD)
        }

    @property
    def chosen(self) -> str | None:
        """The chosen bridge."""
        return self.run.metrics.chosen if self.run.metrics is not None and self.run.is_done else None

    @property
    def taken(self) -> str | None:
        """What was chosen: a bridge, or to go directly."""
        metrics = self.run.metrics if self.run.is_done else None
        return DIRECT if metrics is not None and metrics.chose_direct else self.chosen

    @property
    def translated(self) -> float | None:
        """Score of the context put straight into the target language: the fair opponent of every bridge."""
        return self.scores.get(TRANSLATED)

    @property
    def plain_word(self) -> str:
        """Its word, and whether labels were used."""
        return f"{self.word}{' (uses labels)' if self.uses_labels else ''}"

    @property
    def gold(self) -> float | None:
        """Score through the data set's own text in the chosen bridge."""
        return self.scores.get(f"via {self.chosen}{_GOLD}")

    @property
    def seconds(self) -> float | None:
        """That processes worked at it, less those that were killed."""
        return self.run.status.seconds if self.run.status is not None else None


def sweep_cells(runs: Sequence[RunFiles]) -> list[SweepCell]:
    """The cells of a sweep, their tests corrected together.

    A test counts once, however many strategies chose the same bridge. Tests of bridges that labels chose, nearly all
    of which are significant, are a family of their own: they must not loosen the correction of the others.
    """
    tests = [_test(run) for run in runs]
    corrected: dict[_Test, float] = {}
    for has_labels in (False, True):
        family = sorted({found for found in tests if found is not None and found.uses_labels == has_labels})
        if family:
            q_values = false_discovery_control([found.p for found in family])
            corrected |= dict(zip(family, map(float, q_values), strict=True))
    return [
        SweepCell(run, None if found is None else corrected[found], own)
        for run, found, own in zip(runs, tests, _axes(runs), strict=True)
    ]


def num_tests(cells: Sequence[SweepCell]) -> tuple[int, int]:
    """How many tests are corrected together: those without labels, and those of bridges that labels chose."""
    found = {test for cell in cells if (test := _test(cell.run)) is not None}
    return sum(not test.uses_labels for test in found), sum(test.uses_labels for test in found)


class _Test(NamedTuple):
    """A test of one bridge against direct.

    Attributes:
        uses_labels: whether labels chose the bridge.
        p: its p.
        bridge: the bridge.
        others: the config but for how the bridge was chosen.
    """

    uses_labels: bool
    p: float
    bridge: str
    others: str


def _test(run: RunFiles) -> _Test | None:
    metrics = run.metrics if run.is_done else None
    p = p_of(metrics.paired) if metrics is not None and metrics.paired is not None else None
    if metrics is None or p is None:
        return None
    others = {key: value for key, value in hashed_config(run.config).items() if key != "bridge"}
    told = json.dumps(others, sort_keys=True, default=str)
    return _Test(uses_labels(metrics.paired), p, metrics.chosen or "", told)


def p_of(paired: Paired) -> float | None:
    """The p of the test that a verdict rests on."""
    found = test_of(paired)
    return None if found is None else found[1]


def _axes(runs: Sequence[RunFiles]) -> list[dict[str, str]]:
    """Of each cell what sets it apart: names of groups, settings that differ between namesakes, the task last."""
    telling = [group for group in _GROUPS if len({run.name(group) for run in runs if run.config}) > 1]
    namesakes: dict[tuple[str, ...], list[dict[str, str]]] = {}
    flat = [flat_config(hashed_config(run.config)) for run in runs]
    for run, config in zip(runs, flat, strict=True):
        if config:
            namesakes.setdefault((run.pair, *(run.name(group) for group in _GROUPS)), []).append(config)
    keys = {key for configs in namesakes.values() for key in _differing(configs)}
    names = sorted([*telling, *keys], key=lambda name: (name == "task", name in keys))
    return [
        {name: run.name(name) if name in telling else config.get(name, "").strip('"') for name in names}
        for run, config in zip(runs, flat, strict=True)
    ]


def _differing(configs: Sequence[Mapping[str, str]]) -> set[str]:
    first = configs[0]
    return {key for other in configs[1:] for key in first.keys() | other.keys() if first.get(key) != other.get(key)}


def setting(name: str, value: str) -> str:
    """A value that sets a cell apart: a group's choice by itself, a setting with its key."""
    return f"{name}={value}" if "." in name and value else value


def natural(text: str) -> list[tuple[int, str]]:
    """What texts are sorted by where numbers in them count as numbers.

    >>> sorted(["task 100", "task 20"], key=natural)
    ['task 20', 'task 100']
    """
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)]


def verdict_word(cell: SweepCell) -> Html:
    """A verdict as sign, colour and word."""
    sign = tag("span", SIGNS[cell.kind], class_="sign", aria_hidden="true")
    return tag("span", sign, cell.plain_word, class_=f"verdict-word {cell.kind}")


def linked(folder: Path, run: RunFiles, label: str) -> Html:
    """A label that leads to a cell's own page, where there is one below the sweep's folder."""
    page = run.folder / "report.html"
    if not page.is_file():
        return tag("span", label)
    try:
        place = page.resolve().relative_to(folder.resolve())
    except ValueError:
        return tag("span", label)
    return tag("a", label, href="./" + quote(place.as_posix()))
