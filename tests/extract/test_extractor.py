from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bridgex.errors import UserError
from bridgex.extract.extractor import ActivationReader, is_out_of_memory, read_activations
from bridgex.extract.sites import find_sites
from tests.fakes.tiny_models import BLOCKS, FAMILIES, layers_of, make_model, num_hooks, reference_activations

ROWS = [list(range(10, 31)), list(range(40, 45)), [7], list(range(60, 73))]


@pytest.mark.parametrize("family", FAMILIES)
def test_read_equals_the_definition(family: str) -> None:
    model = make_model(family)
    ids = torch.randint(3, 250, (3, 11), generator=torch.Generator().manual_seed(1))
    read = read_activations(model, find_sites(model), ids.tolist(), is_packed=False)
    expected = reference_activations(model, family, ids)
    assert list(read) == list(range(1, BLOCKS + 1))
    for block, activation in read.items():
        assert activation.shape == (33, FAMILIES[family].neurons)
        torch.testing.assert_close(activation, expected[block - 1].flatten(0, 1), atol=1e-6, rtol=1e-5)
    assert num_hooks(model) == 0


def test_texts_of_several_lengths_are_packed_or_refused() -> None:
    model = make_model("llama")
    with pytest.raises(ValueError, match="texts of 1 to 21 tokens in a batch without padding"):
        read_activations(model, find_sites(model), ROWS, is_packed=False)
    assert num_hooks(model) == 0


def test_one_block_at_a_time_and_nothing_after_the_last() -> None:
    model = make_model("llama")
    order: list[object] = []
    for number, layer in enumerate(layers_of(model), start=1):
        layer.mlp.down_proj.register_forward_hook(lambda module, args, output, n=number: order.append(f"end {n}"))
    model.lm_head.register_forward_hook(lambda module, args, output: order.append("head"))
    with ActivationReader(model, find_sites(model)[:2]) as reader:
        order.clear()
        reader.run(ROWS, lambda block, activation: order.append(block), is_packed=True)
    assert order == [1, "end 1", 2]


def test_a_shared_module_is_told_apart_by_block() -> None:
    model = make_model("llama")
    sites = find_sites(model)
    expected = read_activations(model, sites, ROWS, is_packed=True)
    shared = nn.SiLU()
    for layer in layers_of(model):
        layer.mlp.act_fn = shared
    found = find_sites(model)
    for chosen in (found, found[::2]):
        read = read_activations(model, chosen, ROWS, is_packed=True)
        assert list(read) == [site.block for site in chosen]
        assert all(torch.equal(read[block], expected[block]) for block in read)


def test_hooks_come_off_after_an_error() -> None:
    model = make_model("gpt2")

    def fail(block: int, activation: Tensor) -> None:
        raise RuntimeError("full")

    with ActivationReader(model, find_sites(model)) as reader:
        assert num_hooks(model) == 3 * BLOCKS
        with pytest.raises(RuntimeError, match="full"):
            reader.run(ROWS, fail, is_packed=True)
    assert num_hooks(model) == 0


def test_code_replaced_after_the_sites_were_found_is_seen() -> None:
    model = make_model("llama")
    sites = find_sites(model)
    mlp = layers_of(model)[1].mlp
    mlp.forward = lambda x: mlp.down_proj(nn.functional.silu(mlp.gate_proj(x)) * mlp.up_proj(x))
    with pytest.raises(UserError, match=r"block 2: layers\.1\.mlp\.act_fn did not run in a forward pass"):
        read_activations(model, sites, ROWS, is_packed=True)
    mlp.forward = lambda x: mlp.down_proj(mlp.act_fn(mlp.act_fn(mlp.gate_proj(x))))
    with pytest.raises(
        UserError, match=r"block 2: .* gave \(1, 40, 48\) for 40 tokens, not once one activation of 48 neurons"
    ):
        read_activations(model, sites, ROWS, is_packed=True)


def test_reading_keeps_no_gradients() -> None:
    model = make_model("llama")
    for is_packed, rows in ((True, ROWS), (False, ROWS[:1])):
        read = read_activations(model, find_sites(model), rows, is_packed=is_packed)
        assert not any(activation.requires_grad for activation in read.values())


def test_running_out_of_memory_is_told_from_other_errors() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**15)
    for error in (
        caught.value,
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        MemoryError(),
    ):
        assert is_out_of_memory(error)
    for error in (RuntimeError("shapes do not fit"), ValueError("out of memory"), KeyboardInterrupt()):
        assert not is_out_of_memory(error)
