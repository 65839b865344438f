"""The part of a run's page that shows what happens when neurons are held at their means."""

from __future__ import annotations

from bridgex.records.schema import Ablation, Tested
from bridgex.report.charts import Dot, Mark, dots
from bridgex.report.markup import Html, Section, join, section, tag
from bridgex.report.run_files import RunFiles
from bridgex.report.tables import Cell, Column, Row, interval, number, probability, table

_NEURONS = {
    "overlap": "neurons that source and target share",
    "bridge": "neurons of {bridge}",
    "both": "neurons that source and target share, and neurons of {bridge}",
}


def ablation(run: RunFiles) -> Section | None:
    """What each route loses, against the other route and against random neurons."""
    found = run.metrics.ablation if run.metrics is not None else None
    if found is None:
        return None
    held = _NEURONS[found.ablated].format(bridge=found.bridge)
    about = (
        f"{found.num_neurons} {held} were held at their mean activation while the right answer of {found.n} items was "
        f"weighed, with the bridge text that the model had given. Loss: log-probability of a right answer that this "
        f"takes away, nats. Random: {found.num_random_sets} sets of as many other neurons of the same blocks, matched "
        f"one by one on activation share and mean."
    )
    left_out = f" {found.num_left_out} items have no bridge text and are left out." if found.num_left_out else ""
    return section(
        "ablation",
        "Do the routes need these neurons?",
        tag("p", tag("strong", f"{found.verdict[0].upper()}{found.verdict[1:]}.")),
        _chart(found),
        _routes(found),
        _tests(found),
        tag("p", about + left_out, class_="small"),
    )


def _chart(found: Ablation) -> Html:
    rows = [
        Dot(route, part.loss.mean, part.loss.ci95, "direct" if route == "direct" else "chosen")
        for route, part in found.routes.items()
    ]
    marks = [Mark(f"random, {route}", part.random_loss) for route, part in found.routes.items()]
    return dots("Loss with 95 % intervals, nats. Dashed: random neurons.", rows, marks, is_from_zero=True)


def _routes(found: Ablation) -> Html:
    columns = [
        Column("route", False),
        Column("log p", hint="log-probability of a right answer, nothing held, nats"),
        Column("loss"),
        Column("95 % interval"),
        Column("random", hint="mean loss under the random sets"),
    ]
    rows = [
        Row([route, number(part.logprob), number(part.loss.mean), interval(part.loss.ci95), number(part.random_loss)])
        for route, part in found.routes.items()
    ]
    return table("loss by route", columns, rows)


def _tests(found: Ablation) -> Html:
    columns = [
        Column("difference", False),
        Column("nats"),
        Column("95 % interval"),
        Column("p", hint="two-sided paired randomisation over items"),
    ]
    rows = [
        _test(f"loss via {found.bridge} less loss directly", found.difference),
        _test("the same less that of random neurons", found.above_random),
    ]
    share = f"Share of sets, this one included, with a difference as large: {probability(found.p_random_sets)}."
    return join(table("differences", columns, rows), tag("p", share, class_="small"))


def _test(label: str, tested: Tested) -> Row:
    mean = Cell(number(tested.mean, is_signed=True), tested.mean)
    return Row([label, mean, interval(tested.ci95), probability(tested.p)])
