"""What a sweep cost: time, answers, generated tokens."""

from __future__ import annotations

import mmap
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from bridgex.report.markup import Section, section
from bridgex.report.sweep_cells import TITLES, SweepCell
from bridgex.report.table_files import with_files
from bridgex.report.tables import MISSING, Cell, Column, Row, Table

# Of a step, not of an option, whose number of tokens its worth follows; in a quoted text the quotes are escaped.
_TOKENS = re.compile(rb'"num_tokens":\s*(\d+)\b(?!,\s*"worth")')


def cost(cells: Sequence[SweepCell]) -> tuple[Section, list[Table]] | None:
    """The cost of the finished cells by what sets them apart, as a section and its table; None where none is done."""
    done = [cell for cell in cells if cell.run.is_done]
    if not done:
        return None
    names = list(done[0].axes)
    by_axes: dict[tuple[str, ...], list[SweepCell]] = {}
    for cell in done:
        by_axes.setdefault(tuple(cell.axes.values()), []).append(cell)
    columns = [
        *(Column(TITLES.get(name, name), False) for name in names or [""]),
        Column("cells", hint="finished ones"),
        Column("time", hint="hours:minutes:seconds that processes worked, all cells together"),
        Column("seconds a cell", hint="mean of the same"),
        Column("answers", hint="items times routes"),
        Column("generated tokens", hint="bridge texts and answers; options that are scored generate none"),
    ]
    tokens = {cell.run.folder: generated_tokens(cell.run.folder) for cell in done}
    rows = [_row(key if names else ("all",), own, tokens) for key, own in sorted(by_axes.items())]
    total = _row(("all", *[""] * (len(names) - 1)), done, tokens)
    note = (
        "Finished cells only. Time counts loading and probing, also of processes that were interrupted, but not of any "
        "that was killed. Answers that came from the cache count as asked."
    )
    found = Table("cost", "cost", columns, rows, [total] if len(rows) > 1 else [], note)
    return section("cost", "Cost", with_files(found)), [found]


def generated_tokens(folder: Path) -> int | None:
    """Tokens that a finished run's model generated, in whole lines of predictions.jsonl; None: it has none to read.

    Counted in the file's bytes: reading the records of a large sweep would take minutes.
    """
    try:
        with (
            open(folder / "predictions.jsonl", "rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            return sum(int(match[1]) for match in _TOKENS.finditer(content))
    except (OSError, ValueError):  # an empty file cannot be mapped
        return None


def _row(names: Sequence[str], cells: Sequence[SweepCell], tokens: Mapping[Path, int | None]) -> Row:
    seconds = [cell.seconds for cell in cells if cell.seconds is not None]
    answers = sum(
        route.n for cell in cells if cell.run.metrics is not None for route in cell.run.metrics.routes.values()
    )
    counted = [count for cell in cells if (count := tokens[cell.run.folder]) is not None]
    return Row(
        [
            *names,
            count_cell(len(cells)),
            Cell(duration(sum(seconds)), round(sum(seconds), 3)) if seconds else Cell(MISSING),
            Cell(f"{fmean(seconds):,.1f}", fmean(seconds)) if seconds else Cell(MISSING),
            count_cell(answers),
            count_cell(sum(counted)) if counted else Cell(MISSING),
        ]
    )


def count_cell(count: int) -> Cell:
    """A count with its thousands apart."""
    return Cell(f"{count:,}", count)


def duration(seconds: float) -> str:
    """Hours, minutes and seconds.

    >>> duration(59.6), duration(3725)
    ('0:01:00', '1:02:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,}:{minutes:02}:{rest:02}"
