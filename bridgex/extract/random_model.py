"""A tiny random Llama with a byte-level tokenizer: knows nothing, reads every script."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from bridgex.records.files import whole_folder, writing

_SPECIAL = ("<s>", "</s>", "<pad>")


def make_random_model(folder: Path, seed: int) -> Path:
    """Writes the model of a seed into a folder, unless it is there; whole or not at all.

    Args:
        folder: parent folder; the model lies in `<folder>/random-<seed>`.
        seed: of the weights.

    Returns:
        The model's folder.
    """
    target = folder / f"random-{seed}"
    if (target / "config.json").is_file():
        return target
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with whole_folder(target, is_own=False) as place:
                tokenizer = byte_tokenizer()
                tokenizer.save_pretrained(place)
                _model(tokenizer, seed).save_pretrained(place)
        except OSError:
            if not (target / "config.json").is_file():  # another process was first: its files are the same
                raise
    return target


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, one BOS in front."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*_SPECIAL, *letters])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", vocabulary["<s>"])]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>")


def _model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)
