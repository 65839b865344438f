"""`bridgex report --wandb`: a W&B report of a sweep.

W&B works in a process of its own, as for the mirror: it may print, ask or wait for a server as it likes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from bridgex import bounded
from bridgex.errors import UserError
from bridgex.records.mirror import SINGLE, identity_of, options_of, runs_of
from bridgex.report.wandb_sections import Chart, Part, parts_of
from bridgex.secrets import without_secrets

if TYPE_CHECKING:
    import wandb
    import wandb_workspaces.reports.v2 as reports

_SECONDS = 20.0
_MAX_TITLE = 128  # characters that W&B takes
_MAX_BARS = 100
_WIDTH = 24  # of a report's grid, in its own units


class Request(BaseModel):
    """What the process of its own is told."""

    sweep: str
    project: str
    entity: str | None
    group: str
    run_ids: list[str]
    title: str
    parts: list[Part]


class Answer(BaseModel):
    """A line for the user, or a mistake of theirs."""

    line: str | None = None
    problem: str | None = None


def publish(paths: Sequence[Path], project: str | None = None, entity: str | None = None) -> Iterator[str]:
    """Publishes a W&B report of each sweep, or brings the one of the same title up to date.

    Args:
        paths: the sweeps' folders.
        project: where their runs were mirrored to; None: as the runs' configs say.
        entity: the same, user or team.

    Returns:
        A line for each sweep: where its report is.

    Raises:
        UserError: the library is missing, W&B may not be asked, a path is no sweep, its runs are not in W&B, or there
            was no answer in time; nothing of that sweep was published.
    """
    if find_spec("wandb_workspaces") is None:
        raise UserError("--wandb needs the package wandb-workspaces: pip install 'bridgex[reports]'")
    mode = os.environ.get("WANDB_MODE", "online")
    if mode not in ("online", "run"):
        raise UserError(f"WANDB_MODE={mode}: a W&B report can be published online only. Unset it for this command")
    requests: list[Request] = []
    problems: list[str] = []
    for path in paths:
        try:
            requests.append(_request(path, project, entity))
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(*problems)
    return (_ask(request) for request in requests)


def _request(path: Path, project: str | None, entity: str | None) -> Request:
    cells = runs_of(path)
    identities = {cell: found for cell in cells if (found := identity_of(cell)) is not None}
    names = [found.group for found in identities.values() if found.group != SINGLE]
    if cells == [path] or not names:
        raise UserError(f"{path}: is no sweep. --wandb makes a report of a sweep; a single run has its page in W&B")
    options = options_of(next(iter(identities)))
    return Request(
        sweep=str(path),
        project=project or options.project,
        entity=entity or options.entity,
        group=names[0],
        run_ids=[found.run_id for found in identities.values()],
        title=f"bridgex sweep {names[0]}"[:_MAX_TITLE],
        parts=[Part.model_validate(without_secrets(part.model_dump())) for part in parts_of(path, cells)],
    )


def _ask(request: Request) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "WANDB_SERVICE"}
    outcome = bounded.call(
        "bridgex.report.wandb_report:main",
        request.model_dump_json(),
        {"WANDB_ERROR_REPORTING": "false", **environment, "WANDB_SILENT": "true"},
        _SECONDS,
    )
    if outcome.answer is not None:
        answer = Answer.model_validate_json(outcome.answer)
        if answer.line is not None:
            return answer.line
        raise UserError(f"{request.sweep}: no W&B report was published ({answer.problem})")
    trouble = "no answer from W&B" if outcome.is_late else _one_line(outcome.trouble)
    after = f" within {_SECONDS:.0f} s" if outcome.is_late else ""
    raise UserError(f"{request.sweep}: no W&B report was published ({trouble}{after}). Give the command again")


def main(request_json: str) -> str:
    """What the process of its own does.

    Args:
        request_json: a `Request`.

    Returns:
        An `Answer`, as JSON.
    """
    for name in ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        os.environ[name] = os.environ["BRIDGEX_BOUNDED_DIR"]
    import wandb

    request = Request.model_validate_json(request_json)
    try:
        answer = _publish(request, wandb.Api())
    except wandb.errors.UsageError as error:
        is_unknown = "API key" in str(error) or "authentication" in str(error)
        answer = Answer(problem="no API key: give `wandb login`, or set WANDB_API_KEY" if is_unknown else _said(error))
    except Exception as error:
        answer = Answer(problem=_said(error))
    return answer.model_dump_json()


def _publish(request: Request, api: wandb.Api) -> Answer:
    entity = request.entity or api.default_entity
    where = f"{entity}/{request.project}"
    wanted = {"$and": [{"group": request.group}, {"name": {"$in": request.run_ids}}]}
    try:
        num_there = len(api.runs(where, filters=wanted, per_page=1))
    except ValueError:  # no such project
        num_there = 0
    num_runs = len(request.run_ids)
    if not num_there:
        return Answer(
            problem=f"none of its {num_runs} runs is in {where}. Send them first: bridgex sync {request.sweep}"
        )
    earlier = next((found.id for found in api.reports(where) if found.display_name == request.title), None)
    report = build(request, entity)
    if earlier is not None:
        report.id = earlier
    report.save()
    line = f"W&B: {report.url} ({'a new report' if earlier is None else 'the report was there, and is up to date'})"
    missing = num_runs - num_there
    if missing > 0:
        line += f"; {missing} of {num_runs} runs are not in W&B, bridgex sync {request.sweep} sends them"
    return Answer(line=line)


def build(request: Request, entity: str | None) -> reports.Report:
    """The report as the library's objects; nothing is sent.

    Args:
        request: what it is of.
        entity: user or team whose runs it shows.
    """
    import wandb_workspaces.reports.v2 as reports
    from wandb_workspaces import expr

    def grid(panels: list[reports.Panel], is_last: bool = False) -> reports.PanelGrid:
        of_sweep = [expr.Metric("Group") == request.group]
        runs = reports.Runset(entity=entity, project=request.project, name=request.group, filters=of_sweep)
        return reports.PanelGrid(runsets=[runs], panels=panels, hide_run_sets=not is_last)

    blocks: list[reports.Block] = [reports.TableOfContents()]
    for part in request.parts:
        blocks.append(reports.H1(part.heading))
        if part.text:
            blocks.append(reports.MarkdownBlock(part.text))
        if part.charts:
            blocks.append(grid([_panel(chart, len(request.run_ids)) for chart in part.charts]))
    comparer = reports.RunComparer(diff_only="split", layout=reports.Layout(w=_WIDTH, h=16))
    blocks += [reports.H1("Runs"), grid([comparer], is_last=True)]
    return reports.Report(
        project=request.project,
        entity=entity,
        title=request.title,
        description=f"Made from the files of the sweep {request.group}. Publishing it again brings it up to date.",
        blocks=blocks,
        width="fluid",
    )


def _panel(chart: Chart, num_runs: int) -> reports.Panel:
    import wandb_workspaces.reports.v2 as reports

    if chart.kind == "images":
        layout = reports.Layout(w=_WIDTH, h=12)
        return reports.MediaBrowser(title=chart.title, media_keys=chart.keys, num_columns=2, layout=layout)
    return reports.BarPlot(
        title=chart.title,
        metrics=list(chart.keys),
        orientation="h",
        max_runs_to_show=min(num_runs, _MAX_BARS),
        max_bars_to_show=_MAX_BARS,
        layout=reports.Layout(w=_WIDTH // 2, h=12),
    )


def _said(error: Exception) -> str:
    return _one_line(f"{type(error).__name__}: {error}")


def _one_line(text: str) -> str:
    return " ".join(str(without_secrets(text)).split())[:200]
