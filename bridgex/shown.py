"""What a terminal is given: text of models, data sets and errors as text, never as a command to the terminal."""

from __future__ import annotations

import logging
import sys

from bridgex.secrets import without_secrets

# Signs that a terminal obeys: C0, DEL and C1 (colours, cursor, titles, links), and those that turn a line around.
_SIGNS = {
    **{code: chr(0x2400 + code) for code in range(0x20) if chr(code) != "\t"},
    0x7F: "\N{SYMBOL FOR DELETE}",
    **{code: f"\\x{code:02x}" for code in range(0x80, 0xA0)},
    **{code: f"\\u{code:04x}" for code in (0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))},
    # Halves of a character cannot be written at all.
    **dict.fromkeys(range(0xD800, 0xE000), "\N{REPLACEMENT CHARACTER}"),
}
_SIGNS_OF_LINES = {code: sign for code, sign in _SIGNS.items() if code != 0x0A}


def shown(text: str) -> str:
    r"""A text in one line for a terminal: what would steer it stands as a visible sign, secrets are masked.

    >>> shown("a\x1b[31mb\r\nc")
    'a␛[31mb␍␊c'
    """
    return str(without_secrets(text)).translate(_SIGNS)


def shown_lines(text: str) -> str:
    """As `shown`, of a text whose line breaks are meant."""
    return str(without_secrets(text)).translate(_SIGNS_OF_LINES)


def counted(count: int, noun: str) -> str:
    """A number and what it counts.

    >>> counted(1, "cell"), counted(3, "cell")
    ('1 cell', '3 cells')
    """
    return f"{count} {noun}{'' if count == 1 else 's'}"


def say(text: str, *, is_error: bool = False) -> None:
    """Prints a line, as `shown` has it.

    Args:
        text: the line.
        is_error: on stderr.
    """
    print(shown(text), file=sys.stderr if is_error else sys.stdout, flush=True)


class LastResort(logging.Handler):
    """Prints what is logged while no run's log is open, as `shown` has it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        """Prints the record's line on stderr."""
        say(self.format(record), is_error=True)
