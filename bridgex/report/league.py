"""Which strategy chooses best, over many language pairs: plain numbers from the cells of a sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

from bridgex.records.schema import Metrics, Ranking, StrategyRecord
from bridgex.report.run_files import read_run

Floats = npt.NDArray[np.float64]
Interval = tuple[float, float]

DIRECT, RANDOM, ORACLE = "direct", "random", "oracle"
REFERENCES = (DIRECT, RANDOM, ORACLE)
"""Rows that are no strategy under test: no bridge, the floor, the ceiling."""

NUM_REPLICATES = 2000
MIN_LANGUAGES = 5
"""With fewer, resampling languages says nothing, and there are no intervals."""


@dataclass(frozen=True)
class Compared:
    """One cell in which every candidate was evaluated.

    Attributes:
        source: code.
        target: code.
        direct: score without a bridge.
        oracle: score of the candidate that the other half of the items chose.
        via: score by candidate.
        rankings: by strategy.
        oracle_with_direct: as `oracle`, with going directly among its choices; None: not on record.
    """

    source: str
    target: str
    direct: float
    oracle: float
    via: Mapping[str, float]
    rankings: Mapping[str, StrategyRecord]
    oracle_with_direct: float | None = None

    @classmethod
    def of(cls, ranking: Ranking | None, metrics: Metrics | None) -> Compared | None:
        """A cell's numbers; None where it does not compare strategies on every candidate."""
        if ranking is None or metrics is None or metrics.oracle is None or len(ranking.strategies) < 2:
            return None
        routes = {route: score.score for route, score in metrics.routes.items()}
        if not {DIRECT, *(f"via {code}" for code in ranking.candidates)} <= routes.keys():
            return None
        source, _, target = metrics.pair.partition("-")
        via = {code: routes[f"via {code}"] for code in ranking.candidates}
        oracle = metrics.oracle
        return cls(source, target, routes[DIRECT], oracle.score, via, ranking.strategies, oracle.score_with_direct)


@dataclass(frozen=True)
class Mean:
    """A mean over pairs.

    Attributes:
        value: the mean.
        ci95: 95 % interval by resampling languages; None: too few of them.
        num_pairs: over so many.
    """

    value: float
    ci95: Interval | None
    num_pairs: int


@dataclass(frozen=True)
class LeagueRow:
    """One strategy over all pairs that it ranked.

    Attributes:
        strategy: its name, or one of `REFERENCES`.
        num_pairs: pairs that it ranked.
        score: through its first choice, or directly where it chose that; `random`: expected, over all candidates.
        gain: that less the direct score.
        regret: oracle's out-of-fold score less that, never clipped.
        regret_with_direct: the same against an oracle that may also go directly; None: not on record.
        top1: share of pairs whose best candidate it puts first, ties of best counting, whether or not it then goes
            through it; None for direct and oracle.
        chance_top1: the same for a random choice on the same pairs.
        spearman: with the candidates' scores, over pairs whose candidates differ; None where there is none.
        seconds: to rank the candidates of a pair, mean; None for direct, random and oracle.
    """

    strategy: str
    num_pairs: int
    score: Mean
    gain: Mean
    regret: Mean
    regret_with_direct: Mean | None
    top1: Mean | None
    chance_top1: float
    spearman: Mean | None
    seconds: float | None


def league(cells: Sequence[Path]) -> list[LeagueRow]:
    """The league table over the cells that compared strategies; the others are left out.

    Args:
        cells: folders of runs that differ in their pair only.
    """
    runs = [read_run(cell, with_predictions=False) for cell in cells]
    found = (Compared.of(run.ranking, run.metrics) for run in runs if run.is_done)
    return standings([cell for cell in found if cell is not None])


def standings(cells: Sequence[Compared], seed: int = 0) -> list[LeagueRow]:
    """The league table, best mean score first.

    Args:
        cells: one a pair.
        seed: of the bootstrap over languages.
    """
    if not cells:
        return []
    names = dict.fromkeys([DIRECT, RANDOM, ORACLE, *(name for cell in cells for name in cell.rankings)])
    rows = (_row(name, cells, seed) for name in names)
    return sorted((row for row in rows if row is not None), key=lambda row: -row.score.value)


def difference(cells: Sequence[Compared], first: str, second: str, seed: int = 0) -> Mean | None:
    """Mean score through the first strategy's choices less the second's, over the pairs that both ranked."""
    return _mean(cells, _scores(cells, first) - _scores(cells, second), seed)


def _row(name: str, cells: Sequence[Compared], seed: int) -> LeagueRow | None:
    scores = _scores(cells, name)
    direct = np.array([cell.direct for cell in cells])
    oracle = np.array([cell.oracle for cell in cells])
    with_direct = np.array([np.nan if (best := cell.oracle_with_direct) is None else best for cell in cells])
    chance = np.array([_chance_top1(cell) for cell in cells])
    score = _mean(cells, scores, seed)
    gain, regret = _mean(cells, scores - direct, seed), _mean(cells, oracle - scores, seed)
    if score is None or gain is None or regret is None:
        return None
    return LeagueRow(
        strategy=name,
        num_pairs=score.num_pairs,
        score=score,
        gain=gain,
        regret=regret,
        regret_with_direct=_mean(cells, with_direct - scores, seed),
        top1=_mean(cells, np.array([_top1(cell, name) for cell in cells]), seed),
        chance_top1=float(chance[~np.isnan(scores)].mean()),
        spearman=_mean(cells, np.array([_spearman(cell, name) for cell in cells]), seed),
        seconds=_seconds(cells, name),
    )


def _scores(cells: Sequence[Compared], name: str) -> Floats:
    """Score of each cell through the strategy's choice, a bridge or direct; nan where it did not rank."""
    if name == DIRECT:
        return np.array([cell.direct for cell in cells])
    if name == ORACLE:
        return np.array([cell.oracle for cell in cells])
    if name == RANDOM:  # its expectation, not the one draw on record: a floor should not be luck
        return np.array([np.mean(list(cell.via.values())) for cell in cells])
    found = [chosen_score(cell.rankings.get(name), cell.via, cell.direct) for cell in cells]
    return np.array([np.nan if score is None else score for score in found])


def chosen_score(ranking: StrategyRecord | None, via: Mapping[str, float], direct: float | None) -> float | None:
    """Score through a strategy's choice, a bridge or direct; None where it did not rank or that was not evaluated."""
    if goes_directly(ranking):
        return direct
    code = first_choice(ranking)
    return None if code is None else via.get(code)


def goes_directly(ranking: StrategyRecord | None) -> bool:
    """Whether a strategy ranked the candidates and then chose to go directly."""
    return ranking is not None and ranking.against_direct is not None and ranking.against_direct.chose_direct


def first_choice(ranking: StrategyRecord | None) -> str | None:
    """The candidate ranked first; None where the strategy is missing."""
    scores = ranking.scores if ranking is not None else {}
    return next((code for code, record in scores.items() if record.rank == 1), None)


def rank_correlation(ranking: StrategyRecord | None, via: Mapping[str, float]) -> float | None:
    """Spearman's correlation of a strategy's scores with the routes'; None where either does not vary."""
    if ranking is None or not ranking.scores.keys() <= via.keys():
        return None
    given = [record.score for record in ranking.scores.values()]
    found = [via[code] for code in ranking.scores]
    if len(set(given)) < 2 or len(set(found)) < 2:
        return None
    return float(spearmanr(given, found).statistic)


def _chance_top1(cell: Compared) -> float:
    return sum(score == max(cell.via.values()) for score in cell.via.values()) / len(cell.via)


def _top1(cell: Compared, name: str) -> float:
    if name == RANDOM:
        return _chance_top1(cell)
    code = None if name in REFERENCES else first_choice(cell.rankings.get(name))
    return np.nan if code is None else float(cell.via[code] == max(cell.via.values()))


def _spearman(cell: Compared, name: str) -> float:
    found = None if name in REFERENCES else rank_correlation(cell.rankings.get(name), cell.via)
    return np.nan if found is None else found


def _seconds(cells: Sequence[Compared], name: str) -> float | None:
    records = [cell.rankings.get(name) for cell in cells if name not in REFERENCES]
    found = [record.seconds for record in records if record is not None and record.missing is None]
    return fmean(found) if found else None


def _mean(cells: Sequence[Compared], values: Floats, seed: int) -> Mean | None:
    known = ~np.isnan(values)
    if not known.any():
        return None
    kept = [cell for cell, is_known in zip(cells, known, strict=True) if is_known]
    found = values[known]
    return Mean(float(found.mean()), _interval(kept, found, seed), len(kept))


def _interval(cells: Sequence[Compared], values: Floats, seed: int) -> Interval | None:
    """95 % interval: languages are drawn anew, and a pair weighs the product of its two languages' counts."""
    languages = sorted({code for cell in cells for code in (cell.source, cell.target)})
    if len(languages) < MIN_LANGUAGES:
        return None
    size = len(languages)
    counts = np.random.default_rng(seed).multinomial(size, np.full(size, 1 / size), size=NUM_REPLICATES)
    place = {code: index for index, code in enumerate(languages)}
    sources, targets = ([place[getattr(cell, side)] for cell in cells] for side in ("source", "target"))
    weights = counts[:, sources] * counts[:, targets]
    totals = weights.sum(axis=1)
    means = (weights @ values)[totals > 0] / totals[totals > 0]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
