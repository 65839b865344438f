"""Rows of the tasks' data sets: typed, cleaned, and the same items in every language.

What is wrong with a copy stops a run, or stands in the notes with its count; nothing is changed but white space at the
ends of texts and XCOPA's `question` column, which is wrong upstream.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, TypeVar

from bridgex.config.settings import ReadsData
from bridgex.data import copa
from bridgex.data.catalogue import CATALOGUE, DataSet, data_set
from bridgex.data.layout import Layout
from bridgex.data.raw_rows import RawRows, local_folder, not_on_the_hub, read_rows
from bridgex.data.row_checks import Joined, Parsed, join_rows, parse_rows
from bridgex.data.row_types import (
    INFERENCE_LABELS,
    READINGS,
    CausalRow,
    InferenceRow,
    ProblemRow,
    ReadingRow,
    SentenceRow,
)
from bridgex.errors import UserError
from bridgex.languages import language
from bridgex.records.data_checks import Finding

__all__ = [
    "INFERENCE_LABELS",
    "CausalRow",
    "InferenceRow",
    "ParallelRows",
    "ProblemRow",
    "ReadingRow",
    "SentenceRow",
    "causal_rows",
    "has_language",
    "inference_rows",
    "languages",
    "problem_rows",
    "problems",
    "reading_rows",
    "sentence_rows",
]

Row = TypeVar("Row")
Groups = Callable[[Sequence[str], Mapping[str, Sequence[Row]]], Sequence[str]]

# Premises may be translated a little differently within a triple.
_TRIPLES_AGREE = 0.95


@dataclass(frozen=True)
class ParallelRows(Generic[Row]):
    """The same items in several languages.

    Attributes:
        name: the data set.
        split: as the hub calls it.
        ids: unique; an item has the same id in every language and with every choice of languages; in the files' order.
        groups: what an item shares with others: its premise (XNLI), its passage (Belebele); else its id.
        rows: by our language code, one an id.
        fingerprint: SHA-256 over the cleaned rows of all these languages, in their order.
        origins: by language, where its rows come from.
        notes: one sentence for each thing that a reader of results must know.
    """

    name: str
    split: str
    ids: tuple[str, ...]
    groups: tuple[str, ...]
    rows: Mapping[str, tuple[Row, ...]]
    fingerprint: str
    origins: Mapping[str, str]
    notes: tuple[str, ...]


def inference_rows(
    settings: ReadsData, codes: Sequence[str], split: str, *, dataset: str = "xnli"
) -> ParallelRows[InferenceRow]:
    """Premises and hypotheses of XNLI (Burmese: myXNLI) or AfriXNLI.

    Args:
        settings: where the data lie.
        codes: our language codes.
        split: `test` or `validation`.
        dataset: `xnli` or `afrixnli`.

    Raises:
        UserError: a language or a file is missing, or the rows cannot be trusted; one line for each mistake.
    """
    return _parallel(settings, data_set(dataset), codes, split, _premise_groups)


def reading_rows(settings: ReadsData, codes: Sequence[str], split: str = "test") -> ParallelRows[ReadingRow]:
    """Passages, questions and options of Belebele.

    Raises:
        UserError: as `inference_rows`.
    """
    return _parallel(settings, data_set("belebele"), codes, split, _passage_groups)


def causal_rows(settings: ReadsData, codes: Sequence[str], split: str) -> ParallelRows[CausalRow]:
    """Premises and options of XCOPA (English: COPA), each asked for what English, Vietnamese or Chinese ask for.

    Raises:
        UserError: as `inference_rows`.
    """
    return _parallel(settings, data_set("xcopa"), codes, split)


def problem_rows(settings: ReadsData, codes: Sequence[str], split: str) -> ParallelRows[ProblemRow]:
    """Problems of MGSM.

    Raises:
        UserError: as `inference_rows`.
    """
    return _parallel(settings, data_set("mgsm"), codes, split)


def sentence_rows(
    settings: ReadsData, codes: Sequence[str], *, dataset: Literal["ntrex", "flores"]
) -> ParallelRows[SentenceRow]:
    """Sentences of NTREX-128 or of the test split of FLORES+.

    Raises:
        UserError: as `inference_rows`.
    """
    data = data_set(dataset)
    return _parallel(settings, data, codes, data.evaluated.name)


def problems(settings: ReadsData, dataset: str, codes: Sequence[str], splits: Sequence[str] = ()) -> list[str]:
    """Which languages and splits a data set lacks, one line each, without reading rows or asking the hub.

    Args:
        settings: where the data lie.
        dataset: name of the data set.
        codes: our language codes.
        splits: what is needed; empty: the evaluated one.

    Returns:
        Lines; empty where all is there, or may come from the hub.
    """
    data, folder = data_set(dataset), local_folder(settings, data_set(dataset))
    codes = list(dict.fromkeys(codes))
    wanted = list(splits) or [data.evaluated.name]
    if folder is None:
        lacking = [code for code in codes if language(code).is_toy or data.code_for(code) is None]
        lines = [_no_language(data, code, data.languages(), "") for code in lacking]
        if data.source is None and not lacking:
            lines.append(not_on_the_hub(data, codes))
        return lines
    try:
        return [line for split in wanted for line in _lacking_in_folder(folder, data, codes, split)]
    except UserError as error:
        return list(error.problems)


def has_language(settings: ReadsData, dataset: str, code: str) -> bool:
    """Whether a data set has a language, by the same rules as `problems`; nothing is read."""
    return not problems(settings, dataset, [code])


def languages(settings: ReadsData, dataset: str, split: str) -> list[str]:
    """Our codes of the languages that a data set has, in the table's order; of the hub's, those it is known to have.

    Args:
        settings: where the data lie.
        dataset: name of the data set.
        split: as the hub calls it.
    """
    data, folder = data_set(dataset), local_folder(settings, data_set(dataset))
    return list(data.languages()) if folder is None else Layout(folder).languages(data, split)


def judge(
    data: DataSet, split: str, raws: Mapping[str, RawRows], sure: Mapping[str, RawRows]
) -> tuple[Joined[object], list[Finding]]:
    """Types, repairs and joins rows, and says what is wrong with them.

    Args:
        data: the data set.
        split: as the hub calls it.
        raws: rows by language.
        sure: XCOPA: further languages whose `question` column is right.

    Returns:
        The rows, parallel, and all findings; with an error among them the rows are not to be used.
    """
    reading = READINGS[data.name]

    def columns_of(raw: RawRows) -> tuple[str, ...]:
        # FLORES-200, before it became FLORES+, has another name for its one column.
        return ("sentence",) if data.columns == ("text",) and "sentence" in raw.rows[0] else data.columns

    def parsed_of(rows: Mapping[str, RawRows]) -> list[Parsed[object]]:
        name = f"{data.name} {split}"
        return [
            parse_rows(name, code, raw, columns_of(raw) if raw.rows else (), reading.parse, reading.key)
            for code, raw in rows.items()
        ]

    parsed = parsed_of(raws)
    findings = [finding for one in parsed for finding in one.findings]
    if data.name == "xcopa":
        parsed, repairs = _with_sure_questions(split, parsed, parsed_of(sure))
        findings += repairs
    if any(finding.severity == "error" for finding in findings):
        return Joined((), {}, ()), findings
    joined = join_rows(f"{data.name} {split}", parsed, reading.has_ids)
    return joined, [*findings, *joined.findings]


def _parallel(
    settings: ReadsData, data: DataSet, codes: Sequence[str], split: str, groups: Groups[Row] | None = None
) -> ParallelRows[Row]:
    codes = list(dict.fromkeys(codes))
    found = problems(settings, data.name, codes, [split])
    if found:
        raise UserError(*found)
    raws = {code: read_rows(settings, data, code, split) for code in codes}
    sure = {}
    if data.name == "xcopa" and not set(codes) & set(copa.SURE_OF_QUESTION):
        further = _further_language(settings, data, split)
        sure = {code: read_rows(settings, data, code, split) for code in further}
    joined, findings = judge(data, split, raws, sure)
    errors = [finding.text for finding in findings if finding.severity == "error"]
    if errors:
        raise UserError(*errors)
    rows: Mapping[str, tuple[Row, ...]] = joined.rows  # type: ignore[assignment]
    return ParallelRows(
        name=data.name,
        split=split,
        ids=joined.ids,
        groups=joined.ids if groups is None else tuple(groups(joined.ids, rows)),
        rows=rows,
        fingerprint=_fingerprint(data.name, split, joined),
        origins={code: raw.origin for code, raw in raws.items()},
        notes=tuple(finding.text for finding in findings),
    )


def _fingerprint(name: str, split: str, joined: Joined[object]) -> str:
    cleaned = {code: [dataclasses.astuple(row) for row in rows] for code, rows in joined.rows.items()}  # type: ignore[call-overload]
    text = json.dumps([name, split, joined.ids, list(cleaned.items())], ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _premise_groups(ids: Sequence[str], rows: Mapping[str, Sequence[InferenceRow]]) -> list[str]:
    """One name for the rows of a premise: of three in a row, as XNLI has them, else of the same premise."""
    triples = [int(item) // 3 for item in ids]
    for some in rows.values():
        premises: dict[int, set[str]] = {}
        for triple, row in zip(triples, some, strict=True):
            premises.setdefault(triple, set()).add(row.premise)
        if sum(len(found) == 1 for found in premises.values()) >= _TRIPLES_AGREE * len(premises):
            return [str(triple) for triple in triples]
    first: dict[str, str] = {}
    return [first.setdefault(row.premise, item) for item, row in zip(ids, rows[min(rows)], strict=True)]


def _passage_groups(ids: Sequence[str], rows: Mapping[str, Sequence[ReadingRow]]) -> list[str]:
    return [item.rpartition(" ")[0] for item in ids]


def _further_language(settings: ReadsData, data: DataSet, split: str) -> list[str]:
    """One language whose `question` column is right, besides those of the run; none where none is at hand."""
    folder = local_folder(settings, data)
    if folder is None:
        return [copa.ANSWERS_FROM]
    there = Layout(folder).languages(data, split)
    return [code for code in copa.SURE_OF_QUESTION if code in there][:1]


def _with_sure_questions(
    split: str, parsed: Sequence[Parsed[object]], sure: Sequence[Parsed[object]]
) -> tuple[list[Parsed[object]], list[Finding]]:
    """XCOPA's rows, each asked for what it is asked for in a language whose `question` column is right."""
    asked: dict[str, str] = {}
    for one in [*parsed, *sure]:
        if one.code in copa.SURE_OF_QUESTION:
            asked.update({item: row.asks_for for item, row in one.rows.items() if isinstance(row, CausalRow)})
    doubtful = [one.code for one in parsed if one.code not in copa.SURE_OF_QUESTION]
    if not doubtful:
        return list(parsed), []
    if not asked:
        line = (
            f"xcopa {split}: the question column of {', '.join(doubtful)} could not be checked, and upstream it is "
            f"wrong in several languages: put en, vi or zh beside them"
        )
        return list(parsed), [Finding("note", line)]
    repaired, findings = [], []
    for one in parsed:
        rows = {
            item: dataclasses.replace(row, asks_for=asked.get(item, row.asks_for))  # type: ignore[arg-type]
            for item, row in one.rows.items()
            if isinstance(row, CausalRow)
        }
        changed = sum(row != one.rows[item] for item, row in rows.items())
        if changed:
            line = (
                f"xcopa {split}: {changed} of {len(rows)} rows of {one.code} ask for the wrong thing upstream "
                f"(cause, effect), and take it by idx from a language that is right"
            )
            findings.append(Finding("note", line))
        repaired.append(dataclasses.replace(one, rows=rows))
    return repaired, findings


def _lacking_in_folder(folder: Path, data: DataSet, codes: Sequence[str], split: str) -> list[str]:
    layout = Layout(folder)
    lacking = [code for code in codes if (config := data.code_for(code)) is None or not layout.files(config, split)]
    if not lacking:
        return []
    there = layout.languages(data, split)
    is_large = any(entry.name == split and entry.purpose == "fine-tuning" for entry in data.splits)
    flag = " --train" if is_large else ""
    return [_no_language(data, code, there, f" {split} rows in {folder}", flag) for code in lacking]


def _no_language(data: DataSet, code: str, there: Sequence[str], place: str, flag: str = "") -> str:
    """A line on a language that a data set lacks: what it has, and what else has it.

    Args:
        data: the data set.
        code: of the language.
        there: codes of those that it has.
        place: what of it was looked for, and where.
        flag: of the command that fetches that.
    """
    entry = language(code)
    name = f"{entry.english} ({code})"
    if entry.is_toy:
        return (
            f"{data.name}: no {name}{place}. The toy world has tasks of its own on word lists, xnli, belebele, ntrex "
            f"and flores"
        )
    line = f"{data.name}: no {name}{place}; it has {', '.join(there) or 'none at all'}"
    if data.code_for(code) is not None:
        return f"{line}. Run bridgex data fetch {data.name} --language {code}{flag}, or give another data.root"
    others = [
        f"{other.name} ({other.tasks[0]})"
        for other in sorted(CATALOGUE.values(), key=lambda other: not other.name.endswith(data.name))
        if other.name != data.name and other.columns and other.code_for(code) is not None
    ]
    return f"{line}. {entry.english} is in {', '.join(others)}" if others else f"{line}. Choose another language"
