"""What a pair is probed with, and that nothing that is evaluated is among it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import bridgex
import bridgex.gathering as gathering
from bridgex.data import parallel, probe_text, sentences
from bridgex.errors import UserError
from bridgex.lit import profiles
from tests.fakes.scripted_engine import load, make_data, settings_for, write_rows

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
CODES = {"de": "deu", "fr": "fra", "en": "eng", "es": "spa"}


def put_sentences(root: Path, count: int, name: str = "ntrex", file: str = "test", end: str = "") -> Path:
    write_rows(root, name, {
        f"{theirs}{end}/{file}.jsonl": [{"id": n + 1, "text": f"{code} {name}\u00a0 {n}."} for n in range(count)]
        for code, theirs in CODES.items()
    })  # fmt: skip
    return root


def test_words_of_the_dictionary_come_first(tmp_path: Path) -> None:
    root = make_data(tmp_path)
    found = probe_text.probe_text(settings_for("pair=de-fr", root=root), {"dewort101"})
    assert (found.is_words, found.note) == (True, "")
    assert found.entries == {f"dewort{n}": (f"frwort{n}",) for n in range(100, 105)}
    assert probe_text.problems(settings_for("pair=de-fr", root=root)) == []


def test_without_a_dictionary_parallel_sentences_stand_in_and_none_is_evaluated(tmp_path: Path) -> None:
    found = settings_for("pair=de-es", "probe.limit=8", root=put_sentences(tmp_path, 30))
    barred = {f"de ntrex {n}." for n in range(10)} | {f"es ntrex {n}." for n in range(10, 20)}
    text = probe_text.probe_text(found, barred)
    assert (text.is_words, text.note) == (False, "there is no dictionary de-es: it is probed with sentences of ntrex")
    assert len(text.entries) == 8
    for source, targets in text.entries.items():
        number = int(source.rpartition(" ")[2].rstrip("."))
        assert number >= 20, "barred in either language"
        assert targets == (f"es ntrex\u00a0 {number}.",)
    assert probe_text.probe_text(found, barred) == text, "drawn by the seed"
    other = settings_for("pair=de-es", "probe.limit=8", "seed=1", root=tmp_path)
    assert probe_text.probe_text(other, barred).entries != text.entries
    assert probe_text.problems(found) == []


def test_with_neither_the_line_names_both(tmp_path: Path) -> None:
    put_sentences(tmp_path, 3)
    (tmp_path / "ntrex" / "spa" / "test.jsonl").unlink()
    found = settings_for("pair=de-es", root=tmp_path)
    (line,) = probe_text.problems(found)
    assert "or a data.root with ntrex/ or flores/ in both languages, for probing with sentences" in line
    with pytest.raises(UserError):
        probe_text.probe_text(found, ())


def test_text_of_which_all_is_evaluated_is_passed_over(tmp_path: Path) -> None:
    put_sentences(tmp_path, 60)
    put_sentences(tmp_path, 60, "flores", "devtest", "_Latn")
    found = settings_for("pair=de-es", root=tmp_path)
    evaluated = {f"{code} ntrex {n}." for code in CODES for n in range(60)}
    for code in CODES:
        text = sentences.profile_text(found, code, evaluated)
        assert text.origin == f"flores/{CODES[code]}_Latn"
        assert text.notes == (f"ntrex/{CODES[code]} was left out: all but 0 of its texts are evaluated",)
    assert parallel.parallel_text(found, ["de", "es"], 9, 0, evaluated).origin == "flores"
    some = {f"{code} ntrex {n}." for code in CODES for n in range(8)}
    text = sentences.profile_text(found, "de", some)
    assert (text.origin, len(text.texts), text.notes) == ("ntrex/deu", 52, ())
    assert sentences.profile_text(found, "de").fingerprint != text.fingerprint
    both = evaluated | {f"{code} flores {n}." for code in CODES for n in range(60)}
    with pytest.raises(UserError, match="no line that is not evaluated"):
        parallel.parallel_text(found, ["de", "es"], 9, 0, both)


class Seen(Exception):
    """Everything that was to be seen was seen."""


def seen_texts(monkeypatch: pytest.MonkeyPatch, name: str, folder: Path, **keys: Any) -> list[str]:
    """The texts that one of the model's readers is given, in a run that ends there."""
    found: list[str] = []

    def reader(*given: Any, **more: Any) -> Any:
        if name == "collect_profiles":
            found.extend(text for texts in given[1].values() for text in texts)
        else:
            items = next(value for value in given if isinstance(value, list) and value and hasattr(value[0], "gold"))
            found.extend(text for item in items for text in item.texts())
        raise Seen

    with monkeypatch.context() as patch:
        patch.setattr(profiles if name == "collect_profiles" else gathering, name, reader)
        with pytest.raises(Seen):
            bridgex.rank_bridges(folder / name, **keys)
    return found


READERS = {"collect_profiles": "hsic", "collect_confidence": "confidence"}


@pytest.mark.parametrize(
    ("pair", "task", "more"),
    [
        ("de-fr", "bli", {}),
        ("de-es", "mt", {"task__held_out": 60}),
        ("de-es", "xnli", {}),
        ("de-es", "belebele", {"task__shots": 1}),
        ("de-es", "mgsm", {}),
    ],
)
def test_no_profile_and_no_probe_sees_a_text_that_is_evaluated(
    pair: str, task: str, more: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every evaluated text is planted among the text for profiles and probes, in other white space."""
    root = put_sentences(make_data(tmp_path / "data"), 130)
    overrides = [f"{key.replace('__', '.')}={value}" for key, value in more.items()]
    _, items, _ = load(f"pair={pair}", f"task={task}", *overrides, root=root, bridges=["en"])
    evaluated = {text for item in items.items for text in item.texts()}
    assert evaluated
    if task != "mt":
        for code, theirs in CODES.items():
            path = root / "ntrex" / theirs / "test.jsonl"
            rows = path.read_text(encoding="utf-8").splitlines()
            planted = sorted(text if code != "fr" else f" {text}\u00a0" for text in evaluated)
            rows += [json.dumps({"id": 1000 + n, "text": text}) for n, text in enumerate(planted)]
            path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    keys = {
        "model": "random", "pair": pair, "task": task, "data__root": str(root), "cache__dir": str(tmp_path / "cache"),
        "bridge__candidates": ["en"], "trainer__accelerator": "cpu", **more,
    }  # fmt: skip
    bare = {" ".join(text.split()) for text in evaluated}
    for name, strategy in READERS.items():
        seen = seen_texts(monkeypatch, name, tmp_path, bridge=strategy, **keys)
        assert len(seen) >= 5
        assert not bare & {" ".join(text.split()) for text in seen}, name


def test_a_real_pair_without_a_dictionary_is_probed_with_sentences_that_are_not_evaluated(
    test_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, items, _ = load("pair=en-ur", "task=mt", root=test_data, bridges=["de", "fr"])
    assert len(items.items) == 400, "600 sentences, of which the last 200 are kept"
    bare = {" ".join(text.split()) for item in items.items for text in item.texts()}
    keys = {
        "model": "random", "pair": "en-ur", "task": "mt", "data__root": str(test_data), "trainer__accelerator": "cpu",
        "cache__dir": str(tmp_path / "cache"), "bridge__candidates": ["de", "fr"],
    }  # fmt: skip
    for name, strategy in READERS.items():
        seen = seen_texts(monkeypatch, name, tmp_path, bridge=strategy, **keys)
        assert len(seen) >= 200
        assert not bare & {" ".join(text.split()) for text in seen}, name
    notes = bridgex.load_run(tmp_path / "collect_confidence").status.notes
    assert "there is no dictionary en-ur: it is probed with sentences of ntrex" in notes
