"""The toy world's tokenizer and its new, untrained Llama: both ordinary `transformers` objects.

One newline stands in front of every text (BOS) and ends every answer (EOS). It is a special token, so
`decode(..., skip_special_tokens=True)` leaves it out: what is decoded ends where the answer ends, and whoever looks for
the end of an answer looks for the token's id.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import WordPiece
from tokenizers.processors import TemplateProcessing
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from bridgex.config.toy_recipe import ModelRecipe
from bridgex.data.toy_lines import CONTINUED, END, PAD, UNKNOWN, vocabulary

# The longest match comes first: `"→` is one token, and a language tag is no word.
_PIECES = r'qa[a-l]:|"[→|?~]?|[.+\-=]|[a-z]+'


def make_tokenizer(max_positions: int) -> PreTrainedTokenizerFast:
    """Makes the tokenizer: a word is two syllables, a language tag with its colon is one token.

    Args:
        max_positions: longest text in tokens.

    Example:
        >>> tokenizer = make_tokenizer(512)
        >>> tokenizer.tokenize('qaa:"tape')
        ['qaa:', '"', 'ta', '##pe']
    """
    ids = {token: number for number, token in enumerate(vocabulary())}
    inner = Tokenizer(WordPiece(ids, unk_token=UNKNOWN, continuing_subword_prefix=CONTINUED))
    inner.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in (END, PAD, UNKNOWN)])
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex(_PIECES), behavior="isolated")]
    )
    inner.post_processor = TemplateProcessing(single=[END, "$A"], special_tokens=[(END, ids[END])])
    inner.decoder = decoders.Sequence(
        [
            decoders.WordPiece(prefix=CONTINUED, cleanup=False),
            decoders.Fuse(),
            # A text that begins in the middle of a word keeps its prefix otherwise.
            decoders.Replace(CONTINUED, ""),
            # A space stands between two words and nowhere else.
            decoders.Replace(Regex("(?<![a-z]) | (?![a-z])"), ""),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token=END,
        eos_token=END,
        pad_token=PAD,
        unk_token=UNKNOWN,
        padding_side="left",
        model_max_length=max_positions,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )


def make_model(recipe: ModelRecipe, seed: int) -> LlamaForCausalLM:
    """Makes an untrained model, equal for equal seeds whatever `transformers` does to new weights.

    Weights are normal, norms 1, biases 0 but for the planted heads. A planted head attends `d` tokens back: with
    rotary angles `f_j = theta^(-2j/w)` (w: width of a head), its query bias is `c` in the first member of the fastest
    rotary pairs j, its key bias `c cos(d f_j)` in the same member and `c sin(d f_j)` in the partner, so that query and
    key point the same way where they are `d` tokens apart.

    Args:
        recipe: sizes and planted heads.
        seed: of the weights.

    Returns:
        The model in float32, in training mode.
    """
    config = LlamaConfig.from_dict(
        {
            "vocab_size": len(vocabulary()),
            "hidden_size": recipe.hidden_size,
            "intermediate_size": recipe.intermediate_size,
            "num_hidden_layers": recipe.blocks,
            "num_attention_heads": recipe.heads,
            "num_key_value_heads": recipe.heads,
            "max_position_embeddings": recipe.max_positions,
            "rope_theta": recipe.rope_theta,
            "initializer_range": recipe.init_std,
            "tie_word_embeddings": True,
            "attention_bias": True,
            "bos_token_id": 0,
            "eos_token_id": 0,
            "pad_token_id": 1,
        }
    )
    model = LlamaForCausalLM(config).float()
    model.generation_config = GenerationConfig(bos_token_id=0, eos_token_id=0, pad_token_id=1, do_sample=False)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if parameter.ndim > 1:
                parameter.normal_(0.0, recipe.init_std, generator=generator)
            else:
                parameter.fill_(1.0 if name.endswith("norm.weight") else 0.0)
        _plant_heads(model, recipe)
    return cast(LlamaForCausalLM, model.train())


def save_model(model: LlamaForCausalLM, recipe: ModelRecipe, folder: Path) -> str:
    """Writes a model folder, tokenizer included, that every supported version of `transformers` reads.

    Args:
        model: as `make_model` made it from `recipe`, trained or not.
        recipe: its sizes.
        folder: an existing folder.

    Returns:
        SHA-256 of `model.safetensors`, in hex.
    """
    tied = "lm_head.weight"
    weights = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items() if name != tied}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    # Version 4 knows the base of the rotary angles under this key only, version 5 also under `rope_parameters`.
    _change_json(folder / "config.json", rope_theta=recipe.rope_theta, dtype="float32")
    model.generation_config.save_pretrained(folder)
    make_tokenizer(recipe.max_positions).save_pretrained(folder)
    # Version 5 writes a class name that version 4 does not know; both know this one.
    _change_json(folder / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    # safetensors makes its file readable for the owner only, which is no use in an installed package.
    (folder / "model.safetensors").chmod(0o644)
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def _change_json(path: Path, **values: object) -> None:
    content = json.loads(path.read_text(encoding="utf-8")) | values
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _plant_heads(model: LlamaForCausalLM, recipe: ModelRecipe) -> None:
    width = recipe.hidden_size // recipe.heads
    for block, lookback in zip(model.model.layers, recipe.planted_lookback, strict=False):
        for head, distance in enumerate(lookback):
            for pair in range(recipe.planted_rotary_pairs):
                angle = distance * recipe.rope_theta ** (-2 * pair / width)
                first = head * width + pair
                block.self_attn.q_proj.bias[first] = recipe.planted_strength
                block.self_attn.k_proj.bias[first] = recipe.planted_strength * math.cos(angle)
                block.self_attn.k_proj.bias[first + width // 2] = recipe.planted_strength * math.sin(angle)
