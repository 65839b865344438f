"""Worlds with planted bridges, their weak pairs, and how well any ranking does on them."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bridgex import evaluate
from bridgex.config import command, settings
from bridgex.config.settings import Settings
from bridgex.config.toy_recipe import ToyRecipe
from bridgex.data.toy_world import ToyWorld, family, tier
from bridgex.evaluation.engines.make import make_engine
from bridgex.evaluation.tasks.base import Task
from bridgex.extract.loading import LoadedModel, load_model, model_fingerprint, model_folder
from bridgex.gathering import Gatherer
from bridgex.lit.trainer import make_trainer
from bridgex.records.store import RunFolder
from bridgex.report.league import Compared, LeagueRow, Mean, difference
from bridgex.report.run_files import read_run
from bridgex.select.evidence import Evidence

MUSE9_PAIRS = ("de-fr", "fi-es", "id-it", "hu-de", "pt-fi", "de-fi", "fr-id", "it-pt", "hu-id")
MUSE9_LANGUAGES = ("en", "de", "fr", "es", "it", "pt", "fi", "hu", "id")
FIELDS = """
  world        folder of the world
  group        all, or pairs of one kind: `hub-low` is from a hub to a low-resource language
  pairs        pairs that it ranked
  right_first  pairs whose best candidate, by the measured routes, it puts first; by_chance: expected of a random order
  score, regret, spearman   mean over pairs of the score via its first choice, of the oracle's score out of fold less
               that, and of its rank correlation with the routes' scores, each with its 95 % interval by resampling
               languages (null: fewer than five)
  against_confidence   mean score via its first choice less that of confidence, on the pairs that both ranked"""


@dataclass(frozen=True)
class World:
    """A model, its data, and the pairs for which it has no good direct route.

    Attributes:
        folder: holds `model/` and the data.
        pairs: weak ones.
        keys: config keys that its runs need.
        candidates: of each pair, less its own two; None: the default ones.
    """

    folder: Path
    pairs: tuple[str, ...]
    keys: Mapping[str, Any]
    candidates: tuple[str, ...] | None = None

    @classmethod
    def toy(cls, folder: Path) -> World:
        planted = ToyWorld(ToyRecipe(), seed=0)  # which pairs are weak hangs on the recipe alone
        pairs = tuple(f"{a}-{b}" for a, b in planted.weak_pairs() if family(a) != family(b))
        return cls(folder, pairs, {"model": "toy", "model__path": str(folder / "model")})

    @classmethod
    def muse9(cls, folder: Path) -> World:
        keys = {"model": "hf", "model__path": str(folder / "model"), "data__root": str(folder)}
        return cls(folder, MUSE9_PAIRS, {**keys, "probe__neuron_share": 0.2}, MUSE9_LANGUAGES)

    def keys_of(self, pair: str) -> dict[str, Any]:
        """All config keys of a pair's run."""
        keys: dict[str, Any] = {**self.keys, "pair": pair, "task": "bli", "bridge": "compare"}
        if self.candidates is not None:
            keys["bridge__candidates"] = [code for code in self.candidates if code not in pair.split("-")]
        return keys

    def group_of(self, pair: str) -> str | None:
        """What kind of pair it is."""
        if self.candidates is not None:
            return None
        source, target = pair.split("-")
        return f"{tier(source)}-{tier(target)}"


class Measured:
    """A world's weak pairs, evaluated by every route and strategy, and what rankings of one's own need.

    Args:
        world: what is measured.
        sweeps: folders of finished sweeps of `bridge=compare`.
        output: runs that no sweep has are put here, and found again.
        num_pairs: the first so many; None: all.
    """

    def __init__(self, world: World, sweeps: Sequence[Path], output: Path, num_pairs: int | None) -> None:
        self._world, self._output = world, output
        self.pairs = world.pairs[:num_pairs]
        self._swept = _swept(world, sweeps)
        self._loaded: LoadedModel | None = None

    def compared(self, pair: str) -> Compared:
        """A pair's routes and strategies, evaluated first where that has not been done."""
        folder = self._swept.get(pair)
        if folder is None:
            folder = evaluate(self._output / self._world.folder.name / pair, **self._world.keys_of(pair)).folder
        run = read_run(folder, with_predictions=False)
        compared = Compared.of(run.ranking, run.metrics)
        assert compared is not None, f"{folder} does not compare strategies on every candidate"
        return compared

    def groups(self, cells: Sequence[Compared]) -> dict[str, list[Compared]]:
        """All cells, and those of each kind of pair."""
        groups: dict[str, list[Compared]] = {"all": list(cells)}
        for pair, cell in zip(self.pairs, cells, strict=True):
            if (group := self._world.group_of(pair)) is not None:
                groups.setdefault(group, []).append(cell)
        return groups

    def settings(self, pair: str) -> Settings:
        """Of a pair's run, without a progress bar."""
        overrides = [
            f"{key.replace('__', '.')}={value if isinstance(value, str) else json.dumps(value)}"
            for key, value in self._world.keys_of(pair).items()
        ]
        (cell,) = command.check("evaluate", [*overrides], settings.validate)
        return settings.validate(cell.config).model_copy(update={"callbacks": {}})

    def model(self, made: Settings) -> LoadedModel:
        """The world's model, loaded once."""
        if self._loaded is None:
            self._loaded = load_model(made.model, model_folder(made.model, self._output, made.seed))
        return self._loaded

    @contextmanager
    def evidence(self, made: Settings, candidates: Sequence[str]) -> Iterator[Evidence]:
        """What a ranking may look at; right answers of evaluated items are none of it."""
        folder = self._output / self._world.folder.name / "probe" / made.pair.name
        with RunFolder.open(folder, {}) as run:
            run.identify({"model": str(self._world.folder.resolve())})
            items = made.task.build(Task).items(made)
            loaded, cache = self.model(made), self._output / "cache"
            engine = make_engine(made.engine, loaded, model_fingerprint(made.model, loaded.folder, cache), cache)
            gatherer = Gatherer(made, run, loaded, engine, items, lambda more: make_trainer(made, more), cache)
            yield gatherer.evidence(candidates, _no_labels)
            run.set(state="done")

    def described(self) -> str:
        """The world's name in the results."""
        return str(self._world.folder)


def _no_labels() -> Any:
    raise AssertionError("a ranking without labels asked for them")


def _swept(world: World, sweeps: Sequence[Path]) -> dict[str, Path]:
    """Finished cells of these sweeps that compare strategies on a world's model, by pair."""
    own = (world.folder / "model").resolve()
    found = {}
    for sweep in sweeps:
        for folder in sorted(path.parent for path in sweep.glob("*/metrics.json")):
            run = read_run(folder, with_predictions=False)
            given: Any = run.config.get("model") or {}
            place = Path(given["path"]).resolve() if given.get("path") else _shipped()
            if run.is_done and place == own and Compared.of(run.ranking, run.metrics) is not None:
                found[run.pair] = folder
    return found


def _shipped() -> Path:
    return (Path(__file__).resolve().parents[1] / "bridgex" / "toy" / "model").resolve()


def numbers(row: LeagueRow, cells: Sequence[Compared]) -> dict[str, Any]:
    return {
        "pairs": row.num_pairs,
        "right_first": None if row.top1 is None else round(row.top1.value * row.top1.num_pairs, 1),
        "by_chance": round(row.chance_top1 * row.num_pairs, 1),
        "score": _mean(row.score),
        "regret": _mean(row.regret),
        "spearman": _mean(row.spearman),
        "against_confidence": _mean(difference(cells, row.strategy, "confidence")),
    }


def _mean(found: Mean | None) -> dict[str, Any] | None:
    if found is None:
        return None
    ends = None if found.ci95 is None else [round(end, 4) for end in found.ci95]
    return {"mean": round(found.value, 4), "ci95": ends, "pairs": found.num_pairs}


def run(
    name: str, description: str | None, fields: str, lines: Callable[[Measured], Iterator[Mapping[str, Any]]]
) -> None:
    """Parses the command line of a bench over worlds and prints its lines as JSON."""
    parser = argparse.ArgumentParser(
        prog=f"python -m bench.{name}",
        description=description,
        epilog=fields,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--world", type=Path, nargs="*", default=[Path("bridgex/toy")], help="folders of toy worlds")
    parser.add_argument("--muse9", type=Path, help="folder of muse9: real words, one planted bridge")
    parser.add_argument("--sweep", type=Path, nargs="*", default=[], help="finished sweeps of bridge=compare to reuse")
    parser.add_argument("--pairs", type=int, help="the first so many pairs of each world")
    parser.add_argument("--output", type=Path, help="where runs are put and found again; default: nowhere")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    worlds = [World.toy(folder) for folder in arguments.world]
    worlds += [World.muse9(arguments.muse9)] if arguments.muse9 is not None else []
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) if arguments.output is None else arguments.output
        for world in worlds:
            measured = Measured(world, arguments.sweep, output.resolve(), arguments.pairs)
            found = lines(measured)
            while True:
                with redirect_stdout(sys.stderr):  # a run's progress is no result
                    line = next(found, None)
                if line is None:
                    break
                print(json.dumps({"world": measured.described(), **line}, ensure_ascii=False), flush=True)
