"""What XCOPA lacks: its English, which is COPA's, and a `question` column that is right in every language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bridgex.errors import UserError

ANSWERS_FROM = "zh"
"""The language of XCOPA whose labels COPA's test rows take: COPA itself publishes none."""

SURE_OF_QUESTION = ("en", "vi", "zh")
"""Languages whose `question` column is right; Thai says "effect" in every row, and others are wrong in some."""


def with_answers(
    rows: Sequence[Mapping[str, Any]], answered: Sequence[Mapping[str, Any]], where: str
) -> tuple[Mapping[str, Any], ...]:
    """English COPA with XCOPA's labels, joined by `idx`.

    Args:
        rows: COPA's.
        answered: XCOPA's of the same split, in a language whose `question` is right.
        where: COPA's place, for the error.

    Raises:
        UserError: rows of the same `idx` do not ask for the same thing, so that they are not the same items.
    """
    by_idx = {row["idx"]: row for row in answered}
    joined = [{**row, "label": by_idx[row["idx"]]["label"]} for row in rows if row["idx"] in by_idx]
    wrong = [row["idx"] for row in joined if row["question"] != by_idx[row["idx"]]["question"]]
    if wrong or len(joined) != len(by_idx):
        raise UserError(
            f"{where}: its rows are not those of XCOPA ({len(joined)} of {len(by_idx)} idx found, {len(wrong)} of them "
            f"ask for something else). Leave English out, or give a data.root with xcopa/en"
        )
    return tuple(joined)
