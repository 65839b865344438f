"""The W&B mirror of a run, made from the run's files; they stay the truth, and the mirror can be made again.

W&B works in a process of its own: whatever it prints, leaves behind, waits for or dies of stays there, a time limit
ends it, and a run of W&B's that the user's own process has open is not touched.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from bridgex.config.settings import LoggerSettings, from_yaml
from bridgex.lit.wandb_content import (
    block_figure,
    block_scores,
    measure_sheets,
    prediction_sheets,
    ranking_figures,
    ranking_sheets,
    read_json,
)
from bridgex.lit.wandb_train import drift_by_block, train_sheets, train_summary

if TYPE_CHECKING:
    import wandb

_MODES = ("auto", "online", "offline", "disabled")
# Seconds for W&B's first answer, for sending after the last record, and for all of it together, online and offline.
_INIT_SECONDS, _SEND_SECONDS, _ONLINE_SECONDS, _OFFLINE_SECONDS = 12.0, 120.0, 180.0, 180.0
_MODE_NAMES = {"dryrun": "offline", "run": "online"}  # W&B's older words, still allowed in WANDB_MODE
# The child finds the same modules as this process, however this one was started.
_CODE = "import json, sys; sys.path[:] = json.loads(sys.argv[2]); from bridgex.lit.wandb_logger import main; main()"
_SECRET = re.compile(r"(api_?key|token|secret|password)$", re.IGNORECASE)


def mirror_run(folder: Path, options: LoggerSettings, *, group: str, job_type: str, run_id: str) -> str:
    """Mirrors one run to W&B, as far as its files go; never asks and never raises.

    Args:
        folder: the run's folder.
        options: the mirror's settings; the environment's WANDB_MODE beats their mode.
        group: what the run belongs to, such as its sweep's name.
        job_type: evaluate or train.
        run_id: the same for the same run each time, so that a second mirror replaces the first.

    Returns:
        One line for the user: the run's address, or how to send what was kept on this machine, or what failed.
    """
    given = os.environ.get("WANDB_MODE") or options.mode
    mode, reason = _MODE_NAMES.get(given, given), f"{'WANDB_MODE' if 'WANDB_MODE' in os.environ else 'mode'}={given}"
    if mode == "disabled":
        return "W&B: disabled, nothing was mirrored"
    if mode not in _MODES:
        return f"W&B: nothing was mirrored (WANDB_MODE={given}: not one of online, offline, disabled)"
    try:
        home = Path(options.dir).expanduser().resolve() if options.dir else folder.resolve()
        (home / "wandb").mkdir(parents=True, exist_ok=True)
        request = _Request(
            folder=folder.resolve(), home=home, options=options, mode=mode, reason=reason, group=group,
            job_type=job_type, run_id=run_id, init_seconds=_INIT_SECONDS, send_seconds=_SEND_SECONDS,
        )  # fmt: skip
        answer = _ask_process(request)
        if answer.unfit is not None and mode != "offline":
            answer = _ask_process(request.model_copy(update={"mode": "offline", "reason": answer.unfit}))
        return answer.line or f"W&B: nothing was mirrored ({answer.unfit})"
    except Exception as error:
        return f"W&B: nothing was mirrored ({_one_line(error)})"


class _Request(BaseModel):
    """What the process of its own is told."""

    folder: Path
    home: Path
    options: LoggerSettings
    mode: str
    reason: str
    group: str
    job_type: str
    run_id: str
    init_seconds: float
    send_seconds: float

    @property
    def staging(self) -> Path:
        """Where W&B keeps copies of what it has yet to send."""
        return self.home / "wandb" / f"staging-{self.run_id}"


class _Answer(BaseModel):
    """What came of a request: a line for the user, or why it must be offline."""

    line: str | None = None
    unfit: str | None = None


def _ask_process(request: _Request) -> _Answer:
    """Runs `main` in a process of its own."""
    limit = _OFFLINE_SECONDS if request.mode == "offline" else _ONLINE_SECONDS
    with tempfile.TemporaryDirectory(prefix="bridgex-wandb-", ignore_cleanup_errors=True) as place:
        said, answer = Path(place, "said"), Path(place, "answer")
        with said.open("wb") as output:  # not a pipe: W&B's own server process may hold it open for longer
            process = subprocess.Popen(
                [sys.executable, "-c", _CODE, str(answer), json.dumps([str(path) for path in sys.path])],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=_environment(request, place),
                start_new_session=True,  # no terminal to ask on, and no Ctrl-C that was not meant for it
            )
            try:
                process.communicate(request.model_dump_json().encode(), timeout=limit)
            except subprocess.TimeoutExpired:
                return _Answer(unfit=f"not done after {limit:.0f} s")
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        if answer.exists():
            return _Answer.model_validate_json(answer.read_bytes())
        last = said.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        return _Answer(unfit=_shorten(" ".join(last) or f"exit status {process.returncode}"))


def _environment(request: _Request, place: str) -> dict[str, str]:
    # A service that the caller's own W&B has started must not be joined, and the mode was decided above.
    environment = {key: value for key, value in os.environ.items() if key not in ("WANDB_SERVICE", "WANDB_MODE")}
    return {
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_CACHE_DIR": place,
        "WANDB_DATA_DIR": str(request.staging),
        **environment,
        "MPLBACKEND": "Agg",
    }


def main() -> None:
    """What the process of its own does: a request comes by stdin, the answer goes to the file that it is told."""
    import wandb

    request = _Request.model_validate_json(sys.stdin.buffer.read())
    answer = _Answer()
    try:
        _remove_earlier(request)
        run = _init(request)
    except wandb.errors.UsageError as error:
        answer = _Answer(unfit="no API key" if "API key configured" in str(error) else _one_line(error))
    except Exception as error:
        answer = _Answer(unfit=_one_line(error))
    else:
        answer = _Answer(line=_mirror(run, request))
    # Written whole: the process may be ended at any point.
    Path(sys.argv[1] + ".part").write_text(answer.model_dump_json(), encoding="utf-8")
    os.replace(sys.argv[1] + ".part", sys.argv[1])


def _mirror(run: wandb.Run, request: _Request) -> str:
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
                failures.append(f"{name}: {_one_line(error)}")
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


def _init(request: _Request) -> wandb.Run:
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
        group=request.group[:128],
        job_type=request.job_type,
        tags=request.options.tags,
        notes="\n".join(status.get("notes", [])) or None,
        config=_without_secrets({**config, "run": {key: status.get(key) for key in kept}}),
        settings=wandb.Settings(**settings),
    )


def _remove_earlier(request: _Request) -> None:
    """Removes earlier mirrors of the same run: sent one after the other, they would double its rows."""
    pattern = re.compile(rf"(offline-)?run-\d+_\d+-{re.escape(request.run_id)}")
    for path in (request.home / "wandb").iterdir():
        if pattern.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)
    shutil.rmtree(request.staging, ignore_errors=True)
    request.staging.mkdir()


def _log_summary(run: wandb.Run, request: _Request) -> None:
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
    run.summary.update({key: value for key, value in found.items() if value is not None})


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


def _log_tables(run: wandb.Run, request: _Request) -> None:
    import wandb

    sheets = [
        *ranking_sheets(request.folder),
        *train_sheets(request.folder),
        *prediction_sheets(request.folder, request.options.max_rows),
        *measure_sheets(request.folder),
    ]
    for sheet in sheets:
        if sheet.total > len(sheet.rows):
            run.summary.update({f"{sheet.name}_shown": len(sheet.rows), f"{sheet.name}_total": sheet.total})
        table = wandb.Table(columns=list(sheet.columns), data=sheet.rows, allow_mixed_types=True)
        run.log({f"tables/{sheet.title}": table})


def _log_figures(run: wandb.Run, folder: Path) -> None:
    import wandb
    from PIL import Image

    ranking = read_json(folder / "ranking.json")
    figures = ranking_figures(ranking)
    for strategy, scores in block_scores(folder).items():
        figures[f"blocks_{strategy}"] = block_figure(strategy, scores, ranking)
    for name, figure in figures.items():
        drawn = BytesIO()
        figure.savefig(drawn, format="png", dpi=120)
        run.log({f"figures/{name}": wandb.Image(Image.open(drawn))})


def _log_report(run: wandb.Run, folder: Path) -> None:
    import wandb

    if (folder / "report.html").is_file():
        with (folder / "report.html").open(encoding="utf-8") as page:
            run.log({"report": wandb.Html(page, inject=False)})


def _log_artifacts(run: wandb.Run, request: _Request) -> None:
    import wandb

    for name in ("predictions.jsonl", "ranking.json", "answers.jsonl", "drift.jsonl"):
        path = request.folder / name
        if path.is_file():
            artifact = wandb.Artifact(f"{request.run_id}-{path.stem}", type=path.stem)
            # Read where it lies: a copy in W&B's cache for every run has filled disks.
            artifact.add_file(str(path), policy="immutable", skip_cache=True)
            run.log_artifact(artifact)


def _status(folder: Path) -> dict[str, Any]:
    """status.json; empty where it is missing or damaged, for the rest can be mirrored without it."""
    try:
        return read_json(folder / "status.json")
    except ValueError:
        return {}


def _without_secrets(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {key: "***" if _SECRET.search(str(key)) else _without_secrets(value) for key, value in node.items()}
    return [_without_secrets(value) for value in node] if isinstance(node, list) else node


def _one_line(error: BaseException) -> str:
    return _shorten(f"{type(error).__name__}: {error}")


def _shorten(text: str) -> str:
    key = os.environ.get("WANDB_API_KEY")
    text = " ".join((text.replace(key, "***") if key else text).split())
    return text if len(text) <= 200 else f"{text[:197]}..."


def _short(path: Path) -> str:
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
