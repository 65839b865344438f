"""Names never leave the run's folder, the cache or the folder of data that they belong to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bridgex import evaluate, languages
from bridgex.config.settings import checked_template
from bridgex.data.catalogue import HubSource, data_set
from bridgex.data.fetch.hub_sets import fetch_from_hub
from bridgex.data.fetch.job import Job
from bridgex.data.layout import Layout, is_within
from bridgex.data.row_checks import BadCell, text_of
from bridgex.data.sentences import column_of
from bridgex.errors import UserError
from bridgex.records.cache import ArrayCache
from bridgex.records.files import place_problem
from tests.data.test_fetching import Watched, readme
from tests.fakes import hostile
from tests.fakes.data_server import serving

NAMES = (
    "..", ".", "../../escaped", "/escaped", "a/b", "a\\b", "a\0b", "a\nb", "a" * 300, "~", "-rf", "con", "a:b", "a*b",
    ".hidden", "é" * 200, "$HOME", "`id`", "a b", "",
)  # fmt: skip
UNFIT = ("..", ".", "../../escaped", "/escaped", "a/b", "a\\b", "a\nb", "a" * 300, ".hidden", "é" * 200, "$(id)", "a b")


def files_of(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@pytest.mark.parametrize("key", ["model__name", "task__name", "bridge__name", "sweep__name"])
@pytest.mark.parametrize("name", UNFIT, ids=ascii)
def test_a_name_in_a_config_is_no_path(key: str, name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        evaluate(tmp_path / "run", **{key: name})
    assert any(line.startswith(key.replace("__", ".")) for line in caught.value.problems), caught.value
    assert files_of(tmp_path) == set()


@pytest.mark.parametrize("place", ["a" * 300, "b/" + "a" * 300 + "/c", "é" * 200, "a\0b"], ids=ascii)
def test_a_folder_that_cannot_be_is_refused(place: str, tmp_path: Path) -> None:
    found = place_problem(tmp_path / place)
    assert found is not None
    assert "no folder can have this name" in found
    assert files_of(tmp_path) == set()


def test_a_folder_that_can_be_is_not(tmp_path: Path) -> None:
    assert place_problem(tmp_path / "a" / ("b" * 255) / "c") is None


@pytest.mark.parametrize("code", [name for name in NAMES if name])
def test_a_language_is_one_of_the_table(code: str) -> None:
    with pytest.raises(UserError):
        languages.language(code)
    with pytest.raises(UserError):
        languages.Pair.parse(f"en-{code}")


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_key_of_the_cache_is_no_path(name: str, tmp_path: Path) -> None:
    cache = ArrayCache(tmp_path / "cache", "profiles")
    key: Mapping[str, str] = {"language": name, name: "value"}
    cache.put(key, {"a": np.ones(2)})
    found = cache.get(key)
    assert found is not None
    assert found["a"].tolist() == [1, 1]
    assert cache.path(key).parent == tmp_path / "cache" / "profiles"
    assert {path.parent for path in files_of(tmp_path) if path.is_file()} == {tmp_path / "cache" / "profiles"}


def test_items_may_have_any_id_and_any_text(tmp_path: Path) -> None:
    words = [text for text in (*hostile.ALL, *NAMES) if len(text.split()) == 1 and "\t" not in text]
    lines = [f"{word.strip()}\t{word.strip()}x" for word in words if word.strip() and word.isprintable()]
    assert len(lines) > 20
    (tmp_path / "words.txt").write_text("\n".join(lines * 2), encoding="utf-8")
    before = files_of(tmp_path)
    run = evaluate(
        tmp_path / "run", model="random", pair="en-fr", bridge="none", data__dictionary=str(tmp_path / "words.txt"),
        cache__dir=str(tmp_path / "cache"), task__max_tokens=2,
    )  # fmt: skip
    new = {path.relative_to(tmp_path).parts[0] for path in files_of(tmp_path) - before}
    assert new == {"run", "cache"}
    assert all(path.parent == run.folder for path in files_of(run.folder))
    asked = {prediction.id: prediction.steps[0].prompt for prediction in run.predictions}
    braced = [word for word in asked if "{" in word]  # every fourth word is for probing
    assert len(braced) >= 3
    for word in (*braced, "../../escaped"):
        assert asked[word] == f'English:"{word}"→français:', "a word is no template"


@pytest.mark.parametrize("text", [*hostile.FORMAT, *hostile.MARKUP], ids=ascii)
def test_braces_in_sentences_pass_templates_unharmed(text: str) -> None:
    from bridgex.evaluation.tasks.context import filled

    whole, (start, end) = filled('{source}:"{text}"→{target}:', "text", text, source="{target}", target="T")
    assert whole == f'{{target}}:"{text}"→T:'
    assert whole[start:end] == text


@pytest.mark.parametrize(
    "template", ["{word.__class__}{word}", "{word[0]}{word}", "{0}{word}", "{other}{word}", "{word"]
)
def test_a_template_names_what_it_may_and_nothing_of_it(template: str) -> None:
    with pytest.raises(ValueError, match="may name"):
        checked_template(template, "source", "word")
    assert checked_template("{{x}} {source}:{word}", "source", "word") == "{{x}} {source}:{word}"


@pytest.mark.parametrize(
    ("name", "stays"),
    [
        ("data/test-*.parquet", True), ("sw/test.jsonl", True), ("a..b/c", True), ("...", True), ("../x", False),
        ("a/../../x", False), ("/etc/passwd", False), ("..\\x", False), ("C:/x", False), ("https://elsewhere/x", False),
        ("a\0b", False), ("", False),
    ],
)  # fmt: skip
def test_what_stays_in_its_folder(name: str, stays: bool) -> None:
    assert is_within(name) is stays


@pytest.mark.parametrize("path", ["../secret.jsonl", "/secret.jsonl", "sw/../../secret.jsonl"])
def test_a_readme_names_files_of_its_folder_only(path: str, tmp_path: Path) -> None:
    (tmp_path / "secret.jsonl").write_text("{}\n")
    folder = tmp_path / "xnli"
    folder.mkdir()
    path = str(tmp_path / "secret.jsonl") if path.startswith("/") else path
    header = {"configs": [{"config_name": "sw", "data_files": [{"split": "test", "path": path}]}]}
    (folder / "README.md").write_text(f"---\n{json.dumps(header)}\n---\n")
    with pytest.raises(UserError, match="rows are read from files in that folder only"):
        Layout(folder).files("sw", "test")
    with pytest.raises(UserError, match="rows are read from files in that folder only"):
        Layout(folder).languages(data_set("xnli"), "test")


def test_half_a_character_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(BadCell, match="half a character"):
        text_of("a\ud83d", "premise")
    assert text_of("a\U0001f600 ", "premise") == "a\U0001f600"
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "whole"}\n{"text": "half \\ud83d"}\n')
    with pytest.raises(UserError, match=r"a\.jsonl:2: expected a JSON object"):
        column_of(path, ("text",))


def test_a_server_cannot_have_a_file_written_elsewhere(tmp_path: Path) -> None:
    with serving() as server:
        splits = {split: f"../../{split}*" for split in ("test", "validation")}
        files = {f"../../{split}.jsonl": b"{}" for split in splits}
        hub_id = "facebook/xnli"
        revision = server.add_repository(hub_id, {"README.md": readme(sw=splits), **files})
        data = replace(data_set("xnli"), source=HubSource(hub_id, revision))
        root = tmp_path / "a" / "b" / "data"
        job = Job(data, ("sw",), root / "xnli", Watched(), server.url, None, lambda seconds: None)
        with pytest.raises(UserError, match="has no .* files of Swahili"):
            fetch_from_hub(job)
    assert not [path for path in files_of(tmp_path) if path.is_file() and root not in path.parents]
    assert not [path for path in files_of(tmp_path) if path.suffix == ".jsonl"]
