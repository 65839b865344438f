"""`bridgex data fetch`: brings data sets into a folder in the hub's own layout, as runs and `datasets` read them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bridgex.data.catalogue import CATALOGUE, DataSet
from bridgex.data.fetch.hub_sets import fetch_from_hub
from bridgex.data.fetch.job import OURS, Fetched, Job, Watcher
from bridgex.data.fetch.plain_sets import fetch_freedict, fetch_muse, fetch_ntrex
from bridgex.errors import UserError
from bridgex.languages import all_languages, language, near_matches
from bridgex.records.files import place_problem


def fetch(
    name: str,
    codes: Sequence[str],
    root: Path,
    watcher: Watcher,
    *,
    endpoint: str | None = None,
    addresses: tuple[str, ...] | None = None,
    wait: Callable[[float], None] = time.sleep,
    with_training: bool = False,
) -> Fetched:
    """Fetches languages of a data set into `root/name`, beside those that are there.

    Args:
        name: of the data set.
        codes: our language codes; empty: all that the data set has.
        root: the folder of all data sets, `data.root` of later runs.
        watcher: is told how far it has come.
        endpoint: of the hub; None: huggingface.co, or what HF_ENDPOINT names.
        addresses: of plain files, with `{}` for the file; None: the data set's own.
        wait: sleeps between tries.
        with_training: whether rows to fine-tune on are wanted, too.

    Raises:
        UserError: a mistake in the names, no network, access refused, files that are not what they should be, or no
            place to write; what has arrived stays for the next time.
    """
    data, wanted = checked(name, codes)
    folder = root.expanduser().absolute() / name
    problem = place_problem(folder)
    if problem is not None:
        raise UserError(f"--root {root}: {problem}. Give another --root")
    readme = folder / "README.md"
    if readme.is_file() and OURS not in readme.read_text(encoding="utf-8", errors="replace"):
        raise UserError(f"{readme}: not written by bridgex data fetch, which would change it. Give another --root")
    job = Job(data, wanted, folder, watcher, endpoint, addresses, wait, with_training)
    plain = {"muse": fetch_muse, "freedict_sw": fetch_freedict, "ntrex": fetch_ntrex}
    try:
        return plain[name](job) if data.source is None else fetch_from_hub(job)
    finally:
        # A folder without files would be taken for the data set, and hide the hub's.
        for place in sorted((*folder.rglob("*"), folder), key=lambda path: len(path.parts), reverse=True):
            with contextlib.suppress(OSError):
                place.rmdir()


def checked(name: str, codes: Sequence[str]) -> tuple[DataSet, tuple[str, ...]]:
    """The data set of a name that a user wrote, and the languages to fetch.

    Raises:
        UserError: no such data set, no such language, or the data set lacks one.
    """
    data = CATALOGUE.get(name)
    if data is None:
        near = near_matches(name, CATALOGUE)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise UserError(f"data set {name!r}: no such one{hint}. There are {', '.join(CATALOGUE)}")
    known = [entry.code for entry in all_languages() if not entry.is_toy]
    problems = []
    for code in codes:
        if code not in known:
            near = near_matches(code, known)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            problems.append(f"--language {code}: no such language.{hint}")
        elif data.code_for(code) is None:
            problems.append(
                f"--language {code}: {name} has no {language(code).english}; it has {', '.join(data.languages())}"
            )
    if problems:
        raise UserError(*problems)
    return data, tuple(dict.fromkeys(codes)) or data.languages()
