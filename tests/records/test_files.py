from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bridgex.errors import UserError
from bridgex.records.files import read_json, whole_folder, write_json, write_text, writing
from bridgex.records.schema import Record


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "metrics.json"
    write_text(path, "old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"metrics.json: cannot be written \(No space left on device\)"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_only_the_file_systems_refusals_are_the_users(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), writing(tmp_path):
        raise ZeroDivisionError


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("is_own", [True, False])
def test_a_folder_appears_whole(tmp_path: Path, is_own: bool) -> None:
    with whole_folder(tmp_path / "model", is_own=is_own) as place:
        (place / "weights").write_text("new")
        assert not (tmp_path / "model").exists()
    assert names(tmp_path) == ["model", "model/weights"]
    # As any folder that is made here, and not as a temporary one, which others cannot look into.
    (tmp_path / "any").mkdir()
    assert (tmp_path / "model").stat().st_mode == (tmp_path / "any").stat().st_mode


@pytest.mark.parametrize("is_own", [True, False])
@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_an_error_leaves_what_stood_there_and_nothing_else(
    tmp_path: Path, is_own: bool, error: type[BaseException]
) -> None:
    def fail() -> None:
        with whole_folder(tmp_path / "model", is_own=is_own) as place:
            (place / "weights").write_text("half")
            raise error

    for stood_there in ([], ["model", "model/weights"]):
        with pytest.raises(error):
            fail()
        assert names(tmp_path) == stood_there
        (tmp_path / "model").mkdir(exist_ok=True)
        (tmp_path / "model" / "weights").write_text("old")
    assert (tmp_path / "model" / "weights").read_text() == "old"


def test_an_own_folder_is_replaced(tmp_path: Path) -> None:
    for content in ("old", "new"):
        with whole_folder(tmp_path / "model", is_own=True) as place:
            (place / content).write_text(content)
    assert names(tmp_path) == ["model", "model/new"]


def test_of_a_shared_folder_the_first_stays(tmp_path: Path) -> None:
    def make(name: str, while_it_is_made: Callable[[], None] = lambda: None) -> None:
        with whole_folder(tmp_path / "model", is_own=False) as place:
            (place / name).touch()
            while_it_is_made()

    with pytest.raises(OSError, match="not empty"):
        make("mine", lambda: make("theirs"))
    assert names(tmp_path) == ["model", "model/theirs"]


def test_a_kill_leaves_no_half_and_the_next_process_clears_up(tmp_path: Path) -> None:
    script = """
import os, pathlib, signal, sys
from bridgex.records.files import whole_folder
with whole_folder(pathlib.Path(sys.argv[1]), is_own=True) as place:
    (place / "weights").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "model")], check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".model.")
    # A file beside it with such a name, and what belongs to another folder, are no leftovers.
    (tmp_path / ".model.txt").touch()
    (tmp_path / ".models.x").mkdir()
    with whole_folder(tmp_path / "model", is_own=False):
        assert left.exists()  # it may be that of a living process
    with whole_folder(tmp_path / "model", is_own=True):
        pass
    assert names(tmp_path) == [".model.txt", ".models.x", "model"]


class Note(Record):
    text: str


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_json(tmp_path / "note.json", Note(text="ŋ"))
    assert read_json(tmp_path / "note.json", Note) == Note(text="ŋ")


def test_a_record_that_is_missing_or_damaged_is_named_with_what_makes_it(tmp_path: Path) -> None:
    path = tmp_path / "note.json"

    def message(**more: str) -> str:
        with pytest.raises(UserError) as caught:
            read_json(path, Note, **more)
        return str(caught.value)

    assert message() == f"{path}: not there. The run is not finished; the same command goes on with it"
    assert message(absent="Ask for it") == f"{path}: not there. Ask for it"
    path.write_text('{"text": ')
    assert message() == f"{path}: damaged. Delete it, and the same command makes it again"
    assert message(maker="bridgex relate") == f"{path}: damaged. Delete it, and bridgex relate makes it again"
