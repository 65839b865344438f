"""One file from a server: resumed where it was cut, checked, and there only when it is whole."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bridgex.errors import UserError
from bridgex.records.files import writing

if TYPE_CHECKING:
    import httpx

TRIES = 4
"""How often a file is asked for before it is given up."""

_SHOWN = 12


@dataclass(frozen=True)
class Download:
    """A file to get.

    Attributes:
        url: where it is.
        path: where it goes.
        size: in bytes; None: not known beforehand.
        digest: `sha256:...`, or `git:...` for the name that git gives to its contents; None: not known.
        headers: to send along, such as a token.
        licence_page: to name where access is refused.
    """

    url: str
    path: Path
    size: int | None = None
    digest: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    licence_page: str = ""

    @property
    def part(self) -> Path:
        """What has arrived so far."""
        return self.path.with_name(f".{self.path.name}.part")

    @property
    def tag(self) -> Path:
        """Which version of the file `part` is of, as the server calls it."""
        return self.path.with_name(f".{self.path.name}.etag")


class Cut(Exception):
    """The connection broke, or the server asks to come again later."""


def client(timeout_s: float = 20.0) -> httpx.Client:
    """An HTTP client as downloads want it: it follows redirects, and sends no token to another host."""
    import httpx

    return httpx.Client(timeout=timeout_s, follow_redirects=True, headers={"Accept-Encoding": "identity"})


def download(
    connection: httpx.Client, item: Download, advance: Callable[[int], None], wait: Callable[[float], None] = time.sleep
) -> bool:
    """Gets a file whole, or leaves it out.

    What has arrived stays beside it under another name, and the next call goes on from there.

    Args:
        connection: as `client` makes it.
        item: what to get.
        advance: called with the bytes that have arrived since the last call; negative where they must be had again.
        wait: sleeps between tries.

    Returns:
        Whether anything was fetched; False: it was there, whole.

    Raises:
        UserError: not there, refused, broken off again and again, of wrong size or contents, or the disk is full.
    """
    if item.path.is_file() and _is_right(item, item.path):
        advance(item.path.stat().st_size)
        return False
    with writing(item.path, "--root"):
        item.path.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(1, TRIES + 1):
        if item.digest is not None and item.part.is_file() and _is_right(item, item.part):
            break  # a run was killed between the last byte and the renaming
        try:
            _get(connection, item, advance)
            break
        except Cut as cut:
            if attempt == TRIES and not item.part.is_file():
                raise UserError(f"{item.url}: {cut}, {TRIES} times. Run this command where there is network") from None
            if attempt == TRIES:
                there = item.part.stat().st_size
                whole = f" of {item.size:,}" if item.size is not None else ""
                raise UserError(
                    f"{item.url}: {cut}, {TRIES} times; {there:,}{whole} bytes have arrived. Run the same command "
                    f"again: it goes on from there"
                ) from None
            wait(0.5 * 2**attempt)
    _check(item)
    with writing(item.path, "--root"):
        item.part.replace(item.path)
    item.tag.unlink(missing_ok=True)
    return True


def _get(connection: httpx.Client, item: Download, advance: Callable[[int], None]) -> None:
    """One try: appends to what is there, or begins again."""
    import httpx

    have = item.part.stat().st_size if item.part.is_file() else 0
    tag = item.tag.read_text(encoding="utf-8") if have and item.tag.is_file() else ""
    if have and (not (tag or item.digest) or have == item.size):
        # Nothing would tell whether it is the same file; or it is all there, but was not found right.
        have = 0
    headers = dict(item.headers)
    if have:
        headers["Range"] = f"bytes={have}-"
        if tag:
            headers["If-Range"] = tag
    try:
        with connection.stream("GET", item.url, headers=headers) as response:
            _refuse(response, item)
            goes_on = response.status_code == 206
            with writing(item.path, "--root"):
                item.tag.write_text(response.headers.get("ETag", ""), encoding="utf-8")
                with item.part.open("ab" if goes_on else "wb") as file:
                    if goes_on:
                        advance(have)
                    with _taken_back(advance, have if goes_on else 0) as count:
                        for block in _blocks(response):
                            file.write(block)
                            count(len(block))
    except httpx.TransportError as error:
        raise Cut(_reason(error)) from None


@contextmanager
def _taken_back(advance: Callable[[int], None], before: int) -> Iterator[Callable[[int], None]]:
    """Counts bytes; where the try fails they are taken back, for the next one counts them again."""
    counted = before

    def count(num_bytes: int) -> None:
        nonlocal counted
        counted += num_bytes
        advance(num_bytes)

    try:
        yield count
    except BaseException:
        advance(-counted)
        raise


def _blocks(response: httpx.Response) -> Iterator[bytes]:
    """The body; the disk's errors are not mixed up with the network's, which are raised here."""
    import httpx

    try:
        # As it arrives: what waits in a buffer for a block to fill would be lost with the connection.
        yield from response.iter_bytes()
    except (httpx.TransportError, httpx.DecodingError) as error:
        raise Cut(_reason(error)) from None


def _reason(error: Exception) -> str:
    if "timeout" in type(error).__name__.casefold():
        return "the server does not answer in time"
    if type(error).__name__ == "ConnectError":
        return "not reached"
    return "the connection broke off"


def _refuse(response: httpx.Response, item: Download) -> None:
    status = response.status_code
    if status in (200, 206):
        return
    if status in (401, 403):
        remedy = f"Accept its licence at {item.licence_page}, then log in with hf auth login"
        raise UserError(f"{item.url}: refused ({status}). {remedy if item.licence_page else 'Please report it'}")
    if status == 404:
        raise UserError(f"{item.url}: not there (404). Please report it")
    if status == 416:
        item.part.unlink(missing_ok=True)
        raise Cut("the file has become shorter")
    if status == 429 or status >= 500:
        raise Cut(f"the server answers {status}")
    raise UserError(f"{item.url}: the server answers {status}. Please report it")


def _check(item: Download) -> None:
    """Takes away a file that has arrived, but is not the one that was announced."""
    if _is_right(item, item.part):
        return
    size = item.part.stat().st_size
    item.part.unlink()
    item.tag.unlink(missing_ok=True)
    if item.size is not None and size != item.size:
        raise UserError(f"{item.url}: {size:,} bytes arrived, {item.size:,} were announced. Run the command again")
    raise UserError(
        f"{item.url}: its contents are not those announced (expected {(item.digest or '')[:_SHOWN]}...). Run the "
        f"command again; if it stays so, something between here and the server changes files"
    )


def _is_right(item: Download, path: Path) -> bool:
    """Whether a file is what was announced; where nothing was, one that bears its name is whole."""
    size = path.stat().st_size
    if item.size is not None and size != item.size:
        return False
    if item.digest is None:
        return True
    kind, _, wanted = item.digest.partition(":")
    # Git names contents by SHA-1 over their length and themselves.
    digest = hashlib.sha256() if kind == "sha256" else hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest() == wanted
