"""Weighing right answers with neurons held, against one prompt at a time with the neurons overwritten by hand."""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bridgex.config.settings import ModelSettings
from bridgex.data.sources import toy_world
from bridgex.extract.loading import LoadedModel, load_model
from bridgex.extract.sites import find_sites
from bridgex.lit.ablation import GoldSample, collect_ablation
from bridgex.select.ablation import AblationSets
from tests.fakes.tiny_models import num_hooks
from tests.fakes.trainer import make_trainer

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers.*",  # a batch is text; workers would only add to the work
    "ignore:.*LeafSpec.*:FutureWarning",  # Lightning 2.6 uses a name that torch 2.13 has set aside
)


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return load_model(ModelSettings(kind="toy", name="toy", dtype="float32"), toy_world(None) / "model")


def by_hand(
    loaded: LoadedModel, sample: GoldSample, held: dict[int, np.ndarray], means: dict[int, np.ndarray]
) -> float:
    """One text at a time, no padding; every site's output is overwritten past the prefix."""
    sites, num_prefix = find_sites(loaded.model), len(loaded.encoder.prefix)

    def overwrite(block: int) -> object:
        def hook(module: object, args: object, output: Tensor) -> Tensor:
            changed = output.clone()
            if block in held:
                changed[:, num_prefix:, held[block]] = torch.from_numpy(means[block][held[block]]).float()
            return changed

        return hook

    assert len({id(site.module) for site in sites}) == len(sites)
    handles = [site.module.register_forward_hook(overwrite(site.block)) for site in sites]
    total = 0.0
    for text in sample.texts:
        prompt = loaded.encoder.encode(sample.prompt)
        own = loaded.encoder.tokenizer(text, add_special_tokens=False).input_ids
        with torch.no_grad():
            logprobs = loaded.model(torch.tensor([prompt + own])).logits[0].double().log_softmax(-1)
        total += math.exp(sum(float(logprobs[len(prompt) - 1 + place, token]) for place, token in enumerate(own)))
    for handle in handles:
        handle.remove()
    return math.log(total)


def test_every_condition_is_what_it_says(loaded: LoadedModel) -> None:
    random = np.random.default_rng(0)
    sites = find_sites(loaded.model)
    means = {site.block: random.standard_normal(site.num_neurons) for site in sites}
    conditions = [
        {block: np.sort(random.choice(256, size=20, replace=False)) for block in blocks}
        for blocks in ([2, 3], [2, 3], [1, 5], [2])
    ]
    samples = [
        GoldSample("1", "direct", 'qaa:"kade"→qaf:', ('"tumi"', '"so"')),
        GoldSample("1", "via qad", 'qaa:"kade"→qad:"a"→qaf:', ('"tumi"', '"so"')),
        GoldSample("2", "direct", 'qaa:"na"→qaf:', ('"mirelo"',)),
    ]
    sets = AblationSets(conditions[0], conditions[1], tuple(conditions[2:]), means)
    for batch_tokens in (1, 4096):
        found = collect_ablation(loaded, sets, samples, make_trainer, batch_tokens=batch_tokens)
        assert set(found) == {(sample.item, sample.route) for sample in samples}
        for sample in samples:
            expected = [by_hand(loaded, sample, held, means) for held in ({}, *conditions)]
            assert found[sample.item, sample.route] == pytest.approx(expected, abs=1e-3)
    assert num_hooks(loaded.model) == 0


@pytest.mark.parametrize("batch_tokens", [1, 60, 120, 400])
def test_no_padded_batch_is_larger_than_asked(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch, batch_tokens: int
) -> None:
    """Few long texts among many short ones: neither alone bounds a batch that is as wide as the longest."""
    samples = [
        GoldSample("many short", "direct", "q", tuple("abcdefghijklmnop")),
        GoldSample("one long", "direct", 'qaa:"kade"→qad:"a"→qaf:' * 2, ('"tumi"',)),
        *(GoldSample(f"{n}", "direct", 'qaa:"na"→qaf:', ('"mirelo"',) * (1 + n % 3)) for n in range(7)),
    ]
    shapes, forward = [], loaded.model.forward

    def watched(*args: Any, **kwargs: Any) -> Any:
        shapes.append(tuple(kwargs["input_ids"].shape))
        return forward(*args, **kwargs)

    watched.__signature__ = inspect.signature(forward)  # type: ignore[attr-defined]
    monkeypatch.setattr(loaded.model, "forward", watched)
    sets = AblationSets(chosen={}, matched={}, random=(), means={})
    found = collect_ablation(loaded, sets, samples, make_trainer, batch_tokens=batch_tokens)
    assert {item for item, _ in found} == {sample.item for sample in samples}
    assert all(rows * width <= batch_tokens or rows == 1 for rows, width in shapes)
    num_rows = sum(len(sample.texts) for sample in samples)
    assert sum(rows for rows, _ in shapes) == 3 * num_rows, "nothing held, none chosen, none matched"
    if batch_tokens == 400:
        assert len(shapes) < num_rows, "rows do share batches"
