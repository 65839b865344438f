"""Pages and pictures that are made from the code are as the code would make them now."""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest
import yaml

from bridgex.config.settings import Settings
from bridgex.data.catalogue import CATALOGUE
from bridgex.languages import OWN_TABLE
from tests.docs import reading

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(DOCS))
    yield
    for name in ("make_config_reference", "make_licences", "draw_concepts"):
        sys.modules.pop(name, None)


def maker(name: str) -> ModuleType:
    return importlib.import_module(name)


def test_the_config_reference_is_up_to_date() -> None:
    made = maker("make_config_reference").page()
    assert made == (DOCS / "config.md").read_text(encoding="utf-8"), "run python docs/make_config_reference.py"


def test_the_config_reference_has_every_key_and_choice(repository: Path) -> None:
    text = (DOCS / "config.md").read_text(encoding="utf-8")
    for name in Settings.model_fields:
        assert re.search(rf"^\| `{name}[.`]", text, flags=re.MULTILINE) or name in ("callbacks", "task", "bridge")
    for path in (repository / "conf").glob("*/[!_]*.yaml"):
        assert f"| `{path.stem}` |" in text
    for key in ("task.forms", "bridge.hsic.estimator", "bridge.convergence.block", "finetune.training.steps"):
        assert f"| `{key}` |" in text
    code = "\n".join(path.read_text(encoding="utf-8") for path in (repository / "bridgex").rglob("*.py"))
    for variable in {*re.findall(r"environ\.get\(\"(BRIDGEX_[A-Z_]+)\"", code), OWN_TABLE}:
        assert f"`{variable}`" in text


def test_a_value_that_looks_like_a_table_or_a_tag_stays_in_its_cell() -> None:
    made = maker("make_config_reference")
    assert made.code("a|b") == "<code>a&#124;b</code>"
    assert made.code("a\nb") == "`a\\nb`"
    assert made.cell("<x> | _target_ some_name") == "&lt;x&gt; &#124; \\_target\\_ some_name"


def test_licences_name_every_data_set_and_direct_dependency(repository: Path) -> None:
    made = maker("make_licences")
    text = (DOCS / "licences.md").read_text(encoding="utf-8")
    for row in made.data_rows():
        assert f"{row}\n" in text, "run python docs/make_licences.py"
    assert text.count("| [CC") + text.count("| [GPL") + text.count("| [Apache") == len(CATALOGUE)
    always, extra = made.dependencies()
    named = dict(re.findall(r"^\| `([\w-]+)` \| ([^|]+) \|$", text, flags=re.MULTILINE))
    assert list(named) == [*always, *extra], "run python docs/make_licences.py"
    assert made.UNKNOWN not in [named[name] for name in always]


def test_pictures_are_those_of_their_numbers() -> None:
    made = maker("draw_concepts")
    numbers = json.loads(made.NUMBERS.read_text(encoding="utf-8"))
    for name, draw in made.PICTURES.items():
        text = draw(numbers).svg()
        assert text == (DOCS / "images" / f"{name}.svg").read_text(encoding="utf-8"), "run python docs/draw_concepts.py"
        ElementTree.fromstring(text)
        assert "prefers-color-scheme: dark" in text
    pages = "\n".join((DOCS / f"concepts-{page}.md").read_text(encoding="utf-8") for page in ("bridges", "drift"))
    assert all(f"](images/{name}.svg)" in pages for name in made.PICTURES)


def test_numbers_of_the_pictures_are_those_that_the_pages_tell() -> None:
    numbers = json.loads((DOCS / "images" / "concepts.json").read_text(encoding="utf-8"))
    shared = set(numbers["masks"]["qaa"]) & set(numbers["masks"]["qaf"])
    assert (len(shared & set(numbers["masks"]["qad"])), len(shared)) == (22, 24)
    found = numbers["candidates"]
    assert list(found) == ["qad", "qaj", "qag"]
    assert found["qad"]["route"] > found["qag"]["route"] > numbers["routes"]["direct"]["score"] > found["qaj"]["route"]


def notebook() -> list[dict[str, str]]:
    cells = json.loads((DOCS / "notebooks" / "api.ipynb").read_text(encoding="utf-8"))["cells"]
    return [{**cell, "text": "".join(cell["source"])} for cell in cells]


def test_the_notebook_was_run_and_its_page_is_it() -> None:
    page = (DOCS / "notebooks" / "api.md").read_text(encoding="utf-8")
    for cell in notebook():
        assert cell["text"] in page, "run python docs/make_notebook.py"
        if cell["cell_type"] == "code":
            assert cell["execution_count"]
            for output in cell["outputs"]:
                printed = "".join(output.get("text", ""))
                assert all(f"    {line}\n" in page for line in printed.splitlines())
    assert (DOCS / "notebooks" / "api.ipynb").stat().st_size < 100_000


@pytest.mark.slow
def test_python_on_the_page_of_the_api_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = [body for info, body in reading.blocks((DOCS / "python-api.md").read_text("utf-8")) if info == "python"]
    names: dict[str, object] = {}
    exec(compile(code, "python-api.md", "exec"), names)
    assert names["pair"] == "qab-qac"


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Each cell by itself; what it prints on the toy world is what it printed."""
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for cell in notebook():
        if cell["cell_type"] != "code":
            continue
        capsys.readouterr()
        exec(compile(cell["text"], "api.ipynb", "exec"), names)
        printed = capsys.readouterr().out.splitlines()
        for output in cell["outputs"]:
            assert all(line in printed for line in "".join(output.get("text", "")).splitlines())
    assert os.listdir(tmp_path) == ["runs"]
    import matplotlib.pyplot as plt

    plt.close("all")


def test_the_citation_names_both_papers(repository: Path) -> None:
    found = yaml.safe_load((repository / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "title", "message", "type", "license", "authors", "version", "references"} <= set(found)
    project = (repository / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{found["version"]}"' in project
    assert f'license = "{found["license"]}"' in project
    papers = " ".join(json.dumps(paper) for paper in found["references"])
    assert all(number in papers for number in ("2508.17078", "2305.02151"))
    for paper in found["references"]:
        assert {"type", "title", "authors", "year", "identifiers", "collection-title"} <= set(paper)
        assert all({"family-names"} <= set(author) for author in paper["authors"])
