"""The part of a run's page that shows what stands beside the score: exact matches, corpus scores, calibration."""

from __future__ import annotations

from collections.abc import Callable

from bridgex.records.schema import RouteScore
from bridgex.report.answers_part import route_label
from bridgex.report.markup import Section, section, tag
from bridgex.report.run_files import RunFiles
from bridgex.report.tables import MISSING, Column, Row, number, table


def beside(run: RunFiles) -> Section | None:
    """What every route has beside its score; None: nothing."""
    if run.metrics is None:
        return None
    routes = run.metrics.routes
    columns: list[tuple[Column, Callable[[RouteScore], str]]] = []
    if any(found.exact is not None for found in routes.values()):
        columns.append((Column("exact matches", hint="share of sentences"), lambda found: number(found.exact)))
    signatures: list[str] = []
    for found in routes.values():
        if found.corpus is not None:
            columns += [
                (Column("chrF", hint=found.corpus.chrf_signature), _corpus("chrf")),
                (Column("BLEU", hint=found.corpus.bleu_signature), _corpus("bleu")),
            ]
            signatures = [f"chrF {found.corpus.chrf_signature}", f"BLEU {found.corpus.bleu_signature}"]
            break
    if any(found.calibration is not None for found in routes.values()):
        columns += [
            (Column("probability", hint="mean over items, of the option taken, among the options"), _likely),
            (Column("calibration error", hint="expected, ten bins: |accuracy - probability|"), _error),
        ]
    if any(found.num_merged for found in routes.values()):
        hint = "items with an option whose beginning the tokenizer joins to the prompt's end"
        columns.append((Column("merged boundaries", hint=hint), lambda found: str(found.num_merged)))
    if any(found.num_cut for found in routes.values()):
        hint = "items whose context was cut from its end to fit the model's window"
        columns.append((Column("cut contexts", hint=hint), lambda found: str(found.num_cut)))
    if not columns:
        return None
    rows = [Row([route_label(route), *(cell(found) for _, cell in columns)]) for route, found in routes.items()]
    heads = [Column("route", False), *(column for column, _ in columns)]
    notes = [f"All sentences at once: {'; '.join(signatures)}."] if signatures else []
    return section(
        "beside",
        "Beside the score",
        table("beside the score", heads, rows),
        *(tag("p", note, class_="small") for note in notes),
    )


def _corpus(name: str) -> Callable[[RouteScore], str]:
    return lambda found: MISSING if found.corpus is None else number(getattr(found.corpus, name))


def _likely(found: RouteScore) -> str:
    return MISSING if found.calibration is None else number(found.calibration.probability)


def _error(found: RouteScore) -> str:
    return MISSING if found.calibration is None else number(found.calibration.error)
