"""Translation of sentences: prompts, verdicts, and which sentences are evaluated."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridgex.errors import UserError
from bridgex.evaluation.dialogue import Question
from bridgex.evaluation.routes import Route
from bridgex.languages import language
from bridgex.records.schema import Prediction
from tests.fakes.scripted_engine import ask, load, play, settings_for, shown_context, write_rows

EN = language("en")
CODES = {"de": ("deu", "deu_Latn"), "fr": ("fra", "fra_Latn"), "en": ("eng", "eng_Latn"), "ar": ("arb", "arb_Arab")}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    texts = {"de": 'Er sagt\u2028{"ja"}', "fr": "Il dit {« oui »}", "en": 'He says {"yes"}', "ar": "قال {نعم}"}
    for name, place, file in (("ntrex", 0, "test"), ("flores", 1, "devtest")):
        write_rows(tmp_path, name, {
            f"{codes[place]}/{file}.jsonl": [{"id": n, "text": f"{texts[code]} {name} {n}"} for n in range(1, 8)]
            for code, codes in CODES.items()
        })  # fmt: skip
    return tmp_path


def one(
    root: Path, route: Route, said: list[str], *overrides: str, pair: str = "de-fr"
) -> tuple[list[Question], Prediction]:
    given = [f"pair={pair}", "task=mt", "task.held_out=2", *overrides]
    task, items, found = load(*given, root=root, bridges=["en"])
    return play(task, items.items[0], found, route, said)


def test_every_route_as_it_is_given(root: Path) -> None:
    source = 'Er sagt {"ja"} ntrex 1'
    (direct,), _ = one(root, Route(), ['"x"'])
    assert (direct.kind, direct.prompt, direct.max_tokens) == ("answer", f'Deutsch:"{source}"→français:', 256)
    assert shown_context(direct) == source
    (first, last), _ = one(root, Route("via", EN), ['"He {says}\u2028so"→Deutsch:"', '"x"'])
    assert (first.kind, first.prompt, shown_context(first)) == ("bridge", f'Deutsch:"{source}"→English:', source)
    assert last.prompt == f'Deutsch:"{source}"→English:"He {{says}} so"→français:'
    assert (last.kind, shown_context(last)) == ("answer", source)
    (gold,), predicted = one(root, Route("gold", EN), ['"x"'])
    assert gold.prompt == f'Deutsch:"{source}"→English:"He says {{"yes"}} ntrex 1"→français:'
    assert (predicted.route, predicted.bridge_correct) == ("via en (gold)", None)
    (arabic,), _ = one(root, Route(), ['"x"'], pair="ar-de")
    assert arabic.prompt == 'العربية:"قال {نعم} ntrex 1"→Deutsch:'


def test_an_exact_match_is_right_and_anything_else_has_its_degree(root: Path) -> None:
    _, exact = one(root, Route(), ['"il dit {« oui »} NTREX 1."→Deutsch:"'])
    assert (exact.correct, exact.score, exact.miss) == (True, 1.0, None)
    _, near = one(root, Route(), ['"Il dit {« oui »} ntrex"'])
    assert (near.correct, near.miss) == (False, "wrong")
    assert near.score is not None
    assert 0.8 < near.score < 1.0
    _, none = one(root, Route(), ['""'])
    assert (none.correct, none.score, none.miss) == (False, 0.0, "not_found")
    _, copied = one(root, Route(), ['"Er sagt {ja} ntrex 1"'])
    assert copied.miss == "wrong_language", "the source sentence is no translation"
    (asked,), lost = one(root, Route("via", EN), ['""'])
    assert (asked.kind, lost.bridge_text, lost.bridge_correct, lost.miss) == ("bridge", None, False, "not_found")


def test_the_last_sentences_of_ntrex_are_kept_for_profiles(root: Path) -> None:
    _, items, _ = load("pair=de-fr", "task=mt", "task.held_out=2", root=root, bridges=["en", "it"])
    assert [item.id for item in items.items] == ["1", "2", "3", "4", "5"]
    assert "the last 2 sentences of NTREX-128 are kept for neuron profiles" in items.notes
    assert items.gold_bridges == {"en"}
    _, items, _ = load("pair=de-fr", "task=mt", "task.variant=flores", root=root)
    assert len(items.items) == 7
    with pytest.raises(UserError, match=r"task=mt: task\.held_out=200 of 7 sentences leaves none to evaluate\. Lower"):
        load("pair=de-fr", "task=mt", root=root)
    _, toy, _ = load("pair=qaa-qaf", "task=mt")
    assert toy.notes == ()
    words = {word for item in toy.items for word in item.text.split()}
    assert len(words) <= 14 + 5 + 1, "the held-out nouns and verbs, and the negation"


def test_an_item_holds_all_that_probes_must_not_see(root: Path) -> None:
    _, items, _ = load("pair=de-fr", "task=mt", "task.held_out=2", root=root, bridges=["en"])
    item = items.items[0]
    assert set(item.texts()) == {'Er sagt {"ja"} ntrex 1', "Il dit {« oui »} ntrex 1", 'He says {"yes"} ntrex 1'}
    assert item.texts_in("en") == ('He says {"yes"} ntrex 1',)
    assert item.texts_in("es") is None
    assert len({found.id for found in items.items}) == len({found.group for found in items.items}) == 5


def test_templates_name_their_texts_once() -> None:
    for given, line in [
        ("task.prompt=hello", "task.prompt=hello: must name {text}"),
        ("task.chain='{text}'", "task.chain={text}: must name {bridge_text}"),
        ("task.chain='{text} {text} {bridge_text}'", "must name {text} once"),
    ]:
        with pytest.raises(UserError) as error:
            settings_for("model=random", "pair=de-fr", "task=mt", given)
        assert len(error.value.problems) == 1
        assert line in error.value.problems[0]


def test_a_changed_bridge_file_is_another_data_set(root: Path) -> None:
    def fingerprint(*bridges: str) -> str:
        return load("pair=de-fr", "task=mt", "task.held_out=2", root=root, bridges=bridges)[1].fingerprint

    plain, bridged = fingerprint(), fingerprint("en")
    file = root / "ntrex" / "eng" / "test.jsonl"
    file.write_text(file.read_text(encoding="utf-8").replace("He says", "She says"), encoding="utf-8")
    assert fingerprint() == plain
    assert fingerprint("en") != bridged


def test_a_right_sentence_through_a_wrong_bridge_is_right(root: Path) -> None:
    task, items, found = load("pair=qaa-qaf", "task=mt", "task.limit=3", bridges=["qad"])
    via = Route("via", language("qad"))
    assert {(p.correct, p.bridge_correct) for p in ask(task, items, found, via, bridge="wrong")} == {(True, False)}
    both = ask(task, items, found, via, bridge="wrong", answer="wrong")
    assert {(p.miss, p.bridge_correct) for p in both} == {("bad_bridge", False)}
