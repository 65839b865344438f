"""Strategies of every kind, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.conftest import Run


def read(path: Path) -> dict[str, Any]:
    found = json.loads(path.read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def test_convergence_ranks_the_default_pair(command: Run, tmp_path: Path) -> None:
    done = command("bridge=convergence", "hydra.run.dir=run")
    metrics, ranking = read(tmp_path / "run" / "metrics.json"), read(tmp_path / "run" / "ranking.json")
    record = ranking["strategies"]["convergence"]
    assert metrics["chosen_by"] == "convergence"
    assert metrics["chosen"] == "qad", "the hub of the target's family, the best by construction"
    assert list(metrics["routes"]) == ["direct", "via qad"]
    assert all(found["ci95"] and found["p_rank1"] is not None for found in record["scores"].values())
    assert record["uses_dictionary"]
    assert "bridge helps" in done.stdout


def test_a_weak_pair_takes_the_bridge(command: Run, tmp_path: Path) -> None:
    command("bridge=hsic_or_direct", "hydra.run.dir=run")
    metrics, ranking = read(tmp_path / "run" / "metrics.json"), read(tmp_path / "run" / "ranking.json")
    against = ranking["strategies"]["hsic_or_direct"]["against_direct"]
    assert (metrics["chosen"], metrics["chose_direct"], against["chose_direct"]) == (against["bridge"], False, False)
    assert against["ci95"][0] > 0
    assert metrics["routes"][f"via {metrics['chosen']}"]["score"] > metrics["routes"]["direct"]["score"]


def test_a_strong_pair_goes_directly(command: Run, tmp_path: Path) -> None:
    """Between hubs the model needs no bridge, and is no surer of itself through one."""
    done = command("bridge=hsic_or_direct", "pair=qaa-qad", "hydra.run.dir=run")
    metrics, ranking = read(tmp_path / "run" / "metrics.json"), read(tmp_path / "run" / "ranking.json")
    assert (metrics["chosen"], metrics["chosen_by"], metrics["chose_direct"]) == (None, "hsic_or_direct", True)
    assert (ranking["chosen"], ranking["chose_direct"]) == (None, True)
    assert list(metrics["routes"]) == ["direct"]
    assert (metrics["paired"], metrics["oracle"]) == (None, None)
    assert "no bridge: direct was chosen (by hsic_or_direct)" in done.stdout
    assert "No bridge: direct was chosen by hsic_or_direct" in (tmp_path / "run" / "report.html").read_text()


def test_compare_may_choose_direct_and_counts_its_regret(command: Run, tmp_path: Path) -> None:
    command("bridge=compare", "bridge.primary=hsic_or_direct", "bridge.margin=9", "hydra.run.dir=run")
    metrics, ranking = read(tmp_path / "run" / "metrics.json"), read(tmp_path / "run" / "ranking.json")
    assert (metrics["chosen"], metrics["chose_direct"]) == (None, True)
    assert set(metrics["routes"]) == {"direct", "via qad", "via qag", "via qaj"}
    oracle, direct = metrics["oracle"], metrics["routes"]["direct"]["score"]
    assert oracle["regret"] == pytest.approx(oracle["score"] - direct)
    assert oracle["regret_with_direct"] == pytest.approx(oracle["score_with_direct"] - direct)
    strategies = ranking["strategies"]
    assert strategies["hsic_or_direct"]["scores"] == strategies["hsic"]["scores"]
    assert all(found["missing"] is None for found in strategies.values())
    for name in ("convergence", "alignment", "typology"):
        assert strategies[name]["scores"]["qad"]["rank"] == 1, "the hub of the target's family"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["bridge.convergence.block=first"], "bridge.convergence.block=first: should be a block from 1 on, or last"),
        (["bridge.convergence.block=0"], "bridge.convergence.block=0: should be a block from 1 on, or last"),
        (["bridge.convergence.block=true"], "bridge.convergence.block=True: should be a block from 1 on, or last"),
        (["bridge.convergence.prompt=x"], "bridge.convergence.prompt=x: must name {word}"),
        (["bridge.margin=wide"], "bridge.margin=wide"),
    ],
)
def test_a_wrong_key_is_one_line(command: Run, arguments: list[str], expected: str) -> None:
    done = command(*arguments, status=1)
    (line,) = done.stderr.splitlines()
    assert expected in line


def test_a_block_that_the_model_lacks_is_one_line(command: Run) -> None:
    done = command("bridge=convergence", "bridge.convergence.block=9", status=1)
    (line,) = [found for found in done.stderr.splitlines() if found.startswith("error: ")]
    assert line == (
        "error: bridge=convergence: bridge.convergence.block=9: the model has blocks 1 to 5. Give one of them, or last"
    )


def test_a_strategy_whose_data_are_not_there_ends_with_what_to_do(command: Run, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("".join(f"w{n} v{n}\n" for n in range(40)))
    given = ["model=random", "pair=de-fr", f"data.dictionary={words}", "bridge.candidates=[en]", "task.limit=2"]
    done = command(*given, "bridge=alignment", status=1)
    assert "bridge=alignment: no parallel sentences of de, fr, en: there is none" in done.stderr
    assert "Traceback" not in done.stderr
