"""Self-contained pages, made from a run's files only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bridgex.errors import UserError
from bridgex.records.files import write_text
from bridgex.report import ablation_part, answers_part, beside_part, ranking_part
from bridgex.report.markup import Html, Section, document, exact, join, section, tag
from bridgex.report.run_files import RunFiles, english, read_run
from bridgex.report.sweep_page import sweep_page
from bridgex.report.words import SIGNS, Verdict, verdict

PAGE = "report.html"
_FILES = (
    "config.yaml",
    "status.json",
    "ranking.json",
    "metrics.json",
    "predictions.jsonl",
    "measures.jsonl",
    "log.jsonl",
)
_MAX_TEXT = 20_000


def write_run_page(folder: Path) -> Path:
    """Writes `report.html` of a run in any state.

    Args:
        folder: the run's folder.

    Returns:
        The page.

    Raises:
        UserError: the page cannot be written.
    """
    return _write(folder, run_page(read_run(folder)))


def write_sweep_page(folder: Path, cells: Sequence[Path]) -> Path:
    """Writes `report.html` of a sweep.

    Args:
        folder: the sweep's folder.
        cells: its cells' folders.

    Returns:
        The page.

    Raises:
        UserError: the page cannot be written.
    """
    return _write(folder, sweep_page(folder, cells))


def write_page(path: Path) -> Path:
    """Writes the page of a run, or those of a sweep and all its cells, by what the folder holds.

    Raises:
        UserError: the folder holds neither, or a page cannot be written.
    """
    if (path / "status.json").is_file():
        return write_run_page(path)
    cells = sorted(found.parent for found in path.glob("*/status.json"))
    if not cells:
        raise UserError(
            f"{path}: holds no run (status.json) and no sweep (folders that hold one). "
            f"Give the folder of a run, or that of a sweep"
        )
    for cell in cells:
        write_run_page(cell)
    return write_sweep_page(path, cells)


def run_page(run: RunFiles) -> str:
    """The page of a run."""
    found = verdict(run)
    parts = [
        answers_part.routes(run),
        beside_part.beside(run),
        ranking_part.ranking(run),
        ranking_part.blocks(run),
        ranking_part.neurons(run),
        ablation_part.ablation(run),
        answers_part.errors(run),
        answers_part.samples(run),
        _about(run),
    ]
    title = " ".join(filter(None, [run.name("task"), run.pair, _model(run)])) or run.folder.name
    return document(f"{title} - bridgex", join(*_head(run), _verdict(run, found)), parts)


def _head(run: RunFiles) -> list[Html]:
    source, _, target = run.pair.partition("-")
    names = f"{english(source)} to {english(target)}" if target else ""
    num_items = f"{run.metrics.n} items" if run.metrics is not None else ""
    node = run.config.get("model")
    path = node.get("path") if isinstance(node, Mapping) else None
    model = f"{_model(run)} ({path})" if path else _model(run)
    facts = [run.name("task"), model, f"bridge={run.name('bridge')}", num_items, f"seed {run.config.get('seed')}"]
    title = f"{run.pair}: {names}" if names else run.folder.name
    return [
        tag("h1", title),
        tag("p", " · ".join(fact for fact in facts if fact), class_="quiet"),
    ]


def _verdict(run: RunFiles, found: Verdict) -> Html:
    parts = [tag("p", tag("span", SIGNS[found.kind], class_="sign", aria_hidden="true"), found.sentence)]
    parts[0] = tag("div", parts[0], class_=found.kind)
    if run.status is not None and run.status.error:
        parts.append(exact(run.status.error[:_MAX_TEXT]))
    parts += [tag("p", remark) for remark in found.remarks]
    parts += [tag("p", f"Attention: {problem}.") for problem in run.problems]
    if run.status is not None:
        parts += [tag("p", f"Note: {note}.") for note in run.status.notes]
    return tag("div", *parts, class_=f"verdict {found.kind}")


def _about(run: RunFiles) -> Section:
    status = run.status
    parts: list[str] = []
    if status is not None:
        if status.details:
            parts += [tag("h3", "Checked and found so"), tag("ul", *(tag("li", detail) for detail in status.details))]
        facts = {
            "state": status.state,
            "start": status.start,
            "end": status.end,
            "host": status.host,
            "device": status.device,
            "git revision": status.git_revision,
            "config hash": status.config_hash,
            **{f"{name} fingerprint": value for name, value in status.fingerprints.items()},
            "versions": ", ".join(f"{name} {version}" for name, version in status.versions.items()),
        }
        shown = [join(tag("dt", name), tag("dd", value)) for name, value in facts.items() if value]
        parts += [tag("h3", "Run"), tag("dl", *shown)]
    if run.config_text:
        parts.append(tag("details", tag("summary", "config.yaml"), exact(run.config_text[:_MAX_TEXT])))
    links = [tag("a", name, href=name) for name in _FILES if (run.folder / name).is_file()]
    parts.append(tag("p", "Files: ", *(join(link, " ") for link in links), class_="small"))
    return section("run", "How it was run", *parts)


def _model(run: RunFiles) -> str:
    return run.metrics.model if run.metrics is not None else run.name("model")


def _write(folder: Path, page: str) -> Path:
    path = folder / PAGE
    write_text(path, page)
    return path
