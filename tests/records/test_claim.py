from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bridgex.errors import UserError
from bridgex.records import claim
from bridgex.records.claim import Claim, HeldFolder, Owner, owner_of


def elsewhere(**fields: object) -> Owner:
    """A process of another machine."""
    return Owner.here().model_copy(update={"host": "far-away", "pid": 7, **fields})


def leave(folder: Path, owner: Owner, number: int = 1, age: float = 0.0) -> Path:
    path = folder / f".owner.{number}"
    path.write_text(owner.model_dump_json(), encoding="utf-8")
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_is_held_until_it_is_given_back(tmp_path: Path) -> None:
    found = Claim.take(tmp_path)
    assert owner_of(tmp_path) == Owner.here().model_copy(update={"start": owner_of(tmp_path).start})  # type: ignore[union-attr]
    with pytest.raises(HeldFolder, match=f"process {os.getpid()} on "):
        Claim.take(tmp_path)
    found.release()
    assert (owner_of(tmp_path), names(tmp_path)) == (None, [])
    Claim.take(tmp_path)  # nothing refers to it, so it is given back at once
    assert names(tmp_path) == []


def test_a_killed_process_gives_its_folder_back(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from bridgex.records.claim import Claim\n"
        "found = Claim.take(Path(sys.argv[1])); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert names(tmp_path) == [".owner.1"]
    assert owner_of(tmp_path) is None
    found = Claim.take(tmp_path)
    assert names(tmp_path) == [".owner.2"]
    found.release()


def test_a_later_process_of_the_same_number_is_another_one(tmp_path: Path) -> None:
    leave(tmp_path, Owner.here().model_copy(update={"pid_start": 1.0}))
    assert owner_of(tmp_path) is None


def test_a_process_of_another_machine_lives_as_long_as_it_gives_signs(tmp_path: Path) -> None:
    leave(tmp_path, elsewhere(), age=claim.SILENCE / 2)
    with pytest.raises(HeldFolder, match=f"process 7 on far-away is writing to it.*no sign for {claim.SILENCE:.0f} s"):
        Claim.take(tmp_path)
    leave(tmp_path, elsewhere(), age=claim.SILENCE + 30)
    Claim.take(tmp_path).release()


def test_a_job_that_was_put_back_into_the_queue_takes_over_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    leave(tmp_path, elsewhere(job="4711.0"))
    assert owner_of(tmp_path) is not None  # a second process of the very same job, say
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    Claim.take(tmp_path).release()
    leave(tmp_path, elsewhere(job="4712.0"))
    assert owner_of(tmp_path) is not None


def test_signs_of_life_are_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim, "BEAT", 0.01)
    found = Claim.take(tmp_path)
    path = tmp_path / ".owner.1"
    os.utime(path, (1.0, 1.0))
    limit = time.monotonic() + 10
    while path.stat().st_mtime < 2.0 and time.monotonic() < limit:
        time.sleep(0.01)
    assert path.stat().st_mtime > 2.0
    found.release()


def test_a_forked_process_does_not_give_it_back(tmp_path: Path) -> None:
    found = Claim.take(tmp_path)
    beat = found.release.peek()[2][0]
    claim._release(beat, os.getpid() + 1)
    assert owner_of(tmp_path) is not None
    found.release()


@pytest.mark.parametrize("content", ["", "{", json.dumps({"host": "h"})])
def test_a_damaged_claim_holds_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / ".owner.3").write_text(content)
    found = Claim.take(tmp_path)
    assert names(tmp_path) == [".owner.4"]
    found.release()


def test_without_hard_links_the_file_is_made_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: str, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    found = Claim.take(tmp_path)
    assert owner_of(tmp_path) is not None
    found.release()


def test_a_folder_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be written"):
        Claim.take(tmp_path / "missing")


def test_an_error_survives_the_way_between_processes(tmp_path: Path) -> None:
    error = pickle.loads(pickle.dumps(HeldFolder(tmp_path, elsewhere())))
    assert (error.folder, error.owner.host) == (tmp_path, "far-away")


def test_of_many_processes_one_at_a_time_has_it(tmp_path: Path) -> None:
    """Each appends twice to a file while it holds the folder: pairs that stand apart would show two at once."""
    folder = tmp_path / "held"
    folder.mkdir()
    code = (
        "import sys, time; from pathlib import Path; from bridgex.errors import UserError\n"
        "from bridgex.records.claim import Claim\n"
        "folder, log, name = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]\n"
        "for turn in range(40):\n"
        "    try:\n"
        "        found = Claim.take(folder)\n"
        "    except UserError:\n"
        "        continue\n"
        "    for _ in range(2):\n"
        "        with log.open('a') as file:\n"
        "            file.write(f'{name}.{turn}\\n')\n"
        "        time.sleep(0.001)\n"
        "    found.release()\n"
    )
    log = tmp_path / "log"
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(folder), str(log), str(number)]) for number in range(4)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0] * 4
    lines = log.read_text().split()
    assert len(lines) > 20
    assert lines[::2] == lines[1::2]
    assert names(folder) == []


def test_threads_of_one_process_have_it_one_at_a_time(tmp_path: Path) -> None:
    taken: list[Claim] = []
    refused: list[UserError] = []

    def take() -> None:
        try:
            taken.append(Claim.take(tmp_path))
        except UserError as error:
            refused.append(error)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(taken), len(refused)) in [(1, 7), (0, 8)]
    for found in taken:
        found.release()
