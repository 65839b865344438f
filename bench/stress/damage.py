"""Files cut short at random places, and random bits flipped in them: never other numbers, never a traceback."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.stress.commands import (
    EVALUATE,
    SWEEP,
    TRAIN,
    Command,
    Ended,
    cache_of,
    differences,
    errors_of,
    manner_problems,
    unbroken,
)
from bench.stress.inside import captured, run_inside
from bench.stress.outcomes import Bench, Outcome
from bridgex import training
from bridgex.data.sources import toy_world
from bridgex.exits import guard
from bridgex.records.files import write_json
from bridgex.records.store import read_status
from bridgex.records.sweep import cells_of
from bridgex.report import html, status_table

# Of each file, so many times cut and so many times flipped; of a training, half as often.
_TIMES = 2


@dataclass(frozen=True)
class Scene:
    """A state of folders, in which single files are damaged.

    Attributes:
        name: in findings.
        command: what goes on with it.
        whole: what an unbroken run of it leaves.
        make: puts it into a new place, with its cache beside it.
        files: which are damaged, as patterns below the place or its cache, each with the words of which a refusal must
            name one.
    """

    name: str
    command: Command
    whole: Path
    make: Callable[[Path], None]
    files: Sequence[tuple[str, tuple[str, ...]]]


def damage(bench: Bench) -> Outcome:
    """Damages every kind of file that is read again, one at a time."""
    outcome, chance = Outcome("cut and flipped files"), random.Random(bench.seed)
    for scene in (_done(bench), _halfway(bench), _training(bench)):
        for told, problems in _in_scene(bench, scene, chance):
            outcome.count(f"{scene.name}: {told}", problems)
    for trial in (_model_files, _sweep_files):
        for told, problems in trial(bench, chance):
            outcome.count(told, problems)
    return outcome


def broken(path: Path, chance: random.Random, is_cut: bool, within: int | None = None) -> str:
    """Cuts a file at a random place, or flips one of its bits; says what was done."""
    content = bytearray(path.read_bytes())
    place = chance.randrange(min(len(content), within or len(content)))
    if is_cut:
        path.write_bytes(content[:place])
        return f"{path.name} cut to {place} of {len(content)} bytes"
    bit = chance.randrange(8)
    content[place] ^= 1 << bit
    path.write_bytes(content)
    return f"{path.name} with bit {bit} of byte {place} flipped"


def _copied(whole: Path, place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    shutil.rmtree(cache_of(place), ignore_errors=True)
    shutil.copytree(whole, place)
    shutil.copytree(cache_of(whole), cache_of(place))


def _interrupted(place: Path, *gone: str) -> None:
    """Makes a finished run's folder that of a run that was killed."""
    status = read_status(place)
    assert status is not None
    write_json(place / "status.json", status.model_copy(update={"state": "interrupted", "end": None}))
    for name in gone:
        for path in place.glob(name):
            path.unlink()


def _done(bench: Bench) -> Scene:
    whole = unbroken(bench, EVALUATE).place
    own = ("status.json", "config.yaml", "metrics.json", "ranking.json", "predictions.jsonl", "measures.jsonl")
    return Scene("a finished run", EVALUATE, whole, lambda place: _copied(whole, place), [(name, ()) for name in own])


def _halfway(bench: Bench) -> Scene:
    whole = unbroken(bench, EVALUATE).place

    def make(place: Path) -> None:
        _copied(whole, place)
        _interrupted(place, "metrics.json", "report.html")
        path = place / "predictions.jsonl"
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[::2]))

    files = [
        ("status.json", ("status.json",)),
        ("config.yaml", ()),
        ("ranking.json", ()),
        ("predictions.jsonl", ("predictions.jsonl",)),
        ("cache:answers/*/*.jsonl", ()),
        ("cache:profiles/*.npz", ()),
        ("cache:fingerprints.jsonl", ()),
    ]
    return Scene("half a run", EVALUATE, whole, make, files)


def _training(bench: Bench) -> Scene:
    """A run of train.py that was killed while the fine-tuned model was read."""
    whole, kept = unbroken(bench, TRAIN).place, bench.home / "damage" / "training"
    shutil.copytree(cache_of(whole), cache_of(kept), dirs_exist_ok=True)
    clean_up, training.clean_up = training.clean_up, lambda folder: None
    try:
        ended = run_inside(TRAIN, kept, cache_of(kept))
    finally:
        training.clean_up = clean_up
    assert ended.status == 0, ended.err

    def make(place: Path) -> None:
        _copied(kept, place)
        _interrupted(place, "metrics.json", "drift.jsonl", "answers.jsonl", "measures.jsonl")
        shutil.rmtree(place / "model")
        for path in sorted(place.glob("measured/fine-tuned-30-*.json"))[2:]:
            path.unlink()

    files = [
        ("checkpoint.ckpt", ()),
        ("checkpoint-hypothesis.ckpt", ()),
        ("measured/fine-tuned-30-*.json", ()),
        ("measured/untrained-0-*.json", ()),
        ("status.json", ()),
        ("cache:states/*.npz", ("/states/",)),
        ("cache:heads/*.npz", ()),
    ]
    return Scene("half a training", TRAIN, whole, make, files)


def _in_scene(bench: Bench, scene: Scene, chance: random.Random) -> Iterator[tuple[str, list[str]]]:
    place = bench.home / "damage" / "place"
    times = bench.trials(_TIMES if scene.command is EVALUATE else _TIMES // 2)
    for pattern, named in scene.files:
        for number in range(2 * times):
            scene.make(place)
            where = cache_of(place) if pattern.startswith("cache:") else place
            path = chance.choice(sorted(where.glob(pattern.removeprefix("cache:"))))
            whole = path.read_bytes()
            told = broken(path, chance, number % 2 == 0)
            ended = run_inside(scene.command, place, cache_of(place))
            problems = _after(ended, named)
            if ended.status == 1 and not problems:  # what it says to do is done
                path.unlink(missing_ok=True)
                ended = run_inside(scene.command, place, cache_of(place))
                problems = manner_problems(ended, 0)
            if ended.status == 0 and not problems and pattern != "predictions.jsonl" and pattern != "measures.jsonl":
                problems = differences(scene.command, scene.whole, place)
            if pattern in ("predictions.jsonl", "measures.jsonl"):
                problems += _unsaid(scene, place, path, whole)
            yield told, problems


def _after(ended: Ended, named: Sequence[str]) -> list[str]:
    """What is wrong with how a command ended that met a damaged file."""
    problems = manner_problems(ended, *([0, 1] if named else [0]))
    if ended.status == 1 and named and not problems:
        lines = errors_of(ended)
        if len(lines) != 1 or not any(name in lines[0] for name in named):
            problems.append(f"no line that names {' or '.join(named)}: {ended.err}")
    return problems


def _unsaid(scene: Scene, place: Path, path: Path, whole: bytes) -> list[str]:
    """A finished run's lines are not made again; what is gone or damaged of them is said on its page."""
    if not path.exists() or set(path.read_bytes().splitlines()) == set(whole.splitlines()):
        return []
    kept = set(path.read_bytes().splitlines())
    expected = set((scene.whole / path.name).read_bytes().splitlines())
    if kept == expected:
        return []
    page = (place / html.PAGE).read_text(encoding="utf-8")
    return [] if path.name in page.partition("<table")[0] else [f"{path.name} lacks lines, and the page says nothing"]


def _model_files(bench: Bench, chance: random.Random) -> Iterator[tuple[str, list[str]]]:
    """The model and the data of a run that has begun: changed files are refused, restored ones are gone on with."""
    world, place = bench.home / "damage" / "toy", bench.home / "damage" / "own-model"
    shutil.copytree(toy_world(None), world, dirs_exist_ok=True)
    command = replace(EVALUATE, overrides=(*EVALUATE.overrides, f"model.path={world / 'model'}"))
    whole = place.with_name("own-model-whole")
    assert run_inside(command, whole, cache_of(whole)).status == 0
    files = ("model/model.safetensors", "model/tokenizer.json", "model/config.json", "muse/qac-qad.5000-6500.txt")
    for name in files:
        path, within = world / name, 4000 if name.endswith(".safetensors") else None
        kept = path.read_bytes()
        for number in range(2 * bench.trials(_TIMES)):
            for is_begun in (True, False):
                _copied(whole, place)
                if is_begun:
                    _interrupted(place, "metrics.json")
                else:
                    shutil.rmtree(place)
                told = broken(path, chance, number % 2 == 0, within)
                ended = run_inside(command, place, cache_of(place))
                if is_begun:
                    problems = _after(ended, (path.name, "other files of model", "other files of data", str(world)))
                    problems += ["went on with another file"] * (ended.status == 0)
                else:
                    # Of a new run, nobody knows what the file should be; what cannot be read is refused.
                    problems = manner_problems(ended, 0, 1)
                    if ended.status == 0 and number % 2 == 0 and path.suffix != ".txt":
                        problems.append("took a part of a file for the whole")
                path.write_bytes(kept)
                if is_begun and not problems:
                    ended = run_inside(command, place, cache_of(place))
                    problems = manner_problems(ended, 0) or differences(command, whole, place)
                yield f"{'half a run' if is_begun else 'a new run'}: {told}", problems


def _sweep_files(bench: Bench, chance: random.Random) -> Iterator[tuple[str, list[str]]]:
    """A sweep's plan, and its cells' files, as its page, its summary and `bridgex status` read them."""
    whole, place = unbroken(bench, SWEEP).place, bench.home / "damage" / "sweep"
    for name in (
        "plan.*.json",
        "*/status.json",
        "*/config.yaml",
        "*/metrics.json",
        "*/ranking.json",
        "*/measures.jsonl",
    ):
        for number in range(2 * bench.trials(_TIMES)):
            _copied(whole, place)
            paths = [path for path in sorted(place.glob(name)) if path.stat().st_size]
            told = broken(chance.choice(paths), chance, number % 2 == 0)
            problems = []
            for read in (
                lambda: html.write_page(place),
                lambda: status_table.show_status(place),
                lambda: html.write_sweep_page(place, cells_of(place)),
            ):
                problems += manner_problems(captured(lambda read=read: guard(read)), 0, 1)  # type: ignore[misc]
            yield f"a finished sweep: {told}", problems
