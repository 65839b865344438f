from __future__ import annotations

import importlib.metadata
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bridgex.data import typology
from bridgex.data.sources import toy_world
from bridgex.data.toy_world import CODES, family
from bridgex.errors import UserError

KNOWN = {
    "syntactic": {("deu", "eng"): 0.2, ("eng", "swa"): 0.6, ("deu", "fra"): 0.4, ("fra", "swa"): 0.5},
    "phonological": {("deu", "eng"): 0.1, ("eng", "swa"): 0.3, ("deu", "fra"): 0.2, ("fra", "swa"): 0.5},
    "inventory": {("deu", "eng"): 0.9, ("eng", "swa"): -1.0, ("deu", "fra"): 0.9},
}
Known = dict[str, dict[tuple[str, str], float]]


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts a package of the same face in the place of urielplus."""

    def put(known: Known = KNOWN, error: Exception | None = None) -> None:
        class URIELPlus:
            def __init__(self) -> None:
                logging.getLogger().addHandler(logging.NullHandler())
                logging.getLogger().setLevel(logging.INFO)
                logging.info("noise")
                if error is not None:
                    raise error

            def new_distance(self, kind: str, first: str, second: str) -> float:
                try:
                    return known[kind][first, second]
                except KeyError:
                    raise ValueError(f"No shared {kind} features between {first} and {second}") from None

        module: Any = ModuleType("urielplus.urielplus")
        module.URIELPlus = URIELPlus
        monkeypatch.setitem(sys.modules, "urielplus", ModuleType("urielplus"))
        monkeypatch.setitem(sys.modules, "urielplus.urielplus", module)
        monkeypatch.setattr(importlib.metadata, "version", lambda name: "9.9")

    return put


LEGS = [("de", "en"), ("en", "sw"), ("de", "fr"), ("fr", "sw")]


def test_the_mean_is_over_the_kinds_that_all_legs_have(package: Callable[..., None]) -> None:
    package()
    found = typology.distances(LEGS)
    assert found.values == pytest.approx({LEGS[0]: 0.15, LEGS[1]: 0.45, LEGS[2]: 0.3, LEGS[3]: 0.5})
    assert found.origin == "urielplus 9.9: syntactic, phonological distance"
    fewer = typology.distances([LEGS[0], LEGS[2]])
    assert fewer.values == pytest.approx({LEGS[0]: 0.4, LEGS[2]: 0.5})
    assert fewer.origin == "urielplus 9.9: syntactic, phonological, inventory distance"


def test_what_is_known_of_no_kind_is_named(package: Callable[..., None]) -> None:
    package({"syntactic": {("deu", "eng"): 0.2}, "phonological": {}, "inventory": {}})
    with pytest.raises(UserError) as error:
        typology.distances([("de", "en"), ("en", "sw")])
    assert str(error.value) == (
        "urielplus 9.9 knows no distance for all languages: it lacks syntactic of en-sw, "
        "phonological of de-en, en-sw, inventory of de-en, en-sw"
    )


def test_a_package_that_is_not_there_or_does_not_start_is_one_line(
    package: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    package(error=PermissionError(13, "Permission denied", "features.npz"))
    with pytest.raises(UserError, match=r"urielplus does not start \(PermissionError: .*features\.npz.*Reinstall"):
        typology.distances(LEGS)
    monkeypatch.setitem(sys.modules, "urielplus.urielplus", None)
    with pytest.raises(UserError, match=r"need the package urielplus \(.*\)\. Install it: pip install urielplus"):
        typology.distances(LEGS)


def test_its_log_stays_out_of_the_runs_own(package: Callable[..., None], caplog: pytest.LogCaptureFixture) -> None:
    root = logging.getLogger()
    before = list(root.handlers), root.level, root.manager.disable
    package()
    with caplog.at_level(logging.INFO):
        caplog.clear()
        level = root.level
        typology.distances(LEGS)
        assert caplog.records == []
        assert root.level == level
    assert (list(root.handlers), root.level, root.manager.disable) == before


def test_invented_languages_have_their_planted_genealogy() -> None:
    legs = [(a, b) for a in CODES for b in CODES if a != b]
    found = typology.distances(legs)
    assert found.values == {(a, b): 0.5 if family(a) == family(b) else 1.0 for a, b in legs}
    assert found.origin == "planted genealogical distances of the toy world"


def test_the_real_package_knows_the_default_candidates() -> None:
    pytest.importorskip("urielplus", reason="the extra typology (urielplus) is not installed")
    codes = ["en", "de", "fr", "it", "pt", "es"]
    legs = [(a, b) for a in codes for b in codes if a != b]
    found = typology.distances([*legs, ("en", "sw")])
    for a, b in legs:
        assert found.values[a, b] == found.values[b, a]
        assert 0 < found.values[a, b] < found.values["en", "sw"] + 0.3
    assert found.values["es", "pt"] < found.values["de", "pt"]
    assert "syntactic" in found.origin


def test_kinds_of_distance_from_one_source_and_from_several(package: Callable[..., None]) -> None:
    package()
    found = typology.distances_by_kind(["de"], ["de", "en", "fr"], table=None, toy_model=None)
    assert found.origin == "urielplus 9.9"
    assert found.values == {
        "syntactic": {"en": 0.2, "fr": 0.4}, "phonological": {"en": 0.1, "fr": 0.2},
        "inventory": {"en": 0.9, "fr": 0.9},
    }  # fmt: skip
    # A language that lacks a kind lacks it alone, unlike in a mean over kinds.
    found = typology.distances_by_kind(["en"], ["sw"], table=None, toy_model=None)
    assert found.values == {"syntactic": {"sw": 0.6}, "phonological": {"sw": 0.3}}
    both = typology.distances_by_kind(["de", "en"], ["de", "en"], table=None, toy_model=None)
    assert both.values["syntactic"] == {"en": 0.2}  # from the other source; nobody knows en-de


def test_invented_languages_have_planted_kinds() -> None:
    codes = ["qaa", "qab", "qac", "qad", "qai"]
    found = typology.distances_by_kind(["qaa"], codes, table=None, toy_model=toy_world(None) / "model")
    assert found.values["genealogical"] == {"qab": 0.5, "qac": 0.5, "qad": 1.0, "qai": 1.0}
    assert found.values["coverage"] == pytest.approx({"qab": 0.0, "qac": 0.1, "qad": 0.0, "qai": 0.88})
    assert set(typology.distances_by_kind(["qaa"], codes, table=None, toy_model=None).values) == {"genealogical"}


def test_a_table_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "far.csv"
    path.write_text("a,b,name,syntactic,genetic\nde,en,x,0.3,0.5\nen,sw,y,0.7,\nsw,en,z,0.9,1\n")
    found = typology.distances_by_kind(["en"], ["en", "de", "sw", "fr"], table=path, toy_model=None)
    assert found.origin == "far.csv"
    assert found.values == {"syntactic": {"de": 0.3, "sw": 0.7}, "genetic": {"de": 0.5, "sw": 1.0}}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "no heading, or no CSV"),
        ("a,b\nde,en\n", r"at least one of numbers, found \['a', 'b'\]"),
        ("a,b,c\nde,en,near\n", "at least one of numbers"),
        ("a,b,c\nde,xx,1\n", "no language 'xx'"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path: Path, text: str, line: str) -> None:
    path = tmp_path / "far.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=line):
        typology.read_table(path)
