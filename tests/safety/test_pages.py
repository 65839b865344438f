"""What models, data sets, errors and names say stands on pages as text: nothing of it is run, followed or obeyed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridgex import evaluate
from bridgex.evaluation.dialogue import Completion, Question
from bridgex.evaluation.engines.hf import HFEngine
from bridgex.records.files import read_json, write_json
from bridgex.records.schema import Option, Ranking, StrategyRecord
from bridgex.records.store import read_metrics, read_status
from bridgex.records.sweep import cells_of
from bridgex.records.train_files import is_train_run, read_train_metrics
from bridgex.report import html, markup
from bridgex.report.relate import relate, write_relations
from tests.fakes import hostile
from tests.report import browser as chromium
from tests.report import made_up, made_up_relate, made_up_train

# What a hostile page would have made.
_MADE = "return document.querySelectorAll('img,iframe,object,embed,base,svg script,svg a').length"
_HANDLERS = """return [...document.querySelectorAll('*')].flatMap(e => [...e.attributes])
    .filter(a => a.name.startsWith('on') || /^\\s*javascript:/i.test(a.value)).map(a => a.name + '=' + a.value)"""
_PRESS = "for (const e of document.querySelectorAll('summary,button')) e.click(); return 0"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    opened = chromium.open_browser()
    yield opened
    opened.quit()


def check(browser: Any, page: Path, is_scripted: bool) -> str:
    """Opens a page and presses everything on it; returns its text."""
    chromium.visit(browser, page)
    title = browser.title
    assert " - bridgex" in title
    browser.execute_script(_PRESS)
    assert browser.title == title
    assert browser.execute_script("return document.scripts.length") == int(is_scripted)
    assert browser.execute_script(_MADE) == 0
    assert browser.execute_script(_HANDLERS) == []
    assert chromium.complaints(browser) == []
    outside = [url for url in chromium.requests(browser) if not url.startswith(("file:", "about:", "data:"))]
    assert outside == []
    return str(browser.execute_script("return document.body.textContent"))


def spoil(folder: Path) -> None:
    """Puts hostile texts wherever a run's records hold free text, and names that a user's own class may choose."""
    texts = itertools.cycle(hostile.ALL)
    status = read_status(folder)
    assert status is not None
    lists, names = list(hostile.ALL), ("host", "device", "git_revision")
    told = {"notes": lists, "details": lists, "error": hostile.SCRIPT, "versions": {next(texts): next(texts)}}
    write_json(folder / "status.json", status.model_copy(update={**told, **{name: next(texts) for name in names}}))
    if (folder / "metrics.json").is_file():
        metrics = read_train_metrics(folder) if is_train_run(folder) else read_metrics(folder)
        free = {name for name in ("model", "task", "metric", "survives") if hasattr(metrics, name)}
        spoilt = metrics.model_copy(update={name: f"{getattr(metrics, name)} {next(texts)}" for name in free})
        write_json(folder / "metrics.json", spoilt)
    if (folder / "ranking.json").is_file():
        ranking = read_json(folder / "ranking.json", Ranking)
        missing = StrategyRecord(scores={}, missing=" ".join(hostile.ALL))
        write_json(
            folder / "ranking.json", ranking.model_copy(update={"strategies": {**ranking.strategies, "own": missing}})
        )


def spoilt_answers() -> list[Any]:
    said = []
    for place, text in enumerate((*hostile.ALL, hostile.LONG)):
        for route in ("direct", "via en"):
            one = made_up.prediction(f"w{place} {text}", route, False, bridge_text=text if route != "direct" else None)
            steps = [step.model_copy(update={"prompt": text, "output": text}) for step in one.steps]
            options = [Option(text=text, logprob=-1.0, num_tokens=1, worth=-1.0)]
            said.append(
                one.model_copy(update={"steps": steps, "answer": text, "gold": [text, text], "options": options})
            )
    return said


def test_the_page_of_a_run(browser: Any, tmp_path: Path) -> None:
    folder = made_up.compare_run(tmp_path / "run", predictions=spoilt_answers())
    spoil(folder)
    text = check(browser, html.write_run_page(folder), is_scripted=False)
    assert hostile.SCRIPT in text, "it stands there as text"
    assert "␛[31mred" in text


def test_the_page_of_a_model_that_answers_markup(browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = itertools.cycle([f'"{text}"' for text in (*hostile.ALL, hostile.LONG)])

    def complete(self: HFEngine, questions: list[Question]) -> list[Completion]:
        return [Completion(question.prompt, next(texts), 3, -1.0, False, (-1.0,)) for question in questions]

    monkeypatch.setattr(HFEngine, "complete", complete)
    run = evaluate(
        tmp_path / "run", pair="qaa-qaf", bridge="fixed", bridge__language="qad", cache__dir=str(tmp_path / "cache"),
    )  # fmt: skip
    said = {step.output for prediction in run.predictions for step in prediction.steps}
    assert f'"{hostile.SCRIPT}"' in said, "files keep what the model said"
    assert hostile.SCRIPT in check(browser, html.write_run_page(run.folder), is_scripted=False)


def test_the_page_of_a_sweep(browser: Any, tmp_path: Path) -> None:
    settings = made_up.config("de-fr", model="m", task={"name": hostile.SCRIPT})
    made_up.compare_run(tmp_path / "javascript:alert(1)", predictions=spoilt_answers())
    made_up.compare_run(tmp_path / "a'\"><b>", pair="fr-de")
    made_up.write_run(tmp_path / "failed", made_up.status("failed", error=hostile.SCRIPT), settings=settings)
    for cell in cells_of(tmp_path):
        spoil(cell)
        html.write_run_page(cell)
    text = check(browser, html.write_sweep_page(tmp_path, cells_of(tmp_path)), is_scripted=True)
    assert hostile.SCRIPT in text
    for name in ("javascript:alert(1)", "a'\"><b>"):
        links = browser.execute_script("return [...document.links].map(a => decodeURIComponent(a.href))")
        assert any(link.startswith("file:") and f"/{name}/" in link for link in links), name


def test_the_pages_of_train_runs_and_their_sweep(browser: Any, tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        spoil(made_up_relate.run(tmp_path, "en", seed))
    spoil(folder := made_up_train.small_run(tmp_path / "small"))
    check(browser, html.write_run_page(folder), is_scripted=True)
    check(browser, html.write_sweep_page(tmp_path, cells_of(tmp_path)), is_scripted=True)
    check(browser, write_relations(tmp_path, relate([tmp_path])), is_scripted=True)


def test_this_would_be_seen_if_texts_were_not_escaped(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(markup.html, "escape", lambda text, quote=True: text)
    folder = made_up.compare_run(tmp_path / "run", predictions=spoilt_answers())
    with pytest.raises(AssertionError):
        check(browser, html.write_run_page(folder), is_scripted=False)


@pytest.mark.parametrize("text", hostile.ALL, ids=ascii)
def test_every_text_can_be_written_and_is_read_back(text: str) -> None:
    page = markup.document("t", markup.tag("p", text, title=text), [])
    page.encode()
    for open_tag in ("<script", "<img", "<iframe", "<svg"):
        assert open_tag not in page.lower()


def test_half_a_character_and_100_kb_are_no_trouble() -> None:
    page = markup.document("\udc80", markup.tag("p", "a\ud800b", hostile.LONG, title="\udfff"), [])
    assert page.encode().count("\N{REPLACEMENT CHARACTER}".encode()) == 3
