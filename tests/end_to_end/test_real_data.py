"""Every task on the hub's own data with a model that knows nothing: it runs, and scores as one that knows nothing."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binomtest

Run = Callable[..., "subprocess.CompletedProcess[str]"]

PAIRS = {
    "xnli": ("en-sw", "de-fr", "ar-hi", "zh-vi", "my-ur"),
    "belebele": ("de-vi", "en-id", "th-zh", "my-en", "vi-de"),
    "xcopa": ("en-sw", "it-id", "th-tr", "zh-vi", "sw-en"),
    "mgsm": ("en-sw", "de-ja", "fr-th", "ru-zh", "sw-es"),
    "mt": ("en-sw", "de-ja", "ar-he", "th-vi", "yo-am"),
    "bli": ("en-sw", "de-fr", "ar-he", "zh-ja", "sw-en"),
}
FILES = {
    "config.yaml", "status.json", "log.jsonl", "ranking.json", "predictions.jsonl", "metrics.json", "measures.jsonl",
    "report.html",
}  # fmt: skip
# Enough for the shape of every step; a model that knows nothing never ends one by itself.
SHORT = {"mgsm": ("task.answer_tokens=12", "task.max_tokens=12"), "bli": ("task.max_tokens=8",)}


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("task", PAIRS)
def test_every_task_runs_from_end_to_end(command: Run, tmp_path: Path, test_data: Path, task: str) -> None:
    command(
        "-m", "model=random", f"pair={','.join(PAIRS[task])}", f"task={task}", "task.limit=4", "bridge=random",
        f"data.root={test_data}", "hydra.sweep.dir=sweep", *SHORT.get(task, ("task.max_tokens=12",)),
    )  # fmt: skip
    cells = [path.parent for path in (tmp_path / "sweep").glob("*/config.yaml")]
    assert len(cells) == 5
    for cell in cells:
        assert {path.name for path in cell.iterdir()} >= FILES
        metrics, status = read(cell / "metrics.json"), read(cell / "status.json")
        assert status["state"] == "done"
        assert metrics["n"] == 4
        has_context = task not in ("bli", "mt")
        routes = {"direct", f"via {metrics['chosen']}"} | ({"translated"} if has_context else set())
        assert routes <= set(metrics["routes"]) <= routes | {f"via {metrics['chosen']} (gold)"}
        lines = (cell / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
        assert len(lines) == 4 * len(metrics["routes"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "pair"),
    [("xnli", "en-sw"), ("xnli", "zh-vi"), ("belebele", "de-vi"), ("belebele", "en-id"), ("xcopa", "en-sw")],
)
def test_a_model_that_knows_nothing_scores_no_more_than_the_largest_class(
    command: Run, tmp_path: Path, test_data: Path, task: str, pair: str
) -> None:
    limit = {"xnli": 300, "belebele": 60, "xcopa": 300}[task]
    command(
        "model=random", f"pair={pair}", f"task={task}", f"task.limit={limit}", "bridge=none", f"data.root={test_data}",
        "hydra.run.dir=run",
    )  # fmt: skip
    metrics = read(tmp_path / "run" / "metrics.json")
    gold = Counter(
        json.loads(line)["gold"][0]
        for line in (tmp_path / "run" / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    )
    n, right = metrics["n"], round(metrics["routes"]["direct"]["score"] * metrics["n"])
    # Bonferroni over the five cells: each interval holds with 99 %.
    interval = binomtest(right, n).proportion_ci(0.99)
    assert min(gold.values()) / n <= interval.high
    assert interval.low <= max(gold.values()) / n
    assert metrics["majority"] == max(gold.values()) / n


@pytest.mark.slow
def test_words_of_a_pair_that_muse_lacks_are_named_as_what_they_are(
    command: Run, tmp_path: Path, test_data: Path
) -> None:
    command(
        "model=random", "pair=en-sw", "task=bli", "task.limit=4", "task.max_tokens=4", "bridge=none",
        f"data.root={test_data}", "hydra.run.dir=run",
    )  # fmt: skip
    assert "words from freedict_sw/en-sw.test.txt" in read(tmp_path / "run" / "status.json")["notes"]


@pytest.mark.slow
def test_english_xcopa_is_copas_and_says_so(command: Run, tmp_path: Path, test_data: Path) -> None:
    command(
        "model=random", "pair=en-th", "task=xcopa", "bridge=none", "task.limit=4", f"data.root={test_data}",
        "hydra.run.dir=run",
    )  # fmt: skip
    status = read(tmp_path / "run" / "status.json")
    assert any("250 of 500 rows of th ask for the wrong thing upstream" in note for note in status["notes"])
    assert "items from en: xcopa/en (COPA); th: xcopa/th" in status["details"]
