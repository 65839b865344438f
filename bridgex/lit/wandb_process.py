"""What logs a run's files to W&B, in a process of its own: `bridgex.lit.wandb_logger` starts it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import time
from collections import defaultdict
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridgex.config.settings import from_yaml
from bridgex.lit.wandb_content import (
    Sheet,
    block_scores,
    measure_sheets,
    prediction_sheets,
    ranking_sheets,
    read_json,
)
from bridgex.lit.wandb_figures import figures
from bridgex.lit.wandb_logger import Answer, Request, one_line, shorten
from bridgex.lit.wandb_train import drift_by_block, train_sheets, train_summary
from bridgex.records.store import read_status
from bridgex.secrets import without_secrets

if TYPE_CHECKING:
    import wandb

_ARTIFACTS = ("predictions.jsonl", "ranking.json", "answers.jsonl", "drift.jsonl")


def mirror(request_json: str) -> str:
    """Mirrors a run.

    Args:
        request_json: a `Request`.

    Returns:
        An `Answer`, as JSON.
    """
    # Not the user's: a copy of every artifact in W&B's own cache has filled disks.
    os.environ.setdefault("WANDB_CACHE_DIR", os.environ["BRIDGEX_BOUNDED_DIR"])
    import wandb

    request = Request.model_validate_json(request_json)
    start = time.monotonic()
    try:
        _remove_earlier(request)
        run = _init(request)
    except wandb.errors.UsageError as error:
        answer = Answer(unfit="no API key" if "API key configured" in str(error) else one_line(error))
    except Exception as error:
        # A server that says no says so at once.
        is_silent = time.monotonic() - start > request.init_seconds / 2
        server = shorten(os.environ.get("WANDB_BASE_URL") or "the W&B server")
        unfit = f"no answer from {server} within {request.init_seconds:.0f} s" if is_silent else one_line(error)
        answer = Answer(unfit=unfit, is_silent=is_silent)
    else:
        answer = Answer(line=_mirror(run, request))
    return answer.model_dump_json()


def _mirror(run: wandb.Run, request: Request) -> str:
    """Logs every part of the run's files and closes the run."""
    parts: list[tuple[str, Callable[[], object]]] = [
        ("summary", lambda: _log_summary(run, request)),
        ("blocks", lambda: _log_blocks(run, request.folder)),
        ("tables", lambda: _log_tables(run, request)),
        ("figures", lambda: _log_figures(run, request.folder)),
        ("report", lambda: _log_report(run, request.folder)),
        ("artifacts", lambda: _log_artifacts(run, request)),
    ]
    failures: list[str] = []
    is_all_sent = request.mode != "offline"
    where = run.url if is_all_sent else f"offline ({request.reason})"
    place = Path(run.settings.sync_dir)
    try:
        for name, log in parts:
            try:
                log()
            except Exception as error:  # one part must not take the others with it
                failures.append(f"{name}: {one_line(error)}")
    finally:
        try:
            run.finish(exit_code=0 if _status(request.folder).get("state") == "done" else 1)
        except TimeoutError:
            is_all_sent = False
            where = f"{where}, but not all of it was sent within {request.send_seconds:.0f} s"
    if is_all_sent:
        shutil.rmtree(request.staging, ignore_errors=True)
    line = f"W&B: {where}" + ("" if is_all_sent else f", send it with: wandb sync {shlex.quote(_short(place))}")
    return f"{line}; missing there: {', '.join(failures)}" if failures else line


def _init(request: Request) -> wandb.Run:
    import wandb

    config = from_yaml(request.folder / "config.yaml")
    status = _status(request.folder)
    names = [
        config[key].get("name")
        for key in ("model", "pair", "task", "bridge", "freeze")
        if isinstance(config.get(key), dict)
    ]
    if isinstance(config.get("source"), str):
        names.insert(1, config["source"])
    kept = ("config_hash", "fingerprints", "versions", "git_revision", "device", "start", "end")
    wanted: dict[str, Any] = {
        "silent": True, "console": "off", "disable_git": True, "disable_code": True, "save_code": False,
        "disable_job_creation": True, "symlink": False, "program": "bridgex", "init_timeout": request.init_seconds,
        "finish_timeout": request.send_seconds, "finish_timeout_raises": True, "x_disable_stats": True,
        "x_disable_meta": True, "x_disable_machine_info": True, "x_save_requirements": False,
        "x_transaction_log_flush_interval": 1.0,
    }  # fmt: skip
    # Not every version has each of them, and none is needed for the mirror to be right.
    settings = {key: value for key, value in wanted.items() if key in wandb.Settings.model_fields}
    return wandb.init(
        project=request.options.project,
        entity=request.options.entity,
        mode="offline" if request.mode == "offline" else "online",
        dir=str(request.home),
        id=request.run_id,
        resume="allow",
        name=" ".join(str(name) for name in names if name) or request.folder.name,
        group=request.group,
        job_type=request.job_type,
        tags=request.options.tags,
        notes="\n".join(without_secrets(status.get("notes", []))) or None,
        config=without_secrets({**config, "run": {key: status.get(key) for key in kept}}),
        settings=wandb.Settings(**settings),
    )


def _remove_earlier(request: Request) -> None:
    """Removes earlier mirrors of the same run: sent one after the other, they would double its rows."""
    pattern = re.compile(rf"(offline-)?run-\d+_\d+-{re.escape(request.run_id)}")
    for path in (request.home / "wandb").iterdir():
        if pattern.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)
    shutil.rmtree(request.staging, ignore_errors=True)
    request.staging.mkdir()


def _log_summary(run: wandb.Run, request: Request) -> None:
    metrics, status = read_json(request.folder / "metrics.json"), _status(request.folder)
    routes, chosen = metrics.get("routes") or {}, metrics.get("chosen")
    paired, oracle = metrics.get("paired") or {}, metrics.get("oracle") or {}
    low, high = paired.get("ci95") or (None, None)
    found = {
        "state": status.get("state"),
        "error": status.get("error"),
        **{key: metrics.get(key) for key in ("n", "metric", "chance", "majority", "chosen", "chosen_by")},
        **{f"score/{route}": score.get("score") for route, score in routes.items()},
        "score_chosen": (routes.get(f"via {chosen}") or {}).get("score"),
        "verdict": paired.get("verdict"),
        "difference": paired.get("difference"),
        "difference_low": low,
        "difference_high": high,
        "mcnemar_p": paired.get("mcnemar_p"),
        "randomisation_p": paired.get("randomisation_p"),
        "difference_to_translated": (metrics.get("against_translated") or {}).get("difference"),
        "oracle": oracle.get("bridge"),
        "oracle_score": oracle.get("score"),
        "regret": oracle.get("regret"),
        "regret_with_direct": oracle.get("regret_with_direct"),
        **train_summary(metrics),
    }
    run.summary.update(without_secrets({key: value for key, value in found.items() if value is not None}))


def _log_blocks(run: wandb.Run, folder: Path) -> None:
    """Each strategy's raw score by block, one chart a strategy with a line a candidate."""
    rows: dict[int, dict[str, float]] = defaultdict(dict)
    run.define_metric("block")
    for strategy, scores in block_scores(folder).items():
        run.define_metric(f"{strategy}_raw/*", step_metric="block", summary="none")
        for candidate, by_block in scores.items():
            for block, value in by_block.items():
                rows[block][f"{strategy}_raw/{candidate}"] = value
    drift = drift_by_block(read_json(folder / "metrics.json"))
    if drift:
        run.define_metric("drift/*", step_metric="block", summary="none")
    for block, by_language in drift.items():
        rows[block].update(by_language)
    for block, values in sorted(rows.items()):
        # The block as step: a run that is mirrored again has these rows already, and W&B leaves them out.
        run.log({"block": block, **values}, step=block)


def _log_tables(run: wandb.Run, request: Request) -> None:
    import wandb

    sheets: list[Sheet] = [
        *ranking_sheets(request.folder),
        *train_sheets(request.folder),
        *prediction_sheets(request.folder, request.options.max_rows),
        *measure_sheets(request.folder),
    ]
    for sheet in sheets:
        if sheet.total > len(sheet.rows):
            run.summary.update({f"{sheet.name}_shown": len(sheet.rows), f"{sheet.name}_total": sheet.total})
        table = wandb.Table(columns=list(sheet.columns), data=without_secrets(sheet.rows), allow_mixed_types=True)
        run.log({f"tables/{sheet.title}": table})


def _log_figures(run: wandb.Run, folder: Path) -> None:
    import wandb
    from PIL import Image

    for name, figure in figures(folder):
        drawn = BytesIO()
        figure.savefig(drawn, format="png", dpi=120)
        run.log({f"figures/{name}": wandb.Image(Image.open(drawn))})


def _log_report(run: wandb.Run, folder: Path) -> None:
    import wandb

    if (folder / "report.html").is_file():
        page = (folder / "report.html").read_text(encoding="utf-8")
        run.log({"report": wandb.Html(without_secrets(page), inject=False)})


def _log_artifacts(run: wandb.Run, request: Request) -> None:
    import wandb

    for name in _ARTIFACTS:
        path = request.folder / name
        if path.is_file():
            artifact = wandb.Artifact(f"{request.run_id}-{path.stem}", type=path.stem)
            # Read where it lies, and not kept in W&B's cache.
            artifact.add_file(str(path), policy="immutable", skip_cache=True)
            run.log_artifact(artifact)


def _status(folder: Path) -> dict[str, Any]:
    """status.json; empty where it is missing or damaged, for the rest can be mirrored without it."""
    try:
        found = read_json(folder / "status.json")
    except ValueError:
        return {}
    checked = read_status(folder)  # knows whether the process of a run that is said to run is still there
    return found if checked is None else {**found, "state": checked.state}


def _short(path: Path) -> str:
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
