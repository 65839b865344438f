"""One random Llama for both sides of a comparison with lm-evaluation-harness, and that side of it."""

import argparse
import importlib.util
import logging
import os
import statistics
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from bench.timing import timed
from bridgex.extract.loading import Encoder, LoadedModel

SHAPE: dict[str, Any] = {
    "hidden_size": 512, "intermediate_size": 1792, "num_hidden_layers": 8, "vocab_size": 32_000,
    "num_attention_heads": 8, "num_key_value_heads": 2, "max_position_embeddings": 2048,
}  # fmt: skip
# Of the vocabulary, those that texts are made of.
LIVE = (3, 4003)


def make_loaded(dtype: str, device: str) -> LoadedModel:
    """A random Llama, and a tokenizer to which a text is the numbers of its tokens; it puts one BOS in front."""
    with torch.device(device):
        torch.manual_seed(0)
        model = LlamaForCausalLM._from_config(LlamaConfig(**SHAPE), dtype=getattr(torch, dtype)).eval()
    model.generation_config.pad_token_id = 2
    names = ["<unk>", "<s>", "</s>", *map(str, range(3, SHAPE["vocab_size"]))]
    words = Tokenizer(models.WordLevel({name: number for number, name in enumerate(names)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<s>", eos_token="</s>", pad_token="</s>", model_max_length=2048
    )
    encoder = Encoder(tokenizer, prefix=(1,), uses_chat_template=False, system_prompt=None)
    return LoadedModel("random", Path("nowhere"), model, encoder, end_ids=(2,))


def make_text(generator: np.random.Generator, low: int, high: int) -> str:
    """From `low` to `high` live tokens."""
    return " ".join(map(str, generator.integers(*LIVE, generator.integers(low, high + 1))))


def is_there() -> bool:
    """Whether lm-evaluation-harness, with what it needs to run models, is installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("lm_eval", "accelerate"))


def make_peer(loaded: LoadedModel, batch_size: int) -> Any:
    """Its own engine around the same model."""
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=loaded.model, tokenizer=loaded.encoder.tokenizer, batch_size=batch_size)


def make_instances(kind: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Requests as the harness takes them."""
    from lm_eval.api.instance import Instance

    return [Instance(request_type=kind, doc={}, arguments=given, idx=0) for given in arguments]


def interleaved(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each way in each round, all ways one after the other in every round."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, run in ways.items():
            found[name].append(timed(run))
    return found


def compared(seconds: dict[str, list[float]]) -> dict[str, object]:
    """Ours beside the fastest of the others."""
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    best = min((name for name in seconds if name != "ours"), key=medians.__getitem__, default=None)
    if best is None:
        return {"seconds": medians["ours"], "harness_seconds": None, "harness_batch": None, "ratio": None}
    ratios = [theirs / ours for ours, theirs in zip(seconds["ours"], seconds[best], strict=True)]
    return {
        "seconds": medians["ours"],
        "harness_seconds": medians[best],
        "harness_batch": int(best),
        "ratio": statistics.median(ratios),
    }


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The options, with those that both benches have."""
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="cpu: one thread")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: this machine has none that torch can use")
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    logging.disable(logging.WARNING)
    if not is_there():
        print("lm-eval and accelerate are not installed: ratio is null", file=sys.stderr)
    return options
