"""What the pages hold: fenced blocks, commands with what they print, links, headings."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_FENCE = re.compile(r"^```(.*?)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
_WRITTEN = re.compile(r"`(python (?:evaluate|train)\.py[^`]*)`")


@dataclass(frozen=True)
class Shown:
    """A command that a page shows with what it prints.

    Attributes:
        command: without the prompt.
        lines: what it prints, in order; `...` stands for more.
    """

    command: str
    lines: list[str] = field(default_factory=list)

    @property
    def status(self) -> int:
        """The exit status that the page leads one to expect."""
        return 1 if any(line.startswith("error:") for line in self.lines) else 0


def pages(repository: Path) -> list[Path]:
    """Every page of the documentation, the README first."""
    return [repository / "README.md", repository / "CONTRIBUTING.md", *sorted((repository / "docs").rglob("*.md"))]


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """Fenced blocks: what stands behind the opening fence, and the content."""
    return ((info, body) for info, body in _FENCE.findall(text))


def without_blocks(text: str) -> str:
    """A page's own words."""
    return _FENCE.sub("", text)


def files(text: str) -> dict[str, str]:
    """Files that a page tells its reader to write, by their paths."""
    found = {}
    for info, body in blocks(text):
        if title := re.search(r'title="(.+?)"', info):
            found[title[1]] = body
    return found


def shown(text: str) -> list[Shown]:
    """Commands behind a `$`, in the page's order."""
    found: list[Shown] = []
    for _, body in blocks(text):
        is_session = False
        for line in body.splitlines():
            if line.startswith("$ "):
                found.append(Shown(line[2:]))
                is_session = True
            elif is_session and line.strip() != "...":
                found[-1].lines.append(line)
    return found


def commands(text: str, begin: str) -> list[str]:
    """Commands anywhere on a page, one line each, less prompts and remarks; places to fill in are filled in.

    Args:
        text: of the page.
        begin: pattern of what a command begins with, behind variables.
    """
    lines: list[str] = []
    for _, body in blocks(text):
        lines += re.sub(r"\s*\\\n\s*", " ", body).splitlines()
    lines += _WRITTEN.findall(without_blocks(text))
    found = (re.sub(r"^\$ ", "", line).partition("  #")[0].strip() for line in lines)
    filled = (re.sub(r",?\.\.\.(?=\s|$)", "", re.sub(r"<[^>]+>", "some/where", line)) for line in found)
    return [line for line in dict.fromkeys(filled) if re.match(rf"(\w+=\S+ )*{begin}(\s|$)", line)]


def words(command: str) -> tuple[dict[str, str], list[str]]:
    """A command's variables and its words."""
    found = shlex.split(command)
    variables = {}
    while found and re.match(r"[A-Z_]+=", found[0]):
        name, _, value = found.pop(0).partition("=")
        variables[name] = value
    return variables, found


def links(text: str) -> list[str]:
    """What a page's own words link to or show, less other sites."""
    plain = re.sub(r"`[^`\n]*`", "", without_blocks(text))
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", plain) if not re.match(r"\w+:", link)]


def anchors(text: str) -> set[str]:
    """What a link may name behind `#`, made from headings as GitHub and the site make it."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", without_blocks(text), flags=re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", re.sub(r"\[(.+?)\]\(.+?\)", r"\1", heading).strip().lower()).replace(" ", "-")
        number = sum(re.fullmatch(rf"{re.escape(slug)}(-\d+)?", other) is not None for other in found)
        found.add(slug if number == 0 else f"{slug}-{number}")
    return found
