from __future__ import annotations

import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from bridgex.errors import UserError
from bridgex.records.cache import ArrayCache

KEY = {"model": "6f1e", "dtype": "float32", "language": "sw", "text": "ab"}
ARRAYS = {"share_1": np.linspace(0, 1, 50), "num": np.array([3, 1]), "mean_1": np.full((2, 3), 0.1, dtype=np.float32)}


def assert_same(found: dict[str, np.ndarray] | None) -> None:
    assert found is not None
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_what_is_put_is_got(tmp_path: Path) -> None:
    cache = ArrayCache(tmp_path, "profiles")
    assert cache.get(KEY) is None
    cache.put(KEY, ARRAYS)
    assert_same(cache.get(KEY))
    assert_same(cache.get(dict(reversed(KEY.items()))))
    assert cache.get({**KEY, "language": "de"}) is None
    assert [path.parent.name for path in tmp_path.rglob("*.npz")] == ["profiles"]
    assert not list(tmp_path.rglob(".*"))


def test_the_file_is_an_ordinary_archive(tmp_path: Path) -> None:
    cache = ArrayCache(tmp_path, "profiles")
    cache.put(KEY, ARRAYS)
    with np.load(cache.path(KEY), allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["share_1"], ARRAYS["share_1"])


def test_a_file_of_another_key_is_not_taken(tmp_path: Path) -> None:
    cache, other = ArrayCache(tmp_path, "profiles"), {**KEY, "text": "cd"}
    cache.put(KEY, ARRAYS)
    cache.path(KEY).rename(cache.path(other))
    assert cache.get(other) is None


def test_a_cut_file_is_missing_and_removed(tmp_path: Path) -> None:
    cache = ArrayCache(tmp_path, "profiles")
    cache.put(KEY, ARRAYS)
    whole = cache.path(KEY).read_bytes()
    for length in (*range(0, len(whole), 97), len(whole) - 1):
        cache.path(KEY).write_bytes(whole[:length])
        assert cache.get(KEY) is None
        assert not cache.path(KEY).exists()
    cache.put(KEY, ARRAYS)
    assert_same(cache.get(KEY))


def test_a_flipped_bit_is_seen_wherever_it_is(tmp_path: Path) -> None:
    cache = ArrayCache(tmp_path, "profiles")
    cache.put(KEY, ARRAYS)
    whole = cache.path(KEY).read_bytes()
    for place in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << (place % 8)
        cache.path(KEY).write_bytes(damaged)
        assert cache.get(KEY) is None, f"byte {place}"


def test_objects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="bad: arrays of Python objects"):
        ArrayCache(tmp_path, "profiles").put(KEY, {"bad": np.array([{}])})


def test_a_folder_that_cannot_be_made_is_the_users_line(tmp_path: Path) -> None:
    (tmp_path / "profiles").write_text("a file")
    with pytest.raises(UserError, match=r"cannot be written .* give another cache\.dir"):
        ArrayCache(tmp_path, "profiles").put(KEY, ARRAYS)


def _write(folder: Path) -> int:
    cache, missing = ArrayCache(folder, "profiles"), 0
    for _ in range(30):
        cache.put(KEY, ARRAYS)
        found = cache.get(KEY)
        missing += found is None or not np.array_equal(found["share_1"], ARRAYS["share_1"])
    return missing


def test_many_processes_see_whole_files_only(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.map(_write, [tmp_path] * 2) == [0, 0]
    assert len(list((tmp_path / "profiles").iterdir())) == 1
