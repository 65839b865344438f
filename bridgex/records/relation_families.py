"""Which tests relate drift, distance and transfer, and which of them are corrected together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from bridgex.records.train_schema import RelationName

V = TypeVar("V")


def relation_families(
    drift: Mapping[int, V], transfer: V, distances: Mapping[str, V]
) -> dict[RelationName, dict[tuple[str, int | None], tuple[V, V]]]:
    """The tests that relate drift, distance and transfer over languages, by family: what is corrected together.

    Args:
        drift: by block, one value a language.
        transfer: the scores.
        distances: by kind.

    Returns:
        By relation, pairs of vectors by kind (`transfer` where there is no distance) and block (None without drift).
    """
    return {
        "drift ~ distance": {
            (kind, block): (moved, far) for kind, far in distances.items() for block, moved in drift.items()
        },
        "drift ~ transfer": {("transfer", block): (moved, transfer) for block, moved in drift.items()},
        "distance ~ transfer": {(kind, None): (far, transfer) for kind, far in distances.items()},
    }
