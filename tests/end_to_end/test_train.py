"""train.py as a user runs it: the default, freezing, a kill -9, mistakes, real rows."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bridgex.errors import UserError
from bridgex.records.train_files import CHECKPOINTS, read_answers, read_drift, read_train_metrics
from bridgex.records.train_schema import TrainMetrics
from tests.end_to_end.conftest import Run
from tests.fakes.tiny_classifiers import write_model

SLOW = float(os.environ.get("BRIDGEX_SLOW_MACHINE", "1"))
SMALL = ["targets=[qab,qad,qae,qaf,qag]", "finetune.steps=12", "controls.hypothesis_only=false", "task.limit=60"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("train-cache")


def files_of(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def content(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return found


@pytest.fixture(scope="module")
def default(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, float]:
    place = tmp_path_factory.mktemp("default")
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, str(repository / "train.py"), "hydra.run.dir=run"],
        cwd=place,
        env={**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=290,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return place / "run", done.stdout, time.monotonic() - start


@pytest.mark.slow
def test_is_done_in_time_and_leaves_its_files(default: tuple[Path, str, float]) -> None:
    folder, told, seconds = default
    assert seconds < 180 * SLOW
    kept = {"config.yaml", "status.json", "log.jsonl", "metrics.json", "measures.jsonl", "drift.jsonl"}
    assert files_of(folder) == kept | {"answers.jsonl", "report.html"}
    assert "page: run/report.html" in told
    assert "qal" in told
    page = (folder / "report.html").read_text()
    assert "qal" in page
    assert read_train_metrics(folder).survives in told


@pytest.mark.slow
def test_the_source_is_above_its_targets_and_drift_grows_with_depth(default: tuple[Path, str, float]) -> None:
    metrics = read_train_metrics(default[0])
    source = metrics.transfer["qaa"].score
    others = {code: score.score for code, score in metrics.transfer.items() if code != "qaa"}
    assert len(others) == 11
    assert all(source > score for score in others.values())
    assert metrics.depth is not None
    assert metrics.depth > 0.8


@pytest.mark.slow
def test_controls_are_where_they_must_be(default: tuple[Path, str, float]) -> None:
    metrics = read_train_metrics(default[0])
    controls = metrics.controls
    assert controls.hypothesis_only is not None
    assert controls.chance == controls.majority == pytest.approx(1 / 3)
    # No property of a hypothesis alone tells its label, by construction.
    assert all(0.2 < score < 0.45 for score in controls.hypothesis_only.values())
    assert all(metrics.transfer[code].score > controls.hypothesis_only[code] + 0.2 for code in metrics.transfer)
    assert set(controls.alignment) == set(controls.profile_similarity) == set(metrics.transfer) - {"qaa"}
    family = [controls.profile_similarity[code] for code in ("qab", "qac")]
    assert min(family) > max(value for code, value in controls.profile_similarity.items() if code > "qac")
    assert set(metrics.distances) == {"genealogical", "coverage"}


@pytest.mark.slow
def test_every_correlation_has_its_corrected_p(default: tuple[Path, str, float]) -> None:
    relations = read_train_metrics(default[0]).relations
    assert {row.relation for row in relations} == {"drift ~ distance", "drift ~ transfer", "distance ~ transfer"}
    assert all(row.p <= row.p_corrected + 1e-9 and row.p <= row.p_holm + 1e-9 for row in relations)


def small(folder: Path, cache: Path, **more: Any) -> TrainMetrics:
    """A short run in this process, which has imported everything already."""
    from bridgex import train

    keys: dict[str, Any] = {
        "targets": ["qab", "qad", "qae", "qaf", "qag"], "finetune__steps": 12, "controls__hypothesis_only": False,
        "task__limit": 60, "cache__dir": str(cache),
    }  # fmt: skip
    found = train(folder, **{**keys, **more}).metrics
    assert found is not None
    return found


def test_same_seed_same_figures_and_another_seed_others(tmp_path: Path, shared: Path) -> None:
    one, same, other = (small(tmp_path / name, shared, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    assert one == same
    assert one.drift != other.drift
    assert one.base_fingerprint == other.base_fingerprint


def test_nothing_moves_up_to_the_frozen_block(tmp_path: Path, shared: Path) -> None:
    for name, frozen, more in (("bottom", 2, {"freeze__bottom": 2}), ("embeddings", 0, {})):
        metrics = small(tmp_path / name, shared, freeze=name, **more)
        for record in read_drift(tmp_path / name):
            for values in (record.unbiased, record.biased):
                assert max(abs(value or 0.0) for value in values[: frozen + 1]) <= 1e-12
                assert min(value or 0.0 for value in values[frozen + 1 :]) > 1e-8
        # What cannot move is not ranked.
        assert all(row.block is None or row.block > frozen for row in metrics.relations)


@pytest.mark.slow
def test_goes_on_after_kill_9_and_ends_the_same(command: Run, repository: Path, tmp_path: Path) -> None:
    keys = [*SMALL, "finetune.steps=90", "drift.every=40", "controls.hypothesis_only=true"]
    command(*keys, "hydra.run.dir=whole", f"cache.dir={tmp_path / 'one'}", entry="train")
    arguments = [*keys, "hydra.run.dir=cut", f"cache.dir={tmp_path / 'two'}"]
    cut = tmp_path / "cut"

    def killed_when(is_time: Any) -> bool:
        process = subprocess.Popen(
            [sys.executable, str(repository / "train.py"), *arguments],
            cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        while process.poll() is None and not is_time():
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        return process.wait() == -signal.SIGKILL

    measured = cut / "measured"
    moments = [
        lambda: (measured / "untrained-0-qad.json").is_file(),  # while the model before is read
        lambda: (measured / "fine-tuned-40-qad.json").is_file(),  # while it is trained
        lambda: (measured / "fine-tuned-90-qad.json").is_file(),  # while the one after is read
        lambda: (cut / CHECKPOINTS["hypothesis-only"]).is_file(),
    ]
    killed = [killed_when(is_time) for is_time in moments]
    assert killed[:2] == [True, True]
    command(*arguments, entry="train")
    assert content(tmp_path / "whole") == content(cut)
    for name in ("drift.jsonl", "answers.jsonl", "measures.jsonl"):
        assert (tmp_path / "whole" / name).read_bytes() == (cut / name).read_bytes()
    assert files_of(cut) == files_of(tmp_path / "whole")
    assert {record.step for record in read_drift(cut)} == {40, 80, 90}


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        (["source=en"], "source=en: model=toy speaks its own invented languages only"),
        (["model=random"], "source=qaa: invented, and only model=toy speaks it"),
        (
            ["task=bli"],
            "task=bli: has no pairs of texts with classes, and train.py fine-tunes on these. Use task=xnli or task=nli",
        ),
        (["data.dictionary=words.txt"], "data.dictionary: no such key. Allowed here: root, text"),
        (["task=xnli"], "task=xnli: is put in a form for real languages"),
        (["targets=[qab,qaz]"], "no language 'qaz'"),
        (["finetune.accumulate=5"], "finetune.accumulate=5: does not cut finetune.batch_size=32 into equal passes"),
        (["finetune.precision=fp16"], "finetune.precision=fp16: not allowed. Allowed: 32-true, bf16-mixed, 16-mixed"),
        (["finetune.split=more"], "no Toy A hub (qaa) more rows in"),
        (["finetune.split=test"], "finetune.split=test: is what is measured. Train on train or validation"),
        (["seed=99999999999"], "seed=99999999999: should be less than 4294967296"),
        (["freeze.layers=[1]"], "freeze.layers=[1]: is for freeze=layers, and freeze=none was given"),
        (["trainer.devices=2"], "trainer.devices=2: fine-tuning runs on one device"),
        (["freeze=layers"], "freeze.layers: empty, and freeze=layers freezes the blocks it names"),
        (["freeze=by_correlation"], "freeze.relations: not set"),
        (["drift.distances=none.csv"], "drift.distances=none.csv: no such file"),
        (["model.quantization=8bit"], "model.quantization=8bit: is for evaluate.py"),
        (["drift.pooling=[clx]"], "drift.pooling.0=clx: not allowed (nearest: cls)"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_loaded(
    command: Run, tmp_path: Path, keys: list[str], line: str
) -> None:
    done = command(*keys, "hydra.run.dir=run", entry="train", status=1)
    errors = [text for text in done.stderr.splitlines() if text]
    assert len(errors) == 1
    assert line in errors[0]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"task__limit": 3}, "3 test pairs that all of"),
        ({"freeze": "layers", "freeze__layers": [9]}, "freeze.layers=9: the model has blocks 1 to 5"),
        ({"drift__pooling": ["cls"]}, "drift.pooling=cls: the inputs of toy begin with no token that stands for all"),
        ({"finetune__max_length": 600}, "finetune.max_length=600: toy reads 512 tokens at most"),
        ({"finetune__warmup_steps": 12}, "finetune.warmup_steps=12: the training has 12 steps"),
        ({"finetune__learning_rate": 1e9, "finetune__clip_norm": None}, "the loss is not finite at step"),
    ],
)
def test_what_shows_later_is_one_line_too(tmp_path: Path, shared: Path, keys: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError) as caught:
        small(tmp_path / "run", shared, **keys)
    (problem,) = caught.value.problems
    assert line in problem
    assert not (tmp_path / "run" / "metrics.json").exists()


@pytest.mark.slow
def test_an_encoder_on_real_rows(command: Run, tmp_path: Path, test_data: Path) -> None:
    write_model(tmp_path / "model", "xlm_roberta")
    table = tmp_path / "far.csv"
    codes = ["de", "es", "fr", "sw", "tr", "zh"]
    table.write_text("a,b,script\n" + "".join(f"en,{code},0.{place}\n" for place, code in enumerate(codes)))
    command(
        "model=hf", f"model.path={tmp_path / 'model'}", "task=xnli", "source=en", f"targets=[{','.join(codes)}]",
        "finetune.split=validation", "finetune.steps=6", "task.limit=30", f"data.root={test_data}",
        "drift.pooling=[cls,mean]", f"drift.distances={table}", "finetune.keep_model=true", "hydra.run.dir=run",
        f"cache.dir={tmp_path / 'cache'}", entry="train",
    )  # fmt: skip
    metrics = read_train_metrics(tmp_path / "run")
    assert metrics.pooling == "cls"
    assert metrics.distances_origin == "far.csv"
    assert set(metrics.transfer) == {"en", *codes}
    assert all(0 not in blocks for blocks in metrics.drift.values())  # [CLS] at the embeddings is the same for all
    assert {record.pooling for record in read_drift(tmp_path / "run")} == {"cls", "mean"}
    assert len(read_answers(tmp_path / "run")) == 3 * 7 * 30
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    kept = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run" / "model")
    assert kept.config.num_labels == 3
    AutoTokenizer.from_pretrained(tmp_path / "run" / "model")
    # What the base is can be seen: the fine-tuned folder as base has another fingerprint.
    command(
        "model=hf", f"model.path={tmp_path / 'run' / 'model'}", "task=xnli", "source=en", "targets=[de]",
        "finetune.split=validation", "finetune.steps=2", "task.limit=12", f"data.root={test_data}",
        "controls.hypothesis_only=false", "hydra.run.dir=again", f"cache.dir={tmp_path / 'cache'}", entry="train",
    )  # fmt: skip
    assert read_train_metrics(tmp_path / "again").base_fingerprint != metrics.base_fingerprint


def test_a_missing_part_names_what_is_there(command: Run, tmp_path: Path, test_data: Path) -> None:
    done = command(
        "model=random", "source=en", "task=xnli", f"data.root={test_data}", "hydra.run.dir=run", entry="train", status=1
    )
    assert "--train" in done.stderr
    assert "There are validation rows: finetune.split=validation" in done.stderr


def test_from_python(tmp_path: Path, shared: Path) -> None:
    from bridgex import train

    run = train(
        tmp_path / "run", targets=["qab", "qaf"], finetune__steps=3, controls__hypothesis_only=False, task__limit=12,
        cache__dir=str(shared), callbacks="default",
    )  # fmt: skip
    assert isinstance(run.metrics, TrainMetrics)
    assert set(run.metrics.transfer) == {"qaa", "qab", "qaf"}
    assert {record.language for record in run.drift} == {"qaa", "qab", "qaf"}


def test_several_sources_at_once(tmp_path: Path, shared: Path) -> None:
    from bridgex import train

    run = train(
        tmp_path / "run", source="qaa+qad", targets=["qab", "qaf"], finetune__steps=3, controls__hypothesis_only=False,
        task__limit=12, cache__dir=str(shared),
    )  # fmt: skip
    assert run.metrics is not None
    assert run.metrics.source == "qaa+qad"
    scores = run.metrics.transfer
    assert list(scores) == ["qaa", "qad", "qab", "qaf"]
    assert scores["qaa"].gap is None
    assert scores["qad"].gap is None
    assert scores["qaf"].gap == pytest.approx((scores["qaa"].score + scores["qad"].score) / 2 - scores["qaf"].score)
    # Sources have no distance from themselves, and the others the mean over both.
    assert run.metrics.distances["genealogical"] == {"qab": 0.75, "qaf": 0.75}
