"""The question whether a route needs neurons, from made-up log-probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from bridgex.config.settings import ProbeSettings
from bridgex.evaluation.ablation import last_prompt, summarise_ablation
from bridgex.evaluation.dialogue import Completion, converse
from bridgex.evaluation.routes import Route
from bridgex.evaluation.tasks.base import Item
from bridgex.evaluation.tasks.bli import WordTranslation
from bridgex.languages import language
from bridgex.records.schema import Ablation

ITEMS = [Item(str(number), f"w{number}", (f"g{number}",), str(number)) for number in range(40)]


def summary(direct: np.ndarray, via: np.ndarray, items: list[Item] = ITEMS) -> Ablation:
    """From `[items, 3 + sets]` log-probabilities of both routes."""
    logprobs = {(item.id, "direct"): row for item, row in zip(ITEMS, direct, strict=True)}
    logprobs |= {(item.id, "via en"): row for item, row in zip(ITEMS, via, strict=True)}
    kept = {item.id for item in items}
    logprobs = {key: row for key, row in logprobs.items() if key[0] in kept or key[1] == "direct"}
    return summarise_ablation(logprobs, ITEMS, "via en", ablated="bridge", num_neurons=7, num_matched=5, seed=0)


def made(seed: int, loss: float, random_loss: float, num_sets: int = 99) -> np.ndarray:
    """Nothing held, all held, the matched ones held (as much is lost), random sets."""
    random = np.random.default_rng(seed)
    intact = -random.gamma(2.0, size=(40, 1))
    losses = np.concatenate([np.full((40, 2), loss), np.full((40, num_sets), random_loss)], axis=1)
    return np.concatenate([intact, intact - losses - 0.2 * random.standard_normal(losses.shape)], axis=1)


def test_every_figure_is_the_one_of_its_definition() -> None:
    direct, via = made(0, 0.5, 0.4), made(1, 1.5, 0.6)
    found = summary(direct, via)
    loss_direct, loss_via = direct[:, 0] - direct[:, 1], via[:, 0] - via[:, 1]
    random_direct, random_via = direct[:, :1] - direct[:, 3:], via[:, :1] - via[:, 3:]
    assert found.routes["direct"].logprob == pytest.approx(direct[:, 0].mean())
    assert found.routes["direct"].loss.mean == pytest.approx(loss_direct.mean())
    assert found.routes["direct"].matched_loss == pytest.approx(np.mean(direct[:, 0] - direct[:, 2]))
    assert found.routes["via en"].random_loss == pytest.approx(random_via.mean())
    assert found.difference.mean == pytest.approx(np.mean(loss_via - loss_direct))
    matched = (via[:, 0] - via[:, 2]) - (direct[:, 0] - direct[:, 2])
    above = matched - (random_via - random_direct).mean(axis=1)
    assert found.above_random is not None
    assert found.above_random.ci95 is not None
    assert found.above_random.mean == pytest.approx(above.mean())
    assert found.above_random.ci95[0] < above.mean() < found.above_random.ci95[1]
    assert found.p_random_sets == pytest.approx(2 / 100)
    assert (found.n, found.num_left_out, found.num_random_sets) == (40, 0, 99)
    assert (found.num_neurons, found.num_matched) == (7, 5)
    assert found.verdict.endswith("and more so than random neurons")


def test_the_place_among_random_sets_counts_both_ends() -> None:
    direct, via = made(0, 0.5, 0.4, 9), made(1, 0.5, 0.4, 9)
    differences = ((via[:, :1] - via[:, 2:]) - (direct[:, :1] - direct[:, 2:])).mean(axis=0)
    as_high = 1 + int((differences[1:] >= differences[0]).sum())
    as_low = 1 + int((differences[1:] <= differences[0]).sum())
    assert summary(direct, via).p_random_sets == pytest.approx(min(1.0, 2 * min(as_high, as_low) / 10))


def test_the_matched_set_lies_anywhere_among_sets_like_it() -> None:
    p_values = []
    for seed in range(300):
        random = np.random.default_rng(seed)
        # The matched set and 99 random ones share a pool of neurons, each with an effect of its own.
        effects = random.standard_normal((10, 3))
        chosen = np.concatenate([np.zeros((1, 10), dtype=int), random.integers(3, size=(99, 10))])
        losses = effects[np.arange(10), chosen].sum(axis=1)
        via = np.concatenate([[0.0, -1.0], -losses])[None].repeat(40, axis=0)
        p_values.append(summary(np.zeros_like(via), via).p_random_sets)
    # Binomial(300, 0.05): 4 to 28 has more than 99.9 %.
    assert 4 <= sum(p <= 0.05 for p in p_values if p is not None) <= 28


@pytest.mark.parametrize(
    ("direct", "via", "verdict"),
    [
        ((0.5, 0.5), (1.5, 0.5), "bridge route needs these neurons more than the direct question does, and more"),
        ((0.5, 0.5), (1.5, 1.5), "bridge route needs these neurons more than the direct question does, but not"),
        ((1.5, 0.5), (0.5, 0.5), "needs these neurons more than the last step of the bridge route does, and more"),
        ((1.5, 1.5), (0.5, 0.5), "needs these neurons more than the last step of the bridge route does, but not"),
        ((0.5, 0.5), (0.5, 0.5), "no evidence"),
    ],
)  # fmt: skip
def test_the_verdict_says_what_the_tests_allow(
    direct: tuple[float, float], via: tuple[float, float], verdict: str
) -> None:
    assert verdict in summary(made(0, *direct), made(3, *via)).verdict


def test_without_random_sets_nothing_is_said_of_them() -> None:
    found = summary(made(0, 0.5, 0.5, 0), made(1, 1.5, 0.5, 0))
    assert (found.above_random, found.p_random_sets, found.num_random_sets) == (None, None, 0)
    assert found.routes["direct"].random_loss is None
    assert "too few of them have a match" in found.verdict


def test_one_item_has_no_interval() -> None:
    direct, via = made(0, 0.5, 0.4), made(1, 1.0, 0.6)
    found = summary(direct, via, ITEMS[:1])
    assert (found.difference.ci95, found.difference.p) == (None, 1.0)


def test_no_effect_is_called_one_in_about_five_percent() -> None:
    found = [summary(made(2 * seed, 1.0, 1.0, 3), made(2 * seed + 1, 1.0, 1.0, 3)) for seed in range(200)]
    # Binomial(200, 0.05): 1 to 22 has more than 99.9 %.
    for p_values in (
        [f.difference.p for f in found],
        [f.above_random.p for f in found if f.above_random is not None],
    ):
        assert 1 <= sum(p <= 0.05 for p in p_values) <= 22
        assert np.mean(p_values) == pytest.approx(0.5, abs=0.08)


def test_another_unit_or_level_of_the_items_changes_no_test() -> None:
    direct, via = made(0, 0.5, 0.4), made(1, 1.0, 0.6)
    levels = np.random.default_rng(5).standard_normal((40, 1))
    plain, moved = summary(direct, via), summary(3 * (direct + levels), 3 * (via + levels))
    assert moved.difference.p == plain.difference.p
    assert moved.difference.mean == pytest.approx(3 * plain.difference.mean)
    assert moved.p_random_sets == plain.p_random_sets


def test_items_without_a_bridge_text_are_left_out_and_counted() -> None:
    direct, via = made(0, 0.5, 0.4), made(1, 1.0, 0.6)
    found = summary(direct, via, ITEMS[:30])
    assert (found.n, found.num_left_out) == (30, 10)
    assert found.routes["direct"].logprob == pytest.approx(direct[:30, 0].mean())
    with pytest.raises(ValueError, match="no item has both routes"):
        summary(direct, via, [])


def task() -> WordTranslation:
    defaults = ProbeSettings(
        prompt='{source}:"{word}"→{target}:', chain='{source}:"{word}"→{bridge}:"{bridge_word}"→{target}:'
    )
    return WordTranslation(name="bli", prompt=defaults.prompt, chain=defaults.chain)


def said(text: str) -> Completion:
    return Completion("prompt as given", text, 3, -1.0, is_truncated=False)


def test_the_last_prompt_is_the_one_that_was_asked_with_the_recorded_bridge_text() -> None:
    item = Item("1", "chien", ("Hund",), "1")
    source, target, bridge = language("fr"), language("de"), language("en")
    asked: list[str] = []

    def answer(questions: list) -> list[Completion]:
        asked.extend(question.prompt for question in questions)
        return [said('"dog"') for _ in questions]

    for through in (None, bridge):
        (record,) = converse([task().dialogue(item, source, target, Route.to(through))], answer)
        assert last_prompt(task().dialogue(item, source, target, Route.to(through)), record) == asked[-1]
    assert "dog" in asked[-1]


def test_a_route_that_ended_before_its_answer_has_no_last_prompt() -> None:
    item = Item("1", "chien", ("Hund",), "1")
    languages = language("fr"), language("de"), Route.to(language("en"))
    (record,) = converse([task().dialogue(item, *languages)], lambda questions: [said('""') for _ in questions])
    assert record.answer is None
    assert last_prompt(task().dialogue(item, *languages), record) is None


def test_right_answers_are_weighed_in_quotes() -> None:
    assert task().gold_texts(Item("1", "chien", ("Hund", "Köter"), "1")) == ('"Hund"', '"Köter"')
