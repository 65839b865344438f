"""The page of several fine-tuning runs: what they say together, made from relations.json only."""

from __future__ import annotations

from bridgex.records.relations import Relations, RunGroup
from bridgex.report import relate_parts
from bridgex.report.freezing_part import freezing
from bridgex.report.markup import Html, Section, document, join, section, tag
from bridgex.report.tables import Cell, Column, Row, table
from bridgex.report.words import SIGNS


def relate_page(found: Relations) -> str:
    """The page of what several runs say together."""
    runs = sum(len(group.runs) for group in found.groups)
    counted = f"{runs} run{'' if runs == 1 else 's'}"
    head = join(
        tag("h1", f"Relations over {counted}"),
        tag("p", " · ".join(group.heading for group in found.groups), class_="quiet"),
        box(found),
    )
    return document("Relations - bridgex", head, [*sections(found), runs_part(found)], has_script=True)


def box(found: Relations) -> Html:
    """What survives, a sentence a group, above everything else."""
    paragraphs = []
    for group in found.groups:
        kind, sign = ("found", "●") if holds(group) else ("open", SIGNS["open"])
        named = f"{group.heading}: " if len(found.groups) > 1 else ""
        text = f"{named}{group.survives}"
        shown = tag("span", sign, class_="sign", aria_hidden="true")
        paragraphs.append(tag("div", tag("p", shown, text), class_=kind))
        paragraphs.append(tag("ul", *(tag("li", f"{_upper(one.sentence)}.") for one in group.findings), class_="small"))
        paragraphs += [tag("p", f"Note: {note}.") for note in group.notes]
    if not paragraphs:
        paragraphs = [tag("p", "No finished run, so nothing to relate.")]
    if found.left_out:
        paragraphs.append(tag("p", f"Left out: {len(found.left_out)}, named below with the reason."))
    kind = "found" if any(holds(group) for group in found.groups) else "open"
    return tag("div", *paragraphs, class_=f"verdict {kind}")


def holds(group: RunGroup) -> bool:
    """Whether anything of a group holds after correction."""
    return any(one.held for one in group.findings)


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def sections(found: Relations) -> list[Section]:
    """Everything about each group."""
    parts = []
    for place, group in enumerate(found.groups, start=1):
        several = len(found.groups) > 1
        key, of_group = (f"-{place}", f" ({group.heading})") if several else ("", "")
        origin = tag("p", f"Distances: {group.distances_origin}.", class_="small") if group.distances_origin else ""
        related = relate_parts.of_sources(group) if group.matrices is None else relate_parts.of_matrices(group.matrices)
        parts.append(section(f"relations{key}", f"Relations{of_group}", origin, *related))
        if group.freezing:
            parts.append(section(f"freezing{key}", f"Freezing{of_group}", *freezing(group.freezing)))
        tables = [part for one in group.measures for part in relate_parts.measures(one)]
        if tables:
            parts.append(section(f"measures{key}", f"Measures against each other{of_group}", *tables))
        parts.append(section(f"seeds{key}", f"Over seeds{of_group}", *relate_parts.seeds(group)))
    return parts


def runs_part(found: Relations) -> Section:
    """Which runs were counted, and which were not."""
    several = len(found.groups) > 1
    columns = [Column("source", False), Column("seed"), Column("freeze", False), Column("run", False)]
    columns += [Column("group", False)] if several else []
    rows = [
        Row([run.source, str(run.seed), run.freeze, run.run, *([group.heading] if several else [])])
        for group in found.groups
        for run in group.runs
    ]
    parts: list[str] = [table("runs", columns, rows, is_sortable=True)] if rows else []
    return section("runs", "Runs", *parts, *left_out(found))


def left_out(found: Relations) -> list[str]:
    """What was given and not counted, with the reason."""
    if not found.left_out:
        return []
    rows = [Row([Cell(one.run), one.reason]) for one in found.left_out]
    return [table("left out", [Column("left out", False), Column("why", False)], rows)]
