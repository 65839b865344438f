from __future__ import annotations

from pathlib import Path

import pytest

from bridgex.config.settings import from_yaml
from bridgex.records import train_sweep
from bridgex.records.files import write_text
from bridgex.records.train_sweep import TrainSummary, freeze_setting, is_train_sweep, write_train_summary
from tests.report import made_up
from tests.report import made_up_relate as made


def test_every_cell_has_a_row_whatever_became_of_it(tmp_path: Path) -> None:
    done = made.run(tmp_path, "en+de", 2, "bottom", score=lambda code: 0.5 + made.CODES.index(code) / 20)
    failed = made.run(tmp_path, "fr", 1)
    write_text(failed / "status.json", made_up.status("failed", error="file.txt:3: broken").model_dump_json())
    damaged = made.run(tmp_path, "sw")
    write_text(damaged / "metrics.json", "{")
    (tmp_path / "z").mkdir()
    write_text(tmp_path / "z" / "status.json", "{")
    cells = [done, failed, damaged, tmp_path / "z"]
    rows = write_train_summary(tmp_path, cells).cells
    assert TrainSummary.model_validate_json((tmp_path / "summary.json").read_bytes()).cells == rows
    assert [(row.state, row.source, row.seed, row.freeze, row.error) for row in rows] == [
        ("done", "en+de", 2, "embeddings, blocks 1 2", None),
        ("failed", "fr", 1, "none", "file.txt:3: broken"),
        ("done", "sw", 0, "none", None),
        ("interrupted", "", None, "none", "status.json is missing or damaged"),
    ]
    first = rows[0]
    assert (first.model, first.task, first.seconds, first.depth) == ("mbert", "xnli", 60.0, 1.0)
    assert first.source_score == pytest.approx(0.525)
    assert first.target_score == pytest.approx(0.5 + sum(range(2, 8)) / 6 / 20)
    assert first.gap == pytest.approx(0.525 - 0.5 - sum(range(2, 8)) / 6 / 20)
    for row in rows[1:]:
        assert (row.source_score, row.target_score, row.gap, row.depth) == (None,) * 4


def test_languages_that_chose_the_blocks_are_in_no_mean(tmp_path: Path) -> None:
    run = made.run(
        tmp_path, freeze="by_correlation", score=lambda code: 0.0 if code == "de" else 0.6, unreported=["de"]
    )
    (row,) = write_train_summary(tmp_path, [run]).cells
    assert row.target_score == pytest.approx(0.6)
    assert row.gap == pytest.approx(0)


@pytest.mark.parametrize(
    ("node", "words"),
    [
        ({"name": "none"}, "none"),
        ({"name": "embeddings", "embeddings": True}, "embeddings"),
        ({"name": "layers", "layers": [5, 2]}, "blocks 2 5"),
        ({"name": "bottom", "bottom": 2}, "embeddings, blocks 1 2"),
        ({"name": "random", "num_layers": 3, "embeddings": False}, "3 blocks at random"),
        ({"name": "random", "num_layers": 1, "embeddings": True}, "embeddings, 1 block at random"),
        ({"name": "by_correlation", "num_layers": 3, "kind": "syntactic"}, "3 blocks by syntactic correlation"),
        ({"name": "random", "num_layers": 2, "layers": [1]}, "2 blocks at random, blocks 1"),
        (None, "as recorded"),
    ],
)
def test_a_setting_has_the_same_name_for_every_seed(node: dict[str, object] | None, words: str) -> None:
    assert freeze_setting({} if node is None else {"freeze": node}, "as recorded") == words


def test_the_first_cell_that_can_be_read_tells_whose_sweep_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated, trained = made_up.compare_run(tmp_path / "a"), made.run(tmp_path)
    (tmp_path / "c").mkdir()
    assert is_train_sweep([tmp_path / "c", trained])
    assert not is_train_sweep([evaluated, tmp_path / "c"])
    assert not is_train_sweep([])
    read: list[Path] = []
    monkeypatch.setattr(train_sweep, "from_yaml", lambda path: read.append(path) or from_yaml(path))
    assert is_train_sweep([tmp_path / "c", trained, trained, trained])
    assert not is_train_sweep([evaluated] * 9)
    assert len(read) == 3
