"""The page of a sweep: a grid of verdicts, what failed, and the league table of strategies."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from scipy.stats import false_discovery_control

from bridgex.config.settings import flat_config, hashed_config
from bridgex.records.schema import Paired
from bridgex.report.league import (
    DIRECT,
    MIN_LANGUAGES,
    ORACLE,
    RANDOM,
    REFERENCES,
    Compared,
    LeagueRow,
    Mean,
    difference,
    standings,
)
from bridgex.report.markup import Html, Section, document, exact, join, section, tag
from bridgex.report.run_files import RunFiles, described, read_run
from bridgex.report.tables import MISSING, Cell, Column, Row, interval, number, probability, table
from bridgex.report.words import ALPHA, SIGNS, Kind, kind_of, test_of, uses_labels

TRANSLATED = "translated"
_TRANSLATED = Column("translated", hint="the context put straight into the target language, no bridge")
_GROUPS = ("task", "model", "bridge")
_WORDS: dict[Kind, str] = {"helps": "helps", "hurts": "hurts", "open": "no evidence", "none": "no bridge"}


@dataclass(frozen=True)
class GridRow:
    """One cell of the grid.

    Attributes:
        run: its files.
        p_corrected: McNemar p after Benjamini-Hochberg over the sweep; None: no test.
    """

    run: RunFiles
    p_corrected: float | None

    @property
    def kind(self) -> Kind:
        """What the cell comes to after the correction."""
        metrics = self.run.metrics
        if not self.run.is_done:
            is_failed = self.run.status is None or self.run.status.state == "failed"
            return "failed" if is_failed else "unfinished"
        if metrics is None or metrics.paired is None:
            return "none"
        is_clear = self.p_corrected is None or self.p_corrected < ALPHA
        return kind_of(metrics.paired) if is_clear else "open"


def sweep_page(folder: Path, cells: Sequence[Path]) -> str:
    """The page of a sweep.

    Args:
        folder: the sweep's folder, from which links lead to the cells' pages.
        cells: its cells' folders.
    """
    runs = [read_run(cell, with_predictions=False) for cell in cells]
    rows = _corrected(runs)
    states = Counter(run.status.state if run.status is not None else "damaged" for run in runs)
    kinds = Counter(row.kind for row in rows)
    counts = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    found = ", ".join(f"{SIGNS[kind]} {_WORDS[kind]} in {kinds[kind]}" for kind in _WORDS if kinds[kind])
    same = [runs[0].name(group) for group in _GROUPS if group not in _telling(rows)] if runs else []
    head = join(
        tag("h1", f"Sweep {folder.name}"),
        tag("p", " · ".join(filter(None, [*same, f"{len(runs)} cells: {counts or 'none yet'}"])), class_="quiet"),
        tag("div", tag("p", f"The chosen bridge: {found or 'no cell is done yet'}."), _family(rows), class_="verdict"),
    )
    parts = [_leagues(runs), _grid(folder, rows), _failures(folder, rows)]
    return document(f"{folder.name} - bridgex sweep", head, parts, has_script=True)


def groups(runs: Sequence[RunFiles]) -> list[tuple[str, list[Compared]]]:
    """Cells that compared strategies, together where they differ in their pair only, with what sets a group apart."""
    found: dict[str, list[Compared]] = {}
    configs: dict[str, dict[str, str]] = {}
    for run in runs:
        compared = Compared.of(run.ranking, run.metrics) if run.is_done else None
        if compared is None:
            continue
        config = {key: value for key, value in hashed_config(run.config).items() if key not in ("pair", "data")}
        key = json.dumps(config, sort_keys=True, default=str)
        found.setdefault(key, []).append(compared)
        configs[key] = flat_config(config)
    keys = sorted({key for config in configs.values() for key in config})
    telling = [key for key in keys if len({config.get(key) for config in configs.values()}) > 1]
    named = [key for key in telling if key in ("model.name", "task.name")] or telling
    if len({tuple(config.get(key) for key in named) for config in configs.values()}) < len(configs):
        named = telling
    return [
        (", ".join(f"{name}={configs[key].get(name, MISSING)}" for name in named), cells)
        for key, cells in found.items()
    ]


def headline(cells: Sequence[Compared], primary: str) -> list[str]:
    """What the league table says, in sentences: the strategy that chose against the best other, chance, and none.

    Args:
        cells: of one group.
        primary: the strategy whose first choice counts as chosen.
    """
    rows = standings(cells)
    if not any(row.strategy == primary for row in rows):
        return [f"{primary} ranked no pair here."]
    others = [row.strategy for row in rows if row.strategy not in (*REFERENCES, primary)]
    against = [(name, f"{name}, the best of the others") for name in others[:1]]
    against += [(RANDOM, "a random choice"), (DIRECT, "going directly")]
    return [
        _duel(primary, label, found)
        for name, label in against
        if primary != name and (found := difference(cells, primary, name)) is not None
    ]


def _duel(first: str, second: str, found: Mean) -> str:
    numbers = f"difference {number(found.value, is_signed=True)}"
    if found.ci95 is None:
        return f"{first} against {second}: {numbers}; too few languages for an interval, so no claim."
    low, high = found.ci95
    verb = "beats" if low > 0 else "loses to" if high < 0 else "does not beat"
    return f"{first} {verb} {second} here: {numbers} {interval(found.ci95, is_signed=True)}."


def _corrected(runs: Sequence[RunFiles]) -> list[GridRow]:
    paired = [run.metrics.paired if run.is_done and run.metrics is not None else None for run in runs]
    p_values = [_p(found) if found is not None else None for found in paired]
    tested = [p for p in p_values if p is not None]
    corrected = iter(false_discovery_control(tested) if tested else [])
    return [GridRow(run, None if p is None else float(next(corrected))) for run, p in zip(runs, p_values, strict=True)]


def _family(rows: Sequence[GridRow]) -> Html:
    count = sum(row.p_corrected is not None for row in rows)
    return tag("p", f"Verdicts hold at {number(ALPHA)} after Benjamini-Hochberg over {count} tests.", class_="small")


def _grid(folder: Path, rows: Sequence[GridRow]) -> Section | None:
    if not rows:
        return None
    bridges = list(dict.fromkeys(code for row in rows for code in _via(row.run)))
    columns = [
        Column("pair", False),
        Column("verdict", False, f"at {number(ALPHA)} after Benjamini-Hochberg over this sweep"),
        *(Column(group, False) for group in _telling(rows)),
        Column("direct"),
        *([_TRANSLATED] if _has_translated(rows) else []),
        *(Column(code, hint=f"via {described(code)}") for code in bridges),
        Column("chosen", False),
        Column("gain", hint="via the chosen bridge less direct; out of fold where labels were used"),
        Column("p", hint="two-sided exact McNemar, of sentences approximate randomisation, as in the cell's own page"),
        Column("p, corrected", hint="after Benjamini-Hochberg over this sweep"),
    ]
    note = "Press a heading to sort. Bold: the chosen bridge. Pairs link to the cell's own page."
    body = [_grid_row(folder, row, bridges, _telling(rows), _has_translated(rows)) for row in rows]
    return section("grid", "Cells", tag("p", note, class_="small"), table("cells", columns, body, is_sortable=True))


def _telling(rows: Sequence[GridRow]) -> list[str]:
    """Which of task, model and bridge (strategy) differ between cells."""
    return [group for group in _GROUPS if len({row.run.name(group) for row in rows}) > 1]


def _has_translated(rows: Sequence[GridRow]) -> bool:
    return any(row.run.metrics is not None and TRANSLATED in row.run.metrics.routes for row in rows)


def _grid_row(folder: Path, row: GridRow, bridges: Sequence[str], groups: Sequence[str], has_translated: bool) -> Row:
    run, via = row.run, _via(row.run)
    metrics = run.metrics if run.is_done else None
    paired = metrics.paired if metrics is not None else None
    direct = metrics.routes.get("direct") if metrics is not None else None
    translated = metrics.routes.get(TRANSLATED) if metrics is not None else None
    chosen = metrics.chosen if metrics is not None else None
    taken = DIRECT if metrics is not None and metrics.chose_direct else chosen
    gain = Mean(paired.difference, paired.ci95, 1) if paired is not None else None
    return Row(
        [
            Cell(_link(folder, run), run.pair or run.folder.name),
            Cell(_verdict(row), list(SIGNS).index(row.kind)),
            *(run.name(group) for group in groups),
            number(direct.score if direct is not None else None),
            *([number(translated.score if translated is not None else None)] if has_translated else []),
            *(Cell(number(via.get(code)), via.get(code), is_strong=code == chosen) for code in bridges),
            taken or MISSING,
            _mean(gain, is_signed=True),
            Cell(probability(_p(paired)) if paired else MISSING, _p(paired) if paired else None),
            Cell(probability(row.p_corrected), row.p_corrected),
        ]
    )


def _verdict(row: GridRow) -> Html:
    status = row.run.status
    said = _WORDS.get(row.kind) or (status.state if status is not None else "damaged")
    metrics = row.run.metrics
    marked = " (uses labels)" if metrics is not None and row.run.is_done and uses_labels(metrics.paired) else ""
    sign = tag("span", SIGNS[row.kind], class_="sign", aria_hidden="true")
    return tag("span", sign, said, marked, class_=f"verdict-word {row.kind}")


def _p(paired: Paired) -> float | None:
    found = test_of(paired)
    return None if found is None else found[1]


def _via(run: RunFiles) -> dict[str, float]:
    routes: Mapping[str, Any] = run.metrics.routes if run.metrics is not None and run.is_done else {}
    return {
        route.removeprefix("via "): score.score
        for route, score in routes.items()
        if route.startswith("via ") and not route.endswith(")")
    }


def _link(folder: Path, run: RunFiles) -> Html:
    label = run.pair or run.folder.name
    page = run.folder / "report.html"
    if not page.is_file():
        return tag("span", label)
    try:
        place = page.resolve().relative_to(folder.resolve())
    except ValueError:
        return tag("span", label)
    return tag("a", label, href="./" + quote(place.as_posix()))


def _failures(folder: Path, rows: Sequence[GridRow]) -> Section | None:
    wrong = [row.run for row in rows if row.kind == "failed" or row.run.problems]
    if not wrong:
        return None
    parts = []
    for run in wrong:
        parts.append(tag("h3", _link(folder, run), f" {run.folder.name}"))
        parts += [tag("p", f"{problem}.") for problem in run.problems]
        if run.status is not None and run.status.error:
            parts.append(exact(run.status.error[:4000]))
    return section("failures", "What went wrong", *parts)


def _leagues(runs: Sequence[RunFiles]) -> Section:
    found = groups(runs)
    if not found:
        note = "No league table: it needs finished cells of bridge=compare."
        return section("league", "Strategies", tag("p", note))
    names = [run.ranking.chosen_by for run in runs if run.ranking is not None and len(run.ranking.strategies) > 1]
    primary = next((name for name in names if name is not None), "hsic")
    parts = []
    for label, cells in found:
        if label:
            parts.append(tag("h3", label))
        parts += [tag("p", sentence) for sentence in headline(cells, primary)]
        parts.append(_league(standings(cells), cells, primary))
    return section("league", "Which strategy chooses best", *parts)


def _league(rows: Sequence[LeagueRow], cells: Sequence[Compared], primary: str) -> Html:
    languages = {code for cell in cells for code in (cell.source, cell.target)}
    columns = [
        Column("strategy", False),
        Column("pairs", hint="pairs that it ranked"),
        Column("mean score", hint="of the task, through its first choice"),
        Column("gain", hint="that less the direct score, on the same pairs"),
        Column("regret", hint="the oracle's score out of fold less the mean score"),
        Column("regret with direct", hint="the same against an oracle that may also go directly"),
        Column(
            "top\N{NON-BREAKING HYPHEN}1", hint="share of pairs whose best candidate it puts first; ties of best count"
        ),
        Column("by chance", hint="top-1 of a random choice on the same pairs"),
        Column("Spearman", hint="with the candidates' scores, over pairs whose candidates differ"),
    ]
    body = [_league_row(row, primary) for row in rows]
    few = f" Fewer than {MIN_LANGUAGES} languages: no intervals." if len(languages) < MIN_LANGUAGES else ""
    note = (
        f"{len(cells)} pairs, {len(languages)} languages; 95 % intervals by resampling languages.{few} Mean score: of "
        "the task, through the first choice. Regret is against the oracle out of fold and may be negative. "
        f"{RANDOM}: expected over all candidates. {ORACLE}: uses labels, out of fold. A row with fewer pairs is not "
        "comparable by its mean score; the sentences above use common pairs."
    )
    return join(table("league table", columns, body, is_sortable=True), tag("p", note, class_="small"))


def _league_row(row: LeagueRow, primary: str) -> Row:
    label = {DIRECT: "direct (no bridge)", RANDOM: "random (floor)", ORACLE: "oracle (ceiling)"}
    return Row(
        [
            label.get(row.strategy, row.strategy),
            str(row.num_pairs),
            _mean(row.score),
            _mean(row.gain, is_signed=True),
            _mean(row.regret),
            _mean(row.regret_with_direct),
            number(row.top1.value if row.top1 is not None else None),
            number(row.chance_top1) if row.top1 is not None else MISSING,
            _mean(row.spearman),
        ],
        is_strong=row.strategy == primary,
    )


def _mean(found: Mean | None, is_signed: bool = False) -> Cell:
    if found is None:
        return Cell(MISSING)
    # No interval where there is nothing to vary: the oracle's own regret, direct's own gain.
    shown = f" {interval(found.ci95, is_signed)}" if found.ci95 and found.ci95[0] < found.ci95[1] else ""
    bounds = tag("span", shown, class_="bounds signed" if is_signed else "bounds") if found.ci95 else ""
    return Cell(join(number(found.value, is_signed), bounds), found.value)
