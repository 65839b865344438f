"""The part of a run's page that shows how the bridges were ranked: scores, strategies, blocks, neurons."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from bridgex.records.schema import CandidateRecord, Ranking, StrategyRecord
from bridgex.report.charts import Dot, dots
from bridgex.report.league import chosen_score, first_choice, goes_directly, rank_correlation
from bridgex.report.markup import Html, Section, join, section, tag
from bridgex.report.run_files import RunFiles, described
from bridgex.report.tables import (
    MISSING,
    Cell,
    Column,
    Row,
    interval,
    number,
    probability,
    table,
    tints,
)


def ranking(run: RunFiles) -> Section | None:
    """The ranking that decided, and all of them side by side where there are several."""
    found = run.ranking
    if found is None or not found.strategies:
        return None
    name = found.chosen_by if found.chosen_by in found.strategies else next(iter(found.strategies))
    others = [other for other in found.strategies if other != name]
    parts = [_ranking(run, found, name, with_chart=True)]
    if others:
        parts.append(_side_by_side(run, found))
        parts += [
            tag("details", tag("summary", f"ranking by {other}"), _ranking(run, found, other, with_chart=False))
            for other in others
            if found.strategies[other].missing is None
        ]
    return section("ranking", "Ranking of the candidates", *parts)


def blocks(run: RunFiles) -> Section | None:
    """Raw score of each candidate in each block."""
    maps = [
        _block_map(name, record)
        for name, record in _own_neurons(run).items()
        if any(candidate.block_scores for candidate in record.scores.values())
    ]
    return section("blocks", "Blocks", *maps) if maps else None


def neurons(run: RunFiles) -> Section | None:
    """How many neurons the languages have and share."""
    parts = [_set_sizes(run, record) for record in _own_neurons(run).values() if record.set_sizes]
    if shared := _records(run).get("overlap"):
        parts.append(_shared(run, shared))
    return section("neurons", "Neurons that languages share", *parts) if parts else None


def via_scores(run: RunFiles) -> dict[str, float]:
    """Score of every candidate that was evaluated."""
    routes = run.metrics.routes if run.metrics is not None else {}
    candidates = run.ranking.candidates if run.ranking is not None else []
    return {code: routes[f"via {code}"].score for code in candidates if f"via {code}" in routes}


def _records(run: RunFiles) -> Mapping[str, StrategyRecord]:
    return run.ranking.strategies if run.ranking is not None else {}


def _own_neurons(run: RunFiles) -> dict[str, StrategyRecord]:
    """Every ranking but one that only decides on top of another: `hsic_or_direct` ranks as `hsic` does."""
    found = dict(_records(run))
    if "hsic" in found:
        found.pop("hsic_or_direct", None)
    return found


def _ranking(run: RunFiles, found: Ranking, name: str, with_chart: bool) -> Html:
    record = found.strategies[name]
    if record.missing is not None:
        return tag("p", f"{name} is missing: {record.missing}")
    order = sorted(record.scores, key=lambda code: record.scores[code].rank)
    via = via_scores(run)
    columns, cells = _columns(record, via)
    rows = [
        Row([Cell(described(code), code), *(cell(code, record.scores[code]) for cell in cells)], code == found.chosen)
        for code in order
    ]
    estimator = f" ({run.estimators[name]})" if name in run.estimators else ""
    parts: list[str] = [tag("p", f"By {name}{estimator}.{_remarks(record)}")]
    if with_chart and any(_bounds(record.scores[code]) for code in order):
        shown = [
            Dot(
                code,
                record.scores[code].score,
                _bounds(record.scores[code]),
                "chosen" if code == found.chosen else "plain",
            )
            for code in order
        ]
        parts.append(dots(f"{name} score with 95 % intervals. Diamond: chosen.", shown))
    parts.append(table(f"ranking by {name}", columns, rows))
    if any(candidate.p_rank1 is not None for candidate in record.scores.values()):
        parts.append(
            tag(
                "p",
                "Interval and P(rank 1): how firm the ranking is over source words or items, not whether its first "
                "choice serves the task best.",
                class_="small",
            )
        )
    if any(candidate.p_any_dependence is not None for candidate in record.scores.values()):
        parts.append(
            tag(
                "p",
                "p (any dependence): share of shifts that score as high. It tests whether the neurons depend on each "
                "other at all, does not compare candidates, and never chooses.",
                class_="small",
            )
        )
    if any(_has_random_neurons(candidate) for candidate in record.scores.values()):
        parts.append(_random_neurons(name, record, order))
    return join(*parts)


def _bounds(found: CandidateRecord) -> tuple[float, float] | None:
    """The resampled interval, or the one that needs no resampling where that was not asked for."""
    return found.ci95 if found.ci95 is not None else found.influence_ci95


def _has_random_neurons(found: CandidateRecord) -> bool:
    return any(value is not None for value in (found.p_neuron_null, found.random_neurons, found.matched))


def _random_neurons(name: str, record: StrategyRecord, order: Sequence[str]) -> Html:
    """Whether a candidate's neurons score higher than others that are as active on the pair's own words."""
    columns = [
        Column("candidate", False),
        Column("without self-matches", hint="raw score of the candidate's neurons, no neuron matched with itself"),
        Column("random neurons", hint="the same of random neurons that answer as often, mean over sets"),
        Column("p", hint="how often random neurons that answer as often score as high"),
        Column("p, corrected", hint="for the number of candidates (Holm)"),
        Column("matched", hint="share of the candidate's neurons for which others answer as often; only they count"),
    ]
    rows = []
    for code in order:
        found = record.scores[code]
        values = (found.without_self_matches, found.random_neurons)
        chances = (found.p_neuron_null, found.p_neuron_null_corrected)
        rows.append(Row([described(code), *map(number, values), *map(probability, chances), number(found.matched)]))
    note = (
        "Random neurons: in each place of a set stands the candidate's own neuron or another of its block that answers "
        "as often to source and target. A small p: the candidate's neurons go together with the shared ones more than "
        "others that are as active. It says nothing about which candidate is best, and never chooses."
    )
    return join(
        tag("h3", "Against random neurons"),
        table(f"random neurons by {name}", columns, rows),
        tag("p", note, class_="small"),
    )


def _remarks(record: StrategyRecord) -> str:
    text = ""
    if record.blocks:
        text += f" Blocks that count: {', '.join(map(str, record.blocks))}."
    if record.margin is not None:
        bounds = f" {interval(record.margin_ci95, is_signed=True)}" if record.margin_ci95 else ""
        text += f" Best less runner-up: {number(record.margin, is_signed=True)}{bounds}."
    if record.origin is not None:
        text += f" From: {record.origin}."
    if record.uses_dictionary:
        text += " It looks at translations of the probe words, and at no evaluated item."
    if (against := record.against_direct) is not None:
        decision = "so it goes directly" if against.chose_direct else "so it goes through the bridge"
        text += (
            f" Via {against.bridge}, in its less sure step, less directly, nats a token of the model's own words: "
            f"{number(against.gain, is_signed=True)} {interval(against.ci95, is_signed=True)}; the lower end must "
            f"exceed bridge.margin={against.margin:g}, {decision}."
        )
    for group in record.ties:
        text += f" Equal scores, kept in the candidates' order: {', '.join(group)}."
    return text


def _columns(
    record: StrategyRecord, via: Mapping[str, float]
) -> tuple[list[Column], list[Callable[[str, CandidateRecord], str]]]:
    """The columns of which at least one candidate has a value."""
    offered: list[tuple[Column, Callable[[str, CandidateRecord], str], bool]] = []

    def offer(title: str, hint: str, show: Callable[[str, CandidateRecord], str], is_there: bool = True) -> None:
        offered.append((Column(title, hint=hint), show, is_there))

    scores = record.scores.values()
    offer("rank", "1 is best", lambda _, found: str(found.rank))
    offer("score", "what is ranked", lambda _, found: number(found.score))
    is_resampled = any(found.ci95 for found in scores)
    offer(
        "95 % interval",
        "" if is_resampled else "over source words, from influence functions: nothing was resampled",
        lambda _, found: interval(_bounds(found)),
        any(_bounds(found) for found in scores),
    )
    offer(
        "raw",
        "before the chance correction",
        lambda _, found: number(found.raw),
        any(found.raw != found.score for found in scores),
    )
    offer(
        "P(rank 1)",
        "share of replicates, with other words, sentences or items, in which it is best",
        lambda _, found: number(found.p_rank1),
        any(found.p_rank1 is not None for found in scores),
    )
    offer(
        "p (any dependence)",
        "not a comparison of candidates",
        lambda _, found: probability(found.p_any_dependence),
        any(found.p_any_dependence is not None for found in scores),
    )
    offer(
        "p (random neurons)",
        "how often random neurons that answer as often score as high; corrected for the number of candidates",
        lambda _, found: probability(found.p_neuron_null_corrected),
        any(found.p_neuron_null_corrected is not None for found in scores),
    )
    offer(
        "smaller leg",
        "the smaller of source-bridge and bridge-target; the score is their mean",
        lambda _, found: number(found.smaller_leg),
        any(found.smaller_leg is not None for found in scores),
    )
    offer("score via it", "of the task", lambda code, _: number(via.get(code)), bool(via))
    kept = [(column, show) for column, show, is_there in offered if is_there]
    return [Column("candidate", False), *(column for column, _ in kept)], [show for _, show in kept]


def _side_by_side(run: RunFiles, found: Ranking) -> Html:
    via = via_scores(run)
    oracle = run.metrics.oracle if run.metrics is not None else None
    routes = run.metrics.routes if run.metrics is not None else {}
    direct = routes["direct"].score if "direct" in routes else None
    rows, missing = [], []
    for name, record in found.strategies.items():
        if record.missing is not None:
            missing.append(tag("li", tag("b", name), f" is missing: {record.missing}"))
        choice = first_choice(record)
        first = record.scores[choice] if choice is not None else None
        score = chosen_score(record, via, direct)
        regrets = [
            None if best is None or score is None or name == "oracle" else best - score
            for best in ((oracle.score, oracle.score_with_direct) if oracle is not None else (None, None))
        ]
        label = name + {"oracle": " (uses labels)", found.chosen_by: " (chooses)"}.get(name, "")
        rows.append(
            Row(
                [
                    label,
                    *(_placed(record.scores.get(code)) for code in found.candidates),
                    _choice(record, choice),
                    interval(_bounds(first)) if first is not None else MISSING,
                    number(first.p_rank1 if first is not None else None),
                    number(score),
                    *map(number, regrets),
                    number(rank_correlation(record, via) if name != "oracle" else None),
                    f"{record.seconds:.1f}",
                ],
                is_strong=name == found.chosen_by,
            )
        )
    columns = [
        Column("strategy", False),
        *(Column(code, hint=described(code)) for code in found.candidates),
        Column("first choice", False),
        Column("95 % interval", hint="of the first choice's score in the strategy's own scale"),
        Column("P(rank 1)", hint="of the first choice: share of replicates in which it is best"),
        Column("score via it", hint="of the task; directly, where the strategy chose that"),
        Column("regret", hint="the oracle's score out of fold less that"),
        Column("regret with direct", hint="the same against an oracle that may also go directly"),
        Column("Spearman", hint="of the strategy's scores with the scores through the candidates"),
        Column("seconds", hint="evidence that an earlier strategy gathered is not counted again"),
    ]
    note = (
        "Score, and rank in brackets. Strategies' scores have scales of their own. Regret: the oracle's score out of "
        "fold less the score via the first choice; with direct: of an oracle that may also go directly. Spearman is "
        f"over {len(found.candidates)} candidates only: a league table over many pairs says more."
    )
    return join(
        tag("h3", "Strategies side by side"),
        table("strategies side by side", columns, rows),
        tag("p", note, class_="small"),
        tag("ul", *missing) if missing else "",
    )


def _placed(found: CandidateRecord | None) -> str:
    return MISSING if found is None else f"{number(found.score)} ({found.rank})"


def _choice(record: StrategyRecord, choice: str | None) -> str:
    if choice is None:
        return "missing" if record.missing is not None else MISSING
    if goes_directly(record):
        return f"direct (before {choice})"
    tied = next((group for group in record.ties if choice in group), [])
    return f"{choice} (tied with {', '.join(code for code in tied if code != choice)})" if tied else choice


def _block_map(name: str, record: StrategyRecord) -> Html:
    by_code = {code: found.block_scores or {} for code, found in record.scores.items()}
    numbers = sorted({block for scores in by_code.values() for block in scores})
    depths = _depths([[scores.get(block) for scores in by_code.values()] for block in numbers])
    rows = []
    for block, line in zip(numbers, depths, strict=True):
        values = [scores.get(block) for scores in by_code.values()]
        best = max((value for value in values if value is not None), default=None)
        cells = [
            Cell(number(value), value, depth, is_strong=value is not None and value == best)
            for value, depth in zip(values, line, strict=True)
        ]
        rows.append(Row([str(block), *cells]))
    footer = Row(["mean", *(number(found.raw) for found in record.scores.values())])
    columns = [Column("block", False), *(Column(code, hint=described(code)) for code in by_code)]
    is_corrected = any(found.raw != found.score for found in record.scores.values())
    raw, before = ("raw ", ", before the chance correction") if is_corrected else ("", "")
    caption = f"{raw}{name} score by block and candidate{before}. Bold: best of its block."
    return table(f"{raw}{name} score by block", columns, rows, [footer], caption)


def _set_sizes(run: RunFiles, record: StrategyRecord) -> Html:
    source, _, target = run.pair.partition("-")
    names = list(record.set_sizes)
    numbers = sorted({block for sizes in record.set_sizes.values() for block in sizes})
    lines = [[record.set_sizes[name].get(block) for name in names] for block in numbers]
    rows = [
        Row([str(block), *(_count(size, depth) for size, depth in zip(line, depths, strict=True))])
        for block, line, depths in zip(numbers, lines, _depths(lines, low=0.0), strict=True)
    ]
    footer = [Row(["all", *(str(sum(record.set_sizes[name].values())) for name in names)])]
    matches = {code: found.self_matches for code, found in record.scores.items() if found.self_matches is not None}
    if matches:
        footer.append(Row(["shared", *(number(matches.get(name)) for name in names)]))
    columns = [
        Column("block", False),
        *(Column(f"{source} ∩ {target}" if name == "overlap" else name, hint=_set_hint(name)) for name in names),
    ]
    caption = f"Neurons by block: those that {source} and {target} share, and each candidate's."
    if matches:
        caption += f" Shared: of the neurons of {source} ∩ {target}, the share that are the candidate's too."
    return table("neurons by block", columns, rows, footer, caption)


def _set_hint(name: str) -> str:
    return "language neurons of source and target both" if name == "overlap" else f"bridge neurons of {described(name)}"


def _shared(run: RunFiles, record: StrategyRecord) -> Html:
    """What the overlap strategy counted, over all blocks."""
    source, _, target = run.pair.partition("-")
    order = sorted(record.scores, key=lambda code: record.scores[code].rank)
    values = [record.scores[code].score for code in order]
    rows = [
        Row(
            [
                described(code),
                Cell(number(found.score), found.score, depth),
                number(found.smaller_leg),
            ]
        )
        for code, found, depth in zip(order, map(record.scores.__getitem__, order), tints(values, 0.0), strict=True)
    ]
    columns = [Column("candidate", False), Column("mean of both"), Column("the smaller")]
    caption = f"Language neurons that a candidate shares with {source} and with {target}, over all blocks."
    return table("language neurons shared over all blocks", columns, rows, caption=caption)


def _count(size: int | None, depth: float | None) -> Cell:
    return Cell(MISSING if size is None else str(size), size, depth)


def _depths(lines: Sequence[Sequence[float | None]], low: float | None = None) -> list[list[float | None]]:
    """Depths of colour on one scale for a whole map."""
    known = [value for line in lines for value in line if value is not None]
    depth = dict(zip(known, tints(known, low), strict=True))
    return [[None if value is None else depth[value] for value in line] for line in lines]
