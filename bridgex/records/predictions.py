"""predictions.jsonl: a line a sample and route, on the disk before the next batch is asked."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

from pydantic import ValidationError

from bridgex.errors import UserError
from bridgex.records.files import as_lines, write_text, writing
from bridgex.records.schema import Prediction


class PredictionWriter:
    """Appends to one predictions file, a whole line at a time, flushed to the disk before it returns.

    Args:
        folder: the run's folder.
        rank: number of this process; each one writes its own file, and `merge_predictions` joins them.
    """

    def __init__(self, folder: Path, rank: int = 0) -> None:
        self._path = folder / ("predictions.jsonl" if rank == 0 else f"predictions.{rank}.jsonl")
        with writing(self._path):
            _drop_cut_line(self._path)
            self._file: TextIO = self._path.open("a", encoding="utf-8")

    def append(self, predictions: Iterable[Prediction]) -> None:
        """Writes one line for each prediction.

        Raises:
            UserError: the disk is full or the file cannot be written.
        """
        with writing(self._path):
            self._file.write(as_lines(predictions))
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Closes the file."""
        with writing(self._path):
            self._file.close()


def read_predictions(folder: Path) -> list[Prediction]:
    """All recorded predictions, those of every process; a line cut short by a kill is left out, a repeated one too.

    Raises:
        UserError: a line in the middle of a file is damaged.
    """
    found: dict[tuple[str, str], Prediction] = {}
    for path in _prediction_files(folder):
        for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
            try:
                prediction = Prediction.model_validate_json(line)
            except ValidationError:
                raise UserError(
                    f"{path}:{number}: damaged, or not a record of bridgex. Delete this line, and the same command "
                    f"asks that sample again"
                ) from None
            found.setdefault((prediction.route, prediction.id), prediction)
    return list(found.values())


def num_lost(folder: Path) -> int:
    """How many answers metrics.json of a finished run counts that predictions.jsonl has no line for.

    Lines are counted, not read: a sweep asks this of each of its cells.
    """
    metrics, recorded = folder / "metrics.json", folder / "predictions.jsonl"
    routes = json.loads(metrics.read_bytes()).get("routes", {}) if metrics.is_file() else {}
    lines = recorded.read_bytes().count(b"\n") if routes and recorded.is_file() else 0
    return max(0, sum(int(route["n"]) for route in routes.values()) - lines)


def merge_predictions(folder: Path, order: Iterable[tuple[str, str]]) -> list[Prediction]:
    """Joins all processes' files into predictions.jsonl and returns the wanted ones.

    Args:
        folder: the run's folder.
        order: the (route, id) wanted, which stand first in the file; what else is recorded follows.
    """
    found = {(prediction.route, prediction.id): prediction for prediction in read_predictions(folder)}
    wanted = [found.pop(key) for key in order]
    write_text(folder / "predictions.jsonl", as_lines([*wanted, *found.values()]))
    for path in _prediction_files(folder):
        if path.name != "predictions.jsonl":
            path.unlink()
    return wanted


def _prediction_files(folder: Path) -> list[Path]:
    return [
        path for path in [folder / "predictions.jsonl", *sorted(folder.glob("predictions.*.jsonl"))] if path.exists()
    ]


def _drop_cut_line(path: Path) -> None:
    if not path.exists():
        return
    with path.open("r+b") as file:
        data = file.read()
        if data and not data.endswith(b"\n"):
            file.truncate(data.rfind(b"\n") + 1)
