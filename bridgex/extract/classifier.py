"""From a model's settings to a model with a classification head, and pairs of texts to its inputs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from bridgex.config.settings import ModelSettings
from bridgex.errors import UserError
from bridgex.extract.freezing import after_last_block
from bridgex.extract.limits import num_positions
from bridgex.extract.loading import broken_weights, load_tokenizer, weigh
from bridgex.extract.model_config import code_line, first_line, needs_code
from bridgex.extract.sites import backbone
from bridgex.languages import language

# Weights, gradients and AdamW's two moments.
_COPIES = 4


@dataclass(frozen=True)
class EncodedPair:
    """Two texts as one input.

    Attributes:
        ids: token ids `[T]`.
        types: segment of each token `[T]`; None: the model knows no segments.
        counted: `[T]`, false for tokens that stand for no text (BOS, CLS, SEP).
        num_tokens: how many it had before it was cut to what is allowed.
    """

    ids: npt.NDArray[np.int64]
    types: npt.NDArray[np.int64] | None
    counted: npt.NDArray[np.bool_]
    num_tokens: int

    @property
    def is_cut(self) -> bool:
        """Whether it was longer than allowed."""
        return self.num_tokens > len(self.ids)


@dataclass(frozen=True)
class PairInput:
    """A batch of pairs, padded on the right.

    Attributes:
        ids: `[B, T]`.
        mask: `[B, T]`, 0 for padding.
        types: `[B, T]` or None.
        counted: `[B, T]` bool, tokens that stand for text.
    """

    ids: Tensor
    mask: Tensor
    types: Tensor | None
    counted: Tensor

    def to(self, device: torch.device) -> PairInput:
        """The same on a device."""
        types = None if self.types is None else self.types.to(device)
        return PairInput(self.ids.to(device), self.mask.to(device), types, self.counted.to(device))

    def arguments(self) -> dict[str, Tensor]:
        """What a model of `transformers` is called with."""
        given = {"input_ids": self.ids, "attention_mask": self.mask}
        return given if self.types is None else given | {"token_type_ids": self.types}


@dataclass(frozen=True)
class PairEncoder:
    """Turns two texts into one input.

    Attributes:
        tokenizer: the model's own.
        template: names {language}, {first} and {second}; None: as the tokenizer joins two texts, or on two lines where
            it has no separator.
        max_length: tokens at most; the longer text is cut first, with a template the first one.
        with_first: whether the first text is given at all; without it a model sees the second only.
    """

    tokenizer: PreTrainedTokenizerBase
    template: str | None
    max_length: int
    with_first: bool = True

    @property
    def pad_id(self) -> int:
        """What fills short inputs up; the mask hides it."""
        for found in (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id):
            if isinstance(found, int):
                return found
        return 0

    @property
    def has_cls(self) -> bool:
        """Whether inputs begin with a token that is made to stand for all of them."""
        return self.tokenizer.cls_token_id is not None and self.template is None

    def encode(self, code: str, firsts: Sequence[str], seconds: Sequence[str]) -> list[EncodedPair]:
        """Inputs of pairs in one language.

        Args:
            code: of the language.
            firsts: the first texts.
            seconds: the second texts, as many.
        """
        if self.template is None and self.tokenizer.sep_token_id is not None:
            pairs = [
                (first, second) if self.with_first else (second,) for first, second in zip(firsts, seconds, strict=True)
            ]
            found = self._tokenised(pairs, None)
            long = [place for place, one in enumerate(found) if len(one.ids) > self.max_length]
            cut = self._tokenised([pairs[place] for place in long], self.max_length)
            for place, one in zip(long, cut, strict=True):
                found[place] = replace(one, num_tokens=len(found[place].ids))
            return found
        shown = [first if self.with_first else "" for first in firsts]
        texts = [(self._text(code, first, second),) for first, second in zip(shown, seconds, strict=True)]
        found = self._tokenised(texts, None)
        for place, one in enumerate(found):
            if len(one.ids) > self.max_length:
                found[place] = self._shortened(code, shown[place], seconds[place], one)
        return found

    def batch(self, pairs: Sequence[EncodedPair]) -> PairInput:
        """Pairs as one batch, padded to the longest."""
        shape = len(pairs), max(len(pair.ids) for pair in pairs)
        ids = np.full(shape, self.pad_id, dtype=np.int64)
        mask, types = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        counted = np.zeros(shape, dtype=np.bool_)
        for row, pair in enumerate(pairs):
            length = len(pair.ids)
            ids[row, :length], mask[row, :length], counted[row, :length] = pair.ids, 1, pair.counted
            if pair.types is not None:
                types[row, :length] = pair.types
        has_types = pairs[0].types is not None
        return PairInput(
            torch.from_numpy(ids),
            torch.from_numpy(mask),
            torch.from_numpy(types) if has_types else None,
            torch.from_numpy(counted),
        )

    def _tokenised(self, pairs: Sequence[tuple[str, ...]], max_length: int | None) -> list[EncodedPair]:
        if not pairs:
            return []
        has_types = "token_type_ids" in self.tokenizer.model_input_names
        texts: list[list[str]] = [list(texts) for texts in zip(*pairs, strict=True)]
        found: Any = self.tokenizer(
            *texts,
            truncation=False if max_length is None else "longest_first",
            max_length=max_length,
            return_token_type_ids=has_types,
            return_special_tokens_mask=True,
            verbose=False,
        )
        return [
            EncodedPair(
                np.array(ids, dtype=np.int64),
                np.array(found["token_type_ids"][row], dtype=np.int64) if has_types else None,
                np.array(found["special_tokens_mask"][row]) == 0,
                len(ids),
            )
            for row, ids in enumerate(found["input_ids"])
        ]

    def _shortened(self, code: str, first: str, second: str, found: EncodedPair) -> EncodedPair:
        """One text made of both that is too long: the end of the first text goes."""
        ids: list[int] = self.tokenizer(first, add_special_tokens=False).input_ids
        kept, num_tokens = len(ids), len(found.ids)
        while len(found.ids) > self.max_length and kept:
            kept = max(0, kept - (len(found.ids) - self.max_length))
            shortened = str(self.tokenizer.decode(ids[:kept], skip_special_tokens=True))
            (found,) = self._tokenised([(self._text(code, shortened, second),)], None)
        # A second text that is too long by itself loses its beginning: what a head reads stands at the end.
        last = slice(max(0, len(found.ids) - self.max_length), None)
        types = None if found.types is None else found.types[last]
        return EncodedPair(found.ids[last], types, found.counted[last], num_tokens)

    def _text(self, code: str, first: str, second: str) -> str:
        if self.template is not None:
            return self.template.format(language=language(code).name, first=first, second=second)
        return f"{first}\n{second}" if self.with_first else second


def load_pair_encoder(settings: ModelSettings, folder: Path, max_length: int) -> PairEncoder:
    """Loads the tokenizer.

    Raises:
        UserError: no usable config or tokenizer.
    """
    return PairEncoder(load_tokenizer(folder, settings.trust_remote_code), settings.pair_input, max_length)


def load_classifier(
    settings: ModelSettings, folder: Path, encoder: PairEncoder, num_labels: int, seed: int
) -> PreTrainedModel:
    """Loads a model and puts a new classification head on it, as its family has one.

    Args:
        settings: of the model; `dtype` auto is float32, in which weights are trained.
        folder: of its files.
        encoder: of its inputs.
        num_labels: classes.
        seed: of the head's first weights; what the files hold of a head is not used.

    Returns:
        The model in evaluation mode, on the CPU.

    Raises:
        UserError: a damaged file, one that lacks weights, too little memory, a model to which transformers has no such
            head, or one that reads fewer tokens than the encoder gives.
    """
    settings = settings.model_copy(update={"dtype": "float32" if settings.dtype == "auto" else settings.dtype})
    weigh(settings, folder, copies=_COPIES)
    model: PreTrainedModel
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model, told = AutoModelForSequenceClassification.from_pretrained(
                folder,
                num_labels=num_labels,
                dtype=settings.dtype,
                local_files_only=True,
                trust_remote_code=settings.trust_remote_code,
                use_safetensors=True,
                ignore_mismatched_sizes=True,  # a head of an earlier task is another one
                output_loading_info=True,
            )
    except (SafetensorError, OSError, ValueError, RuntimeError, ImportError) as error:
        broken = broken_weights(folder)
        if broken is not None:
            raise UserError(f"{broken}: damaged or cut short. Download or copy it again") from error
        if needs_code(error):
            raise UserError(code_line(folder)) from error
        raise UserError(f"{folder}: no classification head can be put on the model ({first_line(error)})") from error
    model.config.pad_token_id = encoder.pad_id
    model.eval()
    _refuse_missing(model, folder, told["missing_keys"])
    _draw_head(model, seed)
    longest = num_positions(model)
    if longest is not None and encoder.max_length > longest:
        raise UserError(
            f"finetune.max_length={encoder.max_length}: {settings.name} reads {longest} tokens at most. Give as many "
            f"or fewer"
        )
    return model


def _refuse_missing(model: PreTrainedModel, folder: Path, missing: Collection[str]) -> None:
    """Refuses files that lack weights below the head, which would be drawn at random and taken for the model's."""
    above = {id(parameter) for module in after_last_block(model) for parameter in module.parameters()}
    body = {id(parameter) for parameter in backbone(model).parameters()}
    lacking = sorted(
        name
        for name, parameter in model.named_parameters()
        if name in missing and id(parameter) in body and id(parameter) not in above
    )
    if lacking:
        raise UserError(
            f"{folder}: its files lack {len(lacking)} weights of the model, e.g. {lacking[0]}. Copy the model again"
        )


def _draw_head(model: PreTrainedModel, seed: int) -> None:
    """Draws the head anew, also where the files hold one of an earlier task: normal weights, biases 0."""
    body = {id(parameter) for parameter in backbone(model).parameters()}
    std = float(getattr(model.config, "initializer_range", 0.02))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if id(parameter) in body:
                continue
            if parameter.ndim > 1:
                parameter.copy_(std * torch.randn(parameter.shape, generator=generator))
            elif name.endswith("bias"):
                parameter.zero_()
            else:
                parameter.fill_(1.0)  # of a norm
