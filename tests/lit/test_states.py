"""Hidden states, against what the model itself gives one text at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer

from bridgex.config.settings import ModelSettings
from bridgex.data.sources import toy_world
from bridgex.errors import UserError
from bridgex.extract.loading import LoadedModel, load_model
from bridgex.lit import states as states_module
from bridgex.lit.states import Block, Pooling, StatesData, collect_states

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
]

PROMPTS = ['qaa:"bula"→qad:"', 'qab:"bula"→qad:"', 'qaf:"lydi kofa doxu"→qad:"', 'qaa:"bula"→qad:"', "qaa"]


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return load_model(ModelSettings(kind="toy", name="toy", dtype="float32"), toy_world(None) / "model")


def make_trainer(callbacks: Sequence[Callback], **more: Any) -> Trainer:
    return Trainer(
        accelerator="cpu",
        devices=1,
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        **more,
    )


def collect(
    loaded: LoadedModel, blocks: Sequence[Block], pooling: Pooling, batch_tokens: int = 2048, prompts: Any = PROMPTS
) -> np.ndarray:
    encoded = [loaded.encoder.encode(prompt) for prompt in prompts]
    return collect_states(loaded, encoded, make_trainer, blocks=blocks, pooling=pooling, batch_tokens=batch_tokens)


@torch.inference_mode()
def slow(loaded: LoadedModel, prompt: str, block: Block, pooling: Pooling) -> np.ndarray:
    """By the model's own list of hidden states, whose last one it gives after the final norm."""
    body, ids = loaded.model.base_model, torch.tensor([loaded.encoder.encode(prompt)])
    num_blocks = loaded.model.config.num_hidden_layers
    if block == num_blocks:  # before the final norm: the norm's own input
        seen: list[torch.Tensor] = []
        handle = body.norm.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
        body(ids)
        handle.remove()
        (states,) = seen
    else:
        states = body(ids, output_hidden_states=True).hidden_states[num_blocks if block == "last" else block]
    own = states[0, len(loaded.encoder.prefix) :].double()
    return (own[-1] if pooling == "last" else own.mean(dim=0)).numpy()


@pytest.mark.parametrize("pooling", ["last", "mean"])
@pytest.mark.parametrize("blocks", [["last"], [1], [2, 4], [5], [3, "last"]])
def test_they_are_the_models_own(loaded: LoadedModel, blocks: list[Block], pooling: Pooling) -> None:
    found = collect(loaded, blocks, pooling)
    assert found.shape == (len(blocks), len(PROMPTS), loaded.model.config.hidden_size)
    assert found.dtype == np.float32
    for place, block in enumerate(blocks):
        for row, prompt in enumerate(PROMPTS):
            np.testing.assert_allclose(found[place, row], slow(loaded, prompt, block, pooling), rtol=0, atol=2e-5)


@pytest.mark.parametrize("batch_tokens", [1, 25])
def test_batches_and_order_change_nothing(loaded: LoadedModel, batch_tokens: int) -> None:
    whole = collect(loaded, [2, "last"], "last")
    np.testing.assert_allclose(collect(loaded, [2, "last"], "last", batch_tokens), whole, rtol=0, atol=1e-5)
    moved = collect(loaded, ["last", 2], "last", prompts=PROMPTS[::-1])
    np.testing.assert_allclose(moved[::-1, ::-1], whole, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(whole[:, 0], whole[:, 3])


def test_no_batch_holds_two_lengths_and_none_is_too_large() -> None:
    random = np.random.default_rng(0)
    encoded = [list(range(length)) for length in random.integers(2, 9, size=40)]
    batches = StatesData(encoded, 20).predict_dataloader().dataset
    found: list[int] = []
    for index in range(len(batches)):  # type: ignore[arg-type]
        batch = batches[index]
        assert batch is not None
        found += batch.rows
        for row, ids in zip(batch.rows, batch.ids.tolist(), strict=True):
            assert ids == encoded[row]
        assert batch.ids.numel() <= 20
    assert sorted(found) == list(range(40))


def test_the_model_runs_no_further_than_it_must(loaded: LoadedModel) -> None:
    ran: list[int] = []
    before = [len(layer._forward_hooks) for layer in loaded.model.base_model.layers]
    handles = [
        layer.register_forward_hook(lambda *_, number=number: ran.append(number))
        for number, layer in enumerate(loaded.model.base_model.layers, start=1)
    ]
    try:
        collect(loaded, [2], "last", prompts=["qaa"])
        # The first pass looks for the blocks; the hook that ends the second comes after this one.
        assert ran == [1, 2, 3, 4, 5, 1, 2]
    finally:
        for handle in handles:
            handle.remove()
    after = [len(layer._forward_hooks) for layer in loaded.model.base_model.layers]
    assert after == before, "no hook stays behind"


def test_what_cannot_be_read_is_refused(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"block 6: the model has blocks 1 to 5\. Give one of them, or last"):
        collect(loaded, [6], "last")
    with pytest.raises(UserError, match="none, or one of no token"):
        collect(loaded, ["last"], "last", prompts=[])
    with pytest.raises(UserError, match="none, or one of no token"):
        collect(loaded, ["last"], "mean", prompts=[""])
    monkeypatch.setattr(loaded.model.config, "max_position_embeddings", 8)
    with pytest.raises(UserError, match="1 prompts are longer than what the model reads"):
        collect(loaded, ["last"], "last", prompts=['qaa:"bula fefo kibi bula"→qad:"', "qaa"])
    encoded = [loaded.encoder.encode("bula fefo kibi bula fefo kibi bula fefo")]
    notes: list[str] = []
    arguments: dict[str, Any] = {"blocks": ["last"], "batch_tokens": 64}
    cut = collect_states(loaded, encoded, make_trainer, pooling="mean", note=notes.append, **arguments)
    short = collect_states(loaded, [encoded[0][:8]], make_trainer, pooling="mean", **arguments)
    np.testing.assert_array_equal(cut, short)
    assert len(notes) == 1


def test_a_trainer_that_leaves_texts_out_is_refused(loaded: LoadedModel) -> None:
    encoded = [loaded.encoder.encode(prompt) for prompt in PROMPTS]

    def lazy(callbacks: Sequence[Callback]) -> Trainer:
        return make_trainer(callbacks, limit_predict_batches=1)

    with pytest.raises(UserError, match=r"trainer: of 4 texts to read, \d were read"):
        collect_states(loaded, encoded, lazy, blocks=["last"], pooling="last", batch_tokens=10)


def test_where_memory_does_not_suffice_batches_are_halved(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = [f'qaa:"{word}"→qad:"' for word in ("bula", "fefo", "kibi", "lydi", "kofa")]
    expected = collect(loaded, [2, "last"], "last", prompts=prompts)
    real, sizes = states_module.StatesModule._run, []

    def small(self: Any, ids: torch.Tensor, found: Any) -> None:
        sizes.append(len(ids))
        if len(ids) > limit:
            raise torch.OutOfMemoryError("out of memory")
        real(self, ids, found)

    monkeypatch.setattr(states_module.StatesModule, "_run", small)
    limit = 1
    np.testing.assert_allclose(collect(loaded, [2, "last"], "last", prompts=prompts), expected, rtol=0, atol=1e-5)
    assert max(sizes) > 1
    limit = 0
    with pytest.raises(torch.OutOfMemoryError):
        collect(loaded, [2, "last"], "last", prompts=prompts)


def test_a_process_without_a_batch_joins_the_others(loaded: LoadedModel) -> None:
    module = states_module.StatesModule(loaded, ["last"], "last")
    assert module.predict_step(None) == []
