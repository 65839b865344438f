"""Links and images of the pages lead somewhere, and every command on them is one that is accepted."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import pytest

from bridgex import commands
from bridgex.config import command, settings, train_settings
from bridgex.errors import UserError
from tests.docs import reading

ROOT = Path(__file__).resolve().parents[2]
PAGES = [path.relative_to(ROOT) for path in reading.pages(ROOT)]
VALIDATE = {"evaluate": settings.validate, "train": train_settings.validate_train}
# Recipes of many cells, cut to a few: tests/test_package.py composes all of them.
FEWER = {
    "experiment=toy_grid": "hydra.sweeper.params.pair=qaa-qaf",
    "experiment=toy_sources": "hydra.sweeper.params.source=qaa",
    "experiment=toy_freezing": "hydra.sweeper.params.seed=0",
}
BY_PAGE = {page: (ROOT / page).read_text(encoding="utf-8") for page in PAGES}


@cache
def problems_of(line: str) -> list[str]:
    """What is wrong with a command, as far as its keys and values say."""
    _, found = reading.words(line)
    entry = Path(found[1]).stem
    rest = found[2:]
    is_multirun = "-m" in rest
    overrides = [word for word in rest if word not in ("-m", "--cfg", "job", "--help")]
    overrides = [f"++{word}" if word.startswith("data.text.") else word for word in overrides]
    overrides += [FEWER[word] for word in overrides if word in FEWER]
    try:
        command.check(entry, overrides, VALIDATE[entry], is_multirun=is_multirun)
    except UserError as error:
        return list(error.problems)
    return []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    for link in reading.links(BY_PAGE[page]):
        name, _, anchor = link.partition("#")
        target = (ROOT / page).parent / name if name else ROOT / page
        assert target.exists(), f"{page}: {link}"
        if anchor and target.suffix == ".md":
            assert anchor in reading.anchors(target.read_text(encoding="utf-8")), f"{page}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_command_is_accepted(page: Path) -> None:
    for line in reading.commands(BY_PAGE[page], r"python (evaluate|train)\.py"):
        # These are run by test_examples.py, with their own files.
        shown = {one.command for one in reading.shown(BY_PAGE[page]) if page.name == "first-hour.md"}
        if "--config-dir" in line or "BRIDGEX_LANGUAGES" in line or "PYTHONPATH=" in line or line in shown:
            assert page.parent.name == "extend" or line in shown, f"{page}: {line}"
            continue
        assert problems_of(line) == [], f"{page}: {line}"


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_other_command_of_bridgex_is_one(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "guard", lambda run, *_, **__: 0)
    for line in reading.commands(BY_PAGE[page], "bridgex"):
        monkeypatch.setattr(sys, "argv", reading.words(line)[1])
        with pytest.raises(SystemExit) as stop:
            commands.main()
        assert stop.value.code == 0, f"{page}: {line}"


def test_the_checks_can_fail() -> None:
    assert problems_of("python evaluate.py bridge=hsik")
    assert problems_of("python train.py pair=qaa-qaf")
    assert not problems_of("python evaluate.py -m pair=qaa-qaf,qaa-qai data.text.sw=some/where")
    text = "# A b\n\n## A `c`, d!\n\n[x](#no) `[y](none.md)`\n\n```\npython train.py a=<b> \\\n    c=1   # d\n```\n"
    assert reading.anchors(text) == {"a-b", "a-c-d"}
    assert reading.links(text) == ["#no"]
    assert reading.commands(text, r"python (evaluate|train)\.py") == ["python train.py a=some/where c=1"]


def test_every_page_has_its_place_on_the_site() -> None:
    listed = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert [page for page in PAGES if page.parts[0] == "docs" and f": {page.relative_to('docs')}\n" not in listed] == []
