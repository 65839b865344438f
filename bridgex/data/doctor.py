"""`bridgex data doctor`: reads every row in a folder as a run would, and says what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from bridgex.data import copa
from bridgex.data.catalogue import CATALOGUE, DataSet, Split
from bridgex.data.fetch.plain_sets import ENDS
from bridgex.data.layout import Layout
from bridgex.data.raw_rows import RawRows, rows_of_folder
from bridgex.data.sources import read_word_pairs
from bridgex.data.task_rows import judge
from bridgex.errors import UserError
from bridgex.languages import all_languages, language
from bridgex.records.data_checks import Finding


def examine(folder: Path) -> Iterator[Finding]:
    """Looks at a folder of data sets, or at the folder of one.

    Args:
        folder: what `data.root` would be, or a folder in it.

    Yields:
        Findings, data set by data set; an error is what stops a run that needs those rows.

    Raises:
        UserError: no such folder, or nothing in it that bridgex knows.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder. Give a folder of data sets, as data.root names it, or one of them")
    folder = folder.resolve()
    there = [data for data in CATALOGUE.values() if (folder / data.name).is_dir()]
    places = [(data, folder / data.name) for data in there]
    if not places and folder.name in CATALOGUE:
        places = [(CATALOGUE[folder.name], folder)]
    if not places:
        raise UserError(
            f"{folder}: holds no data set that bridgex knows: {', '.join(f'{name}/' for name in CATALOGUE)}"
        )
    for data, place in places:
        yield from _word_lists(data, place) if data.holds_pairs else _task_rows(data, place)


def _task_rows(data: DataSet, folder: Path) -> Iterator[Finding]:
    layout = Layout(folder)
    try:
        codes = {split.name: layout.languages(data, split.name) for split in data.splits}
        named = [(config, split) for config, splits in layout.readme.items() for split in splits]
    except UserError as error:
        yield from (Finding("error", f"{data.name}: {line}") for line in error.problems)
        return
    ours = {data.code_for(code) for code in data.languages()}
    for config, split_name in named:
        if config in ours and split_name in codes and not layout.files(config, split_name):
            yield Finding(
                "error", f"{data.name} {split_name}: {folder / 'README.md'} names files of {config} not there"
            )
    if not any(codes.values()):
        yield Finding(
            "error", f"{data.name}: {folder} holds no files that bridgex knows. Run bridgex data fetch {data.name}"
        )
        return
    for split in data.splits:
        if codes[split.name]:
            yield from _split(data, folder, split, codes[split.name])
        elif split.purpose != "fine-tuning":  # few want the large part
            yield Finding("note", f"{data.name} {split.name}: not there ({split.purpose})")


def _split(data: DataSet, folder: Path, split: Split, codes: list[str]) -> Iterator[Finding]:
    raws: dict[str, RawRows] = {}
    for code in codes:
        try:
            raws[code] = rows_of_folder(folder, data, code, split.name)
        except UserError as error:
            yield from (Finding("error", f"{data.name} {split.name}: {line}") for line in error.problems)
    # A language with an error is left out of what is said of all together, so that it hides nothing of the others.
    sure = {code: raw for code, raw in raws.items() if data.name == "xcopa" and code in copa.SURE_OF_QUESTION}
    whole: dict[str, RawRows] = {}
    for code, raw in raws.items():
        _, findings = judge(data, split.name, {code: raw}, sure)
        errors = [finding for finding in findings if finding.severity == "error"]
        yield from errors
        if not errors:
            whole[code] = raw
    if not whole:
        return
    joined, findings = judge(data, split.name, whole, {})
    yield from _of_size(data, split, whole)
    yield from findings
    if not any(finding.severity == "error" for finding in findings):
        names = ", ".join(whole)
        yield Finding("fine", f"{data.name} {split.name}: {len(joined.ids)} items, the same in {names}")


def _of_size(data: DataSet, split: Split, raws: Mapping[str, RawRows]) -> Iterator[Finding]:
    """Which languages have not as many rows as the data set is known to have."""
    if split.rows is None or any(language(code).is_toy for code in raws):
        return
    other = {code: len(raw.rows) for code, raw in raws.items() if len(raw.rows) != split.rows}
    for size in dict.fromkeys(other.values()):
        names = ", ".join(code for code, count in other.items() if count == size)
        yield Finding("note", f"{data.name} {split.name}: {size} rows of {split.rows} ({names})")


def _word_lists(data: DataSet, folder: Path) -> Iterator[Finding]:
    ends = ENDS[data.name]
    toy = {entry.code for entry in all_languages() if entry.is_toy}
    sizes: dict[str, int] = {}
    words: dict[tuple[str, str], set[str]] = {}
    for part, end in ends.items():
        for path in sorted(folder.glob(f"*-*.{end}.txt")):
            try:
                entries = read_word_pairs(path)
            except UserError as error:
                yield from (Finding("error", f"{data.name}: {line}") for line in error.problems)
                continue
            if not entries:
                yield Finding("error", f"{data.name}: {path} holds no word pairs. Fetch it again")
                continue
            pair = path.name.partition(".")[0]
            words[pair, part] = set(entries)
            sizes[part] = sizes.get(part, 0) + 1
            lost = sum("�" in word + "".join(translations) for word, translations in entries.items())
            if lost:
                yield Finding(
                    "note", f"{data.name}: {lost} words of {path.name} with a character lost upstream (U+FFFD)"
                )
            wanted = next((split.rows for split in data.splits if split.name == part), None)
            if wanted is not None and not toy & {*pair.split("-")} and len(entries) != wanted:
                yield Finding("note", f"{data.name}: {path.name} has {len(entries)} source words of {wanted}")
    for (pair, part), found in words.items():
        shared = found & words.get((pair, "train"), set()) if part == "test" else set()
        if shared:
            yield Finding("note", f"{data.name}: {len(shared)} test words of {pair} are probing words too")
    if not sizes:
        yield Finding("error", f"{data.name}: {folder} holds no word lists. Run bridgex data fetch {data.name}")
    else:
        counted = ", ".join(f"{count} {part} lists" for part, count in sizes.items())
        yield Finding("fine", f"{data.name}: {counted} can be read")
