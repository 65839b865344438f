"""Texts in one row, in batches of one length and in padded batches give what each gives alone."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

from bridgex.extract import packing
from bridgex.extract.extractor import read_activations
from bridgex.extract.packing import CannotPack, attend, packed, positions_of, runs_of
from bridgex.extract.sites import backbone, find_sites
from tests.fakes.tiny_models import FAMILIES, layers_of, make_model, num_hooks, reference_activations

ROWS = [list(range(10, 31)), list(range(40, 61)), list(range(60, 73)), list(range(40, 45)), list(range(50, 55)), [7]]
# These must go packed. Another family may, or is read in batches of one length.
MUST_PACK = {
    "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma3_text", "olmo", "olmo2", "cohere", "phi3", "gpt2", "gpt_neox",
    "opt", "stablelm", "granite", "smollm3",
}  # fmt: skip


def alone(model: PreTrainedModel, family: str, rows: Sequence[Sequence[int]] = ROWS) -> list[list[Tensor]]:
    """Of each row and block the neurons `[T, I]`, by the family's definition, one row at a time."""
    return [[found[0] for found in reference_activations(model, family, torch.tensor([row]))] for row in rows]


def in_order(found: dict[int, Tensor], rows: Sequence[Sequence[int]]) -> list[list[Tensor]]:
    """What was read of a whole batch, as `alone` gives it."""
    split = {block: torch.split_with_sizes(values, [len(row) for row in rows]) for block, values in found.items()}
    return [[split[block][number] for block in sorted(split)] for number in range(len(rows))]


def largest_difference(found: list[list[Tensor]], expected: list[list[Tensor]]) -> float:
    """Of all neurons; relative where they are larger than 1, as squares are."""
    return max(
        float((mine - theirs).abs().max() / max(1.0, float(theirs.abs().max())))
        for row, other in zip(found, expected, strict=True)
        for mine, theirs in zip(row, other, strict=True)
    )


def in_padded_batch(model: PreTrainedModel, family: str, side: str) -> list[list[Tensor]]:
    """The neurons of all rows from one batch with padding on one side, padding taken out again."""
    longest = max(map(len, ROWS))
    ids = torch.full((len(ROWS), longest), 2)
    mask = torch.zeros_like(ids)
    for number, row in enumerate(ROWS):
        place = slice(0, len(row)) if side == "right" else slice(longest - len(row), longest)
        ids[number, place], mask[number, place] = torch.tensor(row), 1
    given: dict[str, Tensor] = {"input_ids": ids, "attention_mask": mask}
    if "position_ids" in inspect.signature(model.forward).parameters:
        given["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)
    own, found = FAMILIES[family], []

    def keep(module: nn.Module, args: Any, output: Tensor) -> None:
        found.append(own.activation(output[..., : own.neurons]).reshape(*ids.shape, own.neurons).clone())

    handles = [layer.get_submodule(own.projection).register_forward_hook(keep) for layer in layers_of(model)]
    with torch.no_grad():
        model(**given)
    for handle in handles:
        handle.remove()
    return [[values[number][mask[number].bool()] for values in found] for number in range(len(ROWS))]


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_packing_and_one_length_agree_with_one_at_a_time(family: str) -> None:
    model = make_model(family)
    sites = find_sites(model)
    before = model.config._attn_implementation
    expected = alone(model, family)
    assert largest_difference(in_padded_batch(model, family, "left"), expected) < 1e-5
    assert largest_difference(in_padded_batch(model, family, "right"), expected) < 1e-5
    for same in (ROWS[:2], ROWS[3:5]):
        found = in_order(read_activations(model, sites, same, is_packed=False), same)
        assert largest_difference(found, alone(model, family, same)) < 1e-5
    try:
        found = in_order(read_activations(model, sites, ROWS, is_packed=True), ROWS)
    except CannotPack:
        assert family not in MUST_PACK
    else:
        assert largest_difference(found, expected) < 1e-5
    assert model.config._attn_implementation == before
    assert num_hooks(model) == 0


@pytest.mark.parametrize("family", sorted(MUST_PACK))
def test_a_row_without_packing_would_show(family: str) -> None:
    model, rows = make_model(family), ROWS[1:]
    together = torch.tensor([[number for row in rows for number in row]])
    found = dict(enumerate((values[0] for values in reference_activations(model, family, together)), start=1))
    assert largest_difference(in_order(found, rows), alone(model, family, rows)) > 1e-2


def test_the_order_of_the_texts_does_not_matter() -> None:
    model = make_model("llama")
    sites = find_sites(model)
    mixed = [ROWS[index] for index in (5, 0, 3, 2, 4, 1)]
    found = in_order(read_activations(model, sites, mixed, is_packed=True), mixed)
    assert largest_difference(found, alone(model, "llama", mixed)) < 1e-5


def test_texts_do_not_see_one_another() -> None:
    model = make_model("llama")
    sites = find_sites(model)
    first = in_order(read_activations(model, sites, ROWS, is_packed=True), ROWS)
    others = [ROWS[0], *([9] * len(row) for row in ROWS[1:])]
    second = in_order(read_activations(model, sites, others, is_packed=True), others)
    assert largest_difference(first[:1], second[:1]) == 0
    assert largest_difference(first[1:], second[1:]) > 1e-2


class Attention(nn.Module):
    is_causal = True


def states(num_heads: int, num_tokens: int, width: int, seed: int) -> Tensor:
    return torch.randn(1, num_heads, num_tokens, width, generator=torch.Generator().manual_seed(seed))


def written_out(query: Tensor, key: Tensor, value: Tensor, lengths: Sequence[int], scale: float, window: int) -> Tensor:
    """Attention token by token in float64: a query sees its text's last `window` tokens up to itself."""
    _, num_heads, num_tokens, _ = query.shape
    out = torch.zeros(num_tokens, num_heads, value.shape[-1], dtype=torch.float64)
    serves = num_heads // key.shape[1]
    start = 0
    for length in lengths:
        for place in range(start, start + length):
            seen = range(max(start, place - window + 1), place + 1)
            for head in range(num_heads):
                keys = torch.stack([key[0, head // serves, other] for other in seen]).double()
                values = torch.stack([value[0, head // serves, other] for other in seen]).double()
                weights = (keys @ query[0, head, place].double() * scale).softmax(0)
                out[place, head] = weights @ values
        start += length
    return out[None]


def attended(lengths: Sequence[int], *given: Tensor, **more: Any) -> Tensor:
    """`attend` in a body of no layers."""
    config = SimpleNamespace(_attn_implementation="sdpa")
    body = nn.Module()
    body.config = config
    body.set_attn_implementation = lambda name: setattr(config, "_attn_implementation", name)
    with packed(body, lengths):
        assert config._attn_implementation == packing.ATTENTION
        found, weights = attend(Attention(), *given, None, **more)
    assert weights is None
    assert config._attn_implementation == "sdpa"
    return found


@pytest.mark.parametrize("lengths", [[7], [4, 4, 4], [5, 5, 3, 1, 1, 5], [1, 6]])
@pytest.mark.parametrize("num_key_heads", [1, 2, 4])
@pytest.mark.parametrize("window", [None, 1, 3, 5])
def test_attention_equals_a_loop_over_tokens(lengths: list[int], num_key_heads: int, window: int | None) -> None:
    query, key = states(4, sum(lengths), 8, 0), states(num_key_heads, sum(lengths), 8, 1)
    value = states(num_key_heads, sum(lengths), 6, 2)
    found = attended(lengths, query, key, value, scaling=0.3, sliding_window=window)
    expected = written_out(query, key, value, lengths, 0.3, window or sum(lengths))
    assert found.shape == (1, sum(lengths), 4, 6)
    torch.testing.assert_close(found.double(), expected, atol=2e-6, rtol=0)


def test_the_usual_scale_is_taken_where_none_is_given() -> None:
    given = states(2, 5, 16, 0), states(2, 5, 16, 1), states(2, 5, 16, 2)
    torch.testing.assert_close(attended([5], *given).double(), written_out(*given, [5], 0.25, 5), atol=2e-6, rtol=0)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"softcap": 50.0}, "its attention has softcap"),
        ({"s_aux": torch.ones(2)}, "its attention has s_aux"),
        ({"dropout": 0.1}, "its attention has dropout"),
        ({"is_causal": False}, "its attention is not causal"),
    ],
)
def test_other_attention_is_refused(more: dict[str, Any], reason: str) -> None:
    given = states(2, 5, 16, 0), states(2, 5, 16, 1), states(2, 5, 16, 2)
    with pytest.raises(CannotPack, match=reason):
        attended([5], *given, **more)
    silent = {"softcap": None, "output_attentions": False, "position_ids": torch.arange(5), "is_causal": True}
    assert torch.equal(attended([5], *given, **silent), attended([5], *given))


@pytest.mark.parametrize("window", [None, 1, 3])
def test_flash_attention_is_asked_for_the_same(monkeypatch: pytest.MonkeyPatch, window: int | None) -> None:
    """A stand-in that does what flash-attn says its kernel does; the kernel itself needs an accelerator."""
    num_calls = 0

    def varlen(query: Tensor, key: Tensor, value: Tensor, **given: Any) -> Tensor:
        nonlocal num_calls
        num_calls += 1
        bounds = given["cu_seqlens_q"]
        assert bounds.dtype == torch.int32
        assert torch.equal(bounds, given["cu_seqlens_k"])
        lengths = bounds.diff().tolist()
        assert given["max_seqlen_q"] == given["max_seqlen_k"] == max(lengths)
        left, right = given["window_size"]
        assert given["causal"]
        assert right in (-1, 0)
        states = (part.transpose(0, 1)[None] for part in (query, key, value))
        found = written_out(*states, lengths, given["softmax_scale"], left + 1 if left >= 0 else len(query))
        return found[0].to(query.dtype)

    lengths = [4, 4, 1, 3]
    given = [states(heads, sum(lengths), 16, heads).half() for heads in (4, 2, 2)]
    expected = attended(lengths, *given, scaling=0.5, sliding_window=window)
    monkeypatch.setitem(sys.modules, "flash_attn", SimpleNamespace(flash_attn_varlen_func=varlen))
    monkeypatch.setattr(packing, "_FLASH_DEVICE", "cpu")
    found = attended(lengths, *given, scaling=0.5, sliding_window=window)
    assert num_calls == 1
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=0)
    attended(lengths, *(part.float() for part in given))
    assert num_calls == 1, "it takes half precision only"


def test_a_model_gets_its_own_attention_back_after_an_error() -> None:
    model = make_model("llama")
    expected = model(torch.tensor([ROWS[0]])).logits
    body = backbone(model)
    for error in (RuntimeError("full"), KeyboardInterrupt()):
        with pytest.raises(type(error)), packed(body, [3]):  # noqa: PT012
            assert model.config._attn_implementation == packing.ATTENTION
            raise error
        assert model.config._attn_implementation == "sdpa"
    assert torch.equal(model(torch.tensor([ROWS[0]])).logits, expected)


@pytest.mark.parametrize("before", ["sdpa", "eager"])
def test_packing_does_not_reach_what_the_model_does_next(before: str) -> None:
    model = make_model("llama")
    model.set_attn_implementation(before)
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    ids = torch.tensor([[2, 2, 5, 6, 7], [8, 9, 10, 11, 12]])
    asked = {"input_ids": ids, "attention_mask": mask, "max_new_tokens": 4, "do_sample": False, "pad_token_id": 2}
    expected = model.generate(**asked)
    read_activations(model, find_sites(model), ROWS, is_packed=True)
    assert model.config._attn_implementation == before
    assert torch.equal(model.generate(**asked), expected)


def test_attention_is_known_to_transformers_and_serves_packed_rows_only() -> None:
    assert AttentionInterface()[packing.ATTENTION] is attend
    model = make_model("llama")
    model.set_attn_implementation(packing.ATTENTION)
    with pytest.raises(AssertionError, match="packed rows only"):
        model(torch.tensor([[3, 4]]))


def test_attention_that_is_not_called_is_noticed() -> None:
    model = make_model("llama")
    for layer in layers_of(model):
        layer.self_attn.forward = lambda hidden_states, **given: (hidden_states, None)
    with pytest.raises(CannotPack, match="its attention is code of its own"):
        read_activations(model, find_sites(model), ROWS, is_packed=True)
    with pytest.raises(CannotPack, match="its attention cannot be exchanged"), packed(nn.Linear(2, 2), [1]):
        pass


def test_runs_and_positions() -> None:
    assert runs_of([]) == []
    assert runs_of([3, 3, 2, 3]) == [(3, 2), (2, 1), (3, 1)]
    assert positions_of([3, 1, 2]).tolist() == [0, 1, 2, 0, 0, 1]
