"""The W&B mirror, read back from what it left on the disk or sent to a server on a loopback port."""

from __future__ import annotations

import itertools
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import matplotlib
import psutil
import pytest
from omegaconf import OmegaConf
from pydantic import ValidationError

from bridgex.config import command
from bridgex.config.settings import LoggerSettings
from bridgex.lit import wandb_content, wandb_logger
from bridgex.lit.wandb_logger import mirror_run
from bridgex.records.mirror import Identity
from tests.fakes.wandb_server import WandbServer

KEY = "0123456789" * 4
SCRIPT = "<script>alert('$x_1$')</script>"
SLOW = float(os.environ.get("BRIDGEX_SLOW_MACHINE", "1"))


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A user whom W&B does not know, in an empty folder."""
    for key in [key for key in os.environ if key.startswith("WANDB_")]:
        monkeypatch.delenv(key)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / ".netrc"))
    monkeypatch.setenv("MPLCONFIGDIR", matplotlib.get_configdir())  # its list of fonts takes a second to make
    monkeypatch.setattr(wandb_logger, "_silent", set())
    monkeypatch.chdir(tmp_path)


def record(route: str, number: int, miss: str | None) -> dict[str, Any]:
    steps = [{"kind": "answer", "prompt": f"{SCRIPT} {number}", "output": "x", "num_tokens": 1}]
    if route != "direct":
        steps.insert(0, {"kind": "bridge", "prompt": "to en", "output": "y", "num_tokens": 2})
    return {"id": f"w{number}", "route": route, "steps": steps, "gold": ["a", "b"], "correct": not miss, "miss": miss}


def make_run(folder: Path) -> Path:
    """A run of 2 routes and 50 items with one rare miss, and values that are null or NaN wherever they may be."""
    folder.mkdir(parents=True)
    candidate = {"score": 0.5, "raw": 0.6, "ci95": [0.4, 0.6], "rank": 1, "p_rank1": 0.9,
                 "block_scores": {"2": 0.1, "3": 0.3}}  # fmt: skip
    odd = {"score": None, "raw": float("nan"), "ci95": None, "rank": 2, "block_scores": {"2": 0.2, "3": None}}
    strategies = {"hsic": {"scores": {"en": candidate, "de": odd}, "blocks": [3]}, "cosine": {"scores": {}}}
    ranking = {"pair": "qaa-qaf", "candidates": ["en", "de"], "chosen": "en", "chosen_by": "hsic",
               "strategies": strategies}  # fmt: skip
    routes = {name: {"score": score, "ci95": [0.1, 0.9], "n": 50, "misses": {"wrong": 24}}
              for name, score in (("direct", 0.5), ("via en", 0.48))}  # fmt: skip
    metrics = {"task": "bli", "pair": "qaa-qaf", "model": "toy", "n": 50, "metric": "accuracy", "chance": None,
               "majority": 0.02, "routes": routes, "chosen": "en", "chosen_by": "hsic", "oracle": None,
               "paired": {"difference": -0.02, "ci95": [-0.1, 0.1], "mcnemar_p": None, "verdict": "no evidence"},
               }  # fmt: skip
    misses = {route: ["wrong" if n % 2 else None for n in range(50)] for route in routes}
    misses["via en"][7] = "bad_bridge"
    predictions = [record(route, n, miss) for route, found in misses.items() for n, miss in enumerate(found)]
    measure = {"model": "toy", "source": "qaa", "target": "qaf", "bridge": None, "block": None, "value": float("nan")}
    (folder / "config.yaml").write_text("pair:\n  name: qaa-qaf\ntask:\n  name: bli\n  api_key: hunter2\nseed: 3\n")
    (folder / "status.json").write_text(json.dumps({"state": "done", "config_hash": "0a1b2c3d", "notes": ["weak"]}))
    (folder / "ranking.json").write_text(json.dumps(ranking))
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "predictions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in predictions))
    (folder / "measures.jsonl").write_text(json.dumps(measure) + "\n")
    (folder / "report.html").write_text("<p>a page</p>")
    return folder


def mirror(folder: Path, run_id: str = "abc", group: str = "grid", **options: Any) -> str:
    return mirror_run(folder, LoggerSettings(name="wandb", **options), Identity(group, "evaluate", run_id))


def place_of(line: str) -> Path:
    return Path(line.partition("wandb sync ")[2].partition("; missing")[0])


def read_back(place: Path) -> dict[str, list[dict[str, Any]]]:
    """The records of an offline run, by type."""
    done = subprocess.run(
        [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(place)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, list[dict[str, Any]]] = {}
    for line in done.stdout.splitlines():
        item = json.loads(line)
        found.setdefault(item["type"], []).append(item[item["type"]])
    return found


def tables(place: Path) -> dict[str, dict[str, Any]]:
    return {
        re.sub(r"_\d+_[0-9a-f]{20}\.table", "", path.stem): json.loads(path.read_text(encoding="utf-8"))
        for path in (place / "files" / "media" / "table" / "tables").iterdir()
    }


def rows_of(table: dict[str, Any]) -> list[dict[str, Any]]:
    return [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]


def test_an_offline_mirror_holds_the_run_and_can_be_sent(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_run(tmp_path / "run")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    environment, modules, start = dict(os.environ), set(sys.modules), time.perf_counter()
    line = mirror(folder, max_rows=20, tags=["first"])
    assert time.perf_counter() - start < 12 * SLOW
    place = place_of(line)
    assert line == f"W&B: offline (no API key), send it with: wandb sync {place}"
    assert place.parent == Path("run/wandb")
    assert capfd.readouterr() == ("", "")
    assert dict(os.environ) == environment
    assert not {name for name in set(sys.modules) - modules if name.split(".")[0] == "wandb"}
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
    assert not list((tmp_path / "home").rglob("*wandb*"))

    found = read_back(place)
    (run,) = found["run"]
    assert (run["run_id"], run["run_group"], run["job_type"], run["tags"]) == ("abc", "grid", "evaluate", ["first"])
    assert (run["project"], run["display_name"], run["notes"]) == ("bridgex", "qaa-qaf bli", "weak")
    config = run["config"]["update"]
    assert (config["seed"], config["run"]["config_hash"]) == (3, "0a1b2c3d")
    assert config["task"] == {"name": "bli", "api_key": "***"}
    summary = {key: value for record in found["summary"] for key, value in record["update"].items()}
    assert (summary["score/direct"], summary["score/via en"], summary["score_chosen"]) == (0.5, 0.48, 0.48)
    assert (summary["chosen"], summary["verdict"], summary["difference"]) == ("en", "no evidence", -0.02)
    assert (summary["predictions_shown"], summary["predictions_total"]) == (20, 100)
    assert not {"mcnemar_p", "regret", "chance"} & summary.keys()
    (glob,) = [metric for metric in found["metric"] if "glob_name" in metric]
    assert (glob["glob_name"], glob["step_metric"]) == ("hsic_raw/*", "block")
    blocks = [row["item"] for row in found["history"] if "hsic_raw/en" in row["item"]]
    lines = [(row["block"], row["hsic_raw/en"], row.get("hsic_raw/de")) for row in blocks]
    assert lines == [(2, 0.1, 0.2), (3, 0.3, None)]
    own = {record["name"]: record["manifest"]["contents"][0] for record in found["artifact"]}
    assert own["abc-predictions"]["local_path"] == str(folder / "predictions.jsonl")
    assert own["abc-ranking"]["local_path"] == str(folder / "ranking.json")
    assert [record["exit_code"] for record in found["exit"]] == [0]

    media = place / "files" / "media"
    assert [path.read_text() for path in (media / "html").iterdir()] == ["<p>a page</p>"]
    images = list((media / "images" / "figures").iterdir())
    assert sorted(path.name.partition("_")[0] for path in images) == ["blocks", "ranking"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in images)

    found = tables(place)
    assert set(found) == {"ranking", "routes", "predictions_20_of_100", "measures"}
    shown = rows_of(found["predictions_20_of_100"])
    assert all(row["prompt"].startswith(SCRIPT) for row in shown), "a prompt stays the text that it is"
    strata = Counter((row["route"], row["miss"]) for row in shown)
    assert strata[("via en", "bad_bridge")] == 1, "the rare miss is shown"
    assert all(4 <= strata[(route, miss)] <= 6 for route in ("direct", "via en") for miss in (None, "wrong"))
    assert {row["gold"] for row in shown} == {"a | b"}
    assert {row["bridge_output"] for row in shown if row["route"] == "via en"} == {"y"}
    en, de = rows_of(found["ranking"])
    assert (en["ci95_low"], en["first_choice"]) == (0.4, True)
    assert (de["score"], de["ci95_low"], de["first_choice"]) == (None, None, False)
    assert de["raw"] != de["raw"]
    (measure,) = found["measures"]["data"]
    assert measure[:5] == ["toy", "qaa", "qaf", None, None]
    assert found["routes"]["data"][0][:5] == ["direct", 0.5, 0.1, 0.9, 50]

    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with WandbServer() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        sync = [sys.executable, "-m", "wandb", "sync", str(place)]
        done = subprocess.run(sync, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert server.runs["abc"]["summary"]["verdict"] == "no evidence"
    assert {item["artifactTypeName"] for item in server.artifacts} == {"run_table", "predictions", "ranking"}
    assert any(path.endswith(".table.json") and SCRIPT.encode() in body for path, body in server.files.items())


def test_a_second_mirror_replaces_the_first_wherever_it_is_kept(tmp_path: Path) -> None:
    folder, shared = make_run(tmp_path / "run"), tmp_path / "shared folder"
    (folder / "metrics.json").unlink()
    (folder / "status.json").write_text(json.dumps({"state": "failed", "error": "out of memory"}))
    mirror(folder, "two", "g2", dir=str(shared))
    again = Path(str(place_of(mirror(folder, "two", "g2", dir=str(shared)))).strip("'"))
    assert [path.name for path in (shared / "wandb").glob("*run-*")] == [again.name]
    assert not (folder / "wandb").exists()
    found = read_back(again)
    assert [(run["run_id"], run["run_group"]) for run in found["run"]] == [("two", "g2")]
    summary = {key: value for record in found["summary"] for key, value in record["update"].items()}
    assert (summary["state"], summary["error"]) == ("failed", "out of memory")
    assert "score/direct" not in summary
    assert [record["exit_code"] for record in found["exit"]] == [1]


def test_an_open_run_of_the_users_own_is_left_alone(tmp_path: Path, repository: Path) -> None:
    make_run(tmp_path / "run")
    script = """
import wandb
from pathlib import Path
from bridgex.config.settings import LoggerSettings
from bridgex.lit.wandb_logger import mirror_run
from bridgex.records.mirror import Identity
own = wandb.init(mode="offline", id="own", settings=wandb.Settings(silent=True, console="off"))
print(mirror_run(Path("run"), LoggerSettings(name="wandb"), Identity("g", "evaluate", "abc")))
assert wandb.run is own
own.log({"x": 1})
own.finish()
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(repository)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    (own,) = (tmp_path / "wandb").glob("offline-run-*-own")
    (history,) = read_back(own)["history"]
    assert history["item"]["x"] == 1
    assert read_back(place_of(done.stdout.strip()))["run"][0]["run_id"] == "abc"


def test_a_host_that_refuses_is_left_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", "http://me:hunter2@127.0.0.1:9")
    monkeypatch.setattr(wandb_logger, "_INIT_SECONDS", 2.0)  # the test need not wait as long as a user may have to
    folder = make_run(tmp_path / "run")
    line = mirror(folder)
    assert line.startswith("W&B: offline (no answer from http://***@127.0.0.1:9 within 2 s), send it with: wandb sync")
    assert [path.name for path in (folder / "wandb").glob("*run-*")] == [place_of(line).name]
    assert "score/direct" in json.dumps(read_back(place_of(line))["summary"])


def test_a_host_that_never_answers_costs_under_twenty_seconds_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [make_run(tmp_path / name) for name in ("one", "two")]
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with socket.create_server(("127.0.0.1", 0)) as hole:  # the system takes calls, and nobody ever answers
        url = f"http://127.0.0.1:{hole.getsockname()[1]}"
        monkeypatch.setenv("WANDB_BASE_URL", url)
        start = time.perf_counter()
        first = mirror(folders[0], "one")
        middle = time.perf_counter()
        second = mirror(folders[1], "two")
    assert first.startswith(f"W&B: offline (no answer from {url} within 8 s), send it with: wandb sync one/")
    assert second.startswith(
        "W&B: offline (no answer to an earlier run of this command), send it with: wandb sync two/"
    )
    assert wandb_logger._INIT_SECONDS < middle - start < 20 * SLOW
    assert time.perf_counter() - middle < wandb_logger._INIT_SECONDS * SLOW
    assert wandb_logger._silent == {url}, "another server would be asked"


def test_online_the_run_arrives_once_and_no_secret_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_run(tmp_path / "run")
    address, token = "https://me:swordfish@host/m", "hf_" + "aB3" * 12
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("HF_TOKEN", "a-token-of-no-known-form")
    with (folder / "config.yaml").open("a") as config:
        config.write(f"model:\n  name: toy\n  path: {address}\n  note: a-token-of-no-known-form\n")
    status = {"state": "done", "notes": [f"read {address}"], "error": f"once {KEY}, {token}"}
    (folder / "status.json").write_text(json.dumps(status))
    (folder / "report.html").write_text(f"<p>{address}, {KEY}</p>")
    with WandbServer() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        line = mirror(folder, entity="someone", max_rows=20)
        assert line == f"W&B: {server.url}/someone/bridgex/runs/abc"
        assert mirror(folder, entity="someone", max_rows=20) == line
    assert list(server.runs) == ["abc"]
    run = server.runs["abc"]
    assert (run["groupName"], run["jobType"], run["displayName"]) == ("grid", "evaluate", "toy qaa-qaf bli")
    assert run["summary"]["score/direct"] == 0.5
    assert json.loads(run["config"])["seed"] == {"value": 3}
    assert json.loads(run["config"])["model"]["value"]["path"] == "https://***@host/m"
    assert run["summary"]["error"] == "once ***, ***"
    rows = [row for row in server.history["abc"] if "hsic_raw/en" in row]
    assert [(row["block"], row["hsic_raw/en"]) for row in rows] == [(2, 0.1), (3, 0.3)], "the second mirror adds none"
    assert {item["artifactTypeName"] for item in server.artifacts} == {"run_table", "predictions", "ranking"}
    assert "tables/predictions_20_of_100" in run["summary"], "the table is capped and says so"
    arrived = [body for path, body in server.files.items() if path.endswith("predictions.jsonl")]
    assert arrived[0] == (folder / "predictions.jsonl").read_bytes(), "the artifact is whole"
    left = b"".join(path.read_bytes() for path in (folder / "wandb").rglob("*") if path.is_file())
    sent = json.dumps([server.runs, server.history, server.artifacts]).encode() + b"".join(server.files.values())
    for secret in (KEY, "swordfish", token, "a-token-of-no-known-form", "hunter2"):
        assert secret.encode() not in left + sent
    assert not list((folder / "wandb").glob("staging*"))


def test_a_server_that_takes_nothing_does_not_hold_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_run(tmp_path / "run")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setattr(wandb_logger, "_SEND_SECONDS", 1.0)
    with WandbServer(stalls="uploads") as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        start = time.perf_counter()
        line = mirror(folder)
        assert time.perf_counter() - start < 15 * SLOW
    assert f"W&B: {server.url}/someone/bridgex/runs/abc, but not all of it was sent within 1 s, send it with" in line
    assert "score/direct" in json.dumps(read_back(place_of(line))["summary"])


def test_a_server_that_falls_silent_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_run(tmp_path / "run")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setattr(wandb_logger, "_ONLINE_SECONDS", 5.0)
    with WandbServer(stalls="questions") as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        line = mirror(folder)
        assert line.startswith("W&B: offline (not done after 5 s), send it with: wandb sync ")
    assert "score/direct" in json.dumps(read_back(place_of(line))["summary"])
    deadline = time.perf_counter() + 20
    while left := [process for process in psutil.process_iter() if is_of(process, folder)]:
        assert time.perf_counter() < deadline, left
        time.sleep(0.1)


def is_of(process: psutil.Process, folder: Path) -> bool:
    try:
        return str(folder) in process.environ().get("WANDB_DATA_DIR", "")
    except psutil.Error:
        return False


def test_what_cannot_be_is_said_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_run(tmp_path / "run")
    assert mirror(folder, mode="disabled") == "W&B: disabled, nothing was mirrored"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert mirror(folder, mode="online") == "W&B: disabled, nothing was mirrored"
    monkeypatch.setenv("WANDB_MODE", "nonsense")
    assert "WANDB_MODE=nonsense: not one of online, offline, disabled" in mirror(folder)
    assert not (folder / "wandb").exists()
    monkeypatch.setenv("WANDB_MODE", "dryrun")
    assert "nothing was mirrored (NotADirectoryError" in mirror(folder, dir=str(folder / "config.yaml"))
    monkeypatch.setattr(wandb_logger, "_OFFLINE_SECONDS", 0.01)
    assert mirror(folder) == "W&B: nothing was mirrored (not done after 0 s)"


def test_a_damaged_file_takes_no_other_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_run(tmp_path / "run")
    (folder / "ranking.json").write_text("{")
    (folder / "status.json").write_text("{")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with WandbServer() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        line = mirror(folder, mode="online")
    assert server.runs == {}, "who says offline means it"
    assert line.startswith("W&B: offline (WANDB_MODE=offline), send it with: wandb sync ")
    assert "; missing there: blocks: JSONDecodeError" in line
    found = read_back(place_of(line))
    assert "score/direct" in json.dumps(found["summary"])
    assert {record["name"] for record in found["artifact"]} == {"abc-predictions", "abc-ranking"}
    assert [record["exit_code"] for record in found["exit"]] == [1]


def test_the_yaml_files_and_the_options_agree() -> None:
    folder = command.config_dir() / "logger"
    config = OmegaConf.to_container(OmegaConf.load(folder / "wandb.yaml"))
    assert LoggerSettings.model_validate(config) == LoggerSettings(name="wandb")
    assert isinstance(config, dict)
    assert list(config) == list(LoggerSettings.model_fields)
    assert OmegaConf.to_container(OmegaConf.load(folder / "none.yaml")) == {"name": "none"}
    with pytest.raises(ValidationError, match="less than or equal to 10000"):
        LoggerSettings(max_rows=20_000)


@pytest.mark.parametrize("limit", [1, 3, 4, 10, 57, 1000])
def test_the_cap_is_drawn_evenly(limit: int) -> None:
    strata = [("direct", "")] * 600 + [("direct", "wrong")] * 300 + [("via en", "wrong")] * 99 + [("via en", "")]
    kept = wandb_content.evenly(strata, limit)
    assert kept == sorted(set(kept))
    assert len(kept) == min(limit, len(strata))
    counts = Counter(strata[index] for index in kept)
    assert len(counts) == min(limit, 4)
    if limit >= 10:
        assert all(abs(counts[s] - limit * strata.count(s) / 1000) <= 2 for s in counts)
    if limit == 57:
        gaps = [b - a for a, b in itertools.pairwise(kept) if b < 600]
        assert max(gaps) <= 3 * min(gaps), "they lie all over the stratum"
