"""Fetching: from a server on the loopback, which breaks off, refuses and lies; nothing half is taken for whole."""

from __future__ import annotations

import errno
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from bridgex.data import doctor, task_rows
from bridgex.data.catalogue import data_set
from bridgex.data.fetch import downloads
from bridgex.data.fetch.command import Fetched, fetch
from bridgex.data.fetch.downloads import Download, client, download
from bridgex.data.layout import Layout
from bridgex.data.sources import read_word_pairs
from bridgex.errors import UserError
from tests.data.test_task_rows import causes, mrc, nli, settings_for
from tests.fakes.data_server import DataServer, serving

BODY = bytes(range(256)) * 40


class Watched:
    """Counts what is said to have arrived."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, int | None]] = []
        self.arrived = 0

    def begin(self, name: str, num_bytes: int | None) -> None:
        self.begun.append((name, num_bytes))

    def advance(self, num_bytes: int) -> None:
        self.arrived += num_bytes


@pytest.fixture
def server() -> Iterator[DataServer]:
    with serving() as found:
        yield found


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")


def parquet(rows: list[dict[str, Any]]) -> bytes:
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


def readme(**files: dict[str, str]) -> bytes:
    configs = "".join(
        f"- config_name: {config}\n  data_files:\n"
        + "".join(f"  - split: {split}\n    path: {path}\n" for split, path in splits.items())
        for config, splits in files.items()
    )
    return f"---\nlicense: x\nconfigs:\n{configs}---\n# words\n".encode()


def add_xnli(server: DataServer, *codes: str) -> str:
    files = {
        f"{code}/{split}-00000-of-00001.parquet": parquet(nli(code))
        for code in codes
        for split in ("test", "validation", "train")
    }
    splits = {code: {split: f"{code}/{split}-*" for split in ("train", "validation", "test")} for code in codes}
    return server.add_repository("facebook/xnli", {"README.md": readme(**splits), **files})


def get(server: DataServer, tmp_path: Path, **known: Any) -> tuple[Path, Watched, list[float]]:
    waits: list[float] = []
    watched = Watched()
    path = tmp_path / "folder" / "file.bin"
    with client(1.0) as connection:
        download(connection, Download(f"{server.url}/file.bin", path, **known), watched.advance, waits.append)
    return path, watched, waits


def fetched(
    server: DataServer, name: str, codes: list[str], root: Path, addresses: tuple[str, ...] = (), **more: bool
) -> Fetched:
    return fetch(
        name,
        codes,
        root,
        Watched(),
        endpoint=server.url,
        addresses=addresses or None,
        wait=lambda seconds: None,
        **more,
    )


def left(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_file_arrives_whole(server: DataServer, tmp_path: Path) -> None:
    server.files["/file.bin"] = BODY
    path, watched, waits = get(server, tmp_path)
    assert (path.read_bytes(), watched.arrived, waits) == (BODY, len(BODY), [])
    assert left(tmp_path) == ["folder/file.bin"]


def test_what_is_there_whole_is_not_asked_for_again(server: DataServer, tmp_path: Path) -> None:
    server.files["/file.bin"] = BODY
    get(server, tmp_path)
    _, watched, _ = get(server, tmp_path)
    assert watched.arrived == len(BODY)
    assert server.asked_for("/file.bin") == [""]


def test_a_cut_download_goes_on_where_it_was_cut(server: DataServer, tmp_path: Path) -> None:
    server.files["/file.bin"] = BODY
    server.cuts["/file.bin"] = [4000, 1000]
    path, watched, waits = get(server, tmp_path, size=len(BODY))
    assert path.read_bytes() == BODY
    assert server.asked_for("/file.bin") == ["", "bytes=4000-", "bytes=5000-"]
    assert watched.arrived == len(BODY)
    assert waits == [1.0, 2.0]


def test_a_download_that_stays_cut_says_how_far_it_came_and_goes_on_next_time(
    server: DataServer, tmp_path: Path
) -> None:
    server.files["/file.bin"] = BODY
    server.cuts["/file.bin"] = [1000, 1000, 1000, 1000]
    with pytest.raises(UserError) as error:
        get(server, tmp_path, size=len(BODY))
    assert str(error.value) == (
        f"{server.url}/file.bin: the connection broke off, 4 times; 4,000 of 10,240 bytes have arrived. Run the same "
        f"command again: it goes on from there"
    )
    assert not (tmp_path / "folder" / "file.bin").exists()
    path, _, _ = get(server, tmp_path, size=len(BODY))
    assert path.read_bytes() == BODY
    assert server.asked_for("/file.bin")[-1] == "bytes=4000-"
    assert left(tmp_path) == ["folder/file.bin"]


def test_a_file_that_changed_meanwhile_is_begun_again(server: DataServer, tmp_path: Path) -> None:
    server.files["/file.bin"] = BODY
    server.cuts["/file.bin"] = [1000] * downloads.TRIES
    with pytest.raises(UserError, match="4,000 bytes have arrived"):
        get(server, tmp_path)
    server.files["/file.bin"] = b"another" * 1000
    path, watched, _ = get(server, tmp_path)
    assert path.read_bytes() == b"another" * 1000
    assert watched.arrived == 7000


def test_a_server_in_trouble_is_asked_again(server: DataServer, tmp_path: Path) -> None:
    server.files["/file.bin"] = BODY
    server.statuses["/file.bin"] = [503, 429]
    path, _, waits = get(server, tmp_path)
    assert path.read_bytes() == BODY
    assert waits == [1.0, 2.0]


def test_a_slow_server_is_given_up_in_time(server: DataServer, tmp_path: Path) -> None:
    server.files["/file.bin"] = BODY
    server.stalls["/file.bin"] = [3.0] * 4
    waits: list[float] = []
    item = Download(f"{server.url}/file.bin", tmp_path / "file.bin")
    with client(0.1) as connection, pytest.raises(UserError, match="the server does not answer in time, 4 times. Run"):
        download(connection, item, lambda count: None, waits.append)
    assert len(waits) == 3


def test_no_network_is_one_line(tmp_path: Path) -> None:
    with serving() as gone:
        url = gone.url
    item = Download(f"{url}/file.bin", tmp_path / "file.bin")
    with client(1.0) as connection, pytest.raises(UserError) as error:
        download(connection, item, lambda count: None, lambda seconds: None)
    assert str(error.value) == f"{url}/file.bin: not reached, 4 times. Run this command where there is network"


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (404, "not there (404). Please report it"),
        (401, "refused (401). Accept its licence at https://page, then log in with hf auth login"),
        (403, "refused (403). Accept its licence at https://page, then log in with hf auth login"),
        (418, "the server answers 418. Please report it"),
    ],
)
def test_refusals_are_not_tried_again(server: DataServer, tmp_path: Path, status: int, line: str) -> None:
    server.statuses["/file.bin"] = [status]
    with pytest.raises(UserError) as error:
        get(server, tmp_path, licence_page="https://page")
    assert str(error.value) == f"{server.url}/file.bin: {line}"
    assert len(server.asked_for("/file.bin")) == 1
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    ("known", "line"),
    [
        ({"size": 99}, "10,240 bytes arrived, 99 were announced. Run the command again"),
        ({"digest": "sha256:" + "0" * 64}, "its contents are not those announced (expected sha256:00000...)"),
        ({"digest": "git:" + "0" * 40}, "its contents are not those announced (expected git:00000000...)"),
    ],
)
def test_wrong_sizes_and_contents_leave_nothing(
    server: DataServer, tmp_path: Path, known: dict[str, Any], line: str
) -> None:
    server.files["/file.bin"] = BODY
    with pytest.raises(UserError) as error:
        get(server, tmp_path, **known)
    assert str(error.value).startswith(f"{server.url}/file.bin: {line}")
    assert left(tmp_path) == []


def test_a_full_disk_is_one_line(server: DataServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files["/file.bin"] = BODY
    plain_open = Path.open

    def full(path: Path, mode: str = "r", *args: Any, **keywords: Any) -> Any:
        file = plain_open(path, mode, *args, **keywords)
        if path.name.endswith(".part"):

            def write(block: bytes) -> int:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            return _Full(file, write)
        return file

    class _Full:
        def __init__(self, file: Any, write: Any) -> None:
            self.file, self.write = file, write

        def __enter__(self) -> _Full:
            return self

        def __exit__(self, *error: object) -> None:
            self.file.close()

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(UserError) as error:
        get(server, tmp_path)
    monkeypatch.undo()
    path = tmp_path / "folder" / "file.bin"
    assert str(error.value) == (
        f"{path}: cannot be written (No space left on device). Free space or give another --root"
    )
    assert not path.exists()
    path, _, _ = get(server, tmp_path)
    assert path.read_bytes() == BODY


def test_a_hub_set_is_fetched_split_by_split_and_reads_as_one_of_the_hub(server: DataServer, tmp_path: Path) -> None:
    commit = add_xnli(server, "de", "en", "sw")
    found = fetched(server, "xnli", ["de", "en"], tmp_path)
    assert (found.num_files, found.num_new, found.codes) == (4, 4, ("de", "en"))
    assert found.origins == (f"facebook/xnli at commit {commit}",)
    assert left(tmp_path / "xnli") == [
        "README.md",
        "de/test-00000-of-00001.parquet",
        "de/validation-00000-of-00001.parquet",
        "en/test-00000-of-00001.parquet",
        "en/validation-00000-of-00001.parquet",
    ]
    rows = task_rows.inference_rows(settings_for(tmp_path), ["de", "en"], "test")
    assert rows.rows["de"][0].premise == "de premise 0"
    text = (tmp_path / "xnli" / "README.md").read_text()
    assert f"facebook/xnli at commit {commit}" in text
    assert "NON-COMMERCIAL" in text
    import datasets

    loaded = datasets.load_dataset(str(tmp_path / "xnli"), "en", split="validation", streaming=True)
    assert next(iter(loaded))["premise"] == "en premise 0"


def test_a_second_fetch_adds_languages_and_has_nothing_again(server: DataServer, tmp_path: Path) -> None:
    add_xnli(server, "de", "en", "sw")
    fetched(server, "xnli", ["de"], tmp_path)
    found = fetched(server, "xnli", ["de", "sw"], tmp_path)
    assert (found.num_files, found.num_new) == (4, 2)
    assert set(Layout(tmp_path / "xnli").readme) == {"de", "sw"}
    assert task_rows.problems(settings_for(tmp_path), "xnli", ["de", "sw"], ["test", "validation"]) == []


def test_rows_to_fine_tune_on_come_only_when_asked_for(server: DataServer, tmp_path: Path) -> None:
    add_xnli(server, "de", "en")
    fetched(server, "xnli", ["de", "en"], tmp_path)
    assert task_rows.languages(settings_for(tmp_path), "xnli", "train") == []
    (line,) = task_rows.problems(settings_for(tmp_path), "xnli", ["en"], ["train"])
    assert "bridgex data fetch xnli --language en --train" in line
    fetched(server, "xnli", ["en"], tmp_path, with_training=True)
    assert task_rows.languages(settings_for(tmp_path), "xnli", "train") == ["en"]
    # A later fetch without them leaves them where they are.
    fetched(server, "xnli", ["en"], tmp_path)
    assert task_rows.problems(settings_for(tmp_path), "xnli", ["en"], ["train", "test"]) == []


def test_burmese_comes_from_myxnli_in_xnlis_columns(server: DataServer, tmp_path: Path) -> None:
    add_xnli(server, "en")
    labels = ("entailment", "neutral", "contradiction")
    rows = [
        {"genre": "x", "label": labels[row["label"]], "sentence1_en": "e", "sentence2_en": "e"}
        | {"sentence1_my": row["premise"], "sentence2_my": row["hypothesis"]}
        for row in nli("မ")
    ]
    files = {f"data/{split}-00000-of-00001-ab.parquet": parquet(rows) for split in ("train", "validation", "test")}
    server.add_repository("akhtet/myXNLI", files)
    found = fetched(server, "xnli", ["en", "my"], tmp_path)
    assert len(found.origins) == 2
    assert left(tmp_path / "xnli" / "my") == ["test.parquet", "validation.parquet"]
    both = task_rows.inference_rows(settings_for(tmp_path), ["en", "my"], "test")
    assert both.rows["my"][4] == task_rows.InferenceRow("မ premise 1", "မ hypothesis 4", 1)
    assert not [name for name in left(tmp_path) if ".arriving" in name or "train" in name]


def test_english_copa_takes_its_answers_from_xcopa(server: DataServer, tmp_path: Path) -> None:
    splits = {split: f"zh/{split}-*" for split in ("validation", "test")}
    xcopa = {f"zh/{split}-00000-of-00001.parquet": parquet(causes("z")) for split in splits}
    server.add_repository("cambridgeltl/xcopa", {"README.md": readme(zh=splits), **xcopa})
    bare = [{key: value for key, value in row.items() if key != "changed"} | {"label": -1} for row in causes("e")]
    copa = {f"copa/{split}-00000-of-00001.parquet": parquet(bare) for split in splits}
    both = {split: f"copa/{split}-*" for split in splits}
    server.add_repository("aps/super_glue", {"README.md": readme(boolq={"test": "boolq/test-*"}, copa=both), **copa})
    fetched(server, "xcopa", ["en"], tmp_path)
    assert left(tmp_path / "xcopa") == ["README.md", "en/test.parquet", "en/validation.parquet"]
    found = task_rows.causal_rows(settings_for(tmp_path), ["en"], "test")
    assert [row.label for row in found.rows["en"]] == [0, 1] * 6
    assert found.origins == {"en": "xcopa/en (COPA)"}


def test_gated_sets_name_their_licence(server: DataServer, tmp_path: Path) -> None:
    server.add_repository("openlanguagedata/flores_plus", {"README.md": b"# words"})
    for status in (401, 403):
        server.gated["openlanguagedata/flores_plus"] = status
        with pytest.raises(UserError) as error:
            fetched(server, "flores", ["en"], tmp_path)
        assert str(error.value) == (
            "openlanguagedata/flores_plus: gated. Accept its licence at https://huggingface.co/datasets/openlanguagedata/"
            "flores_plus, then log in with hf auth login"
        )
    assert list(tmp_path.iterdir()) == []


def test_a_set_that_is_not_on_the_hub_or_has_not_the_language_is_one_line(server: DataServer, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="^masakhane/afrixnli: not on the hub"):
        fetched(server, "afrixnli", ["ha"], tmp_path)
    add_xnli(server, "de")
    with pytest.raises(UserError, match=r"^facebook/xnli: has no test files of French \(fr\) at commit [0-9a-f]{12}"):
        fetched(server, "xnli", ["de", "fr"], tmp_path)
    with serving() as gone:
        url = gone.url
    with pytest.raises(UserError, match=r"^facebook/xnli: not reached \(\w+\). Run this command on a machine with"):
        fetch("xnli", ["de"], tmp_path, Watched(), endpoint=url)
    assert list(tmp_path.iterdir()) == []


def test_a_hub_file_that_is_not_what_was_announced_is_refused(server: DataServer, tmp_path: Path) -> None:
    add_xnli(server, "de")
    server.announced["de/test-00000-of-00001.parquet"] = "0" * 64
    with pytest.raises(UserError, match="its contents are not those announced"):
        fetched(server, "xnli", ["de"], tmp_path)
    assert "de/test-00000-of-00001.parquet" not in left(tmp_path / "xnli")
    assert not (tmp_path / "xnli" / "README.md").exists()


def test_a_cut_hub_file_is_gone_on_with_by_the_next_command(server: DataServer, tmp_path: Path) -> None:
    commit = add_xnli(server, "de")
    path = f"/datasets/facebook/xnli/resolve/{commit}/de/test-00000-of-00001.parquet"
    server.cuts[path] = [100] * downloads.TRIES
    with pytest.raises(UserError, match="400 of [0-9,]+ bytes have arrived"):
        fetched(server, "xnli", ["de"], tmp_path)
    assert task_rows.problems(settings_for(tmp_path), "xnli", ["de"]) != []
    fetched(server, "xnli", ["de"], tmp_path)
    assert server.asked_for(path)[-1] == "bytes=400-"
    assert len(task_rows.inference_rows(settings_for(tmp_path), ["de"], "test").ids) == 12


def test_a_folder_of_someone_elses_is_left_alone(server: DataServer, tmp_path: Path) -> None:
    (tmp_path / "xnli").mkdir()
    (tmp_path / "xnli" / "README.md").write_text("# my own\n")
    add_xnli(server, "de")
    with pytest.raises(UserError, match=r"README.md: not written by bridgex data fetch.*Give another --root"):
        fetched(server, "xnli", ["de"], tmp_path)
    assert left(tmp_path) == ["xnli/README.md"]
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"^--root .*/file: .*is a file, and a folder is needed there"):
        fetched(server, "xnli", ["de"], tmp_path / "file")


def test_mistakes_in_names_come_all_at_once(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        fetch("xnli", ["swahili", "xh", "en"], tmp_path, Watched())
    first, second = error.value.problems
    assert first == "--language swahili: no such language. Did you mean sw?"
    assert second.startswith("--language xh: xnli has no Xhosa; it has ar, bg, de")
    with pytest.raises(UserError, match=r"^data set 'xnlii': no such one \(did you mean xnli\?\). There are muse"):
        fetch("xnlii", [], tmp_path, Watched())


def test_ntrex_is_numbered_lines(server: DataServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (split,) = data_set("ntrex").splits
    lines = [f" line {n} " for n in range(1, (split.rows or 0) + 1)]
    server.files["/newstest2019-src.eng.txt"] = "\n".join(lines).encode()
    server.files["/newstest2019-ref.swa.txt"] = ("﻿" + "\n".join(lines) + "\n").encode()
    addresses = (f"{server.url}/{{}}",)
    fetched(server, "ntrex", ["en", "sw"], tmp_path, addresses)
    found = task_rows.sentence_rows(settings_for(tmp_path), ["en", "sw"], dataset="ntrex")
    assert (len(found.ids), found.ids[0], found.rows["sw"][0].text) == (1997, "1", "line 1")
    assert left(tmp_path / "ntrex") == ["README.md", "eng/test.jsonl", "swa/test.jsonl"]
    server.files["/newstest2019-ref.deu.txt"] = b"line 1\nline 2\n"
    with pytest.raises(UserError, match="newstest2019-ref.deu.txt: 2 lines arrived, NTREX has 1997"):
        fetched(server, "ntrex", ["de"], tmp_path, addresses)
    assert not (tmp_path / "ntrex" / "deu").exists()


def test_muse_is_fetched_both_ways_with_english_and_between_its_six(server: DataServer, tmp_path: Path) -> None:
    pairs = ["en-de", "de-en", "en-fr", "fr-en", "de-fr", "fr-de", "en-fi", "fi-en"]
    for pair in pairs:
        for end in ("0-5000", "5000-6500"):
            server.files[f"/{pair}.{end}.txt"] = f"{pair} {end}\n".encode()
    addresses = (f"{server.url}/{{}}",)
    found = fetched(server, "muse", ["de", "fr", "fi"], tmp_path, addresses)
    assert (found.num_files, found.num_new) == (16, 16)
    assert read_word_pairs(tmp_path / "muse" / "de-fr.5000-6500.txt") == {"de-fr": ("5000-6500",)}
    assert set(Layout(tmp_path / "muse").readme) == {*pairs}
    with pytest.raises(UserError, match="--language en: MUSE's files are of pairs"):
        fetched(server, "muse", ["en"], tmp_path, addresses)
    with pytest.raises(UserError, match=r"en-es.0-5000.txt: not there \(404\)"):
        fetched(server, "muse", ["es"], tmp_path, addresses)


def test_freedict_becomes_word_lists(server: DataServer, tmp_path: Path) -> None:
    words = [("house", "nyumba"), ("a while", "kitambo"), ("agree", " kubali, patana; kiri "), ("all", "ote/pia"),
             ("agree", "kubali"), ("stone", "jiwe"), ("10c piece", "kikumi"), ("tree", "mti")]  # fmt: skip
    entries = "".join(
        f"<entry><form><orth>{word}</orth></form><sense><def>{text}</def></sense></entry>" for word, text in words
    )
    tei = f'<TEI xmlns="http://www.tei-c.org/ns/1.0"><text><body>{entries}</body></text></TEI>'.encode()
    server.files["/eng-swh/eng-swh.tei"] = server.files["/swh-eng/swh-eng.tei"] = tei
    fetched(server, "freedict_sw", [], tmp_path, (f"{server.url}/{{}}",))
    folder = tmp_path / "freedict_sw"
    assert read_word_pairs(folder / "en-sw.test.txt") == {"house": ("nyumba",), "tree": ("mti",)}
    assert read_word_pairs(folder / "en-sw.train.txt") == {
        "agree": ("kubali", "patana", "kiri"),
        "all": ("ote", "pia"),
        "stone": ("jiwe",),
    }
    server.files["/eng-swh/eng-swh.tei"] = b"<TEI>"
    with pytest.raises(UserError, match="eng-swh.tei: is not XML"):
        fetched(server, "freedict_sw", [], tmp_path / "other", (f"{server.url}/{{}}",))


def test_what_was_fetched_is_looked_at(server: DataServer, tmp_path: Path) -> None:
    add_xnli(server, "de", "en")
    found = [finding.text for finding in doctor.examine(fetched(server, "xnli", ["de", "en"], tmp_path).folder)]
    assert "xnli test: 12 items, the same in de, en" in found
    assert "xnli test: 12 rows of 5010 (de, en)" in found


def command(server: DataServer, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_ENDPOINT": server.url, "HF_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "0"}
    code = "import sys; sys.argv[0] = 'bridgex'; from bridgex.commands import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environment, check=False
    )


def test_the_command_fetches_checks_and_prints_the_licence_once(server: DataServer, tmp_path: Path) -> None:
    add_xnli(server, "de", "en")
    run = command(server, tmp_path, "data", "fetch", "xnli", "--language", "de", "en", "--root", str(tmp_path / "d"))
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("NON-COMMERCIAL use only") == 1
    assert "fine  xnli test: 12 items, the same in de, en" in run.stdout
    assert run.stderr == ""
    run = command(
        server, tmp_path, "data", "fetch", "belebele", "xnli", "--language", "de", "--root", str(tmp_path / "d")
    )
    assert run.returncode == 1
    assert re.fullmatch(r"error: facebook/belebele: not on the hub \(.*\)\n", run.stderr)
    assert "XNLI; Burmese from myXNLI: 0 files fetched, 2 were there" in run.stdout
    broken = tmp_path / "d" / "xnli" / "de" / "test-00000-of-00001.parquet"
    broken.write_bytes(broken.read_bytes()[:100])
    run = command(server, tmp_path, "data", "doctor", str(tmp_path / "d"))
    assert run.returncode == 1
    assert "1 of these findings would stop a run" in run.stderr
    assert f"{broken}: cannot be read as a parquet file" in run.stdout
    run = command(server, tmp_path, "data", "list", "--language", "sw", "--task", "xnli")
    assert run.returncode == 0
    assert "sw" in run.stdout


def test_rows_come_from_the_hub_where_there_is_no_folder(server: DataServer, tmp_path: Path) -> None:
    """With the commit in their origins, and again from the cache when offline."""
    files = {
        f"data/{code}.jsonl": "".join(f"{row}\n" for row in map(_json, mrc(code))).encode()
        for code in ("eng_Latn", "deu_Latn")
    }
    splits = {code: {"test": f"data/{code}.jsonl"} for code in ("eng_Latn", "deu_Latn")}
    commit = server.add_repository("facebook/belebele", {"README.md": readme(**splits), **files})
    code = (
        "import sys; from tests.data.test_task_rows import settings_for; from bridgex.data import task_rows\n"
        "found = task_rows.reading_rows(settings_for(None), ['de', 'en'])\n"
        "print(found.origins, len(found.ids), found.fingerprint)"
    )
    environment = {**os.environ, "HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path)}

    def run(**more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env={**environment, **more}, check=False
        )

    first = run(HF_HUB_OFFLINE="0")
    assert first.returncode == 0, first.stderr
    assert f"'de': 'facebook/belebele@{commit} deu_Latn'" in first.stdout
    assert first.stderr == ""
    again = run(HF_HUB_OFFLINE="1")
    assert again.stdout == first.stdout, again.stderr


def _json(row: dict[str, Any]) -> str:
    import json

    return json.dumps(row)
