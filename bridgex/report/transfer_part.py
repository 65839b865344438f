"""The part of a fine-tuning run's page that shows transfer: a score and a gap for every language, and the controls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

from bridgex.records.train_schema import TrainMetrics
from bridgex.report.charts import Dot, Mark, dots
from bridgex.report.markup import Html, Section, join, section, tag
from bridgex.report.run_files import described
from bridgex.report.tables import MISSING, Cell, Column, Row, interval, number, table
from bridgex.report.train_run import (
    Against,
    TrainRun,
    against_hypothesis_only,
    mean_blocks,
    mean_drift,
    middle_blocks,
)

# Labels of lines nearer than this cover each other.
_NEAR = 0.2
_Value = Callable[[str], Cell]


def transfer(run: TrainRun) -> Section | None:
    """Scores as a chart, and everything that is known of each language as a table."""
    metrics = run.metrics
    if metrics is None or not metrics.transfer:
        return None
    rows = [
        Dot(described(code), found.score, found.ci95, "chosen" if code in run.sources else "plain")
        for code, found in metrics.transfer.items()
    ]
    sizes = sorted({found.n for found in metrics.transfer.values()})
    items = f"{sizes[0]} items" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]} items"
    chart = dots(
        f"{metrics.metric} with 95 % intervals, {items} a language. Diamond: fine-tuned on.",
        rows,
        _guesses(metrics),
        is_from_zero=True,
    )
    return section("transfer", "Transfer", chart, _table(metrics))


def controls(run: TrainRun) -> Section | None:
    """What scores must be seen beside, in words."""
    metrics = run.metrics
    if metrics is None or not metrics.transfer:
        return None
    found = metrics.controls
    floor = max(found.chance, found.majority)
    below = [code for code, score in metrics.transfer.items() if score.ci95[0] <= floor]
    items = [
        join(
            tag("b", "Chance"),
            f" {number(found.chance)}: guessing. ",
            tag("b", "Majority"),
            f" {number(found.majority)}: always the class that is most frequent in training. ",
            f"Not above both by the whole 95 % interval: {_named(below)}."
            if below
            else "Every language is above both by its whole 95 % interval.",
        )
    ]
    if found.untrained:
        text = f": the same model with a new head, before any training: {_range(found.untrained)}."
        items.append(join(tag("b", "Untrained head"), text))
    against = against_hypothesis_only(run)
    items.append(join(tag("b", "Hypothesis-only"), f": {_hypothesis_only(against, found.hypothesis_only)}"))
    return section(
        "controls", "Controls", tag("ul", *(tag("li", item) for item in items)), _differences(metrics, against)
    )


def _guesses(metrics: TrainMetrics) -> list[Mark]:
    """What guessing scores, both lines; one label where two would stand on each other."""
    low, high = sorted([("chance", metrics.controls.chance), ("majority", metrics.controls.majority)], key=_second)
    if high[1] - low[1] < _NEAR:
        return [Mark("", low[1]), Mark(f"{low[0]}, {high[0]}", high[1])]
    return [Mark(*low), Mark(*high)]


def _second(pair: tuple[str, float]) -> float:
    return pair[1]


def _table(metrics: TrainMetrics) -> Html:
    offered = [*_scores(metrics), *_properties(metrics)]
    rows = [
        Row([Cell(described(code), code), *(value(code) for _, value in offered)], code in metrics.source.split("+"))
        for code in metrics.transfer
    ]
    table_of_all = table(
        "transfer by language", [Column("language", False), *(column for column, _ in offered)], rows, is_sortable=True
    )
    notes = ["Bold: fine-tuned on. Gap: score of the source less this one. Press a heading to sort."]
    if any(metrics.controls.fertility.values()):
        notes.append(
            "Tokens per pair (fertility) can stand behind other differences: partial correlations below take them out."
        )
    if blocks := mean_blocks(metrics.drift):
        notes.append(f"Mean drift: over {_blocks(blocks)}, {metrics.pooling} pooling.")
    if middle := _middle(metrics):
        notes.append(f"Alignment: CKA of the base model with the source, mean over the middle, {_blocks(middle)}.")
    return join(table_of_all, tag("p", " ".join(notes), class_="small"))


def _scores(metrics: TrainMetrics) -> list[tuple[Column, _Value]]:
    """Columns of what models scored."""
    found, transfer_of = metrics.controls, metrics.transfer
    only = found.hypothesis_only
    offered: list[tuple[Column, _Value]] = [
        (
            Column(metrics.metric, hint="share of right answers, 95 % interval"),
            lambda code: _bounded(transfer_of[code].score, transfer_of[code].ci95),
        )
    ]
    if any(score.gap is not None for score in transfer_of.values()):
        hint = "transfer gap: score of the source less this one, 95 % interval over the same items"
        offered.append(
            (Column("gap", hint=hint), lambda code: _bounded(transfer_of[code].gap, transfer_of[code].gap_ci95))
        )
    if only is not None:
        hint = "score of a second model that never sees a premise"
        offered.append((Column("hypothesis-only", hint=hint), lambda code: _plain(only.get(code))))
    if found.untrained:
        hint = "score of the same model with a new head, before any training"
        offered.append((Column("untrained head", hint=hint), lambda code: _plain(found.untrained.get(code))))
    return offered


def _properties(metrics: TrainMetrics) -> list[tuple[Column, _Value]]:
    """Columns of what is known of a language besides scores, as far as it is on record."""
    found = metrics.controls
    offered: list[tuple[Column, _Value]] = []
    if found.fertility:
        offered.append(
            (
                Column("tokens per pair", hint="mean tokens of a test pair: subword fertility"),
                lambda code: _rounded(found.fertility.get(code)),
            )
        )
    if any(found.num_cut.values()):
        hint = "pairs longer than finetune.max_length, which were cut"
        offered.append((Column("pairs cut", hint=hint), lambda code: _count(found.num_cut.get(code, 0))))
    for kind, values in metrics.distances.items():
        hint = f"{kind} distance from {metrics.source}"
        offered.append((Column(f"{kind} distance", hint=hint), _lookup(values)))
    drift = mean_drift(metrics.drift)
    if drift:
        offered.append((Column("mean drift", hint="1 - CKA before against after, mean over blocks"), _lookup(drift)))
    middle = _middle(metrics)
    aligned = {
        code: fmean(values[block] for block in middle if block in values)
        for code, values in found.alignment.items()
        if any(block in values for block in middle)
    }
    if aligned:
        offered.append(
            (Column("alignment", hint="CKA of the base model with the source, middle blocks"), _lookup(aligned))
        )
    if found.profile_similarity:
        hint = "share of language neurons in common with the source"
        offered.append((Column("profile similarity", hint=hint), _lookup(found.profile_similarity)))
    if found.hsic:
        hint = "dependence of its language neurons on the source's, before fine-tuning, less what chance gives"
        offered.append((Column("HSIC", hint=hint), _lookup(found.hsic)))
    return offered


def _middle(metrics: TrainMetrics) -> list[int]:
    return middle_blocks(sorted({block for values in metrics.controls.alignment.values() for block in values}))


def _blocks(blocks: Sequence[int]) -> str:
    if len(blocks) > 2 and blocks == list(range(blocks[0], blocks[-1] + 1)):
        return f"blocks {blocks[0]} to {blocks[-1]}"
    return f"block{'s' if len(blocks) > 1 else ''} {', '.join(map(str, blocks))}"


def _lookup(values: dict[str, float]) -> _Value:
    return lambda code: _plain(values.get(code))


def _plain(value: float | None) -> Cell:
    return Cell(number(value), None if value is None else round(value, 6))


def _rounded(value: float | None) -> Cell:
    return Cell(MISSING if value is None else f"{value:,.1f}", None if value is None else round(value, 6))


def _count(value: int) -> Cell:
    return Cell(f"{value:,}", value)


def _bounded(value: float | None, ci95: tuple[float, float] | None, is_signed: bool = False) -> Cell:
    if value is None:
        return Cell(MISSING)
    bounds = tag("span", interval(ci95, is_signed), class_="bounds signed" if is_signed else "bounds") if ci95 else ""
    return Cell(join(number(value, is_signed), bounds), round(value, 6))


def _hypothesis_only(against: dict[str, Against], scores: dict[str, float] | None) -> str:
    if scores is None:
        return "not trained in this run (controls.hypothesis_only=false): how much of a score is surface cues is open."
    text = f"a second model by the same recipe that never sees a premise: {_range(scores)}. "
    not_above = [code for code, found in against.items() if not found.is_above]
    if not against:
        return text
    if not not_above:
        return text + "The full model is above it in every language."
    return (
        text + f"The full model is not above it in {_named(not_above)}: there the score shows no more than surface "
        "cues of the hypothesis."
    )


def _differences(metrics: TrainMetrics, against: dict[str, Against]) -> Html:
    if not against:
        return join()
    rows = [
        Row(
            [
                Cell(described(code), code),
                _plain(metrics.transfer[code].score),
                _plain((metrics.controls.hypothesis_only or {}).get(code)),
                _bounded(found.difference, found.ci95, True),
                "yes" if found.is_above else "no",
            ]
        )
        for code, found in against.items()
    ]
    columns = [
        Column("language", False),
        Column(metrics.metric),
        Column("hypothesis-only"),
        Column("difference", hint="95 % interval over the same items, groups resampled whole"),
        Column("above", False),
    ]
    is_bounded = all(found.ci95 is not None for found in against.values())
    how = (
        "above: the whole 95 % interval is, not corrected for the number of languages"
        if is_bounded
        else "above: by the whole 95 % interval where there is one (it takes both models' answers to the same items), "
        "else by the scores alone"
    )
    caption = f"Full model less hypothesis-only; {how}."
    return table("full model less hypothesis-only", columns, rows, caption=caption, is_sortable=True)


def _range(scores: dict[str, float]) -> str:
    values = sorted(scores.values())
    if not values:
        return "no score on record"
    return number(values[0]) if values[0] == values[-1] else f"{number(values[0])} to {number(values[-1])} by language"


def _named(codes: Sequence[str]) -> str:
    return ", ".join(codes)
