"""kill -9 of a process that does nothing but write: what it said to be written is there."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.stress.outcomes import Bench, Outcome
from bridgex.records.answers import AnswerCache
from bridgex.records.cache import ArrayCache
from bridgex.records.predictions import PredictionWriter, read_predictions
from bridgex.records.schema import Prediction, Step
from bridgex.records.store import RunFolder, read_status

_CONFIG = {"pair": {"name": "en-sw"}, "seed": 0}
_MODEL = {"model": "6f1e"}


def kill_writers(bench: Bench) -> Outcome:
    """A process that opens a run's folder and writes predictions, answers, arrays and status.json until it is killed.

    What it has said to be written must be there.
    """
    outcome = Outcome("kill -9 of a process that only writes")
    chance = random.Random(bench.seed)
    folder, cache = bench.home / "writers" / "run", bench.home / "writers" / "cache"
    said: dict[str, Any] = {"prediction": set(), "answer": set(), "array": {}, "note": set()}
    for number in range(bench.trials(200)):
        begun = time.monotonic()
        said["note"] = set()  # a process that goes on with a run says again what there is to say
        process, told = _writer(folder, cache, number)
        time.sleep(chance.uniform(0.0, 0.15))
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        for line in told.read().split("\n")[:-1]:
            kind, value = json.loads(line)
            if kind == "array":
                said["array"][value[0]] = value[1]
            else:
                said[kind].add(value)
        told.close()
        outcome.count(f"kill {number} after {time.monotonic() - begun:.3f} s", _lacking(folder, cache, said))
    if not (said["prediction"] and said["answer"] and said["array"]):
        outcome.count("writing", ["no process got to write anything, so that nothing was tried"])
    return outcome


def _writer(folder: Path, cache: Path, number: int) -> tuple[int, Any]:
    """Starts a process that writes; what it says comes over the pipe."""
    out, into = os.pipe()
    process = os.fork()
    if not process:
        try:
            _write(folder, cache, number, into)
        finally:
            os._exit(1)
    os.close(into)
    return process, os.fdopen(out, encoding="utf-8")


def _write(folder: Path, cache: Path, number: int, into: int) -> None:
    """Writes without end."""

    def say(kind: str, value: Any) -> None:
        os.write(into, (json.dumps([kind, value]) + "\n").encode())

    answers, arrays = AnswerCache(cache, _MODEL), ArrayCache(cache, "profiles")
    with RunFolder.open(folder, _CONFIG) as run_folder:
        writer = PredictionWriter(folder)
        for count in range(10**9):
            name = f"{number}-{count}"
            writer.append([_prediction(f"{name}-{row}") for row in range(4)])
            say("prediction", name)
            answers.put({f"{name}-{row}": {"text": f"{name} ŋ"} for row in range(4)})
            say("answer", name)
            key = str(count % 3)
            arrays.put({"language": key}, {"share": np.full(1000, number * 1000 + count)})
            say("array", [key, number * 1000 + count])
            run_folder.note(name)
            say("note", name)


def _prediction(name: str) -> Prediction:
    step = Step(kind="answer", prompt=f'S:"{name}"→T:', output='"ŋ"', num_tokens=3)
    return Prediction(id=name, route="direct", steps=[step], answer="ŋ", gold=["w"], correct=False, miss="wrong")


def _lacking(folder: Path, cache: Path, said: dict[str, Any]) -> list[str]:
    """What was said to be written and cannot be read."""
    problems = []
    names = [prediction.id for prediction in read_predictions(folder)] if folder.exists() else []
    there = set(names)
    lost = [name for name in said["prediction"] if any(f"{name}-{row}" not in there for row in range(4))]
    problems += [f"predictions {name} are gone" for name in lost]
    answers = AnswerCache(cache, _MODEL)
    answers.look()
    lost = [
        name
        for name in said["answer"]
        if any(answers.get(f"{name}-{row}") != {"text": f"{name} ŋ"} for row in range(4))
    ]
    problems += [f"answers {name} are gone" for name in lost]
    for key, value in said["array"].items():
        found = ArrayCache(cache, "profiles").get({"language": key})
        if found is None or len(set(found["share"].tolist())) != 1 or found["share"][0] < value:
            problems.append(f"array {key} is not what was written")
    status = read_status(folder)
    if folder.exists() and (status is None or status.state != "interrupted"):
        problems.append(f"status.json {'cannot be read' if status is None else f'says {status.state}'}")
    elif status is not None and (gone := said["note"] - set(status.notes)):
        problems.append(f"notes {gone} are gone")
    return problems
