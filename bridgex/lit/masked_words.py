"""Batches of masked words: texts in tokens, joined into inputs, and words of them hidden."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import lightning
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bridgex.config.encoder_recipe import EncoderRecipe, MaskRecipe
from bridgex.data.encoder_text import Item
from bridgex.extract.encoder_model import SPECIAL, EncodedText, encode_texts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Numbers = npt.NDArray[np.int64]

PAD, _, _CLS, _SEP, _MASK = range(len(SPECIAL))
NO_WORD = -1
"""The word of what stands for no text: special tokens and padding."""
EPOCHS, MASKS, MEASURED = range(3)
"""Beside the seed of a draw, so that epochs, steps and measuring draw different numbers."""


@dataclass(frozen=True)
class Example:
    """One input.

    Attributes:
        ids: tokens `[T]`, special ones included.
        types: segment of each, 0 or 1 `[T]`.
        words: number of what is hidden together, from 0; -1 for special tokens `[T]`.
    """

    ids: Numbers
    types: Numbers
    words: Numbers


@dataclass(frozen=True)
class MaskedBatch:
    """Inputs with hidden words, padded on the right.

    Attributes:
        ids: `[B, T]`.
        mask: `[B, T]`, 0 for padding.
        types: segment of each token `[B, T]`.
        chosen: which tokens are to be found again `[B, T]` bool.
        targets: what they are, row by row `[chosen]`.
    """

    ids: Tensor
    mask: Tensor
    types: Tensor
    chosen: Tensor
    targets: Tensor


EncodedItem = Mapping[str, tuple[EncodedText, ...]]
"""An item of the text in tokens; its words are numbered as they are hidden."""


def encode_items(
    tokenizer: PreTrainedTokenizerFast, items: Sequence[Item], masks: MaskRecipe
) -> list[dict[str, tuple[EncodedText, ...]]]:
    """Items in tokens; a word of more than `word_tokens` tokens becomes as many words.

    Scripts without spaces have clauses where others have words; hidden whole, they would take their context with them.
    """
    texts = list(dict.fromkeys(text for item in items for parts in item.values() for text in parts))
    encoded = {}
    for text, found in zip(texts, encode_texts(tokenizer, texts) if texts else [], strict=True):
        encoded[text] = EncodedText(found.ids, _hidden_together(found.words, masks.word_tokens))
    return [{code: tuple(encoded[text] for text in parts) for code, parts in item.items()} for item in items]


def count_tokens(items: Sequence[EncodedItem], num_tokens: int) -> Numbers:
    """How often each token stands in the items `[V]`."""
    ids = [part.ids for item in items for parts in item.values() for part in parts]
    return np.bincount(np.concatenate(ids), minlength=num_tokens)


def _hidden_together(words: Numbers, limit: int) -> Numbers:
    if not len(words):
        return words
    is_long = np.bincount(words)[words] > limit
    begins = np.append(True, words[1:] != words[:-1]) | is_long
    return np.cumsum(begins) - 1


def join_parts(parts: Sequence[EncodedText], max_length: int) -> Example:
    """One or two texts as an input: `[CLS] a [SEP]`, `[CLS] a [SEP] b [SEP]`; of a long pair the longer one is cut."""
    room = max_length - 1 - len(parts)
    if len(parts) == 1:
        lengths = [min(room, len(parts[0].ids))]
    else:
        first, second = (len(part.ids) for part in parts)
        kept = max(room // 2, room - second)
        lengths = [min(first, kept), min(second, room - min(first, kept))]
    ids, types, words = [np.array([_CLS])], [np.array([0])], [np.array([NO_WORD])]
    next_word = 0
    for segment, (part, length) in enumerate(zip(parts, lengths, strict=True)):
        ids += [part.ids[:length], np.array([_SEP])]
        types.append(np.full(length + 1, segment))
        words += [part.words[:length] + next_word, np.array([NO_WORD])]
        next_word += int(part.words[length - 1]) + 1 if length else 0
    return Example(np.concatenate(ids), np.concatenate(types), np.concatenate(words))


class EncoderBatches(Dataset[MaskedBatch]):
    """The batches of a training by number; each follows from its number and the seed alone.

    An epoch has every text of every item once. Its examples are put in order of length and cut into batches, which then
    come in random order: nearly nothing is padded. Texts beside their translations, as XLM has them, were measured and
    gained nothing at this size.

    Args:
        items: what to train on.
        recipe: lengths, shares, steps.
        num_tokens: of the tokenizer.
        seed: of every draw.
    """

    def __init__(self, items: Sequence[EncodedItem], recipe: EncoderRecipe, num_tokens: int, seed: int) -> None:
        self._examples = [join_parts(parts, recipe.text.max_length) for item in items for parts in item.values()]
        self._recipe, self._num_tokens, self._seed = recipe, num_tokens, seed
        self._epoch, self._batches = 0, self.epoch(0)

    def __len__(self) -> int:
        return self._recipe.training.steps

    def __getitem__(self, number: int) -> MaskedBatch:
        """Batch `number`, from 0."""
        # The lengths are the same in every epoch, and so is the number of its batches.
        epoch, place = divmod(number, len(self._batches))
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, self.epoch(epoch)
        draw = np.random.default_rng((self._seed, MASKS, number))
        return mask_words(self._batches[place], self._recipe.masked_words, self._num_tokens, draw)

    def epoch(self, number: int) -> list[list[Example]]:
        """The examples of an epoch's batches."""
        draw = np.random.default_rng((self._seed, EPOCHS, number))
        shuffled = [self._examples[place] for place in draw.permutation(len(self._examples))]
        batches = group_by_length(shuffled, self._recipe.training.batch_tokens)
        return [batches[place] for place in draw.permutation(len(batches))]


def group_by_length(examples: Sequence[Example], batch_tokens: int) -> list[list[Example]]:
    """Examples of like length together, so many that with padding they have `batch_tokens` tokens at most."""
    batches: list[list[Example]] = []
    for example in sorted(examples, key=lambda one: len(one.ids)):
        # The order rises, so that this one is the longest so far.
        if not batches or (len(batches[-1]) + 1) * len(example.ids) > batch_tokens:
            batches.append([])
        batches[-1].append(example)
    return batches


def mask_words(
    examples: Sequence[Example], recipe: MaskRecipe, num_tokens: int, draw: np.random.Generator
) -> MaskedBatch:
    """Chooses words, hides most of them, and puts other tokens in the place of some (80, 10 and 10 % in BERT).

    Args:
        examples: of the batch.
        recipe: shares. Every word is chosen with the same probability, and in every input at least one.
        num_tokens: of the tokenizer; what is put in place of a token is any but the special ones.
        draw: random numbers.

    Returns:
        The examples as one batch.

    Source:
        Devlin et al. 2019, "BERT", section 3.1; whole words: their code's release of May 2019.
    """
    shape = len(examples), max(len(example.ids) for example in examples)
    ids, mask, types = np.full(shape, PAD), np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    words = np.full(shape, NO_WORD)
    for row, example in enumerate(examples):
        length = len(example.ids)
        ids[row, :length], mask[row, :length] = example.ids, 1
        types[row, :length], words[row, :length] = example.types, example.words
    # One number a word; special tokens and padding get the last one, which is never chosen.
    chances = np.pad(draw.random((shape[0], int(words.max()) + 1)), ((0, 0), (0, 1)), constant_values=1.0)
    chance = np.take_along_axis(chances, words, axis=1)
    chance[words == NO_WORD] = np.inf
    chosen = (chance < recipe.share) | ((chance == chance.min(axis=1, keepdims=True)) & np.isfinite(chance))
    fate = draw.random(shape)
    hidden = chosen & (fate < recipe.hidden_share)
    random = chosen & ~hidden & (fate < recipe.hidden_share + recipe.random_share)
    others = draw.integers(len(SPECIAL), num_tokens, shape)
    given = np.where(hidden, _MASK, np.where(random, others, ids))
    return MaskedBatch(*map(torch.from_numpy, (given, mask, types, chosen, ids[chosen])))


class EncoderData(lightning.LightningDataModule):
    """The batches of a training, in order.

    Args:
        batches: all of them.
    """

    def __init__(self, batches: EncoderBatches) -> None:
        super().__init__()
        self._batches = batches

    def train_dataloader(self) -> DataLoader[MaskedBatch]:
        """The batches; no worker processes, since making them is cheap."""
        return DataLoader(self._batches, batch_size=None)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """The batch as it is: the training is on the CPU."""
        return batch
