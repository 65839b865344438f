"""Every task from the command to the page, with a model that knows nothing, on a few made-up rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import bridgex
from bridgex.records.store import read_metrics
from tests.end_to_end.conftest import Run
from tests.fakes.scripted_engine import make_data

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    # Lightning 2.6 uses a name that torch 2.13 has set aside.
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
]

FILES = {
    "config.yaml", "log.jsonl", "measures.jsonl", "metrics.json", "predictions.jsonl", "ranking.json", "report.html",
    "status.json",
}  # fmt: skip
TASKS: dict[str, dict[str, Any]] = {
    "bli": {"pair": "de-fr", "task__max_tokens": 3},
    "mt": {"pair": "de-fr", "task__max_tokens": 3, "task__held_out": 2, "task__shots": 1},
    "xnli": {"pair": "de-fr", "task__max_tokens": 3},
    "belebele": {"pair": "de-fr", "task__max_tokens": 3, "task__form": "cloze"},
    "xcopa": {"pair": "it-sw", "task__max_tokens": 3, "task__wording": "target", "task__shots": 2},
    "mgsm": {"pair": "de-fr", "task__max_tokens": 3, "task__answer_tokens": 4, "task__shots": 2},
    "nli": {"pair": "qaa-qaf"},
    "mrc": {"pair": "qaa-qaf"},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def keys_of(task: str, root: Path, shared: Path, **more: Any) -> dict[str, Any]:
    given = {"task": task, "task__limit": 3, "cache__dir": str(shared), "trainer__accelerator": "cpu", **TASKS[task]}
    if task not in ("nli", "mrc"):
        given |= {"model": "random", "data__root": str(root)}
    return given | more


@pytest.mark.parametrize("task", TASKS)
def test_every_task_leaves_all_its_files(task: str, root: Path, shared: Path, tmp_path: Path) -> None:
    is_toy = task in ("nli", "mrc")
    bridge = "qad" if is_toy else "en"
    given = keys_of(task, root, shared, bridge="fixed", bridge__language=bridge)
    run = bridgex.evaluate(tmp_path / "run", **given)
    assert {path.name for path in run.folder.iterdir()} >= FILES - {"report.html"}
    assert run.status.state == "done"
    assert run.metrics is not None
    assert run.ranking is not None
    assert (run.metrics.task, run.metrics.n, run.metrics.chosen, run.metrics.chosen_by) == (task, 3, bridge, "fixed")
    expected = ["direct", "translated", f"via {bridge}", f"via {bridge} (gold)"]
    has_context = task not in ("bli", "mt")
    routes = [
        route for route in expected if (route != "translated" or has_context) and ("gold" not in route or task != "bli")
    ]
    assert list(run.metrics.routes) == routes
    assert run.metrics.metric == ("chrF" if task == "mt" else "accuracy")
    assert (run.metrics.against_translated is not None) == has_context
    assert len(run.predictions) == 3 * len(routes)
    for prediction in run.predictions:
        assert prediction.steps
        assert prediction.correct or prediction.miss is not None
        assert (prediction.bridge_text is None) or prediction.route != "direct"
    before = (run.folder / "predictions.jsonl").read_bytes()
    # What a kill in the middle of a line leaves.
    metrics = (run.folder / "metrics.json").read_bytes()
    (run.folder / "metrics.json").unlink()
    (run.folder / "predictions.jsonl").write_bytes(before[: len(before) * 2 // 3])
    again = bridgex.evaluate(tmp_path / "run", **given)
    assert (run.folder / "metrics.json").read_bytes() == metrics
    assert sorted((run.folder / "predictions.jsonl").read_bytes().splitlines()) == sorted(before.splitlines())
    assert again.metrics == run.metrics


def test_a_choice_by_chance_is_evaluated_too(root: Path, shared: Path, tmp_path: Path) -> None:
    given = keys_of(
        "belebele", root, shared, bridge="random", bridge__candidates=["en", "es"], bridge__translate="both"
    )
    run = bridgex.evaluate(tmp_path / "run", **given)
    assert run.metrics is not None
    assert run.metrics.chosen in ("en", "es")
    via = [prediction for prediction in run.predictions if prediction.route == f"via {run.metrics.chosen}"]
    # A byte model's answer may be no text, and then nothing more is asked.
    assert {len(prediction.steps) for prediction in via} <= {1, 6, 7}


def test_all_strategies_side_by_side_leave_a_page(command: Run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    done = command(
        "task=nli", "bridge=compare", "bridge.candidates=[qad,qaj]", "task.limit=3", "probe.limit=24",
        "bridge.hsic.bootstrap=10", "bridge.hsic.draws=9", "bridge.hsic.orders=1", f"hydra.run.dir={folder}",
    )  # fmt: skip
    assert {path.name for path in folder.iterdir()} == FILES
    metrics = read_metrics(folder)
    assert set(metrics.routes) == {
        "direct", "translated", "via qad", "via qaj", "via qad (gold)", "via qaj (gold)",
    }  # fmt: skip
    assert metrics.routes["via qad (gold)"].score == 1.0, "who gets the texts of the hub itself can tell"
    assert metrics.oracle is None or metrics.oracle.bridge in ("qad", "qaj")
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert all(route in page for route in metrics.routes)
    assert "translated" in done.stdout
    ranking = json.loads((folder / "ranking.json").read_text(encoding="utf-8"))
    assert {"hsic", "confidence", "oracle"} <= set(ranking["strategies"])


def test_a_pair_that_the_data_lack_is_one_line_with_the_nearest_task(command: Run, root: Path, tmp_path: Path) -> None:
    done = command("model=random", "pair=en-xh", "task=xnli", f"data.root={root}", "bridge=none", status=1)
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: xnli: no Xhosa (xh)")
    assert "Xhosa is in afrixnli (task=xnli task.variant=afrixnli)" in line
    assert not (tmp_path / "outputs").exists()
