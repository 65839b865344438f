"""HTML from parts: whatever is not made here is escaped, so that no text of a model or a data set becomes markup."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Sequence
from importlib.resources import files
from typing import NamedTuple

# A page cannot hold these as they are; the visible signs tell them apart.
_CONTROLS = {
    **{code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"},
    0x7F: "␡",
    **dict.fromkeys(range(0xD800, 0xE000), "\N{REPLACEMENT CHARACTER}"),
}


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def escape(text: str) -> Html:
    """The text as it is to be read; markup made here stays markup.

    >>> escape("<b>")
    '&lt;b&gt;'
    """
    return text if isinstance(text, Html) else Html(html.escape(text.translate(_CONTROLS), quote=False))


def join(*parts: str) -> Html:
    """Parts one after the other."""
    return Html("".join(escape(part) for part in parts))


def tag(name: str, /, *children: str, **attributes: str | float | bool | None) -> Html:
    """An element.

    Args:
        name: of the element.
        *children: markup, or text to be escaped.
        **attributes: `class_` is class, other underscores are hyphens; None and False leave the attribute out.

    Example:
        >>> tag("td", "a < b", class_="num", data_sort=1)
        '<td class="num" data-sort="1">a &lt; b</td>'
    """
    written = "".join(_attribute(key, value) for key, value in attributes.items())
    return Html(f"<{name}{written}>{join(*children)}</{name}>")


def word(text: str, code: str | None = None) -> Html:
    """Text of a data set or a model: its direction is its own, whatever stands around it.

    Args:
        text: the text.
        code: its language, from which a browser chooses the letters' shapes.
    """
    return tag("bdi", text, lang=code and code.replace("_", "-"))


def exact(text: str) -> Html:
    """Text with its spaces and line breaks."""
    # The first line break after <pre> is dropped by every browser.
    return tag("pre", Html("\n"), text, dir="auto")


def scroll(label: str, content: str) -> Html:
    """Wide content that scrolls by itself, by keyboard too."""
    return tag("div", content, class_="scroll", role="region", tabindex=0, aria_label=label)


class Section(NamedTuple):
    """A section that the page's list of contents leads to.

    Attributes:
        key: its place in the page's address.
        title: its heading.
        content: what follows.
    """

    key: str
    title: str
    content: Html


def section(key: str, title: str, *content: str) -> Section:
    """A section of parts one after the other."""
    return Section(key, title, join(*content))


def document(
    title: str, head: str, sections: Sequence[Section | None], has_script: bool = False, is_wide: bool = False
) -> str:
    """A whole page that fetches nothing.

    Args:
        title: of the window.
        head: what stands above the list of contents.
        sections: in their order; None: nothing to show.
        has_script: whether its tables can be sorted.
        is_wide: whether it takes more of a wide window, and paper on its side.
    """
    style, script = _part("style.css"), _part("page.js") if has_script else ""
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    if script:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        policy += f"; script-src 'sha256-{digest}'"
    shown = [found for found in sections if found is not None]
    contents = tag("nav", *(tag("a", found.title, href=f"#{found.key}") for found in shown), aria_label="contents")
    body = [tag("section", tag("h2", found.title), found.content, id=found.key) for found in shown]
    meta = join(
        Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
        tag("title", title),
        tag("style", Html(style)),
    )
    end = tag("script", Html(script)) if script else ""
    inside = tag("body", tag("header", head, contents), tag("main", *body), end, class_="wide" if is_wide else None)
    page = tag("html", tag("head", meta), inside, lang="en")
    return f"<!doctype html>\n{page}\n"


def _attribute(key: str, value: str | float | bool | None) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{html.escape(str(value).translate(_CONTROLS))}"'


def _part(name: str) -> str:
    return files("bridgex.report").joinpath(name).read_text(encoding="utf-8")
