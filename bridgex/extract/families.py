"""Families of models as tiny random ones, and what reading their neurons gives in this installation."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging as transformers_logging

from bridgex.config.settings import ModelSettings
from bridgex.errors import UserError
from bridgex.extract.hub import find_model
from bridgex.extract.loading import load_model
from bridgex.extract.random_model import byte_tokenizer
from bridgex.extract.selfcheck import check_rows
from bridgex.extract.sites import find_sites
from bridgex.records.model_checks import FamilyCheck, NeuronSite

BLOCKS, WIDTH, NEURONS = 3, 32, 48
# Lengths of the texts of the check: so different that their order and their number matter.
_LENGTHS = (17, 1, 9)
_IDS = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}

_PLAIN = {
    "hidden_size": WIDTH,
    "intermediate_size": NEURONS,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
_GROUPED = {**_PLAIN, "num_key_value_heads": 2}
_HEADS = {**_GROUPED, "head_dim": 8}
# Shorter than the texts that it is tried on.
_WINDOW = {"sliding_window": 6}
# GPT-2's names; without a width of their own, feed-forward parts are four times as wide as the model.
_GPT = {"n_embd": WIDTH, "n_layer": BLOCKS, "n_head": 4, "n_positions": 64}
_EXPERTS = "a mixture of experts"


class TinyFamily(NamedTuple):
    """A family of models.

    Attributes:
        settings: of a tiny config.
        ready: names of the configs in `conf/model` that are of this family.
        refused: what the line says that must refuse it; None: its neurons can be read.
    """

    settings: dict[str, Any]
    ready: tuple[str, ...] = ()
    refused: str | None = None


# By model_type. What is not listed may work as well: sites are found by behaviour.
FAMILIES: dict[str, TinyFamily] = {
    "llama": TinyFamily(_HEADS, ("llama3", "llama3_1", "random", "toy")),
    "mistral": TinyFamily({**_HEADS, **_WINDOW}, ("mistral",)),
    "qwen2": TinyFamily(_GROUPED),
    "qwen3": TinyFamily(_HEADS, ("qwen3",)),
    "gemma": TinyFamily(_HEADS),
    "gemma2": TinyFamily({**_HEADS, **_WINDOW}),
    "gemma3_text": TinyFamily({**_HEADS, **_WINDOW}, ("gemma3",)),
    "olmo": TinyFamily(_GROUPED),
    "olmo2": TinyFamily(_PLAIN),
    "olmo3": TinyFamily({**_GROUPED, **_WINDOW}),
    "cohere": TinyFamily(_GROUPED),
    "cohere2": TinyFamily({**_HEADS, **_WINDOW}),
    "phi": TinyFamily(_GROUPED),
    "phi3": TinyFamily(_GROUPED),
    "granite": TinyFamily(_GROUPED),
    "smollm3": TinyFamily(_GROUPED),
    "stablelm": TinyFamily(_GROUPED),
    "starcoder2": TinyFamily({**_GROUPED, **_WINDOW}),
    "glm": TinyFamily(_HEADS),
    "glm4": TinyFamily(_HEADS),
    "exaone4": TinyFamily({**_GROUPED, **_WINDOW}),
    "ernie4_5": TinyFamily(_HEADS),
    "seed_oss": TinyFamily(_HEADS),
    "hunyuan_v1_dense": TinyFamily(_HEADS),
    "helium": TinyFamily(_HEADS),
    "apertus": TinyFamily(_GROUPED),
    "arcee": TinyFamily(_GROUPED),
    "nemotron": TinyFamily(_GROUPED),
    "persimmon": TinyFamily(_PLAIN),
    "gpt2": TinyFamily(_GPT),
    "gpt_bigcode": TinyFamily(_GPT),
    "gpt_neo": TinyFamily(
        {
            "hidden_size": WIDTH,
            "intermediate_size": NEURONS,
            "num_layers": BLOCKS,
            "num_heads": 4,
            "max_position_embeddings": 64,
            "attention_types": [[["global", "local", "global"], 1]],
            "window_size": 6,
        }
    ),
    "gpt_neox": TinyFamily(_PLAIN),
    "gptj": TinyFamily({**_GPT, "rotary_dim": 4}),
    "codegen": TinyFamily({**_GPT, "rotary_dim": 4}),
    "mpt": TinyFamily({"d_model": WIDTH, "n_layers": BLOCKS, "n_heads": 4, "max_seq_len": 64}),
    "falcon": TinyFamily(
        {"hidden_size": WIDTH, "num_hidden_layers": BLOCKS, "num_attention_heads": 4, "max_position_embeddings": 64}
    ),
    "bloom": TinyFamily({"hidden_size": WIDTH, "n_layer": BLOCKS, "n_head": 4}, ("bloom",)),
    "opt": TinyFamily(
        {
            "hidden_size": WIDTH,
            "word_embed_proj_dim": WIDTH,
            "ffn_dim": NEURONS,
            "num_hidden_layers": BLOCKS,
            "num_attention_heads": 4,
            "max_position_embeddings": 64,
        }
    ),
    "biogpt": TinyFamily(_PLAIN),
    "xglm": TinyFamily(
        {
            "d_model": WIDTH,
            "ffn_dim": NEURONS,
            "num_layers": BLOCKS,
            "attention_heads": 4,
            "max_position_embeddings": 64,
        },
        ("xglm",),
    ),
    "mixtral": TinyFamily({**_GROUPED, "num_local_experts": 4}, refused=_EXPERTS),
    "qwen2_moe": TinyFamily(
        {
            **_GROUPED,
            "moe_intermediate_size": 24,
            "shared_expert_intermediate_size": NEURONS,
            "num_experts": 4,
            "num_experts_per_tok": 2,
        },
        refused=_EXPERTS,
    ),
    "qwen3_moe": TinyFamily(
        {**_HEADS, "moe_intermediate_size": 24, "num_experts": 4, "num_experts_per_tok": 2}, refused=_EXPERTS
    ),
    "olmoe": TinyFamily({**_PLAIN, "num_experts": 4, "num_experts_per_tok": 2}, refused=_EXPERTS),
    "gpt_oss": TinyFamily({**_HEADS, "num_local_experts": 4, "num_experts_per_tok": 2}, refused=_EXPERTS),
    "mamba": TinyFamily(
        {"hidden_size": WIDTH, "num_hidden_layers": BLOCKS, "state_size": 4},
        refused="has no module that makes its neurons",
    ),
}


def make_tiny_model(family: str, seed: int = 0) -> PreTrainedModel:
    """A random model whose weights, biases too, are large enough for its activations to differ, in float32.

    Args:
        family: a key of `FAMILIES`.
        seed: of the weights.

    Raises:
        ValueError: this transformers does not know the family.
    """
    settings = FAMILIES[family].settings
    config = AutoConfig.for_model(family, vocab_size=len(byte_tokenizer()), **settings, **_IDS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        with torch.no_grad():
            for name, parameter in sorted(model.named_parameters()):
                if parameter.ndim > 1 or name.endswith("bias"):
                    parameter.normal_(0.0, 0.25)
    model.eval()
    return model


def check_family(family: str) -> FamilyCheck:
    """Builds a tiny random model of one family, and finds and checks its neurons; a fraction of a second.

    Args:
        family: a key of `FAMILIES`.
    """
    ready, refused = list(FAMILIES[family].ready), FAMILIES[family].refused

    def failed(reason: str) -> FamilyCheck:
        return FamilyCheck(family=family, ready=ready, state="not verified", site=None, reason=reason)

    try:
        with _quiet():
            model = make_tiny_model(family)
    except Exception as error:  # transformers raises whatever a config of another version leads to
        line = (str(error).splitlines() or [type(error).__name__])[0]
        return failed(f"transformers {transformers.__version__} cannot make one ({line})")
    try:
        site = check_model(model, prefix=(0,))
    except UserError as error:
        if refused is not None and refused in str(error):
            return FamilyCheck(family=family, ready=ready, state="refused", site=None, reason=refused)
        return failed(str(error))
    if refused is not None:
        return failed(f"neurons were found at {site.path}, and the family should be refused: {refused}")
    if site.recomputed_difference is None:
        return failed("; ".join(site.notes))
    return FamilyCheck(family=family, ready=ready, state="verified", site=site, reason=None)


def check_folder(folder: Path) -> NeuronSite:
    """Loads the model of a folder, and finds and checks its neurons.

    Raises:
        UserError: no folder of a model, or its neurons cannot be read; the line begins with the folder.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder. Give a local folder with a model's config.json and .safetensors")
    settings = ModelSettings(kind="hf", name="model", path=str(folder.resolve()))
    with _quiet():
        loaded = load_model(settings, find_model(settings))
    try:
        return check_model(loaded.model, loaded.encoder.prefix)
    except UserError as error:
        raise UserError(*(f"{folder}: {line}" for line in error.problems)) from error


def check_model(model: PreTrainedModel, prefix: Sequence[int]) -> NeuronSite:
    """Finds a model's neurons, and checks the reading of them on made-up token ids.

    Args:
        model: a decoder.
        prefix: ids that stand in front of every text.

    Raises:
        UserError: its neurons cannot be read, or not rightly.
    """
    config: Any = model.config
    vocabulary = int(config.get_text_config().vocab_size)
    generator = torch.Generator().manual_seed(0)
    rows = [[*prefix, *torch.randint(vocabulary, (length,), generator=generator).tolist()] for length in _LENGTHS]
    with _quiet():
        sites = find_sites(model)
        checked = check_rows(model=model, sites=sites, rows=rows, num_prefix=len(prefix))
    first = sites[0]
    return NeuronSite(
        num_blocks=len(sites),
        num_neurons=[site.num_neurons for site in sites],
        path=re.sub(r"\.\d+\.", ".*.", first.path, count=1),
        function=type(first.module).__name__,
        projection=first.projection.rsplit(".", 1)[-1],
        is_gated=first.is_gated,
        cannot_pack=checked.cannot_pack,
        recomputed_difference=checked.recomputed_difference,
        batch_difference=checked.batch_difference,
        notes=checked.notes(),
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps what transformers has to say about kernels and ids out of a table about something else."""
    before = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(before)
