"""How far languages are from each other: by URIEL+, as planted in the toy world, or by a table of one's own."""

from __future__ import annotations

import csv
import importlib
import importlib.metadata
import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from bridgex.config.toy_recipe import ToyRecipe
from bridgex.data.toy_world import ToyWorld, genealogical_distance
from bridgex.errors import UserError
from bridgex.languages import language

if TYPE_CHECKING:
    from collections.abc import Iterator

Leg = tuple[str, str]

KINDS = ("syntactic", "phonological", "inventory")
"""The typological distances of URIEL; genetic and geographic ones are of another nature, and not mixed in."""


FURTHER_KINDS = ("genetic", "geographic")
"""Further distances of URIEL, for relating one kind at a time with something else."""


@dataclass(frozen=True)
class KindDistances:
    """Distances of languages from one or several sources, of several kinds.

    Attributes:
        values: by kind and language, the mean over the sources; a kind that is unknown for a language lacks it.
        origin: where they come from, with version.
    """

    values: Mapping[str, Mapping[str, float]]
    origin: str


@dataclass(frozen=True)
class Distances:
    """Distances between languages, made from the same kinds for every two of them.

    Attributes:
        values: by two languages, from 0 (alike) to 1.
        origin: where they come from, with version and kinds.
    """

    values: Mapping[Leg, float]
    origin: str


def distances(legs: Sequence[Leg]) -> Distances:
    """Distances of all these pairs of languages, from one source.

    Real languages: the mean of the syntactic, phonological and inventory distance of URIEL+ (Khan et al. 2025), each
    the angle between the two feature vectors over the features known for both, `2 arccos(cos) / pi`. Kinds have scales
    of their own, so one that is unknown for any of the legs is left out for all. The package brings its data and needs
    no network; the data (CC BY-SA 4.0) are never part of this project.
    Invented languages: the planted genealogy, 0.5 within a family and 1 between families.

    Args:
        legs: pairs of codes, all real or all invented.

    Raises:
        UserError: the package is not installed or does not start, or no kind is known for all legs.
    """
    if all(language(code).is_toy for leg in legs for code in leg):
        planted = {leg: genealogical_distance(*leg) for leg in legs}
        return Distances(planted, "planted genealogical distances of the toy world")
    by_kind, version = _uriel(legs, KINDS)
    known = [kind for kind, values in by_kind.items() if len(values) == len(set(legs))]
    if not known:
        lacking = [f"{kind} of {_told(legs, values)}" for kind, values in by_kind.items()]
        raise UserError(f"urielplus {version} knows no distance for all languages: it lacks {', '.join(lacking)}")
    values = {leg: sum(by_kind[kind][leg] for kind in known) / len(known) for leg in legs}
    return Distances(values, f"urielplus {version}: {', '.join(known)} distance")


def distances_by_kind(
    sources: Sequence[str], targets: Sequence[str], *, table: Path | None, toy_model: Path | None
) -> KindDistances:
    """Distances of targets from sources, kind by kind; of several sources, the mean.

    Args:
        sources: codes, all real or all invented.
        targets: codes.
        table: a CSV file of one's own, see `read_table`; None: URIEL+ (syntactic, phonological, inventory, genetic and
            geographic), or for invented languages what is planted: `genealogical` (0 itself, .5 within a family, 1
            between families) and `coverage` (share of words never translated over the pair in training).
        toy_model: folder of the toy world's model, whose recipe tells the coverage.

    Raises:
        UserError: the package is not installed, or the table cannot be read.
    """
    legs = [(source, target) for source in sources for target in targets if source != target]
    if table is not None:
        by_kind, origin = read_table(table), table.name
        found = {kind: _legs_of(values, legs) for kind, values in by_kind.items()}
    elif language(sources[0]).is_toy:
        found = {"genealogical": {leg: genealogical_distance(*leg) for leg in legs}}
        world = None if toy_model is None else _toy_world(toy_model)
        if world is not None:
            found["coverage"] = {leg: world.coverage_distance(*leg) for leg in legs}
        origin = "planted distances of the toy world"
    else:
        found, version = _uriel(legs, (*KINDS, *FURTHER_KINDS))
        origin = f"urielplus {version}"
    means = {
        kind: {
            target: sum(values[leg] for leg in own) / len(own)
            for target in targets
            if (own := [leg for leg in legs if leg[1] == target]) and all(leg in values for leg in own)
        }
        for kind, values in found.items()
    }
    return KindDistances({kind: values for kind, values in means.items() if values}, origin)


def read_table(path: Path) -> dict[str, dict[Leg, float]]:
    """A table of distances by kind: a CSV file with a heading, two columns of language codes first.

    Every other column that holds numbers is a kind; an empty cell is an unknown distance.

    Raises:
        UserError: no such file, no such columns, or a code that is no language of ours.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            heading, *rows = [row for row in csv.reader(file) if row]
    except (OSError, ValueError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or "no heading, or no CSV"
        raise UserError(f"{path}: cannot be read as a table of distances ({reason})") from None
    kinds = [place for place in range(2, len(heading)) if rows and all(_is_number(row, place) for row in rows)]
    if not kinds:
        raise UserError(
            f"{path}: needs two columns of language codes and then at least one of numbers, found {heading}"
        )
    found: dict[str, dict[Leg, float]] = {heading[place]: {} for place in kinds}
    for row in rows:
        leg = (row[0].strip(), row[1].strip())
        for code in leg:
            language(code)  # says which codes there are
        for place in kinds:
            if row[place].strip():
                found[heading[place]][leg] = float(row[place])
    return found


def _is_number(row: Sequence[str], place: int) -> bool:
    try:
        return place < len(row) and (not row[place].strip() or float(row[place]) >= 0)
    except ValueError:
        return False


def _legs_of(values: Mapping[Leg, float], legs: Sequence[Leg]) -> dict[Leg, float]:
    """Distances of these legs, in either direction."""
    return {
        (a, b): values[(a, b)] if (a, b) in values else values[(b, a)]
        for a, b in legs
        if (a, b) in values or (b, a) in values
    }


def _toy_world(model: Path) -> ToyWorld | None:
    """The world of a toy model by the recipe that lies beside its weights; None: there is none."""
    try:
        content = json.loads((model / "recipe.json").read_text(encoding="utf-8"))
        return ToyWorld(ToyRecipe.model_validate(content["recipe"]), int(content["seed"]))
    except (OSError, ValueError, KeyError, TypeError, ValidationError):
        return None


def _uriel(legs: Sequence[Leg], kinds: Sequence[str]) -> tuple[dict[str, dict[Leg, float]], str]:
    """By kind, the distances that URIEL+ knows, and the package's version."""
    with _own_logging():
        try:
            module: Any = importlib.import_module("urielplus.urielplus")
        except ImportError as error:
            raise UserError(
                f"URIEL distances need the package urielplus ({error}). Install it: pip install urielplus"
            ) from None
        try:
            found: Any = module.URIELPlus()
        except (OSError, ValueError, KeyError) as error:
            # At its first start it copies its data beside its code, which a read-only installation refuses.
            raise UserError(f"urielplus does not start ({type(error).__name__}: {error}). Reinstall it") from None
        by_kind = {kind: _known(found, kind, legs) for kind in kinds}
    return by_kind, importlib.metadata.version("urielplus")


def _known(uriel: Any, kind: str, legs: Sequence[Leg]) -> dict[Leg, float]:
    values: dict[Leg, float] = {}
    for leg in dict.fromkeys(legs):
        codes = [language(code).uriel for code in leg]
        if None in codes:
            continue
        try:
            distance = float(uriel.new_distance(kind, *codes))
        except ValueError:  # a language that it does not have, or two without a feature known for both
            continue
        if distance >= 0:
            values[leg] = distance
    return values


def _told(legs: Sequence[Leg], values: Mapping[Leg, float]) -> str:
    missing = [f"{a}-{b}" for a, b in dict.fromkeys(legs) if (a, b) not in values]
    return ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")


@contextmanager
def _own_logging() -> Iterator[None]:
    """Keeps the package, which sets up the root logger when it is imported, from writing over the run's own output."""
    root = logging.getLogger()
    handlers, level, disabled = list(root.handlers), root.level, root.manager.disable
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(disabled)
        root.handlers[:] = handlers
        root.setLevel(level)
