"""Answers outlive the process that wrote them, whole or not at all, whoever else writes beside it."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from bridgex.errors import UserError
from bridgex.records import answers
from bridgex.records.answers import AnswerCache

MODEL = {"model": "6f1e", "engine": "hf"}


def shards(folder: Path) -> list[Path]:
    return sorted((folder / "answers").rglob("*.jsonl"))


def test_what_one_puts_another_finds_once_it_looks(tmp_path: Path) -> None:
    mine, other = AnswerCache(tmp_path, MODEL), AnswerCache(tmp_path, MODEL)
    reply = {"text": 'a "b"\nc\u2028', "logprobs": [-0.1, -1e-300], "num_cut": 0}
    mine.put({"k": reply})
    assert mine.get("k") == reply
    assert other.get("k") is None
    other.look()
    assert other.get("k") == reply
    assert AnswerCache(tmp_path, MODEL).get("k") is None, "nothing is read before the first look"


def test_another_model_dtype_engine_or_version_never_hits(tmp_path: Path) -> None:
    AnswerCache(tmp_path, MODEL).put({"k": 1})
    for changed in ({"model": "6f1f"}, {"engine": "vllm"}, {"dtype": "torch.bfloat16"}):
        other = AnswerCache(tmp_path, {**MODEL, **changed})
        other.look()
        assert other.get("k") is None
    same = AnswerCache(tmp_path, dict(reversed(MODEL.items())))
    same.look()
    assert same.get("k") == 1


def test_each_writer_has_a_shard_and_all_are_read_as_one(tmp_path: Path) -> None:
    writers = [AnswerCache(tmp_path, MODEL) for _ in range(3)]
    for number, writer in enumerate(writers):
        writer.put({f"k{number}": number, "both": number})
    assert len(shards(tmp_path)) == 3
    reader = AnswerCache(tmp_path, MODEL)
    reader.look()
    assert [reader.get(f"k{number}") for number in range(3)] == [0, 1, 2]
    assert reader.get("both") in (0, 1, 2)
    assert len(reader) == 4


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # of threads that this test does not have
def test_a_forked_process_has_a_shard_of_its_own(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path, MODEL)
    cache.put({"parent": 1})
    child = os.fork()
    if child == 0:
        cache.put({"child": 2})
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    cache.put({"parent again": 3})
    assert len(shards(tmp_path)) == 2
    cache.look()
    assert [cache.get(key) for key in ("parent", "child", "parent again")] == [1, 2, 3]


def test_only_what_is_new_is_read_again(tmp_path: Path) -> None:
    writer, reader = AnswerCache(tmp_path, MODEL), AnswerCache(tmp_path, MODEL)
    writer.put({"a": 1})
    reader.look()
    (shard,) = shards(tmp_path)
    content = shard.read_bytes()
    shard.write_bytes(b"x" * len(content))  # were it read again, nothing of it would count
    writer.put({"b": 2})
    reader.look()
    assert (reader.get("a"), reader.get("b")) == (1, 2)


def test_a_line_cut_short_does_not_count_and_spoils_nothing(tmp_path: Path) -> None:
    AnswerCache(tmp_path, MODEL).put({"a": 1, "b": 2})
    (shard,) = shards(tmp_path)
    whole = shard.read_bytes()
    for cut in range(len(whole)):
        shard.write_bytes(whole[:cut])
        found = AnswerCache(tmp_path, MODEL)
        found.look()
        num_lines = whole[:cut].count(b"\n")
        assert [found.get(key) for key in "ab"] == [[None, None], [1, None], [1, 2]][num_lines]


def test_a_line_that_is_finished_later_counts_then(tmp_path: Path) -> None:
    AnswerCache(tmp_path, MODEL).put({"a": 1})
    (shard,) = shards(tmp_path)
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-5])
    reader = AnswerCache(tmp_path, MODEL)
    reader.look()
    assert reader.get("a") is None
    with shard.open("ab") as file:
        file.write(whole[-5:])
    reader.look()
    assert reader.get("a") == 1


def test_a_damaged_line_does_not_count_and_the_others_do(tmp_path: Path) -> None:
    AnswerCache(tmp_path, MODEL).put({"a": 1, "b": 22222, "c": 3})
    (shard,) = shards(tmp_path)
    shard.write_bytes(shard.read_bytes().replace(b"22222", b"22322"))
    found = AnswerCache(tmp_path, MODEL)
    found.look()
    assert (found.get("a"), found.get("b"), found.get("c")) == (1, None, 3)


def test_a_full_disk_is_said_and_leaves_whole_lines_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = AnswerCache(tmp_path, MODEL)
    cache.put({"a": 1})
    (shard,) = shards(tmp_path)
    before = shard.read_bytes()

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(answers.os, "fsync", full)
    with pytest.raises(UserError, match=r"No space left on device.*cache\.dir"):
        cache.put({"b": 2})
    assert shard.read_bytes() == before
    assert cache.get("b") is None, "what is not on the disk is not known"
    monkeypatch.undo()
    cache.put({"b": 2})
    found = AnswerCache(tmp_path, MODEL)
    found.look()
    assert (found.get("a"), found.get("b")) == (1, 2)


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "answers").write_text("in the way")
    with pytest.raises(UserError, match=r"cannot be written.*cache\.dir"):
        AnswerCache(tmp_path, MODEL).put({"a": 1})


def test_killed_writers_lose_and_double_nothing_that_was_put(tmp_path: Path) -> None:
    """Two processes write until they are killed without warning; what they had reported as put is there."""
    code = textwrap.dedent("""
        import sys
        from pathlib import Path
        from bridgex.records.answers import AnswerCache
        cache = AnswerCache(Path(sys.argv[1]), {"model": "6f1e", "engine": "hf"})
        for number in range(10**6):
            cache.put({f"{sys.argv[2]}-{number}-{part}": [number] * 200 for part in range(3)})
            print(number, flush=True)
    """)
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), name], stdout=subprocess.PIPE, text=True)
        for name in "xy"
    ]
    reported = {}
    for name, process in zip("xy", processes, strict=True):
        assert process.stdout is not None
        for _ in range(20):
            reported[name] = int(process.stdout.readline())
    for process in processes:
        process.send_signal(signal.SIGKILL)
        assert process.stdout is not None
        process.stdout.close()
        process.wait()
    found = AnswerCache(tmp_path, MODEL)
    found.look()
    for name, last in reported.items():
        for number in range(last + 1):
            assert [found.get(f"{name}-{number}-{part}") for part in range(3)] == [[number] * 200] * 3
