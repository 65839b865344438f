"""A fine-tuning run's files as a page needs them: what is not there yet, or damaged, is said and not fatal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from bridgex.config.train_settings import makes_a_model
from bridgex.errors import UserError
from bridgex.records.train_files import read_answers, read_drift, read_train_metrics
from bridgex.records.train_schema import DriftRecord, LabelRecord, TrainMetrics
from bridgex.report.folder_files import FolderFiles, read_head
from bridgex.stats.paired import difference_interval

# Depths between which blocks are the middle of a model, as probe.depth has them.
_MIDDLE = (0.3125, 0.6875)
_FULL, _HYPOTHESIS_ONLY = "fine-tuned", "hypothesis-only"

DriftMap = Mapping[str, Mapping[int, float]]
T = TypeVar("T")


@dataclass(frozen=True)
class TrainRun(FolderFiles):
    """What the folder of a run of train.py holds.

    Attributes:
        metrics: None where there are none yet.
        drift: all lines of drift.jsonl.
        right: 1 where an answer is right, 0 where not, by model, language and item, with the item's group.
        num_answers: lines of answers.jsonl.
    """

    metrics: TrainMetrics | None
    drift: tuple[DriftRecord, ...]
    right: Mapping[tuple[str, str], Mapping[str, tuple[int, str]]]
    num_answers: int

    @property
    def sources(self) -> list[str]:
        """Codes of the languages that were fine-tuned on; empty where no file tells."""
        if self.metrics is not None:
            return self.metrics.source.split("+")
        found = self.config.get("source")
        codes = found.split("+") if isinstance(found, str) else found
        return [str(code) for code in codes] if isinstance(codes, list) else []

    @property
    def is_recipe(self) -> bool:
        """Whether the run makes a model from nothing, and so measures no transfer."""
        return makes_a_model(self.config)

    @cached_property
    def steps(self) -> list[int]:
        """Steps at which drift was measured."""
        return sorted({row.step for row in self.drift})

    @cached_property
    def poolings(self) -> list[str]:
        """Poolings with drift on record, the reported one first."""
        first = [self.metrics.pooling] if self.metrics is not None else []
        return list(dict.fromkeys([*first, *(row.pooling for row in self.drift)]))

    def last_drift(self, pooling: str) -> DriftMap:
        """Drift by language and block at the last step; missing blocks are left out."""
        if self.metrics is not None and pooling == self.metrics.pooling:
            return self.metrics.drift
        is_biased = self.metrics is not None and self.metrics.estimator != "unbiased"
        return {
            row.language: {
                block: value
                for block, value in enumerate(row.biased if is_biased else row.unbiased)
                if value is not None
            }
            for row in self.last_rows(pooling)
        }

    def last_rows(self, pooling: str) -> list[DriftRecord]:
        """Lines of drift.jsonl at the last step."""
        return [row for row in self.drift if row.pooling == pooling and row.step == self.steps[-1]]


class Against(NamedTuple):
    """How much higher the fine-tuned model scores than a control on the same items.

    Attributes:
        difference: score less the control's.
        ci95: its 95 % interval; None: cannot be had.
    """

    difference: float
    ci95: tuple[float, float] | None

    @property
    def is_above(self) -> bool:
        """Whether the whole interval is above 0; without one, the difference itself."""
        return (self.difference if self.ci95 is None else self.ci95[0]) > 0


def read_train_run(folder: Path) -> TrainRun:
    """Reads the folder of a run of train.py."""
    problems: list[str] = []
    status, config, config_text = read_head(folder, problems)
    metrics = None
    if (folder / "metrics.json").exists():
        metrics = _read(lambda: read_train_metrics(folder), "metrics.json", problems)
    elif status is not None and status.state == "done" and not makes_a_model(config):
        problems.append("metrics.json is missing")
    drift = _read(lambda: read_drift(folder), "drift.jsonl", problems) or []
    answers = _read(lambda: read_answers(folder), "answers.jsonl", problems) or []
    return TrainRun(
        folder=folder,
        status=status,
        config=config,
        config_text=config_text,
        metrics=metrics,
        drift=tuple(drift),
        right=_right(answers),
        num_answers=len(answers),
        problems=tuple(problems),
    )


def blocks_of(drift: DriftMap) -> list[int]:
    """All blocks of which a language has a drift."""
    return sorted({block for values in drift.values() for block in values})


def mean_blocks(drift: DriftMap) -> list[int]:
    """Blocks that a mean over blocks takes: those that all languages have, without the embeddings where it can be."""
    shared = [block for block in blocks_of(drift) if all(block in values for values in drift.values())]
    return [block for block in shared if block] or shared


def mean_drift(drift: DriftMap) -> dict[str, float]:
    """Mean drift of each language over `mean_blocks`; empty where languages share no block."""
    blocks = mean_blocks(drift)
    return {code: fmean(values[block] for block in blocks) for code, values in drift.items()} if blocks else {}


def middle_blocks(blocks: list[int]) -> list[int]:
    """The blocks in the middle of a model, by depth, out of all that it has; where none is, all but the embeddings."""
    deepest = max(blocks, default=0)
    middle = [block for block in blocks if deepest and _MIDDLE[0] <= (block - 0.5) / deepest < _MIDDLE[1]]
    return middle or [block for block in blocks if block] or blocks


def against_hypothesis_only(run: TrainRun) -> dict[str, Against]:
    """By language: the fine-tuned model's score less that of a model that never sees the premise.

    The interval is over the same items, groups resampled whole; it is None where answers.jsonl does not have both
    models' answers to the same items.
    """
    if run.metrics is None or run.metrics.controls.hypothesis_only is None:
        return {}
    found = {}
    for code, control in run.metrics.controls.hypothesis_only.items():
        if code in run.metrics.transfer:
            full, other = (run.right.get((model, code), {}) for model in (_FULL, _HYPOTHESIS_ONLY))
            if full and full.keys() == other.keys():
                found[code] = _difference(full, other)
            else:
                found[code] = Against(run.metrics.transfer[code].score - control, None)
    return found


def _difference(full: Mapping[str, tuple[int, str]], other: Mapping[str, tuple[int, str]]) -> Against:
    differences: NDArray[np.float64] = np.array([full[item][0] - other[item][0] for item in full], dtype=np.float64)
    groups = [group for _, group in full.values()]
    return Against(float(differences.mean()), difference_interval(differences, groups))


def _right(answers: list[LabelRecord]) -> dict[tuple[str, str], dict[str, tuple[int, str]]]:
    found: dict[tuple[str, str], dict[str, tuple[int, str]]] = {}
    for row in answers:
        found.setdefault((row.model, row.language), {})[row.id] = (int(row.answer == row.gold), row.group)
    return found


def _read(read: Callable[[], T], name: str, problems: list[str]) -> T | None:
    try:
        return read()
    except UserError:
        problems.append(f"{name} is damaged")
    except OSError:
        problems.append(f"{name} cannot be read")
    return None
