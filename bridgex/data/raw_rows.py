"""Rows as they stand in a data set's files, from a local folder or from the hub; nothing is judged here."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from bridgex.config.settings import ReadsData
from bridgex.data import copa
from bridgex.data.catalogue import DataSet, HubSource
from bridgex.data.layout import Layout
from bridgex.data.sources import data_root
from bridgex.errors import UserError
from bridgex.languages import language

_HUB_PATIENCE_S = 5.0
# The languages whose hub text has another home than the data set itself, by name for the record.
_NAMED = {("xnli", "my"): "myXNLI", ("xcopa", "en"): "COPA"}


@dataclass(frozen=True)
class RawRows:
    """Rows of one split in one language.

    Attributes:
        where: the files, for messages.
        origin: what a record says of them.
        rows: by column, in the files' order.
    """

    where: str
    origin: str
    rows: tuple[Mapping[str, Any], ...]


def local_folder(settings: ReadsData, data: DataSet) -> Path | None:
    """The data set's folder under `data.root`; None: it must come from the hub."""
    root = data_root(settings)
    folder = None if root is None else root / data.name
    return folder if folder is not None and folder.is_dir() else None


def read_rows(settings: ReadsData, data: DataSet, code: str, split: str) -> RawRows:
    """Rows of a split in a language: of the local folder where there is one, else of the hub.

    Args:
        settings: where the data lie.
        data: the data set.
        code: our code of the language, which the data set has.
        split: as the hub calls it.

    Raises:
        UserError: no such split, a damaged file, or the hub does not hand it out.
    """
    folder = local_folder(settings, data)
    if folder is not None:
        return rows_of_folder(folder, data, code, split)
    return _rows_of_hub(data, code, split)


def rows_of_folder(folder: Path, data: DataSet, code: str, split: str) -> RawRows:
    """Rows of a split in a language, of a data set's own folder.

    Raises:
        UserError: no such split, or a damaged file.
    """
    layout, config = Layout(folder), data.code_for(code) or code
    files = layout.files(config, split)
    if not files:
        raise UserError(
            f"{folder}: holds no {split} rows in {language(code).english} ({config}). Run bridgex data fetch "
            f"{data.name} --language {code}, or give another data.root"
        )
    where = f"{files[0]}{' and others' if files[1:] else ''}"
    _refuse_pointers(files)
    if layout.is_in_readme(config, split):
        rows = _rows_by_readme(folder, config, split, files)
    else:
        rows = _rows_of_files(files)
    named = _NAMED.get((data.name, code))
    return RawRows(where, f"{data.name}/{config}{f' ({named})' if named else ''}", rows)


def read_file(path: Path) -> Iterator[Mapping[str, Any]]:
    """Rows of one jsonl, json, parquet, tsv or csv file.

    Raises:
        UserError: the file is damaged; it names file and line.
    """
    try:
        if path.suffix == ".parquet":
            import pyarrow.parquet

            yield from pyarrow.parquet.read_table(path).to_pylist()
        elif path.suffix in (".tsv", ".csv"):
            with path.open(encoding="utf-8-sig", newline="") as file:
                yield from csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",")
        else:
            yield from _json_rows(path)
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at byte {error.start}. Save the file as UTF-8") from None
    except (OSError, ValueError, csv.Error) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{path}: cannot be read as a {path.suffix[1:]} file ({reason}). Fetch it again") from None


def _json_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    # Only where a line ends: other signs that Python counts as line ends may stand within a sentence.
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise UserError(f"{path}:{number}: expected a JSON object, found {line[:60]!r}. Fetch it again") from None
        yield row


def _refuse_pointers(files: Iterable[Path]) -> None:
    """A clone without Git LFS holds a note in place of each file."""
    for path in files:
        with path.open("rb") as file:
            if file.read(40).startswith(b"version https://git-lfs"):
                raise UserError(f"{path}: is a Git LFS pointer, not the file. Run git lfs pull, or bridgex data fetch")


def _rows_by_readme(folder: Path, config: str, split: str, files: Sequence[Path]) -> tuple[Mapping[str, Any], ...]:
    try:
        with _loading(str(folder), ""):
            import datasets  # type: ignore[import-untyped]

            # Streamed, for a loaded one leaves a copy in the cache of `datasets`.
            return tuple(datasets.load_dataset(str(folder), config, split=split, streaming=True))
    except UserError:
        # It wants every file that the README names, of every language; a folder may hold a few of them. And where one
        # of these is damaged, reading it says which, and where.
        return _rows_of_files(files)


def _rows_of_files(files: Sequence[Path]) -> tuple[Mapping[str, Any], ...]:
    return tuple(row for file in files for row in read_file(file))


def _rows_of_hub(data: DataSet, code: str, split: str) -> RawRows:
    source = data.source_of(code)
    if source is None:
        raise UserError(not_on_the_hub(data, [code]))
    found = _rows_of_source(data, source, code, split)
    if (data.name, code) != ("xcopa", "en"):
        return found
    answers = _rows_of_hub(data, copa.ANSWERS_FROM, split)
    rows = copa.with_answers(found.rows, answers.rows, found.where)
    return RawRows(found.where, f"{found.origin}, answers of {answers.origin}", rows)


def _rows_of_source(data: DataSet, source: HubSource, code: str, split: str) -> RawRows:
    config = source.config or data.code_for(code) or code
    where = f"{source.hub_id} {config} {split}"
    commit = _commit(source.hub_id, source.revision, data.name, code)
    with _loading(where, f"Run bridgex data fetch {data.name} --language {code}, then data.root=<folder>"):
        import datasets

        found = datasets.load_dataset(source.hub_id, config, split=split, revision=commit)
        theirs = {name: ours for name, ours in source.columns.items() if name in found.column_names}
        rows = tuple(found.rename_columns(theirs) if theirs else found)
        # Offline nothing says which commit it is but the folder in the cache, which is named by it.
        read = commit or Path(found.cache_files[0]["filename"]).parent.name
    named = _NAMED.get((data.name, code))
    return RawRows(where, f"{source.hub_id}@{read} {config}{f' ({named})' if named else ''}", rows)


def not_on_the_hub(data: DataSet, codes: Iterable[str]) -> str:
    """That a data set must be fetched, and how."""
    languages = "".join(f" --language {code}" for code in codes)
    return f"{data.name}: not on the hub. Run bridgex data fetch {data.name}{languages}, then data.root=<folder>"


@lru_cache
def _commit(hub_id: str, revision: str | None, name: str, code: str) -> str | None:
    """The commit to read, asked of the hub with little patience: `datasets` itself goes on asking for half a minute.

    Raises:
        UserError: the hub is out of reach, or does not hand the data set out.
    """
    from huggingface_hub import HfApi, constants

    if constants.HF_HUB_OFFLINE:
        return None
    remedy = (
        f"Run bridgex data fetch {name} --language {code} on a machine with network, then data.root=<folder>; "
        f"HF_HUB_OFFLINE=1 reads what an earlier run left in the cache"
    )
    with refusals(hub_id, remedy):
        api = HfApi()
        found = api.dataset_info(hub_id, revision=revision, timeout=_HUB_PATIENCE_S)
        if found.gated:
            api.auth_check(hub_id, repo_type="dataset")
        return found.sha


@contextmanager
def refusals(hub_id: str, remedy: str) -> Iterator[None]:
    """Turns what the hub refuses into a user's line.

    Args:
        hub_id: the data set.
        remedy: what to do where there is no network.
    """
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    page = f"https://huggingface.co/datasets/{hub_id}"
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # which library carries the requests, and so what it raises, changes by version
        status = getattr(getattr(error, "response", None), "status_code", None)
        if isinstance(error, GatedRepoError) or status in (401, 403):
            line = f"{hub_id}: gated. Accept its licence at {page}, then log in with hf auth login"
        elif isinstance(error, RevisionNotFoundError):
            line = f"{hub_id}: the commit that bridgex pins is gone from the hub. Please report it"
        elif isinstance(error, RepositoryNotFoundError) or status == 404:
            line = f"{hub_id}: not on the hub ({page})"
        else:
            line = f"{hub_id}: not reached ({type(error).__name__}). {remedy}"
        raise UserError(line) from None


@contextmanager
def _loading(where: str, remedy: str) -> Iterator[None]:
    """`datasets` without its progress bars, its errors as a user's lines."""
    import datasets
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    bars = [
        (datasets.are_progress_bars_disabled(), datasets.enable_progress_bars),
        (are_progress_bars_disabled(), enable_progress_bars),
    ]
    datasets.disable_progress_bars()
    disable_progress_bars()
    verbosity = datasets.logging.get_verbosity()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # it logs what it raises
    try:
        yield
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"{where}: cannot be read ({type(error).__name__}: {reason}). {remedy}") from None
    finally:
        datasets.logging.set_verbosity(verbosity)
        for were_off, turn_on in bars:
            if not were_off:
                turn_on()
