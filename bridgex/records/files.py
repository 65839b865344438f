"""Files that are whole or not there, and errors that name them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bridgex.errors import UserError
from bridgex.records.schema import Record


def place_problem(folder: Path) -> str | None:
    """Why a folder cannot be made or written, found out by trying; leaves nothing. None: it can."""
    place = folder
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        return f"{place}: is a file, and a folder is needed there"
    try:
        Path(
            tempfile.mkdtemp(dir=place, prefix=".bridgex-")
        ).rmdir()  # permissions alone do not tell, least of all root's
    except OSError as error:
        return f"{place}: cannot be written ({error.strerror})"
    return None


def write_json(path: Path, record: Record) -> None:
    """Writes a record whole, then renames it into place."""
    write_text(path, record.model_dump_json(indent=2) + "\n")


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
def writing(path: Path, key: str = "hydra.run.dir") -> Iterator[None]:
    """Turns what the file system refuses into a user's line that names the file."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"{path}: cannot be written ({reason}). Free space or give another {key}") from error
