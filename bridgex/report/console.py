"""The terminal as every table and line is printed to it: what stands in one is text, whatever it holds."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from bridgex.shown import shown_lines


class SafeConsole(Console):
    """Rich's console, which reads no markup and lets no control character of a text through.

    Its own colours and cursor movements are no part of any text, and stay.

    Args:
        is_error: prints to stderr.
    """

    def __init__(self, *, is_error: bool = False) -> None:
        super().__init__(stderr=is_error, markup=False, emoji=False, highlight=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The pieces of what is printed, each cleaned."""
        for piece in super().render(renderable, options):
            yield piece if piece.control else piece._replace(text=shown_lines(piece.text))
