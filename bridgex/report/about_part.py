"""What the pages of all runs have in common: the box with the verdict, and how the run was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bridgex.records.schema import Status
from bridgex.report.markup import Html, Section, exact, join, section, tag

_MAX_TEXT = 20_000


def verdict_box(
    kind: str, sign: str, sentence: str, remarks: Sequence[str], problems: Sequence[str], status: Status | None
) -> Html:
    """The box above everything else.

    Args:
        kind: its colour, a class of the style sheet.
        sign: before the sentence; told by the sentence too.
        sentence: what the run found, in bold.
        remarks: what must be known beside it, a paragraph each.
        problems: which files could not be read.
        status: its error and notes are shown; None: not known.
    """
    first = tag("p", tag("span", sign, class_="sign", aria_hidden="true"), sentence)
    parts = [tag("div", first, class_=kind)]
    if status is not None and status.error:
        parts.append(exact(status.error[:_MAX_TEXT]))
    parts += [tag("p", remark) for remark in remarks]
    parts += [tag("p", f"Attention: {problem}.") for problem in problems]
    if status is not None:
        parts += [tag("p", f"Note: {note}.") for note in status.notes]
    return tag("div", *parts, class_=f"verdict {kind}")


def about(
    folder: Path,
    status: Status | None,
    config_text: str,
    names: Sequence[str],
    facts: Mapping[str, str | None] | None = None,
) -> Section:
    """How a run was made, and links to its files.

    Args:
        folder: of the run.
        status: None: not known.
        config_text: config.yaml as it is.
        names: files that are linked where they are there.
        facts: what is said before that which every run has; empty ones are left out.
    """
    parts: list[str] = []
    shown = dict(facts or {})
    if status is not None:
        if status.details:
            parts += [tag("h3", "Checked and found so"), tag("ul", *(tag("li", detail) for detail in status.details))]
        shown |= {
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
    if pairs := [join(tag("dt", name), tag("dd", value)) for name, value in shown.items() if value]:
        parts += [tag("h3", "Run"), tag("dl", *pairs)]
    if config_text:
        parts.append(tag("details", tag("summary", "config.yaml"), exact(config_text[:_MAX_TEXT])))
    links = [tag("a", name, href=name) for name in names if (folder / name).is_file()]
    parts.append(tag("p", "Files: ", *(join(link, " ") for link in links), class_="small"))
    return section("run", "How it was run", *parts)
