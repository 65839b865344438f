"""The part of a run's page that shows what happens when neurons are held at their means."""

from __future__ import annotations

from bridgex.records.schema import Ablation, Tested
from bridgex.report.charts import Dot, dots
from bridgex.report.markup import Html, Section, join, section, tag
from bridgex.report.run_files import RunFiles
from bridgex.report.tables import MISSING, Cell, Column, Row, interval, number, probability, table

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
        f"weighed. Only the last question of a route is weighed: directly, or with the bridge text that the model had "
        f"given with nothing held. Loss: log-probability of a right answer that this takes away, nats. "
    )
    compared = (
        f"Random: {found.num_random_sets} sets, in each of which every one of the {found.num_matched} neurons that "
        f"have a match is either itself or another neuron of its block within a quarter of a standard deviation in "
        f"activation share and mean."
        if found.num_random_sets
        else f"Only {found.num_matched} of the neurons have others of their block that are as active, too few for "
        f"random sets to compare with."
    )
    left_out = f" {found.num_left_out} items have no bridge text and are left out." if found.num_left_out else ""
    return section(
        "ablation",
        "Do the routes need these neurons?",
        tag("p", tag("strong", f"{found.verdict[0].upper()}{found.verdict[1:]}.")),
        _chart(found),
        _routes(found),
        _tests(found),
        tag("p", about + compared + left_out, class_="small"),
    )


def _chart(found: Ablation) -> Html:
    rows = [
        Dot(route, part.loss.mean, part.loss.ci95, "direct" if route == "direct" else "chosen")
        for route, part in found.routes.items()
    ]
    return dots("Loss with all of them held, 95 % intervals, nats.", rows, is_from_zero=True)


def _routes(found: Ablation) -> Html:
    columns = [
        Column("route", False),
        Column("log p", hint="log-probability of a right answer, nothing held, nats"),
        Column("loss"),
        Column("95 % interval"),
        Column("matched", hint="loss with only those held that have a match"),
        Column("random", hint="mean loss under the random sets"),
    ]
    rows = [
        Row(
            [
                route,
                number(part.logprob),
                number(part.loss.mean),
                _interval(part.loss),
                number(part.matched_loss),
                number(part.random_loss),
            ]
        )
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
    rows = [_test(f"loss via {found.bridge} less loss directly", found.difference)]
    if found.above_random is None or found.p_random_sets is None:
        return table("differences", columns, rows)
    rows.append(_test("the same of the matched ones, less that of random sets", found.above_random))
    place = f"The matched set's place among the random sets: p = {probability(found.p_random_sets)}, two-sided."
    return join(table("differences", columns, rows), tag("p", place, class_="small"))


def _test(label: str, tested: Tested) -> Row:
    mean = Cell(number(tested.mean, is_signed=True), tested.mean)
    return Row([label, mean, _interval(tested), probability(tested.p)])


def _interval(tested: Tested) -> str:
    return MISSING if tested.ci95 is None else interval(tested.ci95)
