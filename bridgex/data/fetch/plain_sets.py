"""Fetches data sets that are plain files on a server: MUSE, NTREX-128, FreeDict."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

from bridgex.data.fetch.downloads import Download
from bridgex.data.fetch.job import (
    HIDDEN,
    Fetched,
    Job,
    address,
    download_all,
    plain_download,
    write_readme,
    write_whole,
)
from bridgex.errors import UserError

# These have a dictionary with each other; all others of MUSE with English only.
_MUSE_HUBS = ("de", "en", "es", "fr", "it", "pt")
# How files of each part end, by data set.
ENDS = {"muse": {"train": "0-5000", "test": "5000-6500"}, "freedict_sw": {"train": "train", "test": "test"}}
_TEI = "{http://www.tei-c.org/ns/1.0}"
_WORD = re.compile(r"[A-Za-zÀ-ɏ]+(?:['’-][A-Za-zÀ-ɏ]+)*")


def fetch_muse(job: Job) -> Fetched:
    """MUSE's dictionaries of languages with English, both ways, and of six of them with each other.

    Raises:
        UserError: as `fetch`.
    """
    codes = job.codes
    pairs = [(a, b) for a in codes for b in codes if a != b and {a, b} <= {*_MUSE_HUBS}]
    pairs += [pair for code in codes if code != "en" for pair in (("en", code), (code, "en"))]
    named = [(job.data.code_for(a), job.data.code_for(b)) for a, b in dict.fromkeys(pairs)]
    if not named:
        raise UserError("--language en: MUSE's files are of pairs. Give another language, or none for all")
    names = {f"{a}-{b}": {split: f"{a}-{b}.{end}.txt" for split, end in ENDS["muse"].items()} for a, b in named}
    items = [plain_download(job, file, job.folder / file) for splits in names.values() for file in splits.values()]
    num_new = download_all(job, items)
    configs = {config: {split: [file] for split, file in splits.items()} for config, splits in names.items()}
    origins = (address(job).format(""),)
    write_readme(job, configs, origins)
    return Fetched(job.folder, len(items), num_new, origins, codes)


def fetch_ntrex(job: Job) -> Fetched:
    """NTREX-128, one numbered sentence a line.

    Raises:
        UserError: as `fetch`.
    """
    items: dict[str, Download] = {}
    for code in job.codes:
        theirs = job.data.code_for(code)
        file = f"newstest2019-{'src' if code == 'en' else 'ref'}.{theirs}.txt"
        items[str(theirs)] = plain_download(job, file, job.folder / HIDDEN / file)
    num_new = download_all(job, list(items.values()))
    for theirs, item in items.items():
        lines = item.path.read_text(encoding="utf-8-sig").rstrip("\n").split("\n")
        wanted = job.data.evaluated.rows
        if len(lines) != wanted:
            item.path.unlink()
            raise UserError(f"{item.url}: {len(lines)} lines arrived, NTREX has {wanted}. Run the command again")
        rows = [{"id": number, "text": line.strip()} for number, line in enumerate(lines, start=1)]
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        write_whole(job.folder / theirs / "test.jsonl", text.encode())
    configs = {theirs: {"test": [f"{theirs}/test.jsonl"]} for theirs in items}
    origins = (address(job).format(""),)
    write_readme(job, configs, origins)
    shutil.rmtree(job.folder / HIDDEN, ignore_errors=True)
    return Fetched(job.folder, len(items), num_new, origins, job.codes)


def fetch_freedict(job: Job) -> Fetched:
    """FreeDict's two dictionaries as word lists; every fourth headword is for evaluation.

    Raises:
        UserError: as `fetch`.
    """
    names = {"en-sw": "eng-swh/eng-swh.tei", "sw-en": "swh-eng/swh-eng.tei"}
    items = {pair: plain_download(job, file, job.folder / HIDDEN / Path(file).name) for pair, file in names.items()}
    num_new = download_all(job, list(items.values()))
    configs: dict[str, dict[str, list[str]]] = {}
    for pair, item in items.items():
        entries = word_pairs_of_tei(item.path)
        parts: dict[str, list[str]] = {"train": [], "test": []}
        for place, (word, translations) in enumerate(entries.items()):
            part = parts["test" if place % 4 == 0 else "train"]
            part += [f"{word} {translation}\n" for translation in translations]
        for split, lines in parts.items():
            write_whole(job.folder / f"{pair}.{split}.txt", "".join(lines).encode())
            configs.setdefault(pair, {})[split] = [f"{pair}.{split}.txt"]
    origins = tuple(address(job).format(file) for file in names.values())
    write_readme(job, configs, origins)
    shutil.rmtree(job.folder / HIDDEN, ignore_errors=True)
    return Fetched(job.folder, len(items), num_new, origins, job.codes)


def word_pairs_of_tei(path: Path) -> dict[str, list[str]]:
    """Translations by headword, of single words of Latin letters, in the file's order.

    Raises:
        UserError: the file is no XML.
    """
    try:
        tree = ElementTree.parse(path)
    except ElementTree.ParseError as error:
        raise UserError(f"{path}: is not XML ({error}). Run the command again") from None
    entries: dict[str, list[str]] = {}
    for entry in tree.iter(f"{_TEI}entry"):
        words = [node.text or "" for node in entry.iter(f"{_TEI}orth")]
        texts = [node.text or "" for tag in ("def", "quote") for node in entry.iter(f"{_TEI}{tag}")]
        for word in map(str.strip, words):
            for translation in (part.strip() for text in texts for part in re.split("[,;/]", text)):
                if _WORD.fullmatch(word) and _WORD.fullmatch(translation):
                    found = entries.setdefault(word, [])
                    found += [translation] if translation not in found else []
    return entries
