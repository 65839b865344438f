from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bridgex.config import command, settings
from bridgex.config.settings import Settings
from bridgex.data.parallel import parallel_text
from bridgex.errors import UserError


def settings_for(root: Path | None, pair: str = "de-en", model: str = "random") -> Settings:
    (cell,) = command.check("evaluate", [f"model={model}", f"pair={pair}"], settings.validate)
    config: dict[str, Any] = dict(cell.config)
    return settings.validate({**config, "data": {**config["data"], "root": None if root is None else str(root)}})


def put(root: Path, name: str, texts: Sequence[object]) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    column = "flores_passage" if "belebele" in name else "text"
    path.write_text("".join(json.dumps({column: text}) + "\n" for text in texts), encoding="utf-8")


def test_lines_stay_together_where_one_language_repeats_itself(tmp_path: Path) -> None:
    put(tmp_path, "ntrex/deu/test.jsonl", ["d0", "d1", "d2", "d3", "d4", "d5"])
    put(tmp_path, "ntrex/eng/test.jsonl", ["e0", "e1", "e1", "e3", " ", "e5"])
    put(tmp_path, "ntrex/fra/test.jsonl", ["f0", "f1", "f2", "f0", "f4", "f5"])
    found = parallel_text(settings_for(tmp_path), ["de", "en", "fr"], 99, 0)
    assert found.origin == "ntrex"
    assert found.texts == {"de": ("d0", "d1", "d5"), "en": ("e0", "e1", "e5"), "fr": ("f0", "f1", "f5")}


def test_a_draw_is_the_same_lines_for_all_and_hangs_on_the_seed(tmp_path: Path) -> None:
    for code, letter in (("deu", "d"), ("eng", "e")):
        put(tmp_path, f"ntrex/{code}/test.jsonl", [f"{letter}{line}" for line in range(100)])
    made = settings_for(tmp_path)
    first, again, other = (parallel_text(made, ["de", "en"], 20, seed).texts for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert [text[1:] for text in first["de"]] == [text[1:] for text in first["en"]]
    assert len(set(first["de"])) == 20


def test_the_first_data_set_that_has_all_is_taken(tmp_path: Path) -> None:
    for code in ("deu", "eng"):
        put(tmp_path, f"ntrex/{code}/test.jsonl", ["n0", "n1"])
    for code in ("deu_Latn", "eng_Latn", "fra_Latn"):
        put(tmp_path, f"flores/{code}/dev.jsonl", ["f0", "f1"])
    made = settings_for(tmp_path)
    assert parallel_text(made, ["de", "en"], 9, 0).origin == "ntrex"
    assert parallel_text(made, ["de", "en", "fr"], 9, 0).origin == "flores"
    put(tmp_path, "flores/fra_Latn/dev.jsonl", ["f0", "f1", "f2"])
    with pytest.raises(UserError) as error:
        parallel_text(made, ["de", "en", "fr", "sw"], 9, 0)
    assert str(error.value) == (
        "no parallel sentences of de, en, fr, sw: ntrex lacks fr, sw; flores lacks sw. "
        "Give a data.root with ntrex/ or flores/ in all of them"
    )
    with pytest.raises(UserError, match=r"flores has different numbers of lines \(de 2, en 2, fr 3\)"):
        parallel_text(made, ["de", "en", "fr"], 9, 0)


def test_zawgyi_and_nothing_at_all_are_said(tmp_path: Path) -> None:
    put(tmp_path, "ntrex/mya/test.jsonl", ["ဆိပ္ကမ္း"])
    put(tmp_path, "ntrex/eng/test.jsonl", ["port"])
    with pytest.raises(UserError, match="ntrex is in Zawgyi for my"):
        parallel_text(settings_for(tmp_path), ["en", "my"], 9, 0)
    with pytest.raises(UserError, match="no parallel sentences of de, en: there is none"):
        parallel_text(settings_for(None), ["de", "en"], 9, 0)


def test_the_toy_world_has_three_hundred_lines_in_all_languages() -> None:
    found = parallel_text(settings_for(None, "qaa-qaf", "toy"), ["qaa", "qaf", "qad"], 200, 0)
    assert found.origin == "ntrex"
    assert {len(set(texts)) for texts in found.texts.values()} == {200}


def test_real_lines_say_the_same(test_data: Path) -> None:
    """NTREX repeats lines in most languages, not the same ones in all; numbers tell whether lines are together."""
    codes = ["en", "de", "fr", "es", "fi", "sw"]
    found = parallel_text(settings_for(test_data), codes, 10_000, 0)
    assert found.origin == "ntrex"
    (size,) = {len(texts) for texts in found.texts.values()}
    assert 590 <= size <= 600
    digits = {code: ["".join(filter(str.isdigit, text)) for text in texts] for code, texts in found.texts.items()}
    for code in codes[1:]:
        rows = [(a, b) for a, b in zip(digits["en"], digits[code], strict=True) if len(a) >= 4]
        moved = [(a, b) for a, b in zip(digits["en"][1:], digits[code], strict=False) if len(a) >= 4]
        assert sum(a == b for a, b in rows) > 0.5 * len(rows)
        assert sum(a == b for a, b in moved) < 0.1 * len(moved)
