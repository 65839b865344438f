"""The part of a run's page that shows answers: routes, errors, and samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from bridgex.records.schema import BridgeStep, Metrics, Prediction
from bridgex.report.against_direct import Comparison, verdicts
from bridgex.report.charts import Dot, Mark, dots
from bridgex.report.markup import Html, Section, escape, exact, join, section, tag, word
from bridgex.report.run_files import RunFiles, described
from bridgex.report.tables import MISSING, Cell, Column, Row, interval, number, probability, table
from bridgex.report.words import comparisons

_TEST = (
    "two-sided exact McNemar against direct; where items come in groups or are scored by degree, approximate "
    "randomisation"
)
_RIGHT_TEXT = (
    "of words, a listed translation; of sentences, not in another language, with their chrF against the data's own text"
)
_REASONS = {
    "truncated": "the answer ran into the limit of tokens",
    "not_found": "there was nothing to read",
    "wrong_language": "another script or language, or the question's own words again",
    "bad_bridge": "the bridge text is no listed translation, or in another language",
    "wrong": "none of these; of sentences, no exact match",
}
_GOLD = " (gold)"
_MAX_MISSES = 5
# Labels of lines nearer than this cover each other.
_NEAR = 0.1
_MAX_SHOWN = 60
# Bytes of prompts and outputs on one page, so that it opens at once.
_TEXT_BUDGET = 100_000
_MAX_TEXT = 4_000


def routes(run: RunFiles) -> Section | None:
    """Every route's score as a chart and a table."""
    if run.metrics is None:
        return section("routes", "Routes so far", _so_far(run.predictions)) if run.predictions else None
    metrics = run.metrics
    marks = _guesses(metrics)
    rows = [
        Dot(route, score.score, score.ci95, "chosen" if _is_chosen(metrics, route) else _plain_kind(route))
        for route, score in metrics.routes.items()
    ]
    chart = dots(
        f"{metrics.metric} with 95 % intervals, {metrics.n} items. Diamond: chosen. Open circle: direct.",
        rows,
        marks,
        is_from_zero=True,
    )
    return section("routes", "Routes", chart, _route_table(run, metrics))


def _guesses(metrics: Metrics) -> list[Mark]:
    """What guessing scores; one line where two would stand on each other."""
    chance, majority = metrics.chance, metrics.majority
    if chance is not None and majority is not None and abs(chance - majority) < _NEAR:
        return [Mark("chance, majority", majority)]
    named = (("chance", chance), ("majority", majority))
    return [Mark(label, value) for label, value in named if value is not None]


def errors(run: RunFiles) -> Section | None:
    """Misses by reason and route, and how the two steps went."""
    if run.metrics is None:
        return None
    counts = {route: score.misses for route, score in run.metrics.routes.items()}
    reasons = [reason for reason in _REASONS if any(reason in found for found in counts.values())]
    reasons += sorted({reason for found in counts.values() for reason in found} - set(_REASONS))
    rows = []
    for route, score in run.metrics.routes.items():
        misses = [score.misses.get(reason, 0) for reason in reasons]
        depth = [count / score.n for count in misses]
        cells = [Cell(str(count), count, share) for count, share in zip(misses, depth, strict=True)]
        rows.append(Row([route_label(route), str(score.n - sum(misses)), *cells]))
    columns = [Column("route", False), Column("right"), *(Column(reason) for reason in reasons)]
    meanings = "; ".join(f"{reason}: {_REASONS[reason]}" for reason in reasons if reason in _REASONS)
    note = tag("p", f"Items by the first reason that holds. {meanings}.", class_="small") if meanings else ""
    return section("errors", "Errors", table("misses by reason and route", columns, rows), note, _steps(run))


def samples(run: RunFiles) -> Section | None:
    """A few misses of each route, with what was asked and what came back."""
    by_route: dict[str, list[Prediction]] = {}
    for prediction in run.predictions:
        by_route.setdefault(prediction.route, []).append(prediction)
    if not by_route:
        return None
    wanted = max(1, min(_MAX_MISSES, _MAX_SHOWN // len(by_route)))
    direct = verdicts(run.predictions).get("direct", {})
    chosen = {route: _worst(found, direct, wanted) for route, found in by_route.items()}
    num_texts = 2 * sum(len(found.steps) for shown in chosen.values() for found in shown)
    limit = max(200, min(_MAX_TEXT, _TEXT_BUDGET // max(1, num_texts)))
    blocks = [
        _samples_of(route, found, chosen[route], direct, limit, run.pair.partition("-")[2])
        for route, found in by_route.items()
    ]
    note = "Misses of each reason in turn, those that direct gets right first. Open a line to see what was asked."
    return section("samples", "Samples that miss", tag("p", note, class_="small"), *blocks)


def _is_chosen(metrics: Metrics, route: str) -> bool:
    return metrics.chosen is not None and route == f"via {metrics.chosen}"


def _plain_kind(route: str) -> Literal["plain", "direct"]:
    return "direct" if route == "direct" else "plain"


def _route_table(run: RunFiles, metrics: Metrics) -> Html:
    against = comparisons(run, metrics)
    has_steps = any(score.bridge_step is not None for score in metrics.routes.values())
    columns = [
        Column("route", False),
        Column(metrics.metric),
        Column("95 % interval"),
        Column("n"),
    ]
    if against:
        columns += [
            Column("gain", hint="score less the direct route's"),
            Column("gained", hint="items right here and wrong directly"),
            Column("lost", hint="items wrong here and right directly"),
            Column("p", hint=_TEST),
        ]
    if has_steps:
        columns.append(Column("bridge text right", hint=_RIGHT_TEXT))
    rows = []
    for route, score in metrics.routes.items():
        cells: list[str | Cell] = [
            route_label(route),
            Cell(number(score.score), score.score),
            interval(score.ci95),
            str(score.n),
        ]
        if against:
            cells += _against(against.get(route))
        if has_steps:
            cells.append(_bridge_text(score.bridge_step))
        rows.append(Row(cells, is_strong=_is_chosen(metrics, route)))
    is_corrected = any(found.is_corrected for found in against.values())
    note = f"p is {_TEST}; ᴴ after Holm's correction over all routes so marked."
    return join(table("routes", columns, rows), tag("p", note, class_="small") if is_corrected else "")


def _against(found: Comparison | None) -> list[str]:
    if found is None:
        return [MISSING] * 4
    p = probability(found.p) + ("ᴴ" if found.is_corrected else "")
    return [number(found.difference, is_signed=True), str(found.gained), str(found.lost), p]


def _bridge_text(step: BridgeStep | None) -> str:
    if step is None or step.correct is None:
        return MISSING
    nearness = "" if step.chrf is None else f", chrF {number(step.chrf)}"
    return f"{number(step.correct)} of {step.n_known}{nearness}"


def route_label(route: str) -> str:
    """A route's name with what it means: its bridge's English name, whose text it is."""
    kind, _, code = route.partition("via ")
    if kind or not code:
        return f"{route}, no bridge" if route == "translated" else route
    plain = code.removesuffix(_GOLD)
    return f"via {described(plain)}" + (", the data's text" if plain != code else "")


def _so_far(predictions: Sequence[Prediction]) -> Html:
    rows = []
    for route, answers in verdicts(predictions).items():
        rows.append(Row([route_label(route), str(len(answers)), str(sum(answers.values()))]))
    note = tag("p", "Counts of what is on record; no scores before every item has been asked.", class_="small")
    return join(note, table("routes so far", [Column("route", False), Column("asked"), Column("right")], rows))


def _steps(run: RunFiles) -> Html:
    """How often both steps of a bridge route go right."""
    counts: dict[str, Counter[tuple[bool | None, bool]]] = {}
    for found in run.predictions:
        if any(step.kind == "bridge" for step in found.steps):
            counts.setdefault(found.route, Counter())[found.bridge_correct, found.correct] += 1
    if not counts:
        return Html()
    kinds = [(True, True), (True, False), (False, True), (False, False)]
    rows = []
    for route, count in counts.items():
        total = sum(count.values())
        cells = [Cell(str(count[kind]), count[kind], count[kind] / total) for kind in kinds]
        unknown = count[None, True] + count[None, False]
        rows.append(Row([route_label(route), *cells, str(unknown), _share(count, True), _share(count, False)]))
    columns = [
        Column("route", False),
        Column("text right, answer right"),
        Column("text right, answer wrong"),
        Column("text wrong, answer right"),
        Column("text wrong, answer wrong"),
        Column("text not comparable", hint="nothing to compare the bridge text with"),
        Column("score if text right"),
        Column("score if text wrong"),
    ]
    return join(tag("h3", "Bridge text and answer"), table("bridge text and answer", columns, rows))


def _share(count: Counter[tuple[bool | None, bool]], is_right: bool) -> str:
    total = count[is_right, True] + count[is_right, False]
    return number(count[is_right, True] / total if total else None)


def _worst(found: Sequence[Prediction], direct: dict[str, bool], wanted: int) -> list[Prediction]:
    """Misses, one of each reason in turn; within a reason first those that the direct route gets right."""
    by_reason: dict[str, list[Prediction]] = {}
    for prediction in found:
        if not prediction.correct:
            by_reason.setdefault(prediction.miss or "wrong", []).append(prediction)
    queues = [sorted(group, key=lambda miss: not direct.get(miss.id, False)) for group in by_reason.values()]
    queues.sort(key=lambda group: -len(group))
    shown: list[Prediction] = []
    while len(shown) < wanted and any(queues):
        shown += [group.pop(0) for group in queues if group]
    return shown[:wanted]


def _samples_of(
    route: str,
    found: Sequence[Prediction],
    shown: Sequence[Prediction],
    direct: dict[str, bool],
    limit: int,
    target: str,
) -> Html:
    misses = sum(not prediction.correct for prediction in found)
    title = f"{route_label(route)}: {misses} of {len(found)} miss" + (f", {len(shown)} shown" if shown else "")
    if not shown:
        return tag("h3", title)
    names = ["", "item", "bridge text", "answer", "right answers", "reason", "directly"]
    if route == "direct":
        names[2] = names[6] = ""
    head = tag("div", *(tag("span", name) for name in names))
    bridge = route.removeprefix("via ").removesuffix(_GOLD) if route.startswith("via ") else None
    bridge = target if route == "translated" else bridge
    lines = [_sample(one, names, direct, limit, bridge, target) for one in shown]
    return join(tag("h3", title), tag("div", head, *lines, class_="samples"))


def _sample(
    one: Prediction, names: Sequence[str], direct: dict[str, bool], limit: int, bridge: str | None, target: str
) -> Html:
    known = {True: " (right)", False: " (wrong)", None: ""}[one.bridge_correct]
    directly = {True: "right", False: "wrong", None: MISSING}[direct.get(one.id)]
    values = [
        "",
        word(_short(one.id)),
        join(word(_short(one.bridge_text), bridge), known) if one.bridge_text is not None else MISSING,
        word(_short(one.answer), target) if one.answer is not None else "none found",
        join(*_between(", ", [word(_short(gold), target) for gold in one.gold[:3]])),
        one.miss or "wrong",
        directly,
    ]
    cells = [
        tag("span", tag("span", f"{name} ", class_="label") if name else "", value)
        if name or not place
        else tag("span")
        for place, (name, value) in enumerate(zip(names, values, strict=True))
    ]
    steps: list[str] = []
    for step in one.steps:
        steps.append(tag("p", f"{step.kind} step, prompt", class_="small"))
        steps.append(exact(_cut(step.prompt, limit)))
        steps.append(tag("p", f"output, {step.num_tokens} tokens", class_="small"))
        steps.append(exact(_cut(step.output, limit)))
    return tag("details", tag("summary", *cells), tag("div", *steps, *_options(one, limit)))


def _options(one: Prediction, limit: int) -> list[Html]:
    if not one.options:
        return []
    rows = [
        Row([word(_cut(option.text, limit // 4)), number(option.logprob), str(option.num_tokens)])
        for option in one.options
    ]
    columns = [Column("option", False), Column("log-probability, nats"), Column("tokens")]
    return [table("options", columns, rows)]


def _between(mark: str, parts: Sequence[str]) -> list[str]:
    return [piece for part in parts for piece in (mark, part)][1:]


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:79] + "…"


def _cut(text: str, limit: int) -> str:
    """The text, its middle left out where its markup would take more than `limit` bytes."""
    size = len(escape(text).encode())
    if size <= limit:
        return text
    kept = max(40, len(text) * limit // size)
    half = kept // 2
    said = f"\n… {len(text) - 2 * half} characters left out, see predictions.jsonl …\n"
    return text[:half] + said + text[-half:]
