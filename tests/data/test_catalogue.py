"""The table of data sets: complete, at one with the language table, and honest about licences."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bridgex.data import listing
from bridgex.data.catalogue import CATALOGUE, data_set
from bridgex.data.layout import configs_of
from bridgex.data.row_types import READINGS
from bridgex.errors import UserError
from bridgex.languages import DATASETS, all_languages


def test_every_data_set_of_the_language_table_is_there() -> None:
    assert {*DATASETS} - {"uriel"} == {*CATALOGUE} - {"freedict_sw"}
    for data in CATALOGUE.values():
        assert data.languages(), data.name
        assert data.evaluated.purpose == "evaluated"
        assert (data.source is None) == bool(data.addresses)
        assert bool(data.columns) == (data.name in READINGS)


def test_codes_are_the_language_tables_and_toy_languages_their_own() -> None:
    assert data_set("belebele").code_for("zh") == "zho_Hans"
    assert data_set("afrixnli").code_for("sw") == "swa"
    assert data_set("xcopa").code_for("de") is None
    assert data_set("xcopa").code_for("qaa") == "qaa"
    assert data_set("freedict_sw").languages() == ("en", "sw")
    with pytest.raises(ValueError, match="no data set 'xnlii'; there are muse"):
        data_set("xnlii")


def test_revisions_are_whole_commits() -> None:
    sources = [source for data in CATALOGUE.values() for source in (data.source, *data.others.values()) if source]
    assert all(source.revision is None or re.fullmatch("[0-9a-f]{40}", source.revision) for source in sources)
    assert data_set("xnli").source_of("sw") == data_set("xnli").source
    my = data_set("xnli").source_of("my")
    assert my is not None
    assert my.hub_id == "akhtet/myXNLI"


def test_licences_say_what_they_forbid() -> None:
    assert [data.name for data in CATALOGUE.values() if data.licence.non_commercial] == ["muse", "xnli"]
    assert [data.name for data in CATALOGUE.values() if data.licence.gated] == ["flores"]
    assert data_set("xnli").licence.line() == "CC BY-NC 4.0, NON-COMMERCIAL use only"
    assert data_set("afrixnli").licence.line() == "Apache-2.0"
    for data in CATALOGUE.values():
        assert data.licence.page.startswith("https://")
        assert ("NC" in data.licence.name, "SA" in data.licence.name) == (
            data.licence.non_commercial,
            data.licence.share_alike and data.name != "freedict_sw",
        )


def test_the_list_can_be_narrowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    (tmp_path / "home" / "datasets" / "masakhane___afrixnli").mkdir(parents=True)
    (tmp_path / "data" / "xnli").mkdir(parents=True)
    found = listing.lines(tmp_path / "data", "xnli")
    assert [(line.name, line.place) for line in found] == [("xnli", "yes"), ("afrixnli", "cache")]
    assert found[0].splits == ("test 5010", "validation 2490", "train 392702")
    assert [line.name for line in listing.lines(tmp_path, None, "xh")] == ["afrixnli", "belebele", "ntrex", "flores"]
    assert {line.place for line in listing.lines(tmp_path, "mt")} == {"no"}
    with pytest.raises(UserError, match=r"--task xnlo: no such task. Did you mean xnli\? There are belebele, bli"):
        listing.lines(tmp_path, "xnlo")
    with pytest.raises(UserError, match="no language 'xx'"):
        listing.lines(tmp_path, None, "xx")
    with pytest.raises(UserError, match="--task mgsm: no data set for it has Xhosa. Leave --task out"):
        listing.lines(tmp_path, "mgsm", "xh")


def test_every_language_of_a_data_set_has_a_code_of_its_own() -> None:
    for data in CATALOGUE.values():
        codes = [data.code_for(entry.code) for entry in all_languages() if not entry.is_toy]
        named = [code for code in codes if code is not None]
        assert len(named) == len(set(named)), data.name


def test_configs_take_every_form_that_the_hub_knows() -> None:
    text = """---
license: x
configs:
- config_name: a
  data_files: a/*.jsonl
- config_name: b
  data_files:
  - b1.jsonl
  - b2.jsonl
- config_name: no
  data_files:
  - split: test
    path: [c/0.parquet, c/1.parquet]
  - split: validation
    path: c/val.tsv
---
# words
---
"""
    assert configs_of(text.replace("config_name: no", "config_name: 'no'"), "README.md") == {
        "a": {"train": ("a/*.jsonl",)},
        "b": {"train": ("b1.jsonl", "b2.jsonl")},
        "no": {"test": ("c/0.parquet", "c/1.parquet"), "validation": ("c/val.tsv",)},
    }
    assert configs_of("# no header\n---\nconfigs: 1\n---\n", "README.md") == {}
    with pytest.raises(UserError, match=r"README.md: its header cannot be read \("):
        configs_of("---\nconfigs:\n- name: a\n---\n", "README.md")
