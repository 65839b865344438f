"""What a run found, in sentences."""

from __future__ import annotations

from typing import Literal, NamedTuple

from bridgex.records.schema import Metrics, OracleScore, Paired, Ranking, Status, StrategyRecord
from bridgex.report.against_direct import Comparison, against_direct
from bridgex.report.run_files import RunFiles
from bridgex.report.tables import interval, number, p_equals

Kind = Literal["helps", "hurts", "open", "none", "failed", "unfinished"]
ALPHA = 0.05
USES_LABELS = "(uses labels)"
SIGNS: dict[Kind, str] = {"helps": "▲", "hurts": "▼", "open": "○", "none": "·", "failed": "✗", "unfinished": "…"}
_KINDS: dict[str, Kind] = {"bridge helps": "helps", "bridge hurts": "hurts"}
_STATES: dict[str, str] = {
    "running": "This run is still running: what stands below may change.",
    "interrupted": "This run was interrupted. The same command with the same hydra.run.dir goes on from here.",
    "failed": "This run failed.",
    "done": "This run is done, and there are no scores to show.",
}


class Verdict(NamedTuple):
    """What a run found.

    Attributes:
        kind: what it comes to.
        sentence: the same in words and numbers.
        remarks: what must be known beside it.
    """

    kind: Kind
    sentence: str
    remarks: tuple[str, ...] = ()


def verdict(run: RunFiles) -> Verdict:
    """The verdict of a run in whatever state it is."""
    if run.metrics is None or not run.is_done:
        asked = f"{len(run.predictions)} answers are on record." if run.predictions else "No answer is on record yet."
        return unfinished(run.status, asked)
    metrics = run.metrics
    remarks = [_guessing(metrics)]
    if metrics.oracle is not None and len(_candidates(run.ranking, metrics)) > 1:
        remarks.insert(0, _hindsight(metrics.oracle))
    if metrics.against_translated is not None and metrics.chosen is not None:
        remarks.insert(0, _without_bridge(metrics, metrics.chosen, metrics.against_translated))
    remarks += _others(run, metrics)
    if metrics.chosen is None or metrics.paired is None:
        return Verdict("none", f"{_directly(metrics)} {_why_none(run)}", tuple(remarks))
    return Verdict(
        kind_of(metrics.paired),
        f"{_comparison(metrics, metrics.chosen, metrics.paired)} {_chosen_by(run, metrics)}",
        tuple(remarks),
    )


def unfinished(status: Status | None, on_record: str) -> Verdict:
    """The verdict of a run of any kind that has no scores to show.

    Args:
        status: None: not known.
        on_record: how far it got, in a sentence.
    """
    if status is None:
        return Verdict("failed", "What became of this run is not known: status.json is missing or damaged.")
    sentence = _STATES[status.state]
    if status.state == "done":
        return Verdict("none", sentence)
    return Verdict("failed" if status.state == "failed" else "unfinished", sentence, (on_record,))


def kind_of(paired: Paired) -> Kind:
    """helps, hurts, or open: no evidence."""
    return _KINDS.get(plain_verdict(paired), "open")


def plain_verdict(paired: Paired) -> str:
    """The verdict without the mark that labels were used."""
    return paired.verdict.removesuffix(USES_LABELS).strip()


def uses_labels(paired: Paired | None) -> bool:
    """Whether the bridge was chosen by looking at these items' labels."""
    return paired is not None and paired.verdict.endswith(USES_LABELS)


def comparisons(run: RunFiles, metrics: Metrics) -> dict[str, Comparison]:
    """Every route against direct: the chosen one as recorded, the others after Holm."""
    paired, planned = metrics.paired, planned_route(metrics)
    found = against_direct(run.predictions, planned)
    test = test_of(paired) if paired is not None else None
    if paired is not None and test is not None and planned in found:
        found[planned] = found[planned]._replace(difference=paired.difference, p=test[1])
    return found


def planned_route(metrics: Metrics) -> str | None:
    """The route whose test against direct was planned: that of a bridge chosen without labels."""
    return None if metrics.chosen is None or uses_labels(metrics.paired) else f"via {metrics.chosen}"


def _comparison(metrics: Metrics, chosen: str, paired: Paired) -> str:
    direct = metrics.routes["direct"].score
    if uses_labels(paired):
        # The recorded difference is out of fold, so the score beside it must be too.
        through = f"Through the best bridge in hindsight, out of fold: {number(direct + paired.difference)}"
    else:
        through = f"Through {chosen}: {number(metrics.routes[f'via {chosen}'].score)}"
    found = plain_verdict(paired)
    if found == "no evidence":
        found = "no evidence that the bridge helps or hurts"
    return (
        f"{through} against {number(direct)} directly, {number(paired.difference, is_signed=True)} "
        f"{interval(paired.ci95, is_signed=True)}{tested(paired)}: {found}."
    )


def _without_bridge(metrics: Metrics, chosen: str, paired: Paired) -> str:
    """The chosen bridge against the same model's translation straight into the target language."""
    score = metrics.routes["translated"].score
    found = {"bridge helps": "the bridge is better", "bridge hurts": "the bridge is worse"}.get(
        plain_verdict(paired), "no evidence of a difference"
    )
    through = "the best bridge in hindsight, out of fold" if uses_labels(paired) else f"through {chosen}"
    return (
        f"Against {number(score)} translated straight into the target language, {through} "
        f"{number(paired.difference, is_signed=True)} {interval(paired.ci95, is_signed=True)}{tested(paired)}: {found}."
    )


def test_of(paired: Paired) -> tuple[str, float] | None:
    """The test that a verdict rests on, by name, and its p."""
    if paired.randomisation_p is not None and (paired.is_grouped or paired.mcnemar_p is None):
        return "approximate randomisation", paired.randomisation_p
    return None if paired.mcnemar_p is None else ("exact McNemar", paired.mcnemar_p)


def tested(paired: Paired) -> str:
    """The same as the end of a sentence; empty without a test."""
    found = test_of(paired)
    return "" if found is None else f", {found[0]} {p_equals(found[1])}"


def _chosen_by(run: RunFiles, metrics: Metrics) -> str:
    name = metrics.chosen_by
    if uses_labels(metrics.paired):
        return f"Chosen by {name}, which uses labels: an upper bound that nobody has who has no labels."
    if name == "fixed":
        return "The bridge was given, not chosen (bridge=fixed)."
    if name == "random":
        return "Chosen at random."
    probe, record = run.config.get("probe"), run.ranking.strategies.get(str(name)) if run.ranking is not None else None
    is_filtered = isinstance(probe, dict) and probe.get("filter") == "correct"
    if is_filtered or (record is not None and record.uses_dictionary):
        return f"Chosen by {name} without these items' labels, but with dictionary labels of the probe words."
    return f"Chosen by {name} without labels."


def _directly(metrics: Metrics) -> str:
    direct = metrics.routes.get("direct")
    if direct is None:
        return "The direct route was not asked."
    return f"Directly: {number(direct.score)} {interval(direct.ci95)}, {direct.n} items."


def _why_none(run: RunFiles) -> str:
    metrics, ranking = run.metrics, run.ranking
    name = metrics.chosen_by if metrics is not None else None
    if name is None:
        return "No bridge was asked for, so there is nothing to compare."
    record = ranking.strategies.get(name) if ranking is not None else None
    if record is not None and record.missing is not None:
        return f"No bridge was chosen, because {name} could not rank: {record.missing}"
    if metrics is not None and metrics.chose_direct:
        return f"No bridge: direct was chosen by {name}, without labels.{_gain(record)}"
    return f"{name} chose no bridge."


def _gain(record: StrategyRecord | None) -> str:
    """Why a strategy went directly."""
    if record is None or record.against_direct is None:
        return ""
    found = record.against_direct
    return (
        f" Through {found.bridge}, its first choice, the model is not clearly surer of its own words: "
        f"{number(found.gain, is_signed=True)} {interval(found.ci95, is_signed=True)} nats a token, and the lower end "
        f"must exceed bridge.margin={found.margin:g}."
    )


def _hindsight(oracle: OracleScore) -> str:
    text = f"In hindsight {oracle.bridge} is best; the oracle scores {number(oracle.score)} out of fold."
    if oracle.regret is None:
        return text
    text += f" Regret of the choice: {number(oracle.regret)}"
    if oracle.regret_with_direct is not None:
        text += f", and {number(oracle.regret_with_direct)} where the oracle may also go directly"
    return f"{text}."


def _others(run: RunFiles, metrics: Metrics) -> list[str]:
    """Which of the other routes differ from direct."""
    planned = planned_route(metrics)
    clear = [
        f"{route} {number(one.difference, is_signed=True)}, {p_equals(one.p)}"
        for route, one in comparisons(run, metrics).items()
        if route != planned and one.p < ALPHA
    ]
    return [f"Other routes that differ from direct ({_test_name(metrics)}, Holm): {'; '.join(clear)}."] if clear else []


def _test_name(metrics: Metrics) -> str:
    found = test_of(metrics.paired) if metrics.paired is not None else None
    return "exact McNemar" if found is None else found[0]


def _guessing(metrics: Metrics) -> str:
    chance = "none, the answers are open" if metrics.chance is None else number(metrics.chance)
    if metrics.majority is None:
        return f"Chance: {chance}."
    return f"Chance: {chance}. Always giving the most frequent right answer: {number(metrics.majority)}."


def _candidates(ranking: Ranking | None, metrics: Metrics) -> list[str]:
    if ranking is not None:
        return ranking.candidates
    return [route for route in metrics.routes if route.startswith("via ") and not route.endswith(")")]
