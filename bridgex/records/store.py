"""A run's folder: what is in it is whole or not there, and a run killed at any point goes on from it."""

from __future__ import annotations

import platform
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any

from pydantic import ValidationError

from bridgex.config.settings import config_hash, flat_config, from_yaml, hashed_config, to_yaml
from bridgex.errors import UserError
from bridgex.records.claim import Claim, HeldFolder, Owner, owner_of
from bridgex.records.files import is_whole, place_problem, read_json, write_json, write_text, writing
from bridgex.records.inputs import signature
from bridgex.records.log import LogFile
from bridgex.records.predictions import num_lost, read_predictions
from bridgex.records.schema import Metrics, Record, State, Status
from bridgex.records.train_files import has_begun
from bridgex.secrets import MASK, without_secrets

# What a kill in the middle of a write leaves; of a claim or a page that another process is writing, it may be in use.
_LEFTOVER = re.compile(r"\.[a-z]+\.(json|jsonl|yaml)\.\w{8}")
# Two tasks differ in a hundred keys; so many are named.
_MAX_KEYS = 8
_PACKAGES = ("bridgex", "torch", "lightning", "transformers", "tokenizers", "hydra-core", "numpy", "scipy")


class ChangedInputs(UserError):
    """The run in a folder read other files under the same names.

    Args:
        folder: of the run.
        names: what changed.
    """

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        super().__init__(
            f"{folder}: was begun with other files of {', '.join(sorted(names))}. Give a new hydra.run.dir, or delete "
            f"this folder"
        )
        self.folder, self.names = folder, tuple(names)

    def __reduce__(self) -> tuple[type[ChangedInputs], tuple[Path, Sequence[str]]]:
        return ChangedInputs, (self.folder, self.names)


class RunFolder:
    """The folder of one run, open for writing; use as a context manager.

    Attributes:
        folder: where it lies.
        status: what status.json says.
    """

    def __init__(self, folder: Path, status: Status, claim: Claim) -> None:
        self.folder = folder
        self.status = status
        self._claim = claim
        self._log = LogFile(folder / "log.jsonl")

    @classmethod
    def open(cls, folder: Path, config: Mapping[str, Any]) -> RunFolder:
        """Opens a new folder, or one that an earlier run of the same config left.

        Args:
            folder: the run's folder; made if missing.
            config: the resolved config.

        Raises:
            HeldFolder: a living process writes to it.
            UserError: it holds another config, or it cannot be written.
        """
        check_folder(folder, config)
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        claim = Claim.take(folder)
        for path in folder.iterdir():
            if _LEFTOVER.fullmatch(path.name):
                path.unlink(missing_ok=True)
        write_text(folder / "config.yaml", to_yaml(without_secrets(config)))
        before = read_status(folder)
        own, begun = Owner.here(), now()
        run = cls(
            folder,
            Status(
                state="running",
                config_hash=config_hash(config),
                fingerprints=before.fingerprints if before else {},
                inputs=signature(config),
                start=before.start if before else begun,
                resumed=begun,
                seconds=before.seconds if before else None,
                host=own.host,
                pid=own.pid,
                pid_start=own.pid_start,
                versions=_versions(),
                git_revision=_git_revision(),
            ),
            claim,
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
            with suppress(UserError):  # a full disk has said so already, and must not hide what it was
                self._end(state, str(error) or kind.__name__)
        self._claim.release()

    def __reduce__(self) -> tuple[type[_Silent], tuple[()]]:
        """In another process of the run, which writes no records."""
        return _Silent, ()

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
            ChangedInputs: an earlier run in this folder read other files under the same names.
        """
        changed = [name for name, value in fingerprints.items() if self.status.fingerprints.get(name, value) != value]
        # Where nothing was asked yet, nothing can be mixed: a mended file is what the user wants.
        if changed and (read_predictions(self.folder) or has_begun(self.folder)):
            raise ChangedInputs(self.folder, changed)
        self.set(fingerprints={**self.status.fingerprints, **fingerprints})

    def finish(self, metrics: Record | None = None) -> None:
        """Writes metrics.json, if there are any, and marks the run done."""
        if metrics is not None:
            write_json(self.folder / "metrics.json", metrics)
        self._end("done", None)

    def _end(self, state: State, error: str | None) -> None:
        end, begun = now(), self.status.resumed or self.status.start
        worked = (datetime.fromisoformat(end) - datetime.fromisoformat(begun)).total_seconds()
        self.set(state=state, error=error, end=end, seconds=round((self.status.seconds or 0.0) + worked, 3))

    def _write_status(self) -> None:
        write_json(self.folder / "status.json", _shareable(self.status))


class _Silent:
    """A run's folder as other processes have it: the first one says everything."""

    def note(self, text: str) -> None:
        """Says nothing."""

    def detail(self, text: str) -> None:
        """Says nothing."""


def read_status(folder: Path) -> Status | None:
    """What status.json says; a run whose process is gone counts as interrupted. None: there is no whole one."""
    try:
        status = Status.model_validate_json((folder / "status.json").read_bytes())
    except (OSError, ValidationError):
        return None
    if status.state == "running" and owner_of(folder) is None:
        return status.model_copy(update={"state": "interrupted"})
    return status


def is_done(folder: Path, config: Mapping[str, Any], fingerprints: Callable[[], Mapping[str, str]]) -> bool:
    """Whether the run of a config is done in a folder, and need not be done again.

    Args:
        folder: the run's folder.
        config: the resolved config.
        fingerprints: of the inputs as they are now; asked only if a file was touched since the run read it.

    Raises:
        ChangedInputs: the run that is done there read other files under the same names.
        UserError: a run of another config is done there.
    """
    if not _has_ended(folder):
        return False
    check_folder(folder, config)
    if _is_config_damaged(folder):
        with suppress(UserError):  # in a folder that may only be read, it stays so
            write_text(folder / "config.yaml", to_yaml(without_secrets(config)))
    if is_finished(folder, config):
        return True
    status = read_status(folder)
    assert status is not None
    now_there = fingerprints()
    changed = [name for name, value in now_there.items() if status.fingerprints.get(name, value) != value]
    if changed:
        raise ChangedInputs(folder, changed)
    with suppress(UserError):  # in a folder that may only be read, it is found out again next time
        write_json(folder / "status.json", status.model_copy(update={"inputs": signature(config)}))
    return True


def is_finished(folder: Path, config: Mapping[str, Any] | None = None) -> bool:
    """Whether a run is done in a folder, what came out is whole, and no file that it read was touched since.

    Args:
        folder: the run's folder.
        config: the resolved config; None: as the run wrote it down.
    """
    status = read_status(folder)
    if status is None or not _has_ended(folder) or (config is None and _is_config_damaged(folder)):
        return False
    return status.inputs in (None, signature(config or from_yaml(folder / "config.yaml")))


def _has_ended(folder: Path) -> bool:
    """Whether a run is done, and left its metrics, or a model made from nothing, undamaged."""
    status = read_status(folder)
    if status is None or status.state != "done":
        return False
    metrics, ranking = folder / "metrics.json", folder / "ranking.json"
    is_made = (folder / "model").exists() and not (folder / "drift.jsonl").exists()
    if not is_whole(metrics):
        return is_made
    return (is_whole(ranking) or not ranking.exists()) and not num_lost(folder)


def _is_config_damaged(folder: Path) -> bool:
    """Whether config.yaml is not what the run was."""
    status, config = read_status(folder), from_yaml(folder / "config.yaml")
    if any(MASK in value for value in flat_config(config).values()):
        return False  # what it was less its secrets, of which no hash can be made again
    return status is not None and status.config_hash not in ("", config_hash(config))


def put_aside(folder: Path) -> Path:
    """Moves a cell's folder out of its sweep, whole, to where it does not count; returns where it is now.

    Raises:
        UserError: it cannot be moved.
    """
    with writing(folder):
        beside = folder.parent / "replaced"
        beside.mkdir(exist_ok=True)
        number = 1
        while (beside / f"{folder.name}.{number}").exists():
            number += 1
        return folder.rename(beside / f"{folder.name}.{number}")


def write_failure(folder: Path, config: Mapping[str, Any], error: str) -> None:
    """Records that a run failed before it had opened its folder; what an earlier run asked and found there stays.

    A run that is done stays so, unless what it read was touched or is gone: its numbers are then no longer of this
    config, and the next process to run it goes on from its records, or puts them aside.

    Args:
        folder: the run's folder; made if missing.
        config: the resolved config.
        error: why.

    Raises:
        UserError: the folder cannot be written.
    """
    before, end, error = read_status(folder), now(), _writable(error)
    if before is not None:
        is_own = before.config_hash in ("", config_hash(config))
        if is_own and before.state != "running" and not is_finished(folder, config):
            failed = before.model_copy(update={"state": "failed", "error": error, "end": end})
            write_json(folder / "status.json", _shareable(failed))
        return
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "config.yaml", to_yaml(without_secrets(config)))
    own = Owner.here()
    status = Status(
        state="failed",
        config_hash=config_hash(config),
        error=error,
        start=end,
        end=end,
        host=own.host,
        pid=own.pid,
        pid_start=own.pid_start,
    )
    write_json(folder / "status.json", _shareable(status))


def _shareable(status: Status) -> Status:
    """A status without the secrets that an error or a note may quote: a run's folder is shown to others."""
    told = {"notes": status.notes, "details": status.details}
    error = None if status.error is None else _writable(status.error)
    return status.model_copy(update={**without_secrets(told), "error": error})


def _writable(error: str) -> str:
    """An error without secrets; it may name a file whose name is no text."""
    return str(without_secrets(error)).encode("utf-8", "backslashreplace").decode()


def read_metrics(folder: Path) -> Metrics:
    """metrics.json of a finished run.

    Raises:
        UserError: it is not there or damaged.
    """
    return read_json(folder / "metrics.json", Metrics)


def check_folder(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuses a folder that this config cannot be written to; leaves nothing.

    Raises:
        HeldFolder: a living process writes to it.
        UserError: another config's run, or no permission.
    """
    problem = place_problem(folder)
    if problem is not None:
        raise UserError(f"{problem}. Give another hydra.run.dir (a sweep: hydra.sweep.dir)")
    status = read_status(folder)
    if status is None:
        _check_unknown(folder, config)
        return
    if status.config_hash not in ("", config_hash(config)):
        keys = _told(_differing_keys(folder, config))
        raise UserError(f"{folder}: holds another run, which differs in {keys}. Give a new hydra.run.dir, or delete it")
    owner = owner_of(folder)
    if owner is not None:
        raise HeldFolder(folder, owner)


def _check_unknown(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuses a folder whose status.json is missing or damaged, if what was asked in it may be another run's.

    Raises:
        UserError: it may be.
    """
    recorded = folder / "predictions.jsonl"
    if not has_begun(folder) and not (recorded.is_file() and recorded.stat().st_size):
        return
    keys = _differing_keys(folder, config)
    if keys:
        raise UserError(
            f"{folder}: holds another run or a damaged one: status.json is missing or damaged, and config.yaml "
            f"differs in {_told(keys)}. Give a new hydra.run.dir, or delete it"
        )


def _told(keys: list[str]) -> str:
    """Keys in words; of very many, as two tasks differ in, the first ones."""
    if not keys:
        return "its config"
    more = f" and {len(keys) - _MAX_KEYS} more keys" if len(keys) > _MAX_KEYS else ""
    return ", ".join(keys[:_MAX_KEYS]) + more


def _differing_keys(folder: Path, config: Mapping[str, Any]) -> list[str]:
    old = flat_config(hashed_config(from_yaml(folder / "config.yaml")))
    new = flat_config(hashed_config(without_secrets(config)))
    return sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))


def now() -> str:
    """This moment as records write it: ISO 8601, UTC, to the millisecond."""
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
