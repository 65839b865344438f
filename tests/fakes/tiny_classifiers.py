"""Tiny random encoders and decoders with tokenizers, written as ordinary model folders; no network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import AutoModel, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast
from transformers.models.bert import BertConfig
from transformers.models.deberta_v2 import DebertaV2Config
from transformers.models.distilbert import DistilBertConfig
from transformers.models.electra import ElectraConfig
from transformers.models.gpt2 import GPT2Config
from transformers.models.llama import LlamaConfig
from transformers.models.mpnet import MPNetConfig
from transformers.models.qwen3 import Qwen3Config
from transformers.models.xlm_roberta import XLMRobertaConfig

BLOCKS = 3
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_SIZES: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 32,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 160,
    "pad_token_id": 0,
}
_SMALL: dict[str, Any] = {"vocab_size": 300, "max_position_embeddings": 160}

CONFIGS: dict[str, PretrainedConfig] = {
    "bert": BertConfig(**_SIZES),
    "xlm_roberta": XLMRobertaConfig(**_SIZES),
    "deberta_v2": DebertaV2Config(
        **_SIZES,
        relative_attention=True,
        position_buckets=8,
        share_att_key=True,
        pos_att_type=["p2c", "c2p"],
        norm_rel_ebd="layer_norm",
        position_biased_input=False,
    ),
    "distilbert": DistilBertConfig(**_SMALL, dim=32, n_layers=BLOCKS, n_heads=4, hidden_dim=64),
    "electra": ElectraConfig(**_SIZES, embedding_size=16),
    "mpnet": MPNetConfig(**_SIZES),
    "llama": LlamaConfig(**_SIZES, num_key_value_heads=2),
    "qwen3": Qwen3Config(**_SIZES, num_key_value_heads=2, head_dim=8),
    "gpt2": GPT2Config(
        vocab_size=300, n_positions=160, n_embd=32, n_layer=BLOCKS, n_head=4, pad_token_id=0, bos_token_id=2,
        eos_token_id=3,
    ),
}  # fmt: skip
ENCODERS = ("bert", "xlm_roberta", "deberta_v2", "distilbert", "electra", "mpnet")


def make_body(family: str, seed: int = 0) -> PreTrainedModel:
    """A random model without a head, whose weights are large enough for its states to differ."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model: PreTrainedModel = AutoModel.from_config(CONFIGS[family])
        for parameter in model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.3)
    model.eval()
    return model


def write_model(folder: Path, family: str = "bert", seed: int = 0) -> Path:
    """A model's folder with its tokenizer."""
    make_body(family, seed).save_pretrained(folder)
    make_tokenizer(is_encoder=family in ENCODERS).save_pretrained(folder)
    return folder


def make_tokenizer(*, is_encoder: bool) -> PreTrainedTokenizerFast:
    """One token a byte; an encoder's puts [CLS] and [SEP]."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*_SPECIAL, *letters])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    if not is_encoder:
        return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="[CLS]", eos_token="[SEP]")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        unk_token="[UNK]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
