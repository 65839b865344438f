"""A run's folder: what is in it is whole or not there, and a run killed at any point goes on from it."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
from pydantic import ValidationError

from bridgex.config.settings import config_hash, flat_config, from_yaml, hashed_config, to_yaml
from bridgex.errors import UserError
from bridgex.records.files import place_problem, write_json, write_text, writing
from bridgex.records.log import LogFile
from bridgex.records.predictions import read_predictions
from bridgex.records.schema import Metrics, Record, State, Status
from bridgex.records.train_files import has_begun

# Two tasks differ in a hundred keys; so many are named.
_MAX_KEYS = 8
_PACKAGES = ("bridgex", "torch", "lightning", "transformers", "tokenizers", "hydra-core", "numpy", "scipy")


class RunFolder:
    """The folder of one run, open for writing; use as a context manager.

    Attributes:
        folder: where it lies.
        status: what status.json says.
    """

    def __init__(self, folder: Path, status: Status) -> None:
        self.folder = folder
        self.status = status
        self._log = LogFile(folder / "log.jsonl")

    @classmethod
    def open(cls, folder: Path, config: Mapping[str, Any]) -> RunFolder:
        """Opens a new folder, or one that an earlier run of the same config left.

        Args:
            folder: the run's folder; made if missing.
            config: the resolved config.

        Raises:
            UserError: it holds another config, a living process writes to it, or it cannot be written.
        """
        check_folder(folder, config)
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "config.yaml", to_yaml(config))
        before = read_status(folder)
        run = cls(
            folder,
            Status(
                state="running",
                config_hash=config_hash(config),
                fingerprints=before.fingerprints if before else {},
                start=before.start if before else _now(),
                host=socket.gethostname(),
                pid=os.getpid(),
                pid_start=_process_start(os.getpid()),
                versions=_versions(),
                git_revision=_git_revision(),
            ),
        )
        run._write_status()
        return run

    def __enter__(self) -> RunFolder:
        self._log.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._log.__exit__(kind, error, trace)
        if kind is not None and self.status.state == "running":
            state: State = "failed" if issubclass(kind, Exception) else "interrupted"
            self.set(state=state, error=str(error) or kind.__name__, end=_now())

    def set(self, **fields: Any) -> None:
        """Changes fields of status.json and writes it."""
        self.status = self.status.model_copy(update=fields)
        self._write_status()

    def note(self, text: str) -> None:
        """Records a sentence that a reader of the results must know; the same one once."""
        if text not in self.status.notes:
            self.set(notes=[*self.status.notes, text])

    def detail(self, text: str) -> None:
        """Records a sentence that a reader may look up; the same one once."""
        if text not in self.status.details:
            self.set(details=[*self.status.details, text])

    def identify(self, fingerprints: Mapping[str, str]) -> None:
        """Records what the run's inputs are.

        Raises:
            UserError: an earlier run in this folder read other files under the same names.
        """
        changed = [name for name, value in fingerprints.items() if self.status.fingerprints.get(name, value) != value]
        # Where nothing was asked yet, nothing can be mixed: a mended file is what the user wants.
        if changed and (read_predictions(self.folder) or has_begun(self.folder)):
            raise UserError(
                f"{self.folder}: was begun with other files of {', '.join(sorted(changed))}. "
                f"Give a new hydra.run.dir, or delete this folder"
            )
        self.set(fingerprints={**self.status.fingerprints, **fingerprints})

    def finish(self, metrics: Record) -> None:
        """Writes metrics.json and marks the run done."""
        write_json(self.folder / "metrics.json", metrics)
        self.set(state="done", error=None, end=_now())

    def _write_status(self) -> None:
        write_json(self.folder / "status.json", self.status)


def read_status(folder: Path) -> Status | None:
    """What status.json says; a run whose process is gone counts as interrupted. None: there is no whole one."""
    try:
        status = Status.model_validate_json((folder / "status.json").read_bytes())
    except (OSError, ValidationError):
        return None
    if status.state == "running" and not _is_alive(status):
        return status.model_copy(update={"state": "interrupted"})
    return status


def is_done(folder: Path, config: Mapping[str, Any], product: str = "metrics.json") -> bool:
    """Whether the run of a config is done in a folder, and need not be done again.

    Args:
        folder: the run's folder.
        config: the resolved config.
        product: what a run that is done leaves.

    Raises:
        UserError: a run of another config is done there.
    """
    status = read_status(folder)
    if status is None or status.state != "done" or not (folder / product).exists():
        return False
    check_folder(folder, config)
    return True


def write_failure(folder: Path, error: str) -> None:
    """Records that a run failed before it had opened its folder; what an earlier run left there stays."""
    if read_status(folder) is not None:
        return
    now = _now()
    status = Status(
        state="failed", config_hash="", error=error, start=now, end=now, host=socket.gethostname(), pid=os.getpid()
    )
    write_json(folder / "status.json", status)


def read_metrics(folder: Path) -> Metrics:
    """metrics.json of a finished run.

    Raises:
        UserError: it is not there or damaged.
    """
    path = folder / "metrics.json"
    try:
        return Metrics.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path}: not there. The run is not finished; the same command goes on with it") from None
    except ValidationError:
        raise UserError(f"{path}: damaged. Delete it, and the same command makes it again") from None


def check_folder(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuses a folder that this config cannot be written to; leaves nothing.

    Raises:
        UserError: another config's run, a living process, or no permission.
    """
    problem = place_problem(folder)
    if problem is not None:
        raise UserError(f"{problem}. Give another hydra.run.dir (a sweep: hydra.sweep.dir)")
    status = read_status(folder)
    if status is None:
        return
    if status.config_hash not in ("", config_hash(config)):
        keys = _told(_differing_keys(folder, config))
        raise UserError(f"{folder}: holds another run, which differs in {keys}. Give a new hydra.run.dir, or delete it")
    if status.state == "running" and status.pid != os.getpid():
        raise UserError(f"{folder}: process {status.pid} on {status.host} is writing to it. Wait, or stop that process")


def _told(keys: list[str]) -> str:
    """Keys in words; of very many, as two tasks differ in, the first ones."""
    if not keys:
        return "its config"
    more = f" and {len(keys) - _MAX_KEYS} more keys" if len(keys) > _MAX_KEYS else ""
    return ", ".join(keys[:_MAX_KEYS]) + more


def _differing_keys(folder: Path, config: Mapping[str, Any]) -> list[str]:
    old = flat_config(hashed_config(from_yaml(folder / "config.yaml")))
    new = flat_config(hashed_config(config))
    return sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))


def _is_alive(status: Status) -> bool:
    if status.host != socket.gethostname():
        return True  # nothing here can tell; the other machine's process may well be running
    # The number alone does not do: it may have gone to a later process.
    return _process_start(status.pid) == status.pid_start


def _process_start(pid: int) -> float | None:
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _git_revision() -> str | None:
    package = Path(__file__).resolve().parents[2]
    if not (package / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(package), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
