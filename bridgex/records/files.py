"""Files that are whole or not there, and errors that name them."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from bridgex.errors import UserError
from bridgex.records.schema import Record
from bridgex.records.seal import sealed, unsealed

R = TypeVar("R", bound=Record)

_SHOWN = 40


def place_problem(folder: Path) -> str | None:
    """Why a folder cannot be made or written, found out by trying; leaves nothing. None: it can."""
    place, missing = folder, list[str]()
    while not os.path.exists(place):
        missing.append(place.name)
        place = place.parent
    if not place.is_dir():
        return f"{place}: is a file, and a folder is needed there"
    for name in missing:
        try:
            os.lstat(place / name)
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            return f"{name[:_SHOWN]}...: no folder can have this name ({_reason(error)})"
    try:
        Path(
            tempfile.mkdtemp(dir=place, prefix=".bridgex-")
        ).rmdir()  # permissions alone do not tell, least of all root's
    except OSError as error:
        return f"{place}: cannot be written ({error.strerror})"
    return None


def _reason(error: OSError | ValueError) -> str:
    return str(getattr(error, "strerror", None) or error)


def read_json(
    path: Path,
    kind: type[R],
    *,
    maker: str = "the same command",
    absent: str = "The run is not finished; the same command goes on with it",
) -> R:
    """A record that must be there, as `write_json` wrote it.

    Args:
        path: the file.
        kind: what is in it.
        maker: what makes it again.
        absent: why it may not be there, and what to do, for the error.

    Raises:
        UserError: it is not there or damaged.
    """
    try:
        return kind.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path}: not there. {absent}") from None
    except ValidationError:
        raise UserError(f"{path}: damaged. Delete it, and {maker} makes it again") from None


def write_json(path: Path, record: Record) -> None:
    """Writes a record with its checksum whole, then renames it into place."""
    write_text(path, sealed(record.model_dump_json(indent=2) + "\n"))


def as_lines(records: Iterable[Record]) -> str:
    """Records as JSON lines, each with its checksum."""
    return "".join(sealed(record.model_dump_json()) + "\n" for record in records)


def write_text(path: Path, text: str) -> None:
    """Writes a text whole, as `write_bytes` does."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes, key: str = "hydra.run.dir") -> None:
    """Writes a file whole, then renames it into place: a reader never sees half of it.

    Args:
        path: the file.
        content: all of it.
        key: the config key that names another place, for the error.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    with writing(path, key):
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


@contextmanager
def whole_folder(path: Path, *, is_own: bool) -> Iterator[Path]:
    """A new folder to fill, which takes its place once the block has ended well: a reader never sees half of it.

    An error leaves nothing beside what stood there. What a killed process leaves is hidden beside the folder.

    Args:
        path: the folder; the one above it is there.
        is_own: whether no other process writes to that place. True: what stands there is replaced, and what a killed
            process left is removed. False: what stands there stays, as another process may just have made it.

    Yields:
        An empty folder.

    Raises:
        OSError: the disk is full, the folder above cannot be written, or another's folder, not empty, stays there.
    """
    prefix = f".{path.name}."
    if is_own:
        for left in path.parent.iterdir():
            if left.name.startswith(prefix) and left.is_dir():
                shutil.rmtree(left)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=prefix))
    try:
        whole = temporary / "new"
        whole.mkdir()  # the one around it is for its owner's eyes only
        yield whole
        if is_own and path.exists():
            os.rename(path, temporary / "old")
        os.rename(whole, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def is_whole(path: Path) -> bool:
    """Whether a file that `write_json` wrote is there, and as it was written."""
    try:
        json.loads(unsealed(path.read_bytes(), path.name))
    except (OSError, ValueError):
        return False
    return True


def read_lines(path: Path, kind: type[R]) -> list[R]:
    """Records as `as_lines` wrote them, of a file that a run writes at its end; empty where it is not there.

    Raises:
        UserError: a line is damaged.
    """
    if not path.is_file():
        return []
    found = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            found.append(kind.model_validate_json(line))
        except ValidationError:
            raise UserError(
                f"{path}:{number}: damaged. Delete it and metrics.json beside it, and the same command makes both again"
            ) from None
    return found


@contextmanager
def writing(path: Path, key: str = "hydra.run.dir") -> Iterator[None]:
    """Turns what the file system refuses into a user's line that names the file."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"{path}: cannot be written ({reason}). Free space or give another {key}") from error
