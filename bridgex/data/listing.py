"""`bridgex data list`: what there is, and where it lies; nothing is read or asked for."""

from __future__ import annotations

import os
from pathlib import Path

from bridgex.data.catalogue import CATALOGUE, DataSet
from bridgex.errors import UserError
from bridgex.languages import language, near_matches
from bridgex.records.data_checks import DataSetLine


def lines(root: Path, task: str | None = None, code: str | None = None) -> list[DataSetLine]:
    """The data sets, one line each.

    Args:
        root: folder of data sets that may be there, as `data.root`.
        task: only those that this task uses.
        code: only those that have this language.

    Raises:
        UserError: no such task or language, or no data set for both.
    """
    tasks = sorted({_task_name(text) for data in CATALOGUE.values() for text in data.tasks})
    if task is not None and task not in tasks:
        near = near_matches(task, tasks)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise UserError(f"--task {task}: no such task.{hint} There are {', '.join(tasks)}")
    if code is not None:
        language(code)  # says which codes there are
    found = [
        data
        for data in CATALOGUE.values()
        if (task is None or task in map(_task_name, data.tasks)) and (code is None or code in data.languages())
    ]
    if not found:
        raise UserError(f"--task {task}: no data set for it has {language(code or '').english}. Leave --task out")
    return [_line(data, root) for data in found]


def _line(data: DataSet, root: Path) -> DataSetLine:
    return DataSetLine(
        name=data.name,
        tasks=data.tasks,
        languages=data.languages(),
        splits=tuple(f"{split.name} {split.rows or ''}".strip() for split in data.splits),
        licence=data.licence.name,
        conditions=data.licence.conditions(),
        kilobytes=data.kilobytes,
        place=_place(data, root),
    )


def _place(data: DataSet, root: Path) -> str:
    if (root.expanduser() / data.name).is_dir():
        return "yes"
    if data.source is not None and (_cache() / data.source.hub_id.replace("/", "___")).is_dir():
        return "cache"
    return "no"


def _cache() -> Path:
    """Where `datasets` keeps what it has read from the hub."""
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface"))
    return Path(os.environ.get("HF_DATASETS_CACHE", home / "datasets")).expanduser()


def _task_name(text: str) -> str:
    return text.split()[0].removeprefix("task=")
