"""What freezing does: runs with frozen blocks against runs of the same source and seed without, or with a control."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import NamedTuple

import numpy as np

from bridgex.errors import UserError
from bridgex.records.relations import FreezeComparison, FreezeDifference, FreezeVerdict, Outcome
from bridgex.records.train_files import read_answers
from bridgex.report.relate_runs import NONE, FinishedRun, RunsTogether
from bridgex.shown import counted
from bridgex.stats.over_seeds import MIN_SEEDS, crossed_interval, seed_difference
from bridgex.stats.paired import ALPHA, Floats, Interval, holm

OUTCOMES: tuple[Outcome, ...] = ("source score", "mean target score", "mean transfer gap", "far target score")
_FINE_TUNED = "fine-tuned"
_ALIKE = ("num_layers", "embeddings", "layers", "bottom")

Leg = tuple[str, int]
_Right = Mapping[str, Floats]


def freeze_comparisons(together: RunsTogether) -> list[FreezeComparison]:
    """Every freezing against none, and blocks chosen by correlation against as many random ones."""
    by_freeze: dict[str, dict[Leg, FinishedRun]] = {}
    for run in together.runs:
        by_freeze.setdefault(run.freeze, {})[run.source, run.seed] = run
    order = together.freezes
    couples = [(freeze, NONE) for freeze in order if freeze != NONE] if NONE in order else []
    couples += [
        (chosen, random)
        for chosen in order
        for random in order
        if _is_control(next(iter(by_freeze[chosen].values())), next(iter(by_freeze[random].values())))
    ]
    return [
        compare(freeze, against, by_freeze[freeze], by_freeze[against], len(couples)) for freeze, against in couples
    ]


def compare(
    freeze: str,
    against: str,
    frozen: Mapping[Leg, FinishedRun],
    others: Mapping[Leg, FinishedRun],
    num_comparisons: int = 1,
) -> FreezeComparison:
    """One freezing against another, paired by source and seed.

    Of each seed the mean over the sources, which are taken as they are; inference is over seeds (paired t), and over
    seeds and items (bootstrap). Both must speak for a difference before it is called one: the first takes the items for
    fixed, the second is too narrow with few seeds.

    Args:
        freeze: the setting.
        against: what it is compared with.
        frozen: its runs, by source and seed.
        others: the runs of the other.
        num_comparisons: of freezings, which the correction counts beside the outcomes.
    """
    seeds_of: dict[str, set[int]] = {}
    for source, seed in frozen.keys() & others.keys():
        seeds_of.setdefault(source, set()).add(seed)
    sources, seeds = _balanced(seeds_of)
    notes: list[str] = []
    if len(seeds) < MIN_SEEDS:
        count = max(map(len, seeds_of.values()), default=0)
        return FreezeComparison(
            freeze=freeze, against=against, sources=sorted(seeds_of), seeds=seeds, languages=[], far={}, kind=None,
            outcomes=[], sentence=f"{_what(freeze, against)}: not tested: {counted(count, 'seed')}",
            notes=[f"a source needs at least {MIN_SEEDS} seeds that both have"],
        )  # fmt: skip
    if left_out := sorted(set(seeds_of) - set(sources)):
        notes.append(f"left out, with too few seeds in common: {', '.join(left_out)}")
    pairs = {(source, seed): (frozen[source, seed], others[source, seed]) for source in sources for seed in seeds}
    languages = {source: _languages([run for seed in seeds for run in pairs[source, seed]]) for source in sources}
    kind = _kind(languages, {source: pairs[source, seeds[0]][1] for source in sources})
    far = {
        source: [] if kind is None else _far(languages[source], pairs[source, seeds[0]][1].metrics.distances[kind])
        for source in sources
    }
    items = _items([run for pair in pairs.values() for run in pair])
    if items is None:
        notes.append("no bootstrap: answers.jsonl of these runs do not hold the same items")
    found: list[FreezeDifference] = []
    for outcome in OUTCOMES:
        parts = {source: _Parts(languages[source], far[source], outcome) for source in sources}
        if not all(part.is_known for part in parts.values()):
            continue
        by_seed = {
            seed: fmean(parts[source].difference(*map(_scores, pairs[source, seed])) for source in sources)
            for seed in seeds
        }
        found.append(_outcome(outcome, by_seed, _interval(items, sources, seeds, pairs, parts)))
    chosen = sorted({code for pair in pairs.values() for run in pair for code in run.unreported})
    if chosen:
        notes.append(f"left out, because blocks were chosen by them: {', '.join(chosen)}")
    outcomes = _with_verdicts(found, num_comparisons)
    verdicts = {one.outcome: one.verdict for one in outcomes}
    if verdicts.get("mean transfer gap") == "better" and verdicts.get("mean target score") != "better":
        notes.append("the gap is smaller because the source scores less, not because the targets score more")
    return FreezeComparison(
        freeze=freeze,
        against=against,
        sources=sources,
        seeds=seeds,
        languages=sorted({code for codes in languages.values() for code in codes}),
        far={source: list(codes) for source, codes in far.items() if codes},
        kind=kind,
        outcomes=outcomes,
        notes=notes,
        sentence=_sentence(freeze, against, sources, seeds, outcomes),
    )


@dataclass(frozen=True)
class _Parts:
    """Which languages make one outcome of one source: `mean(plus) - mean(minus)`."""

    languages: Sequence[str]
    far: Sequence[str]
    outcome: Outcome

    @property
    def is_known(self) -> bool:
        """Whether there are languages to take it over."""
        needed = {"far target score": self.far, "source score": ("",)}.get(self.outcome, self.languages)
        return bool(needed)

    def of(self, values: Mapping[str, Floats], sources: Sequence[str]) -> Floats:
        """The outcome, of scores or of single items."""
        source = np.mean([values[code] for code in sources], axis=0)
        if self.outcome == "source score":
            return np.asarray(source, dtype=np.float64)
        codes = self.far if self.outcome == "far target score" else self.languages
        targets = np.mean([values[code] for code in codes], axis=0)
        return np.asarray(source - targets if self.outcome == "mean transfer gap" else targets, dtype=np.float64)

    def difference(self, frozen: _Scores, other: _Scores) -> float:
        """Of two runs' scores."""
        return float(self.of(frozen.values, frozen.sources) - self.of(other.values, other.sources))


class _Scores(NamedTuple):
    values: Mapping[str, Floats]
    sources: Sequence[str]


class _Items(NamedTuple):
    """1 where an answer is right, by run's folder, language and item, and the items' groups."""

    right: Mapping[str, _Right]
    groups: Sequence[str]


def _scores(run: FinishedRun) -> _Scores:
    return _Scores({code: np.asarray(one.score) for code, one in run.metrics.transfer.items()}, run.sources)


def _interval(
    items: _Items | None,
    sources: Sequence[str],
    seeds: Sequence[int],
    pairs: Mapping[Leg, tuple[FinishedRun, FinishedRun]],
    parts: Mapping[str, _Parts],
) -> Interval | None:
    if items is None:
        return None
    table = [
        np.mean(
            [
                parts[source].of(items.right[frozen.name], frozen.sources)
                - parts[source].of(items.right[other.name], other.sources)
                for source in sources
                for frozen, other in [pairs[source, seed]]
            ],
            axis=0,
        )
        for seed in seeds
    ]
    return crossed_interval(np.stack(table), items.groups)


def _items(runs: Sequence[FinishedRun]) -> _Items | None:
    """The answers of the fine-tuned models to the same items; None where the runs do not have them."""
    right: dict[str, _Right] = {}
    order: dict[str, str] = {}
    for run in runs:
        by_language: dict[str, dict[str, tuple[float, str]]] = {}
        try:
            for row in read_answers(run.folder):
                if row.model == _FINE_TUNED:
                    by_language.setdefault(row.language, {})[row.id] = (float(row.answer == row.gold), row.group)
        except (UserError, OSError):
            return None
        for rows in by_language.values():
            groups = {item: group for item, (_, group) in rows.items()}
            order = order or groups
            if groups != order:
                return None
        if not set(run.metrics.transfer) <= by_language.keys():
            return None
        right[run.name] = {
            code: np.array([rows[item][0] for item in order], dtype=np.float64) for code, rows in by_language.items()
        }
    return _Items(right, list(order.values()))


def _outcome(outcome: Outcome, by_seed: dict[int, float], bootstrap: Interval | None) -> FreezeDifference:
    found = seed_difference(list(by_seed.values()))
    return FreezeDifference(
        outcome=outcome,
        difference=found.mean,
        by_seed=by_seed,
        ci95=found.ci95,
        p=found.p,
        p_holm=None,
        bootstrap95=bootstrap,
        verdict="no evidence",
    )


def _with_verdicts(found: Sequence[FreezeDifference], num_comparisons: int) -> list[FreezeDifference]:
    """The same with Holm's correction over those that have a p, times the number of freezings that are compared."""
    corrected = iter(min(1.0, num_comparisons * p) for p in holm([one.p for one in found if one.p is not None]))
    judged = [one.model_copy(update={"p_holm": None if one.p is None else next(corrected)}) for one in found]
    return [one.model_copy(update={"verdict": _verdict(one)}) for one in judged]


def _verdict(one: FreezeDifference) -> FreezeVerdict:
    if one.p_holm is None or one.p_holm >= ALPHA:
        return "no evidence"
    if one.bootstrap95 is not None and one.bootstrap95[0] <= 0 <= one.bootstrap95[1]:
        return "no evidence"
    is_more = one.difference > 0
    return "better" if is_more != (one.outcome == "mean transfer gap") else "worse"


def _balanced(seeds_of: Mapping[str, set[int]]) -> tuple[list[str], list[int]]:
    """Sources and the seeds that all of them have: as many sources as leave at least three seeds."""
    enough = [source for source in sorted(seeds_of) if len(seeds_of[source]) >= MIN_SEEDS]
    kept = sorted(enough, key=lambda source: -len(seeds_of[source]))
    while kept and len(set.intersection(*(seeds_of[source] for source in kept))) < MIN_SEEDS:
        kept.pop()
    return sorted(kept), sorted(set.intersection(*(seeds_of[source] for source in kept))) if kept else []


def _languages(runs: Sequence[FinishedRun]) -> list[str]:
    """Targets that all runs have, less those that chose any run's blocks."""
    chosen = {code for run in runs for code in run.unreported}
    return [code for code in runs[0].targets if code not in chosen and all(code in run.targets for run in runs)]


def _kind(languages: Mapping[str, Sequence[str]], runs: Mapping[str, FinishedRun]) -> str | None:
    """The first kind of distance that varies over every source's languages."""
    for kind in next(iter(runs.values())).metrics.distances:
        values = {source: runs[source].metrics.distances.get(kind, {}) for source in runs}
        if all(len({values[source][c] for c in languages[source] if c in values[source]}) > 1 for source in runs):
            return kind
    return None


def _far(languages: Sequence[str], distances: Mapping[str, float]) -> list[str]:
    """Languages beyond the median distance; where none is, because it is the greatest, those at it."""
    known = {code: distances[code] for code in languages if code in distances}
    middle = median(known.values())
    return [code for code, far in known.items() if far > middle] or [code for code in known if known[code] == middle]


def _is_control(chosen: FinishedRun, random: FinishedRun) -> bool:
    """Whether two freezings choose as many blocks, one by correlation and one at random."""
    names = (chosen.choice.get("name"), random.choice.get("name"))
    return names == ("by_correlation", "random") and all(chosen.choice.get(k) == random.choice.get(k) for k in _ALIKE)


def _what(freeze: str, against: str) -> str:
    return f"freezing {freeze}" + ("" if against == NONE else f" against {against}")


def _sentence(
    freeze: str, against: str, sources: Sequence[str], seeds: Sequence[int], outcomes: Sequence[FreezeDifference]
) -> str:
    said = []
    for verdict, verb in (("better", "helps"), ("worse", "hurts")):
        of_them = [one for one in outcomes if one.verdict == verdict]
        if of_them:
            said.append(f"{verb} {_listed([_told(one) for one in of_them])}")
    open_ones = [one.outcome for one in outcomes if one.verdict == "no evidence"]
    if open_ones:
        on = "any of " if len(open_ones) == len(outcomes) > 1 else "the "
        said.append(f"no evidence on {on}{_listed(open_ones)}")
    where = f"{counted(len(seeds), 'seed')}, {'source' if len(sources) == 1 else 'mean over sources'} "
    return f"{_what(freeze, against)} ({where}{', '.join(sources)}): {'; '.join(said)}"


def _told(one: FreezeDifference) -> str:
    bounds = "" if one.ci95 is None else f" [{one.ci95[0]:+.3f}, {one.ci95[1]:+.3f}]"
    return f"the {one.outcome} ({one.difference:+.3f}{bounds}, Holm p = {one.p_holm:.2g})"


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
