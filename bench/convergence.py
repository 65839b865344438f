"""Which ranking finds the right bridge: convergence by block, words and prompt form, beside the other strategies.

    python -m bench.convergence                                   the shipped toy world
    python -m bench.convergence --world bridgex/toy OUTPUT --muse9 DIR --sweep outputs/sweeps/toy_grid

Of every world all weak pairs (toy worlds: across families; muse9: nine pairs without English). Each pair is evaluated
by all routes first, with `bridge=compare`, unless a finished sweep has it. One JSON line on stdout a measure and group.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bridgex import evaluate
from bridgex.config import command, settings
from bridgex.config.settings import Settings
from bridgex.config.toy_recipe import ToyRecipe
from bridgex.data.toy_world import ToyWorld, family, tier
from bridgex.evaluation.tasks.base import Task
from bridgex.extract.loading import LoadedModel, load_model, model_folder
from bridgex.gathering import Gatherer
from bridgex.languages import language
from bridgex.lit.states import collect_states
from bridgex.lit.trainer import make_trainer
from bridgex.records.schema import StrategyRecord
from bridgex.records.store import RunFolder
from bridgex.report.league import Compared, LeagueRow, Mean, difference, standings
from bridgex.report.run_files import read_run
from bridgex.select.strategies.base import ranking_of
from bridgex.stats.cka import cka

PROMPTS = {
    "quote": '{language}:"{word}"→{bridge}:"',
    "no quote": '{language}:"{word}"→{bridge}:',
    "no language": '"{word}"→{bridge}:"',
    "bridge first": '{bridge}←{language}:"{word}":"',
}
WORDS = (32, 64, 100, 150, 256)
DEFAULT = ("quote", "last", max(WORDS))
Variant = tuple[str, int | str, int]
MUSE9_PAIRS = ("de-fr", "fi-es", "id-it", "hu-de", "pt-fi", "de-fi", "fr-id", "it-pt", "hu-id")
MUSE9_LANGUAGES = ("en", "de", "fr", "es", "it", "pt", "fi", "hu", "id")

_FIELDS = """
fields:
  world        folder of the world
  group        all, or pairs of one kind: `hub-low` is from a hub to a low-resource language; of convergence with the
               default block, words and prompt only
  measure      convergence; a strategy of bridge=compare, with its defaults; `ranks` and `z-scores`: convergence (last
               block, quote, all words) combined with confidence by the mean of ranks, of standardised scores; direct,
               random (expected), oracle (out of fold)
  block, words, prompt   of convergence: last is after the final norm; words at most, as many as there are
  pairs        pairs that it ranked
  right_first  pairs whose best candidate, by the measured routes, it puts first; by_chance: expected of a random order
  score, regret, spearman   mean over pairs of the score via its first choice, of the oracle's score out of fold less
               that, and of its rank correlation with the routes' scores, each with its 95 % interval by resampling
               languages (null: fewer than five)
  against_confidence   mean score via its first choice less that of confidence, on the pairs that both ranked
  seconds      of the world, in the last line
"""


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


class Bench:
    """All measurements on one world.

    Args:
        world: what is measured.
        sweeps: folders of finished sweeps.
        output: runs that no sweep has are put here, and found again.
        num_pairs: the first so many; None: all.
    """

    def __init__(self, world: World, sweeps: Sequence[Path], output: Path, num_pairs: int | None) -> None:
        self._world, self._output = world, output
        self._pairs = world.pairs[:num_pairs]
        self._swept = _swept(world, sweeps)
        self._loaded: LoadedModel | None = None

    def lines(self) -> Iterator[dict[str, Any]]:
        """One a measure and group."""
        start = time.perf_counter()
        cells, measures = [], {}
        for place, pair in enumerate(self._pairs, start=1):
            with redirect_stdout(sys.stderr):  # a run's progress is no result
                compared, found = self._measured(pair)
            measures.update({name: described for name, (described, _) in found.items()})
            rankings = {**compared.rankings, **{name: ranking for name, (_, ranking) in found.items()}}
            cells.append(replace(compared, rankings=rankings))
            print(f"{self._world.folder}: {place} of {len(self._pairs)} pairs", file=sys.stderr)
        for group, members in self._groups(cells).items():
            for row in standings(members):
                described = measures.get(row.strategy, {"measure": row.strategy})
                if group != "all" and described["measure"] == "convergence" and described != _described(DEFAULT):
                    continue
                yield {"world": str(self._world.folder), "group": group, **described, **_numbers(row, members)}
        yield {"world": str(self._world.folder), "seconds": round(time.perf_counter() - start, 1)}

    def _groups(self, cells: Sequence[Compared]) -> dict[str, list[Compared]]:
        groups: dict[str, list[Compared]] = {"all": list(cells)}
        for pair, cell in zip(self._pairs, cells, strict=True):
            if (group := self._world.group_of(pair)) is not None:
                groups.setdefault(group, []).append(cell)
        return groups

    def _measured(self, pair: str) -> tuple[Compared, dict[str, tuple[dict[str, Any], StrategyRecord]]]:
        """A pair's routes and strategies, and every measure of its own with what it is."""
        folder = self._swept.get(pair)
        if folder is None:
            folder = evaluate(self._output / self._world.folder.name / pair, **self._world.keys_of(pair)).folder
        run = read_run(folder, with_predictions=False)
        compared = Compared.of(run.ranking, run.metrics)
        assert compared is not None, f"{folder} does not compare strategies on every candidate"
        found = {}
        for variant, scores in self._convergence(pair, list(compared.via)).items():
            described = _described(variant)
            found[f"convergence {variant}"] = (described, ranking_of(scores))
            if variant == DEFAULT and "confidence" in compared.rankings:
                sure = {code: record.score for code, record in compared.rankings["confidence"].scores.items()}
                for name, combined in _combined(scores, sure).items():
                    found[name] = ({**described, "measure": name}, ranking_of(combined))
        return compared, found

    def _convergence(self, pair: str, candidates: Sequence[str]) -> dict[Variant, dict[str, float]]:
        """CKA by candidate, for every prompt form, block and number of words."""
        made = self._settings(pair)
        loaded, pairs = self._model(made), self._probe_pairs(made, candidates)
        blocks = [*range(1, loaded.model.config.num_hidden_layers + 1), "last"]
        found: dict[Variant, dict[str, float]] = {}
        for form, template in PROMPTS.items():
            encoded = [
                loaded.encoder.encode(
                    template.format(language=language(code).name, word=word, bridge=language(bridge).name)
                )
                for bridge in candidates
                for code, words in zip(pair.split("-"), zip(*pairs, strict=True), strict=True)
                for word in words
            ]
            states = collect_states(
                loaded, encoded, lambda more: make_trainer(made, more), blocks=blocks, pooling="last", batch_tokens=8192
            )
            sides = torch.from_numpy(states).reshape(len(blocks), len(candidates), 2, len(pairs), -1)
            for block, of_block in zip(blocks, sides, strict=True):
                for place, words in enumerate(WORDS):
                    if words < max(WORDS) and len(pairs) <= ([0, *WORDS][place]):
                        continue  # the same words as the number before
                    values = [cka(*of_candidate[:, :words]) for of_candidate in of_block]
                    # Sides that do not vary show nothing.
                    scores = {code: value or 0.0 for code, value in zip(candidates, values, strict=True)}
                    found[form, block, words] = scores
        return found

    def _settings(self, pair: str) -> Settings:
        overrides = [
            f"{key.replace('__', '.')}={json.dumps(value)}"
            if not isinstance(value, str)
            else f"{key.replace('__', '.')}={value}"
            for key, value in self._world.keys_of(pair).items()
        ]
        (cell,) = command.check("evaluate", [*overrides], settings.validate)
        return settings.validate(cell.config).model_copy(update={"callbacks": {}})

    def _model(self, made: Settings) -> LoadedModel:
        if self._loaded is None:
            self._loaded = load_model(made.model, model_folder(made.model, self._output, made.seed))
        return self._loaded

    def _probe_pairs(self, made: Settings, candidates: Sequence[str]) -> Sequence[tuple[str, str]]:
        """The words that a run probes, none of which it evaluates."""
        folder = self._output / self._world.folder.name / "probe" / made.pair.name
        with RunFolder.open(folder, {}) as run:
            items = made.task.build(Task).items(made)
            gatherer = Gatherer(
                made, run, self._model(made), items, lambda more: make_trainer(made, more), self._output
            )
            pairs = gatherer.evidence(candidates, _no_labels).probe_pairs()
            run.set(state="done")
        return pairs


def _described(variant: Variant) -> dict[str, Any]:
    prompt, block, words = variant
    return {"measure": "convergence", "block": block, "words": words, "prompt": prompt}


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


def _combined(first: Mapping[str, float], second: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Two scores of the same candidates as one, in two ways."""
    codes = [code for code in first if code in second]
    table = np.array([[scores[code] for code in codes] for scores in (first, second)])
    ranks = (table[:, :, None] > table[:, None, :]).sum(axis=2) + 0.5 * (table[:, :, None] == table[:, None, :]).sum(
        axis=2
    )
    spread = table.std(axis=1, keepdims=True)
    standard = (table - table.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1.0)
    return {
        "ranks": dict(zip(codes, ranks.mean(axis=0).tolist(), strict=True)),
        "z-scores": dict(zip(codes, standard.mean(axis=0).tolist(), strict=True)),
    }


def _numbers(row: LeagueRow, cells: Sequence[Compared]) -> dict[str, Any]:
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


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.convergence",
        description=__doc__,
        epilog=_FIELDS,
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
            for line in Bench(world, arguments.sweep, output.resolve(), arguments.pairs).lines():
                print(json.dumps(line, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
