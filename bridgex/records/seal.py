"""Records that carry a checksum of themselves: a flipped bit that leaves valid JSON is damage all the same."""

from __future__ import annotations

import hashlib
import re

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

_NUM_DIGITS = 16
_SEAL = re.compile(rb',\s*"check":\s*"([0-9a-f]{%d})"\s*\}\s*\Z' % _NUM_DIGITS)
_END = re.compile(r"\s*\}\s*\Z")


def sealed(text: str) -> str:
    """The text of a JSON object that is not empty, with a last field `check`: SHA-256 of all that stands before it.

    The field stands inside, so that no kill can come between a record and its checksum.

    Example:
        >>> sealed('{"n":24}')
        '{"n":24,"check":"203f67097e67e43d"}'
    """
    end = _END.search(text)
    assert end is not None, "the text of a JSON object"
    body, tail = text[: end.start()], text[end.start() :]
    # One field a line where the text is written so.
    gap, space = ("\n  ", " ") if tail.startswith("\n") else ("", "")
    return f'{body},{gap}"check":{space}"{_digest(body.encode())}"{tail}'


def unsealed(content: bytes, name: str) -> bytes:
    """The JSON object without its last field `check`; as it is where it has none.

    Args:
        content: of the file or line.
        name: of the kind of record, for the error.

    Raises:
        ValidationError: the two do not agree.
    """
    seal = _SEAL.search(content)
    if seal is None:
        return content
    body = content[: seal.start()]
    if _digest(body).encode() != seal[1]:
        mistake = PydanticCustomError("check", "its content does not agree with its field check")
        raise ValidationError.from_exception_data(name, [InitErrorDetails(type=mistake, input=content)])
    return body + b"}"


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()[:_NUM_DIGITS]
