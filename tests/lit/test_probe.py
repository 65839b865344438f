from __future__ import annotations

import gc
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from bridgex.errors import UserError
from bridgex.extract.loading import LoadedModel
from bridgex.extract.profiles import Profile
from bridgex.lit.probe import BlockCallback, collect_probe_matrix, collect_profiles
from bridgex.lit.probe_data import ProbeBatch, ProbeRow, TokenBudget
from tests.fakes.tiny_models import BLOCKS, FAMILIES, make_loaded, num_hooks, reference_activations
from tests.fakes.trainer import make_trainer

pytestmark = [
    # Reading is the work here; workers that only cut lists of ids would add to it.
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    # Lightning 2.6 uses a name that torch 2.13 has set aside.
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
]

TEXTS = {
    "sw": ["Maji ya moto.", "Habari ya asubuhi, rafiki yangu wa zamani?", "a", "Ndiyo."],
    "de": ["Wasser", "Guten Morgen, alter Freund, wie geht es dir heute?", "Ja, ja.", "Ja, ja."],
}
PROMPTS = ['English:"water"→Kiswahili:', 'English:"a"→Kiswahili:', 'English:"water"→Kiswahili:', "x"]
CHAT = "{{ bos_token }}{% for message in messages %}<{{ message.content }}>{% endfor %}"


def ids_of(loaded: LoadedModel, text: str) -> list[int]:
    return [0, *loaded.encoder.tokenizer(text, add_special_tokens=False).input_ids]


def reference_profile(loaded: LoadedModel, texts: Sequence[str], skip: int) -> Profile:
    """One sentence at a time, written out in float64; `skip` tokens in front do not count."""
    blocks: list[list[np.ndarray]] = [[] for _ in range(BLOCKS)]
    for text in texts:
        ids = torch.tensor([ids_of(loaded, text)[:64]])
        for kept, activation in zip(blocks, reference_activations(loaded.model, loaded.name, ids), strict=True):
            kept.append(activation[0, skip:].double().numpy())
    stacked = [np.concatenate(kept) for kept in blocks]
    return Profile(
        share=tuple((tokens > 0).mean(axis=0) for tokens in stacked),
        mean=tuple(tokens.mean(axis=0) for tokens in stacked),
        num_tokens=len(stacked[0]),
    )


def distance(found: Profile, expected: Profile) -> float:
    pairs = zip((*found.share, *found.mean), (*expected.share, *expected.mean), strict=True)
    return max(float(np.abs(mine - theirs).max()) for mine, theirs in pairs)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("batch_tokens", [1, 90, 10_000])
def test_profiles_equal_one_sentence_at_a_time(family: str, batch_tokens: int) -> None:
    loaded = make_loaded(family)
    found = collect_profiles(loaded, TEXTS, make_trainer, batch_tokens=batch_tokens)
    assert list(found) == ["sw", "de"]
    for code, texts in TEXTS.items():
        expected = reference_profile(loaded, texts, skip=1)
        assert found[code].num_tokens == expected.num_tokens == sum(len(text.encode()) for text in texts)
        assert distance(found[code], expected) < 1e-6
    assert num_hooks(loaded.model) == 0


def test_the_bos_would_show_if_it_counted() -> None:
    loaded = make_loaded()
    found = collect_profiles(loaded, TEXTS, make_trainer, batch_tokens=90)["sw"]
    assert distance(found, reference_profile(loaded, TEXTS["sw"], skip=0)) > 1e-2


def test_padding_would_show_if_it_counted() -> None:
    loaded = make_loaded()
    one_batch = collect_profiles(loaded, TEXTS, make_trainer, batch_tokens=10_000)
    alone = collect_profiles(loaded, TEXTS, make_trainer, batch_tokens=1)
    assert all(distance(one_batch[code], alone[code]) < 1e-6 for code in TEXTS)
    padded = [text + "\0" * 20 for text in TEXTS["sw"]]
    assert distance(reference_profile(loaded, padded, skip=1), alone["sw"]) > 1e-2


def test_profile_text_does_not_go_through_the_chat_template() -> None:
    plain = collect_profiles(make_loaded(), TEXTS, make_trainer, batch_tokens=90)
    chat = collect_profiles(make_loaded(chat_template=CHAT), TEXTS, make_trainer, batch_tokens=90)
    assert all(distance(plain[code], chat[code]) == 0 for code in TEXTS)


@pytest.mark.parametrize("chat_template", [None, CHAT])
@pytest.mark.parametrize("batch_tokens", [1, 10_000])
def test_the_matrix_equals_one_prompt_at_a_time(chat_template: str | None, batch_tokens: int) -> None:
    loaded = make_loaded(chat_template=chat_template)
    neurons = [np.array([4, 1, 30]), np.array([], dtype=np.int64), np.array([47])]
    found = collect_probe_matrix(loaded, PROMPTS, neurons, make_trainer, batch_tokens=batch_tokens)
    assert [block.shape for block in found.values] == [(3, 4), (0, 4), (1, 4)]
    assert [block.dtype for block in found.values] == [np.float32] * 3
    for column, prompt in enumerate(PROMPTS):
        given = prompt if chat_template is None else f"<{prompt}>"
        ids = ids_of(loaded, given)
        assert found.num_tokens[column] == len(ids) - 1
        expected = reference_activations(loaded.model, "llama", torch.tensor([ids]))
        for block, indices in enumerate(neurons):
            mean = expected[block][0, 1:].mean(dim=0)[torch.as_tensor(indices)]
            np.testing.assert_allclose(found.values[block][:, column], mean, rtol=0, atol=1e-5)


class Watch(BlockCallback):
    """Notes which texts and how many tokens went through which block; runs out of memory as told.

    Args:
        fits: tokens of a pass that fit into memory.
        block: in this block a pass that does not fit ends.
    """

    def __init__(self, fits: int = 10**9, block: int = 1) -> None:
        self.read: list[tuple[int, int]] = []
        self.passes: list[tuple[int, ...]] = []
        self.failed: list[int] = []
        self._fits, self._block = fits, block

    def reduce(self, batch: ProbeBatch, block: int, activation: torch.Tensor) -> tuple[int, ...]:
        assert activation.shape[0] == sum(batch.lengths)
        if block == self._block and sum(batch.lengths) > self._fits:
            self.failed.append(sum(batch.lengths))
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return batch.columns

    def take(self, batch: ProbeBatch, parts: Mapping[int, tuple[int, ...]]) -> None:
        self.passes.append(batch.lengths)
        self.read.extend((block, column) for block, columns in parts.items() for column in columns)

    def part(self) -> list[tuple[int, int]]:
        return self.read

    def join(self, parts: Sequence[list[tuple[int, int]]]) -> None:
        assert parts == [self.read]


def test_equal_prompts_are_read_once_and_no_further_than_needed() -> None:
    count = Watch()
    neurons = [np.array([1]), np.array([2]), np.array([], dtype=np.int64)]
    collect_probe_matrix(make_loaded(), PROMPTS, neurons, lambda own: make_trainer([*own, count]), batch_tokens=10_000)
    assert sorted(count.read) == [(block, column) for block in (1, 2) for column in range(3)]


@pytest.mark.parametrize("family", ["llama", "bloom"])
def test_batches_stay_within_the_budget_and_are_packed_where_that_is_right(family: str) -> None:
    watch = Watch()
    texts = {"sw": [*TEXTS["sw"], "ab", "cd", "ef"], "de": TEXTS["de"]}
    collect_profiles(make_loaded(family), texts, lambda own: make_trainer([*own, watch]), batch_tokens=70)
    assert all(sum(lengths) <= 70 or len(lengths) == 1 for lengths in watch.passes)
    assert all(list(lengths) == sorted(lengths, reverse=True) for lengths in watch.passes)
    assert any(len(lengths) > 1 for lengths in watch.passes)
    assert any(len(set(lengths)) > 1 for lengths in watch.passes) == (family == "llama")


def test_a_budget_of_none_is_the_devices_own() -> None:
    watch = Watch()
    texts = {"sw": [f"{number} ya moto {number}" for number in range(200)]}
    found = collect_profiles(make_loaded(), texts, lambda own: make_trainer([*own, watch]), batch_tokens=None)["sw"]
    assert 900 < max(map(sum, watch.passes)) <= 1024
    assert distance(found, reference_profile(make_loaded(), texts["sw"], skip=1)) < 1e-6


@pytest.mark.parametrize("family", ["llama", "bloom"])
@pytest.mark.parametrize("block", [1, 2, 3])
@pytest.mark.parametrize("batch_tokens", [None, 10_000, 60])
def test_a_batch_for_which_memory_does_not_suffice_is_read_again_in_halves(
    family: str, block: int, batch_tokens: int | None
) -> None:
    loaded, notes, watch = make_loaded(family), list[str](), Watch(fits=52, block=block)
    found = collect_profiles(
        loaded, TEXTS, lambda own: make_trainer([*own, watch]), batch_tokens=batch_tokens, note=notes.append
    )
    for code, texts in TEXTS.items():
        expected = reference_profile(loaded, texts, skip=1)
        assert found[code].num_tokens == expected.num_tokens
        assert distance(found[code], expected) < 1e-6
    assert max(map(sum, watch.passes)) <= 52
    said = [note for note in notes if "memory" in note]
    if family == "llama":  # in batches of one length, none of these is too large
        assert watch.failed
        assert said == [
            f"memory did not suffice for {watch.failed[0]} tokens in one batch; those that followed held at most "
            f"{watch.failed[-1] // 2}, and what had failed was read again"
        ]


def test_a_matrix_read_with_too_little_memory_is_the_same() -> None:
    prompts = [f'English:"{"w" * length}"' for length in range(1, 30)]
    watch = Watch(fits=150, block=3)
    neurons = [np.arange(48)] * 3
    found = collect_probe_matrix(
        make_loaded(), prompts, neurons, lambda own: make_trainer([*own, watch]), batch_tokens=None
    )
    expected = collect_probe_matrix(make_loaded(), prompts, neurons, make_trainer, batch_tokens=1)
    assert watch.failed
    assert sorted(column for block, column in watch.read if block == 2) == list(range(29))
    for mine, theirs in zip(found.values, expected.values, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=2e-6)


def test_one_text_for_which_memory_does_not_suffice_ends_the_run() -> None:
    watch = Watch(fits=30)
    line = r"memory on cpu does not suffice for one text of \d+ tokens beside the model\. Use model\.dtype=bfloat16, "
    with pytest.raises(UserError, match=line) as caught:
        collect_profiles(make_loaded(), TEXTS, lambda own: make_trainer([*own, watch]), batch_tokens=None)
    assert len(caught.value.problems) == 1
    assert watch.failed == sorted(watch.failed, reverse=True)


def test_another_error_is_not_taken_for_want_of_memory() -> None:
    class Broken(Watch):
        def reduce(self, batch: ProbeBatch, block: int, activation: torch.Tensor) -> tuple[int, ...]:
            raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        collect_profiles(make_loaded(), TEXTS, lambda own: make_trainer([*own, Broken()]), batch_tokens=None)


def batch_of(*lengths: int) -> ProbeBatch:
    return ProbeBatch(tuple(ProbeRow("", n, np.zeros(length, np.int32)) for n, length in enumerate(lengths)), 0)


def test_the_budget_grows_while_there_is_room_and_halves_for_good() -> None:
    budget = TokenBudget(None, torch.device("cuda"))
    assert (budget.tokens, budget.largest) == (16_384, 65_536)
    budget.grow(16_000, lambda: False)
    assert budget.tokens == 16_384
    budget.grow(5_000, lambda: True)  # says nothing of a full batch
    assert budget.tokens == 16_384
    for expected in (32_768, 65_536, 65_536):
        budget.grow(budget.tokens, lambda: True)
        assert budget.tokens == expected
    budget.halve(batch_of(30_000, 10_000))
    budget.grow(20_000, lambda: True)
    assert (budget.tokens, budget.largest) == (20_000, 20_000)
    for asked, device, expected in ((None, "cpu", 1024), (7, "cpu", 7), (7, "cuda", 7)):
        given = TokenBudget(asked, torch.device(device))
        given.grow(expected, lambda: True)
        assert (given.tokens, given.largest) == (expected, expected)
    budget.halve(batch_of(1, 1))
    assert budget.tokens == 1
    with pytest.raises(UserError, match="memory on cuda does not suffice for one text of 9 tokens"):
        budget.halve(batch_of(9))


class LiveTensors(Callback):
    """Bytes of all tensors alive after the last batch, those of the model left out."""

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        if batch_idx < trainer.num_predict_batches[0] - 1:
            return
        own = {id(weight) for weight in (*pl_module.parameters(), *pl_module.buffers())}
        gc.collect()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # from looking at every object there is
            held = [found for found in gc.get_objects() if isinstance(found, torch.Tensor) and id(found) not in own]
        self.num_bytes = sum(tensor.untyped_storage().nbytes() for tensor in held)


def test_memory_does_not_grow_with_text_nor_with_prompts_beyond_the_matrix() -> None:
    loaded = make_loaded()
    profiles, matrices = [], []
    for count in (200, 2000):
        texts = [f"{number} ya moto {number}" for number in range(count)]
        live = LiveTensors()
        collect_profiles(loaded, {"sw": texts}, lambda own, live=live: make_trainer([*own, live]), batch_tokens=256)
        profiles.append(live.num_bytes)
        live, neurons = LiveTensors(), [np.arange(10)] * 3
        collect_probe_matrix(
            loaded, texts, neurons, lambda own, live=live: make_trainer([*own, live]), batch_tokens=256
        )
        matrices.append(live.num_bytes)
    assert abs(profiles[1] - profiles[0]) < 5_000
    assert abs(matrices[1] - matrices[0] - 1800 * 10 * 3 * 4) < 5_000


def test_half_precision_is_compared_with_float32_and_said() -> None:
    loaded, notes = make_loaded(), list[str]()
    expected = collect_probe_matrix(loaded, PROMPTS, [np.arange(48)] * 3, make_trainer, batch_tokens=None)
    loaded.model.to(torch.bfloat16)
    found = collect_probe_matrix(
        loaded, PROMPTS, [np.arange(48)] * 3, make_trainer, batch_tokens=None, note=notes.append
    )
    (said,) = [note for note in notes if note.startswith("neurons in bfloat16 differ by ")]
    for mine, theirs in zip(found.values, expected.values, strict=True):
        assert mine.dtype == np.float32
        assert 1e-4 < np.linalg.norm(mine - theirs) / np.linalg.norm(theirs) < 5 * float(said.split()[5])


def test_what_is_not_finite_is_refused() -> None:
    loaded = make_loaded()
    overflow = loaded.encoder.encode("q")[1]
    with torch.no_grad():
        loaded.model.get_input_embeddings().weight[overflow] = float("inf")
    prompts = ["abc", "abd", "abcd", "ab", "q"]
    with pytest.raises(UserError, match="1 of 5 probe prompts give neurons that are not finite"):
        collect_probe_matrix(loaded, prompts, [np.arange(48)] * 3, make_trainer, batch_tokens=None)


def test_long_texts_are_cut_and_counted() -> None:
    loaded, notes = make_loaded(), list[str]()
    texts = {"sw": ["a" * 200, "b", "c" * 63], "de": ["d"]}
    found = collect_profiles(loaded, texts, make_trainer, batch_tokens=90, note=notes.append)
    assert (found["sw"].num_truncated, found["sw"].num_tokens, found["de"].num_truncated) == (1, 63 + 1 + 63, 0)
    assert distance(found["sw"], reference_profile(loaded, texts["sw"], skip=1)) < 1e-6
    assert notes[0] == "1 probe texts were cut to the model's longest input of 64 tokens"
    assert notes[1].startswith("neurons read in batches differ by ")
    matrix = collect_probe_matrix(loaded, texts["sw"], [np.array([1])] * 3, make_trainer, batch_tokens=90)
    assert (matrix.num_truncated, matrix.num_tokens.tolist()) == (1, [63, 1, 63])


def test_empty_lines_do_not_count_and_no_text_is_refused() -> None:
    loaded = make_loaded()
    with_empty = collect_profiles(loaded, {"sw": ["", *TEXTS["sw"], ""]}, make_trainer, batch_tokens=90)["sw"]
    assert distance(with_empty, reference_profile(loaded, TEXTS["sw"], skip=1)) < 1e-6
    with pytest.raises(UserError, match=r"no text to make a profile of: de, fr\. Give data\.text\.de=FILE"):
        collect_profiles(loaded, {"sw": ["a"], "fr": [], "de": [""]}, make_trainer, batch_tokens=90)
    with pytest.raises(UserError, match="of no token"):
        collect_probe_matrix(loaded, ["a", ""], [np.array([1])] * 3, make_trainer, batch_tokens=90)
    assert collect_profiles(loaded, {}, make_trainer, batch_tokens=90) == {}


def test_a_trainer_that_leaves_texts_out_is_refused() -> None:
    with pytest.raises(UserError, match="limit_predict_batches"):
        collect_profiles(make_loaded(), TEXTS, lambda own: make_trainer(own, limit_predict_batches=1), batch_tokens=20)
    with pytest.raises(UserError, match="limit_predict_batches"):
        collect_probe_matrix(
            make_loaded(),
            PROMPTS,
            [np.array([1])] * 3,
            lambda own: make_trainer(own, limit_predict_batches=1),
            batch_tokens=1,
        )


def test_processes_that_keep_what_they_read_are_refused() -> None:
    class Elsewhere(Trainer):
        def predict(self, *given: object, **settings: object) -> None:
            """As with ddp_spawn, the callbacks of this process see nothing."""

    with pytest.raises(UserError, match="Use ddp or auto"):
        collect_profiles(make_loaded(), TEXTS, lambda own: Elsewhere(logger=False), batch_tokens=90)


def test_blocks_and_neurons_that_are_not_there_are_refused() -> None:
    with pytest.raises(ValueError, match="block 4 of a model of 3 blocks"):
        collect_probe_matrix(make_loaded(), PROMPTS, [np.array([1])] * 4, make_trainer, batch_tokens=90)
    with pytest.raises(ValueError, match="block 1: neurons 48 to 48 of 48"):
        collect_probe_matrix(make_loaded(), PROMPTS, [np.array([48])] * 3, make_trainer, batch_tokens=90)


def test_a_broken_reading_stops_before_the_first_batch() -> None:
    loaded = make_loaded("phi3")
    mlp = loaded.model.model.layers[1].mlp
    mlp.forward = lambda x: mlp.down_proj(mlp.activation_fn(mlp.gate_up_proj(x)[..., 48:]))
    count = Watch()
    with pytest.raises(UserError, match="block 2: the neurons read differ"):
        collect_profiles(loaded, TEXTS, lambda own: make_trainer([*own, count]), batch_tokens=90)
    assert count.read == []
    assert num_hooks(loaded.model) == 0
