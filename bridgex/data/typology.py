"""How far languages are from each other in type: URIEL+ for real ones, what is planted for invented ones."""

from __future__ import annotations

import importlib
import importlib.metadata
import logging
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bridgex.data.toy_world import genealogical_distance
from bridgex.errors import UserError
from bridgex.languages import language

if TYPE_CHECKING:
    from collections.abc import Iterator

Leg = tuple[str, str]

KINDS = ("syntactic", "phonological", "inventory")
"""The typological distances of URIEL; genetic and geographic ones are of another nature, and not mixed in."""


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
    by_kind, version = _uriel(legs)
    known = [kind for kind, values in by_kind.items() if len(values) == len(set(legs))]
    if not known:
        lacking = [f"{kind} of {_told(legs, values)}" for kind, values in by_kind.items()]
        raise UserError(f"urielplus {version} knows no distance for all languages: it lacks {', '.join(lacking)}")
    values = {leg: sum(by_kind[kind][leg] for kind in known) / len(known) for leg in legs}
    return Distances(values, f"urielplus {version}: {', '.join(known)} distance")


def _uriel(legs: Sequence[Leg]) -> tuple[dict[str, dict[Leg, float]], str]:
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
        by_kind = {kind: _known(found, kind, legs) for kind in KINDS}
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
