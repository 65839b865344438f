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
from bridgex.lit import probe_data
from bridgex.lit import states as states_module
from bridgex.lit.states import Block, Pooling, collect_states
from tests.fakes.tiny_models import make_loaded
from tests.fakes.trainer import make_trainer

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
]

PROMPTS = ['qaa:"bula"→qad:"', 'qab:"bula"→qad:"', 'qaf:"lydi kofa doxu"→qad:"', 'qaa:"bula"→qad:"', "qaa"]


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return load_model(ModelSettings(kind="toy", name="toy", dtype="float32"), toy_world(None) / "model")


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


def test_no_pass_holds_two_lengths_and_none_is_too_large(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    encoded = [[*loaded.encoder.prefix, *random.integers(10, 60, size).tolist()] for size in random.integers(2, 9, 40)]
    real, passes = states_module.StatesModule._run, []

    def watched(self: Any, ids: torch.Tensor, found: Any) -> None:
        passes.append(ids)
        real(self, ids, found)

    monkeypatch.setattr(states_module.StatesModule, "_run", watched)
    collect_states(loaded, encoded, make_trainer, blocks=["last"], pooling="last", batch_tokens=20)
    assert all(ids.numel() <= 20 for ids in passes)
    assert sorted(row for ids in passes for row in ids.tolist()) == sorted(encoded), "none is padded"
    assert any(len(ids) > 1 for ids in passes)


def test_the_size_of_a_pass_goes_by_the_trainers_device(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model still lies on the CPU when texts are handed over; only the trainer knows where it will run."""
    asked: list[tuple[object, str]] = []
    for module in (states_module, probe_data):

        class Watched(probe_data.TokenBudget):
            def __init__(self, number: int | None, device: torch.device) -> None:
                asked.append((number, device.type))
                super().__init__(number, device)

        monkeypatch.setattr(module, "TokenBudget", Watched)

    def elsewhere(callbacks: Sequence[Callback]) -> Trainer:
        trainer = make_trainer(callbacks)
        device = torch.device("meta")
        monkeypatch.setattr(type(trainer.strategy), "root_device", property(lambda self: device))
        return trainer

    encoded = [loaded.encoder.encode(prompt) for prompt in PROMPTS]
    module = states_module.StatesModule(loaded, ["last"], "last", None)
    # What a trainer does to a module before it runs it.
    monkeypatch.setattr(type(module), "device", property(lambda self: torch.device("meta")))
    module.on_predict_start()
    rows, _ = probe_data.rows_of(loaded, {"": encoded}, None)
    data = probe_data.ProbeData(rows, 0, None)
    data.trainer = elsewhere([])
    data.predict_dataloader()
    assert asked == [(None, "meta")] * 2


def test_the_model_runs_no_further_than_it_must(loaded: LoadedModel) -> None:
    ran: list[int] = []
    before = [len(layer._forward_hooks) for layer in loaded.model.base_model.layers]
    handles = [
        layer.register_forward_hook(lambda *_, number=number: ran.append(number))
        for number, layer in enumerate(loaded.model.base_model.layers, start=1)
    ]
    try:
        collect(loaded, [2], "last", prompts=["qaa"])
        # The hook that ends the pass comes after this one.
        assert ran == [1, 2]
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
    assert sizes.count(max(sizes)) == 1, "what did not fit is not tried again"
    limit = 0
    told = r"memory on cpu does not suffice for one text of \d+ tokens beside the model\. Use model\.dtype=bfloat16, .*"
    with pytest.raises(UserError, match=told):
        collect(loaded, [2, "last"], "last", prompts=prompts)

    def broken(self: Any, ids: torch.Tensor, found: Any) -> None:
        raise RuntimeError("something else")

    monkeypatch.setattr(states_module.StatesModule, "_run", broken)
    with pytest.raises(RuntimeError, match="something else"):
        collect(loaded, ["last"], "last", prompts=prompts)


@pytest.mark.parametrize("blocks", [["last"], [1, 2]])
def test_models_whose_neurons_cannot_be_read_have_states(blocks: list[Block]) -> None:
    """A mixture of experts: no neuron sees every token, but every block has an output."""
    experts = make_loaded("mixtral")
    found = collect(experts, blocks, "last", prompts=["ab", "abc"])
    for row, prompt in enumerate(["ab", "abc"]):
        ids = torch.tensor([experts.encoder.encode(prompt)])
        with torch.inference_mode():
            output = experts.model.base_model(ids, output_hidden_states=True)
        for place, block in enumerate(blocks):
            if block != "last" and block == experts.model.config.num_hidden_layers:
                continue  # given after the final norm only
            own = output.last_hidden_state if block == "last" else output.hidden_states[block]
            np.testing.assert_allclose(found[place, row], own[0, -1].numpy(), rtol=0, atol=1e-5)


def test_a_process_without_a_batch_joins_the_others(loaded: LoadedModel) -> None:
    module = states_module.StatesModule(loaded, ["last"], "last", None)
    assert module.predict_step(None) == []
