"""What a run's evidence is made of: what is read once, what is never read, and what a reader is told."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import bridgex.gathering as gathering
from bridgex.config import command, settings
from bridgex.config.settings import Settings
from bridgex.errors import UserError
from bridgex.evaluation.engines.make import make_engine
from bridgex.evaluation.tasks.base import Items, Task
from bridgex.extract.loading import LoadedModel, load_model, model_fingerprint, model_folder
from bridgex.gathering import Gatherer
from bridgex.records.schema import Prediction
from bridgex.records.store import RunFolder
from bridgex.select.evidence import Evidence
from bridgex.select.strategies.base import LABEL_FREE, MissingEvidence, Strategy
from bridgex.select.strategies.compare import Compare
from bridgex.select.strategies.simple import Fixed, Random
from bridgex.select.strategies.typology import Typology
from tests.fakes.trainer import make_trainer

pytestmark = [
    # Reading is the work here; workers that only cut lists of ids would add to it.
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    # Lightning 2.6 uses a name that torch 2.13 has set aside.
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
]

Words = dict[str, Sequence[str]]


@cache
def composed(*overrides: str) -> dict[str, Any]:
    (cell,) = command.check("evaluate", list(overrides), settings.validate)
    return dict(cell.config)


def settings_for(*overrides: str, **data: Any) -> Settings:
    config = composed(*overrides)
    return settings.validate({**config, "data": {**config["data"], **data}})


class Run:
    """A run's folder, model and items, and how often its model is run."""

    def __init__(self, made: Settings, folder: Path, shared: Path) -> None:
        self.settings, self.shared = made, shared
        where = model_folder(made.model, shared, made.seed)
        self.loaded: LoadedModel = load_model(made.model, where)
        self.folder = RunFolder.open(folder, {})
        self.folder.identify({"model": model_fingerprint(made.model, where, shared)})
        self.items: Items = made.task.build(Task).items(made)
        self.engine = make_engine(made.engine, self.loaded, self.folder.status.fingerprints["model"], shared)
        self.num_forward = 0
        self.loaded.model.register_forward_pre_hook(self._count)
        # Reading neurons runs the model without its head.
        self.loaded.model.base_model.register_forward_pre_hook(self._count)

    def _count(self, *_: Any) -> None:
        self.num_forward += 1

    def evidence(self, candidates: Sequence[str], route_scores: Callable[[], Any] | None = None) -> Evidence:
        gatherer = Gatherer(self.settings, self.folder, self.loaded, self.engine, self.items, make_trainer, self.shared)

        def unavailable() -> Any:
            raise AssertionError("labels were looked at")

        return gatherer.evidence(candidates, route_scores or unavailable)

    @property
    def notes(self) -> list[str]:
        return self.folder.status.notes


Begin = Callable[..., Run]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """Begins runs that share a cache; the log of each is left alone."""
    count = iter(range(100))

    def begin(*overrides: str, **data: Any) -> Run:
        return Run(settings_for(*overrides, **data), tmp_path / f"run{next(count)}", tmp_path / "cache")

    return begin


def put(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return root


def world(root: Path, num_words: int = 12) -> Path:
    """German, English and French words, and text in each."""
    lines = '{{"text": "{0} one"}}\n{{"text": "{0} two"}}\n'
    files = {f"ntrex/{code}/test.jsonl": lines.format(code) for code in ("deu", "eng", "fra")}
    files["muse/de-en.0-5000.txt"] = "".join(f"d{n} e{n}\n" for n in range(num_words))
    files["muse/de-en.5000-6500.txt"] = "d100 e100\nd101 e101\n"
    return put(root, files)


def asked_words(run: Run, monkeypatch: pytest.MonkeyPatch) -> Words:
    """Which prompts the probe reads, and which words the model is asked through a bridge."""
    found: Words = {}
    real_matrix, real_confidence = gathering.collect_probe_matrix, gathering.collect_confidence

    def matrix(loaded: Any, prompts: Sequence[str], *rest: Any, **more: Any) -> Any:
        found["probe"] = list(prompts)
        return real_matrix(loaded, prompts, *rest, **more)

    def confidence(loaded: Any, engine: Any, task: Any, items: Sequence[Any], *rest: Any, **more: Any) -> Any:
        found["confidence"] = [item.text for item in items]
        return real_confidence(loaded, engine, task, items, *rest, **more)

    monkeypatch.setattr(gathering, "collect_probe_matrix", matrix)
    monkeypatch.setattr(gathering, "collect_confidence", confidence)
    blocks = run.loaded.model.config.num_hidden_layers
    evidence = run.evidence(["qad"] if run.settings.model.kind == "toy" else ["fr"])
    evidence.probe([np.array([0, 3])] * blocks)
    evidence.confidence(evidence.candidates)
    return found


def test_a_profile_is_read_once_for_all_runs(begin: Begin) -> None:
    first = begin("pair=qaa-qaf")
    found = first.evidence(["qad"])
    assert first.num_forward == 0, "nothing is read before it is asked for"
    profile = found.profile("qaa")
    assert first.num_forward > 0
    ran = first.num_forward
    assert found.profile("qad") is not profile
    assert first.num_forward == ran, "all languages went through together"

    second = begin("pair=qaf-qaa")
    again = second.evidence(["qad"]).profile("qaa")
    assert second.num_forward == 0
    for mine, theirs in zip((*again.share, *again.mean), (*profile.share, *profile.mean), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    third = begin("pair=qaa-qaf")
    third.evidence(["qad", "qag"]).profile("qaa")
    assert 0 < third.num_forward < ran, "of one more language, that one alone"


def test_another_text_or_model_does_not_hit(begin: Begin, tmp_path: Path) -> None:
    root = world(tmp_path / "data")
    made = {"root": str(root)}
    begin("model=random", "pair=de-en", **made).evidence(["fr"]).profile("de")
    put(root, {"ntrex/deu/test.jsonl": '{"text": "deu three"}\n'})
    changed = begin("model=random", "pair=de-en", **made)
    changed.evidence(["fr"]).profile("de")
    assert changed.num_forward > 0
    other = begin("model=random", "pair=de-en", "seed=1", **made)
    other.evidence(["fr"]).profile("de")
    assert other.num_forward > changed.num_forward, "all three languages, not one"


def test_probe_words_are_never_evaluated_ones(begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = world(tmp_path / "data")
    # A list read backwards may hold a word in both parts; so may one whose parts differ in case.
    put(root, {"muse/de-en.5000-6500.txt": "d3 x\nD7 y\nd100 e100\n"})
    run = begin("model=random", "pair=de-en", root=str(root))
    found = asked_words(run, monkeypatch)
    assert found["confidence"] == [f"d{n}" for n in range(12) if n not in (3, 7)]
    assert found["probe"] == [f'Deutsch:"{word}"→English:' for word in found["confidence"]]
    assert {item.text for item in run.items.items} == {"d3", "D7", "d100"}


def test_ones_own_list_is_probed_and_evaluated_apart(
    begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own.txt"
    own.write_text("".join(f"d{n} e{n}\n" for n in range(24)))
    run = begin("model=random", "pair=de-en", dictionary=str(own), root=str(world(tmp_path / "data")))
    found = asked_words(run, monkeypatch)
    assert found["confidence"] == [f"d{n}" for n in range(3, 24, 4)]
    evaluated = {item.text for item in run.items.items}
    assert len(evaluated) == 18
    assert not evaluated & set(found["confidence"])
    assert "words from own.txt: every fourth one is for probing, the others are for evaluation" in run.notes


def test_the_toy_world_probes_none_of_its_held_out_words(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    run = begin("pair=qaa-qaf")
    found = asked_words(run, monkeypatch)
    evaluated = {item.text for item in run.items.items}
    assert len(evaluated) == 24
    assert not evaluated & set(found["confidence"])
    assert len(found["probe"]) == len(set(found["probe"])) == len(found["confidence"]) > 60


def test_the_limit_takes_the_first_words(begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = begin("model=random", "pair=de-en", "probe.limit=5", root=str(world(tmp_path / "data")))
    assert asked_words(run, monkeypatch)["confidence"] == ["d0", "d1", "d2", "d3", "d4"]


def test_too_few_words_are_refused(begin: Begin, tmp_path: Path) -> None:
    run = begin("model=random", "pair=de-en", root=str(world(tmp_path / "data", num_words=3)))
    with pytest.raises(UserError, match=r"pair de-en: 3 probe words that are not evaluated, and .* at least 4\. Give"):
        run.evidence(["fr"]).confidence(["fr"])


def test_words_that_the_model_knows_are_found_with_labels_and_said_so(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begin("pair=qac-qab", "probe.filter=correct")
    right: list[Prediction] = []
    real = gathering.ICLModule.predict_step

    def remember(self: Any, *given: Any) -> Any:
        found = real(self, *given)
        right.extend(prediction for prediction in found if isinstance(prediction, Prediction) and prediction.correct)
        return found

    monkeypatch.setattr(gathering.ICLModule, "predict_step", remember)
    found = asked_words(run, monkeypatch)
    assert 30 <= len(found["confidence"]) < 96
    assert sorted(found["confidence"]) == sorted(prediction.id for prediction in right)
    assert "probe.filter=correct uses dictionary labels" in run.notes


def test_fewer_than_thirty_known_words_stop_with_the_count(begin: Begin) -> None:
    run = begin("pair=qaa-qad", "probe.filter=correct", "probe.limit=20")
    with pytest.raises(
        UserError, match=r"probe\.filter=correct: the model translates (20|1\d) of 20 .* and 30 are needed"
    ):
        run.evidence(["qag"]).confidence(["qag"])


def test_a_reader_is_told_where_profiles_come_from(begin: Begin, tmp_path: Path) -> None:
    root = world(tmp_path / "data")
    plain = begin("model=random", "pair=de-en", root=str(root))
    plain.evidence(["fr"]).profile("de")
    assert plain.notes == []
    assert "neuron profiles are made from ntrex" in plain.folder.status.details

    (root / "ntrex" / "fra" / "test.jsonl").unlink()
    put(root, {"flores/fra_Latn/dev.jsonl": '{"text": "fra"}\n'})
    mixed = begin("model=random", "pair=de-en", root=str(root))
    mixed.evidence(["fr"]).profile("de")
    assert mixed.notes == [
        "neuron profiles are made from texts that may differ by more than their language: flores (fr); ntrex (de, en)"
    ]

    for folder in ("ntrex", "flores"):
        (root / folder).rename(root / f"no_{folder}")
    words = begin("model=random", "pair=de-en", root=str(root))
    words.evidence([]).profile("de")
    assert words.notes == ["neuron profiles are made from dictionary words"]


def test_a_reader_is_told_of_text_left_out_and_of_joined_lists(begin: Begin, tmp_path: Path) -> None:
    root = world(tmp_path / "data")
    put(root, {
        "ntrex/mya/test.jsonl": '{"text": "ဆိပ္ကမ္း"}\n',
        "flores/mya_Mymr/dev.jsonl": '{"text": "ဆိပ်ကမ်း"}\n',
        "muse/en-fr.0-5000.txt": "e1 f1\n",
    })  # fmt: skip
    run = begin("model=random", "pair=de-en", root=str(root))
    evidence = run.evidence(["my"])
    evidence.profile("my")
    assert run.notes[0] == "ntrex/mya was left out: it is in Zawgyi, not in Unicode"
    assert evidence.dictionary("de", "en") is not None
    assert evidence.dictionary("de", "my") is None
    assert len(run.notes) == 2
    assert evidence.dictionary("de", "fr") == {"d1": ("f1",)}
    assert run.notes[2] == "word lists were joined through English, which may favour English as a bridge"


def test_a_whole_comparison_reads_each_thing_once(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    run = begin("pair=qaa-qaf", "probe.limit=24")
    calls: list[str] = []
    for name in ("cached_profiles", "collect_probe_matrix", "collect_confidence", "collect_states"):
        real = getattr(gathering, name)
        monkeypatch.setattr(
            gathering, name, lambda *given, name=name, real=real, **more: (calls.append(name), real(*given, **more))[1]
        )
    asked: list[None] = []

    def scores() -> gathering.RouteScores:
        asked.append(None)
        zeros = np.zeros(len(run.items.items))
        return gathering.RouteScores(zeros, {"qad": zeros, "qag": zeros}, ("g",) * len(zeros))

    found = Compare(name="compare", hsic={"bootstrap": 10}).rank_all(run.evidence(["qad", "qag"], scores))
    assert list(found) == [*LABEL_FREE, "oracle"]
    assert [ranking.missing for ranking in found.values()] == [None] * len(found)
    # Confidence once for the candidates, once more for going directly; states for convergence, and of each language.
    assert sorted(calls) == [
        "cached_profiles", *["collect_confidence"] * 2, "collect_probe_matrix", *["collect_states"] * 5,
    ]  # fmt: skip
    assert len(asked) == 1


def test_confidence_is_asked_once_a_route(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    run = begin("pair=qaa-qaf", "probe.limit=8")
    asked: list[list[str]] = []
    real = gathering.collect_confidence

    def confidence(*given: Any, **more: Any) -> Any:
        asked.append([bridge.code if bridge is not None else "direct" for bridge in given[6]])
        return real(*given, **more)

    monkeypatch.setattr(gathering, "collect_confidence", confidence)
    evidence = run.evidence(["qad", "qag"])
    first = evidence.confidence(["direct", "qag"])
    assert list(first) == ["direct", "qag"]
    assert all(found.mean.shape == found.weakest.shape == (8,) for found in first.values())
    both = evidence.confidence(["qad", "qag"])
    assert both["qag"] is first["qag"]
    assert asked == [["direct", "qag"], ["qad"]]


def test_probe_pairs_are_the_probe_words_with_their_first_translation(begin: Begin, tmp_path: Path) -> None:
    root = world(tmp_path / "data")
    put(root, {"muse/de-en.0-5000.txt": "d0 e0\nd1 e1\nd1 other\nd2 e2\nd3 e3\nd100 e100\nd4 e1\n"})
    evidence = begin("model=random", "pair=de-en", root=str(root)).evidence(["fr"])
    assert evidence.probe_pairs() == [("d0", "e0"), ("d1", "e1"), ("d2", "e2"), ("d3", "e3"), ("d4", "e1")]


def test_probe_pairs_hold_no_right_answer_of_an_evaluated_item(begin: Begin, tmp_path: Path) -> None:
    root = world(tmp_path / "data")
    put(root, {
        "muse/de-en.0-5000.txt": "d0 e0\nd1 E100\nd1 e1\nd2 e101\nd3 e3\nd4 other\nd5 e5\nd6 e6\n",
        "muse/de-en.5000-6500.txt": "d100 e100\nd101 e101\nd101 other\n",
    })  # fmt: skip
    run = begin("model=random", "pair=de-en", root=str(root))
    # d1 has another translation; all of d2's and d4's are right answers of evaluated words.
    assert run.evidence(["fr"]).probe_pairs() == [("d0", "e0"), ("d1", "e1"), ("d3", "e3"), ("d5", "e5"), ("d6", "e6")]
    (told,) = [detail for detail in run.folder.status.details if "right answers of evaluated items" in detail]
    assert told.startswith("2 probe words whose translations are all")
    assert "7 probe words" in run.folder.status.details, "strategies that look at no translation keep them"


def test_a_block_that_the_model_lacks_is_missing_with_the_key(begin: Begin) -> None:
    run = begin("pair=qaa-qaf")
    evidence = run.evidence(["qad"])
    with pytest.raises(MissingEvidence) as error:
        evidence.states(['qaa:"bula"→qad:"'], 99)
    assert str(error.value) == ("bridge.convergence.block=99: the model has blocks 1 to 5. Give one of them, or last")
    assert run.num_forward == 0
    assert evidence.states(['qaa:"bula"→qad:"'], 5).shape[0] == 1
    found = Compare(name="compare", hsic={"bootstrap": 10}, convergence={"block": 99}).rank_all(
        replace(evidence, route_scores=lambda: gathering.RouteScores(np.zeros(3), {"qad": np.ones(3)}, ("a", "b", "c")))
    )
    assert {name for name, ranking in found.items() if ranking.missing is not None} == {"convergence"}
    assert found["convergence"].missing == str(error.value)


def test_few_parallel_sentences_are_missing_with_their_number(begin: Begin, tmp_path: Path) -> None:
    def vectors(num: int) -> gathering.SentenceVectors:
        files = {
            f"ntrex/{code}/test.jsonl": "".join(f'{{"text": "{code} {line}"}}\n' for line in range(num))
            + '{"text": ""}\n' * 5
            for code in ("deu", "eng", "fra")
        }
        root = put(world(tmp_path / str(num)), files)
        return begin("model=random", "pair=de-en", root=str(root)).evidence(["fr"]).sentence_vectors("de")

    for num in (0, 19):
        with pytest.raises(MissingEvidence, match=f"ntrex has {num} lines .* in all of de, en, fr, and 20 are needed"):
            vectors(num)
    assert vectors(20).values.shape[1] == 20


def test_states_are_those_of_the_last_token_of_prompts_as_they_are_evaluated(begin: Begin) -> None:
    run = begin("pair=qaa-qaf")
    prompts = ['qaa:"bula"→qad:"', 'qaf:"lydi kofa"→qad:"']
    found = run.evidence(["qad"]).states(prompts, "last")
    for row, prompt in zip(found, prompts, strict=True):
        with torch.inference_mode():
            ids = torch.tensor([run.loaded.encoder.encode(prompt)])
            own = run.loaded.model.base_model(ids).last_hidden_state[0, -1]
        np.testing.assert_allclose(row, own.numpy(), rtol=0, atol=1e-5)


def test_the_size_of_a_pass_is_left_to_where_the_model_will_run(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a trainer moves it, the model lies on the CPU whatever device will run it."""
    asked: list[int | None] = []
    real = gathering.collect_states

    def states(*given: Any, batch_tokens: int | None, **more: Any) -> Any:
        asked.append(batch_tokens)
        return real(*given, batch_tokens=batch_tokens, **more)

    monkeypatch.setattr(gathering, "collect_states", states)
    for overrides in ([], ["probe.batch_tokens=300"]):
        evidence = begin("pair=qaa-qaf", *overrides).evidence(["qad"])
        evidence.states(['qaa:"bula"→qad:"'], "last")
        evidence.sentence_vectors("qaf")
    assert asked == [None, None, 300, 300]


def test_sentences_are_the_same_lines_in_the_middle_blocks(begin: Begin) -> None:
    run = begin("pair=qaa-qaf", "probe.depth=[0.3,0.75]")
    evidence = run.evidence(["qad"])
    found = evidence.sentence_vectors("qaf")
    assert (found.values.shape[:2], found.blocks, found.origin) == ((3, 200), (2, 3, 4), "ntrex")
    assert "200 parallel sentences of ntrex" in run.folder.status.details
    text = gathering.parallel.parallel_text(run.settings, ["qaa", "qaf", "qad"], 200, 0).texts["qaf"][7]
    with torch.inference_mode():
        ids = torch.tensor([gathering.plain_ids(run.loaded, text)])
        hidden = run.loaded.model.base_model(ids, output_hidden_states=True).hidden_states[3]
    own = hidden[0, len(run.loaded.encoder.prefix) :].mean(dim=0)
    np.testing.assert_allclose(found.values[1, 7], own.numpy(), rtol=0, atol=1e-5)


def test_what_is_not_there_is_missing_with_its_reason(
    begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = world(tmp_path / "data")
    (root / "ntrex" / "fra" / "test.jsonl").unlink()
    evidence = begin("model=random", "pair=de-en", root=str(root)).evidence(["fr"])
    with pytest.raises(MissingEvidence, match="no parallel sentences of de, en, fr: ntrex lacks fr"):
        evidence.sentence_vectors("de")
    monkeypatch.setitem(sys.modules, "urielplus", None)
    with pytest.raises(MissingEvidence, match="pip install urielplus"):
        evidence.distances([("de", "fr")])
    narrow = begin("pair=qaa-qaf", "probe.depth=[0,0.05]").evidence(["qad"])
    with pytest.raises(MissingEvidence, match=r"probe\.depth=\[0,0\.05\] holds no block of 5"):
        narrow.sentence_vectors("qaa")


@pytest.mark.parametrize(
    "strategy", [Fixed(name="fixed", language="qad"), Random(name="random"), Typology(name="typology")]
)
def test_what_needs_no_model_runs_none(begin: Begin, strategy: Strategy) -> None:
    run = begin("pair=qaa-qaf")
    assert strategy.rank(run.evidence(["qad"])).scores["qad"].rank == 1
    assert run.num_forward == 0
