"""How sure the model is of both steps, against one prompt and one token at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from bridgex.config.settings import ModelSettings
from bridgex.data.sources import read_word_pairs, toy_world
from bridgex.evaluation.engines.hf import HFEngine
from bridgex.evaluation.tasks.base import Item
from bridgex.evaluation.tasks.bli import WordTranslation
from bridgex.extract.loading import LoadedModel, load_model
from bridgex.languages import language
from bridgex.lit.confidence import collect_confidence
from bridgex.select.evidence import RouteConfidence
from tests.fakes.trainer import make_trainer

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers.*",  # a batch is text; workers would only add to the work
    "ignore:.*LeafSpec.*:FutureWarning",  # Lightning 2.6 uses a name that torch 2.13 has set aside
)

PROMPT, CHAIN = '{source}:"{word}"→{target}:', '{source}:"{word}"→{bridge}:"{bridge_word}"→{target}:'
TASK = WordTranslation(name="probe", prompt=PROMPT, chain=CHAIN)
SOURCE, TARGET, BRIDGES = "qac", "qaf", ("qad", "qaa", "qaj")


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return load_model(ModelSettings(kind="toy", name="toy", dtype="float32"), toy_world(None) / "model")


@pytest.fixture(scope="module")
def words() -> list[str]:
    return list(read_word_pairs(toy_world(None) / "muse" / f"{SOURCE}-{TARGET}.0-5000.txt"))[:12]


def collect(loaded: LoadedModel, words: Sequence[str], **more: object) -> dict[str, RouteConfidence]:
    items = [Item(word, word, ("never looked at",), word) for word in words]
    settings: dict = {"bridges": BRIDGES, "batch_tokens": 2048, "task": TASK, **more}
    return collect_confidence(
        loaded,
        HFEngine(loaded),
        settings["task"],
        items,
        language(SOURCE),
        language(TARGET),
        [language(code) for code in settings["bridges"]],
        make_trainer,
        batch_tokens=settings["batch_tokens"],
    )


@torch.inference_mode()
def say(loaded: LoadedModel, prompt: str) -> tuple[str, list[float]]:
    """Greedy, a full forward without a cache for each token, until the quote closes or the line ends."""
    ids = loaded.encoder.encode(prompt)
    start, logprobs, text = len(ids), list[float](), ""
    while len(logprobs) < 30:
        logits = loaded.model(torch.tensor([ids]), use_cache=False).logits[0, -1].double()
        ids.append(int(logits.argmax()))
        logprobs.append(float(logits.log_softmax(0).max()))
        text = loaded.encoder.decode(ids[start:])
        if ids[-1] in loaded.end_ids or "\n" in text or (text.lstrip().startswith('"') and text.count('"') > 1):
            break
    return text, logprobs


def assert_close(found: RouteConfidence, expected: RouteConfidence, atol: float = 1e-5) -> None:
    np.testing.assert_allclose(found.mean, expected.mean, rtol=0, atol=atol)
    np.testing.assert_allclose(found.weakest, expected.weakest, rtol=0, atol=atol)


def slow_confidence(loaded: LoadedModel, word: str, bridge: str) -> tuple[float, float]:
    """Mean over both steps' tokens, and the lower of the two steps' means."""
    first = f'{SOURCE}:"{word}"→{bridge}:'
    said, logprobs = say(loaded, first)
    bridge_word = said.split('"')[1]
    assert bridge_word
    _, more = say(loaded, f'{first}"{bridge_word}"→{TARGET}:')
    first_step, second_step = logprobs[:-1], more[:-1]  # not what ends the two answers
    both = first_step + second_step
    return sum(both) / len(both), min(sum(step) / len(step) for step in (first_step, second_step))


def test_it_equals_a_slow_loop(loaded: LoadedModel, words: list[str]) -> None:
    found = collect(loaded, words)
    assert list(found) == list(BRIDGES)
    for bridge in BRIDGES:
        expected = np.array([slow_confidence(loaded, word, bridge) for word in words])
        assert_close(found[bridge], RouteConfidence(expected[:, 0], expected[:, 1]), atol=1e-4)
        for values in (found[bridge].mean, found[bridge].weakest):
            assert values.dtype == np.float64
            assert (values < 0).all()
        assert (found[bridge].weakest <= found[bridge].mean).all()
        assert (found[bridge].weakest < found[bridge].mean - 1e-4).any(), "the two steps are not equally sure"


def test_directly_it_is_one_step(loaded: LoadedModel, words: list[str]) -> None:
    items = [Item(word, word, ("x",), word) for word in words]
    source, target = language(SOURCE), language(TARGET)
    found = collect_confidence(
        loaded, HFEngine(loaded), TASK, items, source, target, [None, language("qad")], make_trainer, batch_tokens=2048
    )
    assert list(found) == ["direct", "qad"]
    np.testing.assert_array_equal(found["direct"].weakest, found["direct"].mean)
    for word, value in zip(words, found["direct"].mean, strict=True):
        _, logprobs = say(loaded, f'{SOURCE}:"{word}"→{TARGET}:')
        assert value == pytest.approx(float(np.mean(logprobs[:-1])), abs=1e-4)
    assert_close(found["qad"], collect(loaded, words)["qad"])


def test_an_answer_cut_short_counts_whole_and_one_that_ends_at_once_by_its_end(
    loaded: LoadedModel, words: list[str]
) -> None:
    cut = WordTranslation(name="probe", prompt=PROMPT, chain=CHAIN, max_tokens=2)
    items = [Item(word, word, ("x",), word) for word in words]
    found = collect_confidence(
        loaded,
        HFEngine(loaded),
        cut,
        items,
        language(SOURCE),
        language(TARGET),
        [None],
        make_trainer,
        batch_tokens=2048,
    )
    for word, value in zip(words, found["direct"].mean, strict=True):
        _, logprobs = say(loaded, f'{SOURCE}:"{word}"→{TARGET}:')
        assert value == pytest.approx(float(np.mean(logprobs[:2])), abs=1e-4)
    # An end token at once: the only sign there is.
    ends = replace(loaded, end_ids=tuple(range(loaded.model.config.vocab_size)))
    at_once = collect(ends, words, bridges=("qad",))["qad"]
    np.testing.assert_array_equal(at_once.weakest, at_once.mean)
    for word, value in zip(words, at_once.mean, strict=True):
        _, first = say(loaded, f'{SOURCE}:"{word}"→qad:')
        assert value == pytest.approx(first[0], abs=1e-4)


def test_a_strong_pair_is_no_surer_through_a_bridge(loaded: LoadedModel) -> None:
    """A single question leaves open whether a chain follows; a chain does not. That must not speak for the bridge."""
    path = toy_world(None) / "muse" / "qaa-qad.0-5000.txt"
    items = [Item(word, word, ("x",), word) for word in list(read_word_pairs(path))[:40]]
    routes = [None, language("qag"), language("qaj")]
    source, target = language("qaa"), language("qad")
    found = collect_confidence(
        loaded, HFEngine(loaded), TASK, items, source, target, routes, make_trainer, batch_tokens=2048
    )
    for code in ("qag", "qaj"):
        assert abs(found[code].mean.mean() - found["direct"].mean.mean()) < 0.01, "counting the end, it would be +.06"
        assert found[code].weakest.mean() < found["direct"].weakest.mean() + 0.01


@pytest.mark.parametrize("batch_tokens", [1, 150])
def test_batches_change_nothing(loaded: LoadedModel, words: list[str], batch_tokens: int) -> None:
    whole, cut = collect(loaded, words), collect(loaded, words, batch_tokens=batch_tokens)
    for bridge in BRIDGES:
        assert_close(cut[bridge], whole[bridge])


def test_order_of_words_and_bridges_only_moves_them(loaded: LoadedModel, words: list[str]) -> None:
    whole = collect(loaded, words)
    moved = collect(loaded, words[::-1], bridges=BRIDGES[::-1])
    assert list(moved) == list(BRIDGES[::-1])
    for bridge in BRIDGES:
        assert_close(RouteConfidence(moved[bridge].mean[::-1], moved[bridge].weakest[::-1]), whole[bridge])


def test_right_answers_are_not_looked_at(loaded: LoadedModel, words: list[str]) -> None:
    items = [Item(word, word, (word,), word, bridge_gold={"qad": (word,)}) for word in words]
    source, target, bridge = language(SOURCE), language(TARGET), language("qad")
    found = collect_confidence(
        loaded, HFEngine(loaded), TASK, items, source, target, [bridge], make_trainer, batch_tokens=2048
    )
    assert_close(found["qad"], collect(loaded, words)["qad"])


def test_the_related_hub_is_the_one_that_the_model_is_sure_of(loaded: LoadedModel, words: list[str]) -> None:
    found = collect(loaded, words)
    related, other = found["qaa"].mean.mean(), found["qaj"].mean.mean()
    assert related > other, "qaa is the hub of the source's family, qaj of neither's"
