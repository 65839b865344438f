"""A byte-level BPE tokenizer made from text, and a new, untrained BERT: both ordinary `transformers` objects."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

from bridgex.config.encoder_recipe import EncoderModelRecipe, TextRecipe

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""Special tokens; their ids are their places here."""

# Letters keep their marks, without which vowels of Hindi or Thai would end their words; numbers go by threes.
_WORDS = r" ?[\p{L}\p{M}]+| ?\p{N}{1,3}| ?[^\s\p{L}\p{M}\p{N}]+|\s+"


@dataclass(frozen=True)
class EncodedText:
    """One text in tokens, special ones left out.

    Attributes:
        ids: `[T]`.
        words: number of the word that each token is of, from 0, rising by 1 `[T]`.
    """

    ids: npt.NDArray[np.int64]
    words: npt.NDArray[np.int64]


def make_encoder_tokenizer(texts: Iterable[str], recipe: TextRecipe) -> PreTrainedTokenizerFast:
    """Makes a tokenizer from text; equal for equal texts in equal order.

    No text is unknown to it, since every byte is a token. Case is kept, and every text gets a space in front, so that a
    word has the same tokens wherever it stands.

    Args:
        texts: what its merges are learnt from.
        recipe: its sizes.
    """
    inner = Tokenizer(BPE())
    inner.normalizer = normalizers.Prepend(" ")
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    # What stands in front of a text goes again when it is put together.
    inner.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    trainer = BpeTrainer(
        vocab_size=recipe.vocabulary,
        min_frequency=2,
        show_progress=False,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        max_token_length=recipe.max_token_bytes,
    )
    inner.train_from_iterator(texts, trainer)
    inner.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, SPECIAL.index(token)) for token in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=recipe.max_length,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def encode_texts(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> list[EncodedText]:
    """Texts in tokens, with the words that these are of."""
    found = tokenizer(list(texts), add_special_tokens=False, verbose=False)
    made = []
    for row, ids in enumerate(found.input_ids):
        words = np.array(found.word_ids(row), dtype=np.int64)
        made.append(EncodedText(np.array(ids, dtype=np.int64), words))
    return made


def make_encoder(
    text: TextRecipe, recipe: EncoderModelRecipe, counts: npt.NDArray[np.int64], seed: int
) -> BertForMaskedLM:
    """Makes an untrained model, equal for equal seeds whatever `transformers` does to new weights.

    Weights are normal, norms 1, biases 0 but for those of the answers: they are the tokens' log-frequencies, to learn
    which would take a good part of a short training.

    Args:
        text: for the longest input.
        recipe: its sizes.
        counts: how often each token of its tokenizer stands in the text `[V]`.
        seed: of the weights.

    Returns:
        The model in float32, in training mode, without dropout.
    """
    config = BertConfig(
        vocab_size=len(counts),
        hidden_size=recipe.hidden_size,
        intermediate_size=recipe.intermediate_size,
        num_hidden_layers=recipe.blocks,
        num_attention_heads=recipe.heads,
        max_position_embeddings=text.max_length,
        initializer_range=recipe.init_std,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=SPECIAL.index("[PAD]"),
        tie_word_embeddings=True,
    )
    model = BertForMaskedLM(config).float()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if parameter.ndim > 1:
                parameter.normal_(0.0, recipe.init_std, generator=generator)
            else:
                parameter.fill_(1.0 if name.endswith("LayerNorm.weight") else 0.0)
        frequencies = torch.from_numpy(counts + 1.0)
        model.cls.predictions.bias.copy_((frequencies / frequencies.sum()).log())
    return cast(BertForMaskedLM, model.train())


def save_encoder(
    model: BertForMaskedLM, tokenizer: PreTrainedTokenizerFast, recipe: EncoderModelRecipe, folder: Path
) -> str:
    """Writes a model folder, tokenizer included, that every supported version of `transformers` reads.

    Args:
        model: as `make_encoder` made it from `recipe`, trained or not.
        tokenizer: its own.
        recipe: for the dropout with which it is fine-tuned.
        folder: an existing folder.

    Returns:
        SHA-256 of `model.safetensors`, in hex.
    """
    model.save_pretrained(folder)
    dropout = {"hidden_dropout_prob": recipe.dropout, "attention_probs_dropout_prob": recipe.dropout}
    _change_json(folder / "config.json", dtype="float32", **dropout)
    tokenizer.save_pretrained(folder)
    # Version 5 writes a class name that version 4 does not know; both know this one.
    _change_json(folder / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    (folder / "model.safetensors").chmod(0o644)
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def _change_json(path: Path, **values: Any) -> None:
    content = json.loads(path.read_text(encoding="utf-8")) | values
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
