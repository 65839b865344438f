"""What fetching any data set needs: where to, how far it has come, and the README that says what lies there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bridgex.data.catalogue import DataSet
from bridgex.data.fetch.downloads import Download, client, download
from bridgex.data.layout import Layout
from bridgex.records.files import write_bytes, writing

OURS = "Fetched by bridgex"
"""Stands in the README of a folder that bridgex made, and may change."""

HIDDEN = ".arriving"
"""Folder of what is converted after it has arrived, and then taken away."""


class Watcher(Protocol):
    """Is told how far a fetch has come."""

    def begin(self, name: str, num_bytes: int | None) -> None:
        """A data set's files begin to arrive; None: how much is not known."""

    def advance(self, num_bytes: int) -> None:
        """So many bytes more have arrived; negative: they must be had again."""


@dataclass(frozen=True)
class Fetched:
    """What was fetched.

    Attributes:
        folder: the data set's.
        num_files: files, of which `num_new` were not there before.
        num_new: files that were downloaded.
        origins: repositories with their commits, or addresses.
        codes: our codes of the languages.
    """

    folder: Path
    num_files: int
    num_new: int
    origins: tuple[str, ...]
    codes: tuple[str, ...]


@dataclass(frozen=True)
class Job:
    """Fetching one data set.

    Attributes:
        data: the data set.
        codes: our codes of its languages to fetch.
        folder: where to.
        watcher: is told how far it has come.
        endpoint: of the hub; None: huggingface.co, or HF_ENDPOINT.
        addresses: of plain files; None: the data set's own.
        wait: sleeps between tries.
        with_training: whether rows to fine-tune on are wanted, too, which are many times as many.
    """

    data: DataSet
    codes: tuple[str, ...]
    folder: Path
    watcher: Watcher
    endpoint: str | None
    addresses: tuple[str, ...] | None
    wait: Callable[[float], None]
    with_training: bool = False


def address(job: Job) -> str:
    """Where the data set's plain files are, with `{}` for the file."""
    return (job.addresses or job.data.addresses)[0]


def plain_download(job: Job, file: str, path: Path) -> Download:
    """A plain file of the data set."""
    return Download(address(job).format(file), path)


def download_all(job: Job, items: Sequence[Download]) -> int:
    """Gets files one after the other; how many were not there.

    Raises:
        UserError: as `download`.
    """
    sizes = [item.size for item in items]
    job.watcher.begin(job.data.name, None if None in sizes else sum(size or 0 for size in sizes))
    with client() as connection:
        return sum(download(connection, item, job.watcher.advance, job.wait) for item in items)


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file whole, then renames it into place.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    with writing(path, "--root"):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, content, "--root")


def write_readme(job: Job, configs: Mapping[str, Mapping[str, Sequence[str]]], origins: Sequence[str]) -> None:
    """Says in the hub's own form what lies in the folder, beside what an earlier fetch left there.

    Args:
        job: the data set.
        configs: files by config and split.
        origins: where they come from.
    """
    import yaml

    there = {config: {split: list(files) for split, files in splits.items()} for config, splits in configs.items()}
    for config, splits in Layout(job.folder).readme.items():
        there.setdefault(config, {split: list(files) for split, files in splits.items()})
    header = [
        {
            "config_name": config,
            "data_files": [{"split": split, "path": files} for split, files in splits.items()],
        }
        for config, splits in sorted(there.items())
    ]
    text = (
        f"---\n{yaml.safe_dump({'configs': header}, sort_keys=False)}---\n\n# {job.data.title}\n\n"
        f"{OURS} from {', '.join(origins)}.\n\nLicence: {job.data.licence.line()} ({job.data.licence.page})\n"
    )
    write_whole(job.folder / "README.md", text.encode())
