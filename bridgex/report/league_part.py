"""Which strategy chooses best: the league tables of a sweep, and what they say."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from statistics import fmean

from bridgex.config.settings import flat_config, hashed_config
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
from bridgex.report.markup import Html, Section, join, section, tag
from bridgex.report.run_files import RunFiles
from bridgex.report.table_files import keys_of, with_files
from bridgex.report.tables import MISSING, Cell, Column, Row, Table, interval, number

_QUOTE = '"'
MAX_OPEN = 2
"""League tables that stand open; more are folded below an overview."""
_NAMES = {DIRECT: "direct (no bridge)", RANDOM: "random (floor)", ORACLE: "oracle (ceiling)"}
_ABOVE = "The sentences above compare over common pairs."
_ORACLE = (("†", "Uses labels, out of fold: a ceiling that nobody reaches who has none."),)


def leagues(runs: Sequence[RunFiles]) -> tuple[Section, list[Table]]:
    """The league tables as a section, and the same to be written as files.

    Args:
        runs: of a sweep.
    """
    found = groups(runs)
    if not found:
        note = "No league table: it needs finished cells of bridge=compare."
        return section("league", "Strategies", tag("p", note)), []
    names = [run.ranking.chosen_by for run in runs if run.ranking is not None and len(run.ranking.strategies) > 1]
    primary = next((name for name in names if name is not None), "hsic")
    ranked = [(label, cells, standings(cells)) for label, cells in found]
    keys = keys_of("league", [label for label, _ in found])
    tables = [_league(key, label, rows, cells, primary) for key, (label, cells, rows) in zip(keys, ranked, strict=True)]
    if len(ranked) > MAX_OPEN:
        overview = _overview(ranked, primary)
        folded = [
            tag("details", tag("summary", label), *_said(rows, cells, primary), with_files(one))
            for (label, cells, rows), one in zip(ranked, tables, strict=True)
        ]
        return section("league", "Which strategy chooses best", with_files(overview), *folded), [overview, *tables]
    parts: list[Html] = []
    for (label, cells, rows), one in zip(ranked, tables, strict=True):
        parts += [tag("h3", label)] if label else []
        parts += [*_said(rows, cells, primary), with_files(one)]
    return section("league", "Which strategy chooses best", *parts), tables


def mean_cell(found: Mean | None, is_signed: bool = False) -> Cell:
    """A mean with its interval."""
    if found is None:
        return Cell(MISSING)
    # No interval where there is nothing to vary: the oracle's own regret, direct's own gain.
    shown = f" {interval(found.ci95, is_signed)}" if found.ci95 and found.ci95[0] < found.ci95[1] else ""
    bounds = tag("span", shown, class_="bounds signed" if is_signed else "bounds") if found.ci95 else ""
    return Cell(join(number(found.value, is_signed), bounds), found.value, ci95=found.ci95)


def _said(rows: Sequence[LeagueRow], cells: Sequence[Compared], primary: str) -> list[Html]:
    return [tag("p", sentence) for sentence in headline(rows, cells, primary)]


def _overview(ranked: Sequence[tuple[str, Sequence[Compared], Sequence[LeagueRow]]], primary: str) -> Table:
    """Regret by group and strategy."""
    # On fewer pairs, which may be the easier ones, a regret is not to be compared.
    regrets = [
        {row.strategy: row.regret.value for row in rows if row.strategy != ORACLE and row.num_pairs == len(cells)}
        for _, cells, rows in ranked
    ]
    known = {row.strategy for _, _, rows in ranked for row in rows if row.strategy != ORACLE}
    means = {name: fmean([found[name] for found in regrets]) for name in known if all(name in own for own in regrets)}
    order = sorted(known, key=lambda name: (name in REFERENCES, means.get(name, math.inf), name))

    def line(label: str, found: Mapping[str, float]) -> Row:
        rivals = {regret for name, regret in found.items() if name not in REFERENCES}
        best = min(rivals) if len(rivals) > 1 else None
        regrets = [(found.get(name), name not in REFERENCES) for name in order]
        return Row(
            [
                label,
                *(Cell(number(v), v, is_strong=is_rival and v is not None and v == best) for v, is_rival in regrets),
            ]
        )

    columns = [Column("group", False), *(Column(_named(name, primary)) for name in order)]
    rows = [line(label, found) for (label, _, _), found in zip(ranked, regrets, strict=True)]
    note = (
        "Mean regret over pairs: the oracle's score out of fold less that through the strategy's first choice. Bold: "
        "the smallest. None for a strategy that did not rank every pair of a group."
    )
    footer = [line("mean of these", means)]
    return Table("regret", "regret by strategy", columns, rows, footer, note, "Each line unfolds below.")


def _league(
    key: str, label: str, rows: Sequence[LeagueRow], cells: Sequence[Compared], primary: str
) -> Table:  # fmt: skip
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
        Column("seconds", hint="to rank the candidates of a pair, mean; what was in the cache cost nothing"),
    ]
    few = f" Fewer than {MIN_LANGUAGES} languages: no intervals." if len(languages) < MIN_LANGUAGES else ""
    note = (
        f"{len(cells)} pairs, {len(languages)} languages; 95 % intervals by resampling languages.{few} Mean score: of "
        "the task, through the first choice. Regret is against the oracle out of fold and may be negative. "
        f"{RANDOM}: expected over all candidates. {ORACLE}: uses labels, out of fold. Bold: the best strategy of the "
        "column, among those that ranked every pair. A row with fewer pairs is not comparable by its mean score."
    )
    body = [_league_row(row, _best(rows), primary) for row in rows]
    return Table(key, f"league table{f', {label}' if label else ''}", columns, body, (), note, _ABOVE, _ORACLE)


def _best(rows: Sequence[LeagueRow]) -> dict[str, float]:
    """The best value of each column among the strategies that ranked most pairs; none where all are equal."""
    most = max(row.num_pairs for row in rows)
    rivals = [row for row in rows if row.strategy not in REFERENCES and row.num_pairs == most]
    best: dict[str, float] = {}
    for name in ("score", "gain", "regret", "regret_with_direct", "top1", "spearman"):
        values = [found.value for row in rivals if (found := getattr(row, name)) is not None]
        if len(set(values)) > 1:
            best[name] = (min if name.startswith("regret") else max)(values)
    return best


def _league_row(row: LeagueRow, best: Mapping[str, float], primary: str) -> Row:
    is_rival = row.strategy not in REFERENCES

    def mean(name: str, is_signed: bool = False) -> Cell:
        found: Mean | None = getattr(row, name)
        return mean_cell(found, is_signed)._replace(
            is_strong=is_rival and found is not None and found.value == best.get(name)
        )

    top1 = row.top1.value if row.top1 is not None else None
    chance = row.chance_top1 if row.top1 is not None else None
    return Row(
        [
            Cell(_named(row.strategy, primary), mark="†" if row.strategy == ORACLE else ""),
            Cell(f"{row.num_pairs}", row.num_pairs),
            mean("score"),
            mean("gain", is_signed=True),
            mean("regret"),
            mean("regret_with_direct"),
            Cell(number(top1), top1, is_strong=is_rival and top1 is not None and top1 == best.get("top1")),
            Cell(number(chance), chance),
            mean("spearman"),
            Cell(MISSING if row.seconds is None else f"{row.seconds:,.1f}", row.seconds),
        ]
    )


def _named(strategy: str, primary: str) -> str:
    return _NAMES.get(strategy, f"{strategy} (chooses)" if strategy == primary else strategy)


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
        (", ".join(_setting(name, configs[key].get(name, MISSING)) for name in named), cells)
        for key, cells in found.items()
    ]


def _setting(key: str, value: str) -> str:
    """A setting in a heading: `model toy`, `seed 1`."""
    return f"{key.removesuffix('.name')} {value.strip(_QUOTE)}"


def headline(rows: Sequence[LeagueRow], cells: Sequence[Compared], primary: str) -> list[str]:
    """What the league table says, in sentences: the strategy that chose against the best other, chance, and none.

    Args:
        rows: the table.
        cells: what it was made from.
        primary: the strategy whose first choice counts as chosen.
    """
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
