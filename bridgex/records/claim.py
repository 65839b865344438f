"""Who is at work in a folder: one process at a time, seen from every machine that shares the file system."""

from __future__ import annotations

import contextlib
import os
import random
import re
import socket
import tempfile
import threading
import time
import weakref
from datetime import datetime, timezone
from pathlib import Path

import psutil
from pydantic import Field, ValidationError

from bridgex.errors import UserError
from bridgex.records.files import writing
from bridgex.records.schema import Record

# Seconds between two signs of life, and of silence after which a process of another machine counts as gone.
BEAT, SILENCE = 15.0, 120.0
_NAME = re.compile(r"\.owner\.(\d+)")
_TRIES = 20


class Owner(Record):
    """A process, told apart from every other one of every machine."""

    host: str
    pid: int
    pid_start: float | None = Field(description="when it began, by its machine's clock: numbers are given out again")
    job: str | None = Field(description="the scheduler's job that it belongs to; null: none")
    restarts: int = Field(description="how often the scheduler had put that job back into its queue")
    start: str = Field(description="ISO 8601, UTC")

    @classmethod
    def here(cls) -> Owner:
        """This process."""
        environment, pid = os.environ, os.getpid()
        job = environment.get("SLURM_JOB_ID")
        return cls(
            host=socket.gethostname(),
            pid=pid,
            pid_start=_process_start(pid),
            job=f"{job}.{environment.get('SLURM_PROCID', '0')}" if job else None,
            restarts=int(environment.get("SLURM_RESTART_COUNT") or 0),
            start=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        )

    def is_alive(self, sign: Path) -> bool:
        """Whether the process is still there.

        Args:
            sign: the file that it touches while it lives.
        """
        if self.host == socket.gethostname():
            return self.pid_start is not None and _process_start(self.pid) == self.pid_start
        here = Owner.here()
        if self.job is not None and self.job == here.job and self.restarts < here.restarts:
            return False  # this very job, before the scheduler took its machine away
        age = _age(sign)
        return age is not None and age < SILENCE


class HeldFolder(UserError):
    """Another process is at work in a folder.

    Args:
        folder: which.
        owner: by whom.
    """

    def __init__(self, folder: Path, owner: Owner) -> None:
        wait = "" if owner.host == socket.gethostname() else f" (gone, if it gives no sign for {SILENCE:.0f} s)"
        super().__init__(
            f"{folder}: process {owner.pid} on {owner.host} is writing to it. Wait, or stop that process{wait}"
        )
        self.folder, self.owner = folder, owner

    def __reduce__(self) -> tuple[type[HeldFolder], tuple[Path, Owner]]:
        return HeldFolder, (self.folder, self.owner)


class Claim:
    """The right to write to a folder, as a numbered file in it; the highest number whose process lives has it.

    A new number is taken by making its file, which the file system grants to one process only, also over a network;
    what a dead process left is outnumbered, never removed first, so that no two can think that they removed it. Whoever
    then sees another living process beside itself steps back.
    """

    def __init__(self, path: Path) -> None:
        self.release = weakref.finalize(self, _release, Beat(path), os.getpid())
        """Gives the folder back; also done when nothing refers to the claim any more."""

    @classmethod
    def take(cls, folder: Path) -> Claim:
        """Takes a folder.

        Args:
            folder: it exists.

        Raises:
            HeldFolder: a living process has it.
            UserError: it cannot be written.
        """
        own = Owner.here()
        content = own.model_dump_json().encode()
        for _ in range(_TRIES):
            number, held = _last(folder)
            if held is not None:
                raise HeldFolder(folder, held)
            path = folder / f".owner.{number + 1}"
            with writing(path):
                if _make(path, content):
                    others = [other for other in _claims(folder) if other[1] != path]
                    if not any(_living(other) for _, other in others):
                        for _, other in others:
                            other.unlink(missing_ok=True)
                        return cls(path)
                    path.unlink(missing_ok=True)
            time.sleep(random.uniform(0.01, 0.05))
        raise UserError(f"{folder}: many processes want to write to it at once. Start fewer, or try again")


class Beat:
    """Touches a file now and then while this process lives.

    Args:
        path: the file; once it is gone, the touching ends.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ended = threading.Event()
        threading.Thread(target=self._run, name="bridgex-beat", daemon=True).start()

    def end(self) -> None:
        """No more signs."""
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.wait(BEAT):
            with contextlib.suppress(PermissionError):
                try:
                    os.utime(self.path)
                except FileNotFoundError:
                    return
                except OSError:
                    continue  # a network file system may be away for a moment


def owner_of(folder: Path) -> Owner | None:
    """The living process that has a folder; None: nobody has."""
    return _last(folder)[1]


def _last(folder: Path) -> tuple[int, Owner | None]:
    """The highest number, and its process if that lives."""
    found = _claims(folder)
    if not found:
        return 0, None
    owners = [owner for _, path in reversed(found) if (owner := _living(path)) is not None]
    return found[-1][0], owners[0] if owners else None


def _living(path: Path) -> Owner | None:
    try:
        owner = Owner.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None  # given back this moment; or damaged, for a whole one is there at once or never
    return owner if owner.is_alive(path) else None


def _release(beat: Beat, pid: int) -> None:
    if os.getpid() == pid:  # a forked process has a copy of the claim, not the claim
        beat.end()
        with contextlib.suppress(OSError):
            beat.path.unlink(missing_ok=True)


def _claims(folder: Path) -> list[tuple[int, Path]]:
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    return sorted((int(found[1]), folder / name) for name in names if (found := _NAME.fullmatch(name)))


def _make(path: Path, content: bytes) -> bool:
    """Makes a file whole, in one step; False: another process was faster."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".claim.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _link(temporary, path)
    except FileExistsError:
        return False
    finally:
        os.unlink(temporary)
    return True


def _link(temporary: str, path: Path) -> None:
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        with path.open("xb") as file:
            file.write(Path(temporary).read_bytes())


def _age(path: Path) -> float | None:
    """Seconds since a file was touched, by the file system's own clock: machines' clocks differ. None: it is gone."""
    try:
        touched = path.stat().st_mtime
        try:
            with tempfile.TemporaryFile(dir=path.parent) as now:
                return os.fstat(now.fileno()).st_mtime - touched
        except OSError:  # not ours to write
            return datetime.now().timestamp() - touched
    except OSError:
        return None


def _process_start(pid: int) -> float | None:
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return None
