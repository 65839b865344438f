from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, T5Config, T5ForConditionalGeneration
from transformers.activations import ACT2FN

from bridgex.errors import UserError
from bridgex.extract import sites as sites_module
from bridgex.extract.behaviour import is_same
from bridgex.extract.families import make_tiny_model
from bridgex.extract.selfcheck import check_rows
from bridgex.extract.sites import Site, backbone, find_layers, find_sites
from tests.fakes.tiny_models import (
    BLOCKS,
    EXPERT_FAMILIES,
    FAMILIES,
    NEURONS,
    WIDTH,
    layers_of,
    make_model,
    num_hooks,
    reference_activations,
)

ROWS = [list(range(10, 31)), list(range(40, 45)), [7], list(range(60, 73))]


def read(model: PreTrainedModel, sites: Sequence[Site], ids: Tensor, mask: Tensor) -> list[Tensor]:
    """Each site's output `[B, T, I]`, by plain hooks; for models whose blocks share no activation function."""
    found: list[Tensor] = []
    handles = [
        site.module.register_forward_hook(lambda module, args, output: found.append(output.clone())) for site in sites
    ]
    with torch.no_grad():
        model(input_ids=ids, attention_mask=mask)
    for handle in handles:
        handle.remove()
    return [values.reshape(*ids.shape, -1) for values in found]


def pad(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask, padded on the right."""
    ids = nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=2)
    lengths = torch.tensor([len(row) for row in rows])
    return ids, (torch.arange(ids.shape[1]) < lengths[:, None]).long()


@pytest.mark.parametrize("family", FAMILIES)
def test_one_site_a_block_in_order(family: str) -> None:
    model = make_model(family)
    sites = find_sites(model)
    given = FAMILIES[family]
    assert [site.block for site in sites] == list(range(1, BLOCKS + 1))
    assert {site.num_neurons for site in sites} == {given.neurons}
    assert [site.layer for site in sites] == list(layers_of(model))
    assert {site.is_gated for site in sites} == {"gate" in given.projection}
    for site in sites:
        assert backbone(model).get_submodule(site.path) is site.module
        assert backbone(model).get_submodule(site.projection) is site.layer.get_submodule(given.projection)
    assert num_hooks(model) == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_read_there_is_the_definition(family: str) -> None:
    model = make_model(family)
    ids = torch.randint(3, 250, (3, 11), generator=torch.Generator().manual_seed(1))
    expected = reference_activations(model, family, ids)
    found = read(model, find_sites(model), ids, torch.ones_like(ids))
    assert len(found) == BLOCKS
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_is_its_texts_one_by_one(family: str) -> None:
    model = make_model(family)
    sites = find_sites(model)
    batch = read(model, sites, *pad(ROWS))
    for number, row in enumerate(ROWS):
        for together, alone in zip(batch, read(model, sites, *pad([row])), strict=True):
            torch.testing.assert_close(together[number, : len(row)], alone[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_hook_on_the_wrong_module_is_caught_by_the_self_check(family: str) -> None:
    model = make_model(family)
    sites = list(find_sites(model))
    check_rows(model=model, sites=sites, rows=ROWS, num_prefix=0)
    projection = backbone(model).get_submodule(sites[1].projection)
    sites[1] = dataclasses.replace(sites[1], module=projection)  # before the activation function, not after
    with pytest.raises(UserError, match="block 2: "):
        check_rows(model=model, sites=sites, rows=ROWS, num_prefix=0)
    assert num_hooks(model) == 0


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "phi3", "cohere", "olmo2"])
def test_a_hook_on_the_other_branch_is_caught_by_the_self_check(family: str) -> None:
    model = make_model(family)
    sites = list(find_sites(model))
    mlp = layers_of(model)[2].mlp
    up = mlp.gate_up_proj if family == "phi3" else mlp.up_proj
    sites[2] = dataclasses.replace(sites[2], module=up)
    with pytest.raises(UserError, match="block 3: "):
        check_rows(model=model, sites=sites, rows=ROWS, num_prefix=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "phi3", "gemma2", "apertus", "bloom"])
def test_half_precision_changes_nothing(family: str, dtype: torch.dtype) -> None:
    model = make_model(family)
    expected = [site.path for site in find_sites(model)]
    model.to(dtype)
    assert [site.path for site in find_sites(model)] == expected


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", *EXPERT_FAMILIES])
def test_blocks_are_found_in_order_whether_or_not_their_neurons_can_be_read(family: str) -> None:
    model = make_model(family)
    found = find_layers(model)
    ran: list[int] = []
    for number, layer in enumerate(found):
        layer.register_forward_hook(lambda *_, number=number: ran.append(number))
    with torch.no_grad():
        model(input_ids=torch.tensor([[5, 6, 7]]))
    assert ran == list(range(model.config.num_hidden_layers))
    assert [id(layer) for layer in found] == [id(layer) for layer in layers_of(model)]


def test_of_several_lists_the_one_with_activation_functions_holds_the_blocks() -> None:
    model = make_model("llama")
    model.model.extra = torch.nn.ModuleList([torch.nn.Linear(3, 3) for _ in range(BLOCKS)])
    assert [id(layer) for layer in find_layers(model)] == [id(layer) for layer in model.model.layers]


def test_blocks_that_cannot_be_told_are_refused() -> None:
    with pytest.raises(UserError, match="0 lists of transformer blocks"):
        find_layers(torch.nn.Sequential(torch.nn.Linear(3, 3)))


@pytest.mark.parametrize("family", EXPERT_FAMILIES)
def test_experts_are_refused_with_the_reason(family: str) -> None:
    with pytest.raises(UserError, match=r"mixture of experts.*Choose a dense model"):
        find_sites(make_model(family))


def test_an_encoder_decoder_is_refused() -> None:
    config = T5Config(vocab_size=16, d_model=8, d_kv=4, d_ff=16, num_layers=1, num_heads=2)
    with pytest.raises(UserError, match=r"T5ForConditionalGeneration: an encoder-decoder\. .* decoder only$"):
        find_sites(T5ForConditionalGeneration(config).eval())


def test_blocks_without_a_feed_forward_part_are_refused() -> None:
    with pytest.raises(UserError, match=r"block 1 has no module that makes its neurons: .* no neurons: choose a dense"):
        find_sites(make_tiny_model("mamba"))


def test_an_activation_that_is_no_module_is_refused() -> None:
    model = make_model("llama")
    for layer in layers_of(model):
        del layer.mlp.act_fn
        layer.mlp.forward = lambda x, m=layer.mlp: m.down_proj(functional.silu(m.gate_proj(x)) * m.up_proj(x))
    with pytest.raises(UserError) as caught:
        find_sites(model)
    assert str(caught.value) == (
        "LlamaForCausalLM: 0 lists of transformer blocks with an activation function in every block, and one is "
        "needed; blocks with one, by list: layers (0 of 3). A function that the code calls by itself "
        "(torch.nn.functional.silu) cannot be read: make it a module (self.act_fn = torch.nn.SiLU()), or choose a "
        "dense decoder; bridgex models lists some"
    )


def test_a_model_that_skips_a_block_is_refused() -> None:
    model = make_model("llama")
    model.config.num_hidden_layers = 2  # the forward pass leaves the third block out
    with pytest.raises(UserError, match=r"runs its 3 blocks in the order 1, 2, not once each"):
        find_sites(model)
    assert num_hooks(model) == 0


def test_a_block_that_runs_twice_is_refused() -> None:
    model = make_model("llama")
    layers = layers_of(model)
    layers[2] = layers[0]
    with pytest.raises(UserError, match=r"runs its 3 blocks in the order 1, 3, 2, 1, 3, not once each"):
        find_sites(model)


def test_a_forward_pass_that_fails_is_told() -> None:
    model = make_model("llama")
    layers_of(model)[0].mlp.up_proj = nn.Linear(WIDTH + 1, NEURONS)
    with pytest.raises(UserError, match=r"LlamaForCausalLM: a forward pass on 2 rows of 3 tokens fails \(mat1 and"):
        find_sites(model)
    assert num_hooks(model) == 0


def test_replaced_feed_forward_code_is_refused() -> None:
    model = make_model("llama")
    mlp = layers_of(model)[1].mlp
    mlp.forward = lambda x: mlp.down_proj(functional.silu(mlp.gate_proj(x)) * mlp.up_proj(x))
    with pytest.raises(UserError) as caught:
        find_sites(model)
    assert str(caught.value) == (
        "LlamaForCausalLM: block 2 has no module that makes its neurons: an activation function, called once, between "
        "a projection and a projection back to 32. Found layers.1.mlp.act_fn: not called. A kernel that replaces the "
        "feed-forward code must be left out when the model is loaded, and a plain function (torch.nn.functional.silu) "
        "must become a module (self.act_fn = torch.nn.SiLU()); a block without a feed-forward part has no neurons: "
        "choose a dense decoder, bridgex models lists some"
    )
    assert num_hooks(model) == 0


def test_another_width_than_the_config_states_is_refused() -> None:
    model = make_model("llama")
    model.config.intermediate_size = 47
    with pytest.raises(UserError, match=r"layers\.0\.mlp\.act_fn: 48 wide, and the model's config says 47\."):
        find_sites(model)


def test_a_model_without_blocks_is_refused() -> None:
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(2, 2)
            self.heads = nn.ModuleList([nn.Linear(2, 2)])

        def forward(self, **given: Any) -> Tensor:
            return torch.zeros(1)

    with pytest.raises(UserError, match=r"Flat: 0 lists of transformer blocks .* by list: heads \(0 of 1\)\."):
        find_sites(Flat())


class FeedForward(nn.Module):
    """A gated feed-forward part in which nothing has a name that anyone uses.

    Args:
        mlp: Llama's, whose weights it takes over.
        squash: the activation function.
        rule: how the parts go together.
    """

    def __init__(self, mlp: Any, squash: nn.Module, rule: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.one, self.two, self.three = mlp.gate_proj, mlp.up_proj, mlp.down_proj
        self.squash = squash
        self.rule = rule

    def forward(self, x: Tensor) -> Tensor:
        return self.rule(self, x)


def gated(part: Any, x: Tensor) -> Tensor:
    return part.three(part.squash(part.one(x)) * part.two(x))


def llama_with(
    squash: Callable[[], nn.Module], rule: Callable[[Any, Tensor], Tensor] = gated, **more: Callable[[], nn.Module]
) -> PreTrainedModel:
    """A tiny Llama with other feed-forward parts; `more` modules stand in each of them."""
    model = make_model("llama")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for layer in layers_of(model):
            layer.mlp = FeedForward(layer.mlp, squash(), rule)
            for name, make in more.items():
                layer.mlp.add_module(name, make())
    return model


class Mish2(nn.Module):
    """An activation function that no library has."""

    def forward(self, values: Tensor) -> Tensor:
        return values * torch.tanh(functional.softplus(values)) ** 2


class Wrapper(nn.Module):
    """Calls another module."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.SiLU()

    def forward(self, values: Tensor) -> Tensor:
        return self.inner(values)


class Adapted(nn.Module):
    """A projection with a low-rank adapter beside it."""

    def __init__(self, base: nn.Linear, is_fresh: bool) -> None:
        super().__init__()
        self.base = base
        self.down = nn.Linear(base.in_features, 2, bias=False)
        self.up = nn.Linear(2, base.out_features, bias=False)
        if is_fresh:  # adapters begin at zero
            nn.init.zeros_(self.up.weight)

    def forward(self, values: Tensor) -> Tensor:
        return self.base(values) + self.up(self.down(values))


@pytest.mark.parametrize(
    "squash", [nn.SiLU, Mish2, Wrapper, nn.PReLU, lambda: nn.ReLU(inplace=True), lambda: nn.Sequential(nn.Tanh())]
)
def test_names_do_not_matter(squash: Callable[[], nn.Module]) -> None:
    model = llama_with(squash)
    sites = find_sites(model)
    assert [site.path for site in sites] == [f"layers.{index}.mlp.squash" for index in range(BLOCKS)]
    assert [site.projection for site in sites] == [f"layers.{index}.mlp.one" for index in range(BLOCKS)]
    assert {(site.num_neurons, site.is_gated) for site in sites} == {(NEURONS, True)}
    assert num_hooks(model) == 0


def test_a_number_for_a_name_in_a_family_that_has_it() -> None:
    # CTRL's feed-forward part is a Sequential of projection, ReLU, projection.
    config = AutoConfig.for_model("ctrl", vocab_size=16, n_embd=WIDTH, dff=NEURONS, n_layer=2, n_head=4, n_positions=16)
    sites = find_sites(AutoModelForCausalLM.from_config(config).eval())
    assert [(site.path, site.projection, site.num_neurons, site.is_gated) for site in sites] == [
        (f"h.{index}.ffn.1", f"h.{index}.ffn.0", NEURONS, False) for index in range(2)
    ]


def test_the_width_comes_from_behaviour_where_the_config_is_silent() -> None:
    model = make_model("gpt2")
    assert model.config.n_inner is None
    for layer, width in zip(layers_of(model), (20, 30, 40), strict=True):
        layer.mlp.c_fc, layer.mlp.c_proj = nn.Linear(WIDTH, width), nn.Linear(width, WIDTH)
    assert [site.num_neurons for site in find_sites(model)] == [20, 30, 40]


@pytest.mark.parametrize("is_fresh", [True, False])
def test_adapters_around_projections_do_not_disturb(is_fresh: bool) -> None:
    model = make_model("llama")
    for layer in layers_of(model):
        for name in ("gate_proj", "up_proj", "down_proj"):
            layer.mlp.add_module(name, Adapted(layer.mlp.get_submodule(name), is_fresh))
    sites = find_sites(model)
    assert [site.path for site in sites] == [f"layers.{index}.mlp.act_fn" for index in range(BLOCKS)]
    assert [site.projection for site in sites] == [f"layers.{index}.mlp.gate_proj" for index in range(BLOCKS)]


def test_other_activations_in_a_block_do_not_disturb() -> None:
    model = make_model("llama")
    expected = [site.path for site in find_sites(model)]
    for layer in layers_of(model):
        attention = layer.self_attn
        attention.act = nn.SiLU()
        attention.q_proj.register_forward_hook(lambda module, args, output, act=attention.act: act(output))
    assert [site.path for site in find_sites(model)] == expected


def test_a_gate_of_the_attention_of_the_same_width_is_not_taken_for_neurons() -> None:
    model = make_model("gpt2")
    for layer in layers_of(model):
        layer.mlp.c_fc, layer.mlp.c_proj = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        attention = layer.attn
        attention.gate, attention.act = nn.Linear(WIDTH, WIDTH), nn.Sigmoid()
        attention.register_forward_pre_hook(lambda module, args: setattr(module, "seen", args[0]))
        attention.c_proj.register_forward_pre_hook(
            lambda module, args, a=attention: (args[0] * a.act(a.gate(a.seen)), *args[1:])
        )
    assert [site.path for site in find_sites(model)] == [f"h.{index}.mlp.act" for index in range(BLOCKS)]


@pytest.mark.parametrize("decoy", [nn.SiLU, lambda: nn.Softmax(dim=-1)])
def test_a_decoy_of_the_same_width_is_not_taken_for_neurons(decoy: Callable[[], nn.Module]) -> None:
    # Usual names, the right width, fed by projections, before and after the true one: and what they give is not used.
    def rule(part: Any, x: Tensor) -> Tensor:
        part.act_fn(part.two(x))
        out = gated(part, x)
        part.activation_fn(part.one(x))
        return out

    model = llama_with(Mish2, rule, act_fn=decoy, activation_fn=decoy)
    assert [site.path for site in find_sites(model)] == [f"layers.{index}.mlp.squash" for index in range(BLOCKS)]


def two_parts(part: Any, x: Tensor) -> Tensor:
    return gated(part, x) + part.last(part.act_fn(part.first(x)))


def test_two_feed_forward_parts_of_one_width_are_refused() -> None:
    model = llama_with(
        Mish2,
        two_parts,
        first=lambda: nn.Linear(WIDTH, NEURONS),
        act_fn=nn.SiLU,
        last=lambda: nn.Linear(NEURONS, WIDTH),
    )
    with pytest.raises(UserError) as caught:
        find_sites(model)
    assert str(caught.value) == (
        "LlamaForCausalLM: block 1 has 2 modules that do what the activation function of a feed-forward part does: "
        "layers.0.mlp.squash (48 wide), layers.0.mlp.act_fn (48 wide). Which of them makes its neurons cannot be "
        "told; choose another model (3 of 3 blocks)"
    )


def test_the_config_tells_a_bottleneck_adapter_from_the_feed_forward_part(monkeypatch: pytest.MonkeyPatch) -> None:
    model = llama_with(
        Mish2, two_parts, first=lambda: nn.Linear(WIDTH, 8), act_fn=nn.SiLU, last=lambda: nn.Linear(8, WIDTH)
    )
    assert [site.path for site in find_sites(model)] == [f"layers.{index}.mlp.squash" for index in range(BLOCKS)]
    monkeypatch.setattr(sites_module, "_WIDTH_KEYS", ())  # a config that says nothing
    with pytest.raises(UserError, match=r"squash \(48 wide\), layers\.0\.mlp\.act_fn \(8 wide\)\. Which of them"):
        find_sites(model)


def test_a_shared_module_serves_every_block() -> None:
    shared = nn.SiLU()
    sites = find_sites(llama_with(lambda: shared))
    assert [site.module for site in sites] == [shared] * BLOCKS
    assert [site.path for site in sites] == [f"layers.{index}.mlp.squash" for index in range(BLOCKS)]


def test_the_activation_function_of_another_block_is_not_taken_for_ones_own() -> None:
    model = make_model("llama")
    first, second = layers_of(model)[0].mlp, layers_of(model)[1].mlp
    second.forward = lambda x: second.down_proj(first.act_fn(second.gate_proj(x)) * second.up_proj(x))
    with pytest.raises(UserError, match=r"block 2 .* Found layers\.1\.mlp\.act_fn: not called\."):
        find_sites(model)


def test_a_model_that_calls_its_head_a_decoder_is_found() -> None:
    config = AutoConfig.for_model(
        "modernbert-decoder",
        vocab_size=16,
        hidden_size=WIDTH,
        intermediate_size=NEURONS,
        num_hidden_layers=2,
        num_attention_heads=4,
        **{f"{name}_token_id": 0 for name in ("bos", "eos", "pad", "cls", "sep")},
    )
    model = AutoModelForCausalLM.from_config(config).eval()
    assert isinstance(model.get_decoder(), nn.Linear)
    assert [site.path for site in find_sites(model)] == ["layers.0.mlp.act", "layers.1.mlp.act"]


def test_damaged_weights_are_left_to_the_self_check() -> None:
    model = make_model("llama")
    with torch.no_grad():
        layers_of(model)[1].mlp.gate_proj.weight.fill_(float("nan"))
    assert len(find_sites(model)) == BLOCKS
    nan = torch.full((3,), float("nan"))
    assert is_same(nan, nan)
    assert not is_same(nan, torch.zeros(3))
    assert not is_same(torch.zeros(3), nan)
    infinite = torch.tensor([float("inf"), 1.0])
    assert is_same(infinite, infinite)
    assert not is_same(infinite + torch.tensor([0.0, 1.0]), infinite)


def test_same_means_close_and_of_one_shape() -> None:
    values = torch.tensor([3.0, 4.0])
    assert is_same(values + torch.tensor([0.0, 0.04]), values)
    assert not is_same(values + torch.tensor([0.0, 0.06]), values)
    assert is_same(values + torch.tensor([0.0, 0.06]), values, tolerance=0.02)
    assert not is_same(values, values[None])
    assert not is_same(values, torch.zeros(2))


class Gate(nn.Module):
    """An activation function that multiplies by what somebody put there: not a function of its input."""

    factor: Tensor | None = None

    def forward(self, values: Tensor) -> Tensor:
        out = functional.silu(values) * (1.0 if self.factor is None else self.factor)
        self.factor = None
        return out


def put_and_gate(part: Any, x: Tensor) -> Tensor:
    part.squash.factor = part.two(x)
    return part.three(part.squash(part.one(x)))


class Curved(nn.Module):
    """A projection that is normalised: no affine map."""

    def __init__(self, num_in: int = WIDTH, num_out: int = NEURONS) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(num_out, num_in))

    def forward(self, x: Tensor) -> Tensor:
        return functional.layer_norm(functional.linear(x, self.weight), self.weight.shape[:1])


TWICE = "called 2 times"
NO_INPUT = "its input is not the output of a projection"
NO_OUTPUT = "no projection back to 32 takes its output, alone or times another projection"


@pytest.mark.parametrize(
    ("rule", "lack"),
    [
        (lambda p, x: p.three(p.squash(p.squash(p.one(x))) * p.two(x)), TWICE),
        (lambda p, x: p.three(p.squash(p.one(x)[:, :2]).repeat(1, 2, 1)[:, :3]), r"gives \(2, 2, 48\), not one row"),
        (lambda p, x: p.three(p.squash(p.one(x).tanh()) * p.two(x)), NO_INPUT),
        (lambda p, x: p.three(p.squash(p.curved(x)) * p.two(x)), NO_INPUT),
        (lambda p, x: p.three(p.squash(p.idle(functional.linear(x, p.one.weight))) * p.two(x)), NO_INPUT),
        (lambda p, x: p.three(p.squash(p.one(x)) * p.two(x).sigmoid()), NO_OUTPUT),
        (lambda p, x: p.three(p.squash(p.one(x)) * p.curved(x)), NO_OUTPUT),
        (lambda p, x: p.three(p.squash(p.one(x)) + p.two(x)), NO_OUTPUT),
        (lambda p, x: p.three(p.middle(p.squash(p.one(x)))), NO_OUTPUT),
        (lambda p, x: p.curved_back(p.squash(p.one(x)) * p.two(x)), NO_OUTPUT),
        (lambda p, x: functional.linear(p.squash(p.one(x)), p.three.weight), NO_OUTPUT),
    ],
)
def test_what_is_lacking_is_told(rule: Any, lack: str) -> None:
    model = llama_with(
        nn.SiLU,
        rule,
        idle=nn.Identity,
        curved=Curved,
        curved_back=lambda: Curved(NEURONS, WIDTH),
        middle=lambda: nn.Linear(NEURONS, NEURONS),
    )
    with pytest.raises(UserError, match=rf"Found layers\.0\.mlp\.squash: {lack}.*\(3 of 3 blocks\)$"):
        find_sites(model)
    assert num_hooks(model) == 0


def test_an_activation_function_with_a_memory_is_refused() -> None:
    with pytest.raises(UserError, match="squash: gives something else when it is called again on the same input"):
        find_sites(llama_with(Gate, put_and_gate))


def test_a_projection_of_some_tokens_does_not_disturb() -> None:
    def rule(part: Any, x: Tensor) -> Tensor:
        part.spare(x[:, :1])
        return gated(part, x)

    model = llama_with(nn.SiLU, rule, spare=lambda: nn.Linear(WIDTH, NEURONS))
    assert [site.path for site in find_sites(model)] == [f"layers.{index}.mlp.squash" for index in range(BLOCKS)]


@pytest.mark.parametrize(
    "name", ["gelu", "gelu_pytorch_tanh", "mish", "quick_gelu", "relu2", "relu6", "sigmoid", "tanh"]
)
def test_the_activation_functions_of_transformers_are_found(name: str) -> None:
    sites = find_sites(llama_with(lambda: ACT2FN[name]))
    assert [site.path for site in sites] == [f"layers.{index}.mlp.squash" for index in range(BLOCKS)]


@pytest.mark.parametrize(
    "squash", [nn.Identity, nn.Dropout, lambda: nn.Softmax(dim=-1), lambda: nn.LayerNorm(NEURONS), lambda: nn.GLU(1)]
)
def test_what_is_no_activation_function_is_not_taken_for_one(squash: Callable[[], nn.Module]) -> None:
    with pytest.raises(UserError, match=r"by list: layers \(0 of 3\)\."):
        find_sites(llama_with(squash).eval())
