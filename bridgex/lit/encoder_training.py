"""Trains a small multilingual encoder from nothing: words of the text are hidden, and it is to find them again."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import lightning
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from bridgex.config.encoder_recipe import EncoderRecipe, MaskRecipe, TrainingRecipe
from bridgex.data.encoder_text import EncoderText, Item
from bridgex.extract.encoder_model import (
    SPECIAL,
    EncodedText,
    encode_texts,
    make_encoder,
    make_encoder_tokenizer,
    save_encoder,
)
from bridgex.lit.from_nothing import fit, one_setting, write_model

if TYPE_CHECKING:
    from transformers import BertForMaskedLM, PreTrainedTokenizerFast

Numbers = npt.NDArray[np.int64]

_PAD, _, _CLS, _SEP, _MASK = range(len(SPECIAL))
# What stands for no text is of no word.
_NO_WORD = -1
_REPORTED_SHARE = 0.05
# Beside the seed of a draw, so that epochs, steps and the measuring at the end draw different numbers.
_EPOCHS, _MASKS, _MEASURED = range(3)


@dataclass(frozen=True)
class EncoderFigures:
    """What was measured of a training.

    Attributes:
        loss: mean cross-entropy of the chosen tokens over the last twentieth of the steps, in nats.
        held_out_loss: the same on held-out lines, each alone; None: there are none.
        untrained_loss: that before the first step, when nothing is known but how frequent each token is.
        retrieval: share of held-out lines whose nearest line in another language says the same, mean over ordered
            pairs of languages; None: fewer than two languages or lines.
        untrained_retrieval: the same before the first step, when a line is no more than a bag of random tokens.
        chance: what guessing would reach.
        num_held_out: held-out lines of a language.
        num_tokens: tokens that were computed on, padding left out.
        padding: share of padding in what was computed on.
        cpu_seconds: of the whole, tokenizer and measuring included.
    """

    loss: float
    held_out_loss: float | None
    untrained_loss: float | None
    retrieval: float | None
    untrained_retrieval: float | None
    chance: float | None
    num_held_out: int
    num_tokens: int
    padding: float
    cpu_seconds: float

    @property
    def notes(self) -> list[str]:
        """What a reader of the model must know of it."""
        found = [f"masked-word loss {self.loss:.3f} nats a token over the last twentieth of the steps"]
        if self.held_out_loss is not None:
            found[0] += (
                f", {self.held_out_loss:.3f} on held-out lines; from the tokens' frequencies alone "
                f"{self.untrained_loss:.3f}"
            )
        if self.retrieval is None or self.chance is None:
            found.append("retrieval was not measured: it needs lines of ntrex in two languages or more")
        else:
            found.append(
                f"retrieval {self.retrieval:.3f}: so many of {self.num_held_out} held-out lines have their translation "
                f"as the nearest line of another language, mean over all ordered pairs; before training "
                f"{self.untrained_retrieval:.3f}, from shared tokens alone; by chance {self.chance:.3f}"
            )
        found.append(
            f"{self.num_tokens} tokens seen, {self.padding:.2%} of padding beside them, in {self.cpu_seconds:.0f} CPU "
            f"seconds"
        )
        return found


def train_encoder(
    recipe: EncoderRecipe, text: EncoderText, seed: int, folder: Path, *, show_progress: bool = True
) -> EncoderFigures:
    """Makes a tokenizer and a model from text.

    With the same recipe, text and seed the tokenizer is equal everywhere; the weights are bit-equal on one machine with
    one torch build.

    Args:
        recipe: every number of it.
        text: to train and to measure on.
        seed: of the first weights, the order of the text, and what is hidden.
        folder: gets `model`; one that is there is replaced.
        show_progress: whether to show a bar.

    Raises:
        UserError: the folder cannot be written.
        KeyboardInterrupt: the training was stopped; no model is written.
    """
    started = time.process_time()
    tokenizer = make_encoder_tokenizer(text.texts(), recipe.text)
    items, held_out = (
        encode_items(tokenizer, some, recipe.masked_words) for some in (text.items, _as_items(text.held_out))
    )
    model = make_encoder(recipe.text, recipe.model, count_tokens(items, len(tokenizer)), seed)
    with one_setting(recipe.num_threads):
        untrained_loss = masked_loss(model, held_out, recipe, len(tokenizer), seed)
        untrained_retrieval = retrieval_accuracy(line_vectors(model, held_out, recipe))
        module = EncoderModule(model, recipe.training)
        batches = EncoderBatches(items, recipe, len(tokenizer), seed)
        fit(module, EncoderData(batches), show_progress=show_progress)
        held_out_loss = masked_loss(model, held_out, recipe, len(tokenizer), seed)
        retrieval = retrieval_accuracy(line_vectors(model, held_out, recipe))
    write_model(
        folder,
        recipe,
        seed,
        lambda place: save_encoder(model, tokenizer, recipe.model, place),
        text_sha256=text.fingerprint,
    )
    num_held_out = len(held_out)
    return EncoderFigures(
        loss=module.last_loss(),
        held_out_loss=held_out_loss,
        untrained_loss=untrained_loss,
        retrieval=retrieval,
        untrained_retrieval=untrained_retrieval,
        chance=None if retrieval is None else 1 / num_held_out,
        num_held_out=num_held_out,
        num_tokens=module.num_tokens,
        padding=1 - module.num_tokens / max(1, module.num_places),
        cpu_seconds=time.process_time() - started,
    )


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
    ids, types, words = [np.array([_CLS])], [np.array([0])], [np.array([_NO_WORD])]
    next_word = 0
    for segment, (part, length) in enumerate(zip(parts, lengths, strict=True)):
        ids += [part.ids[:length], np.array([_SEP])]
        types.append(np.full(length + 1, segment))
        words += [part.words[:length] + next_word, np.array([_NO_WORD])]
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
        draw = np.random.default_rng((self._seed, _MASKS, number))
        return mask_words(self._batches[place], self._recipe.masked_words, self._num_tokens, draw)

    def epoch(self, number: int) -> list[list[Example]]:
        """The examples of an epoch's batches."""
        draw = np.random.default_rng((self._seed, _EPOCHS, number))
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
    ids, mask, types = np.full(shape, _PAD), np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    words = np.full(shape, _NO_WORD)
    for row, example in enumerate(examples):
        length = len(example.ids)
        ids[row, :length], mask[row, :length] = example.ids, 1
        types[row, :length], words[row, :length] = example.types, example.words
    # One number a word; special tokens and padding get the last one, which is never chosen.
    chances = np.pad(draw.random((shape[0], int(words.max()) + 1)), ((0, 0), (0, 1)), constant_values=1.0)
    chance = np.take_along_axis(chances, words, axis=1)
    chance[words == _NO_WORD] = np.inf
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


class EncoderModule(lightning.LightningModule):
    """Masked words, AdamW, a rate that rises and falls in straight lines.

    Args:
        model: changed in place.
        recipe: the optimiser and its steps.
    """

    def __init__(self, model: BertForMaskedLM, recipe: TrainingRecipe) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model = model
        self.num_tokens = self.num_places = 0
        self._recipe = recipe
        self._losses: list[Tensor] = []

    def on_fit_start(self) -> None:
        """Training mode; what measured the model before has left it in the other."""
        self.model.train()

    def training_step(self, batch: MaskedBatch, number: int) -> None:
        """One step of the optimiser."""
        optimiser = cast(torch.optim.Optimizer, self.optimizers())
        for group in optimiser.param_groups:
            group["lr"] = self._recipe.learning_rate * rate_factor(self._recipe, number)
        optimiser.zero_grad()
        loss = chosen_losses(self.model, batch).mean()
        self.manual_backward(loss)
        nn.utils.clip_grad_norm_(self.model.parameters(), self._recipe.clip_norm)
        optimiser.step()
        self.num_tokens += int(batch.mask.sum())
        self.num_places += batch.mask.numel()
        self._losses.append(loss.detach())
        self.log("loss", loss, prog_bar=True, batch_size=len(batch.ids))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW; biases and norms do not decay."""
        recipe = self._recipe
        matrices = [parameter for parameter in self.model.parameters() if parameter.ndim > 1]
        rest = [parameter for parameter in self.model.parameters() if parameter.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": rest, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=recipe.betas, fused=True)

    def last_loss(self) -> float:
        """Mean loss over the last twentieth of the steps, at least one."""
        count = max(1, round(_REPORTED_SHARE * len(self._losses)))
        return float(torch.stack(self._losses[-count:]).double().mean())


def rate_factor(recipe: TrainingRecipe, step: int) -> float:
    """What the full learning rate is multiplied with at a step, from 0: rises, then falls to 0.

    Example:
        >>> recipe = TrainingRecipe(steps=100, warmup_steps=20)
        >>> [rate_factor(recipe, step) for step in (0, 19, 20, 60)]
        [0.05, 1.0, 1.0, 0.5]
    """
    if step < recipe.warmup_steps:
        return (step + 1) / recipe.warmup_steps
    return (recipe.steps - step) / max(1, recipe.steps - recipe.warmup_steps)


def chosen_losses(model: BertForMaskedLM, batch: MaskedBatch) -> Tensor:
    """Cross-entropy of each chosen token, in nats `[chosen]`; the others are not put through the head."""
    hidden = model.bert(input_ids=batch.ids, attention_mask=batch.mask, token_type_ids=batch.types).last_hidden_state
    logits = model.cls(hidden[batch.chosen])
    return nn.functional.cross_entropy(logits, batch.targets, reduction="none")


def masked_loss(
    model: BertForMaskedLM, items: Sequence[EncodedItem], recipe: EncoderRecipe, num_tokens: int, seed: int
) -> float | None:
    """Mean cross-entropy of the chosen tokens of lines, each alone; None: there are no lines."""
    examples = [join_parts(parts, recipe.text.max_length) for item in items for parts in item.values()]
    losses = []
    model.eval()
    with torch.inference_mode():
        for step, group in enumerate(group_by_length(examples, recipe.training.batch_tokens)):
            draw = np.random.default_rng((seed, _MEASURED, step))
            losses.append(chosen_losses(model, mask_words(group, recipe.masked_words, num_tokens, draw)))
    return float(torch.cat(losses).double().mean()) if losses else None


def line_vectors(model: BertForMaskedLM, items: Sequence[EncodedItem], recipe: EncoderRecipe) -> dict[str, Tensor]:
    """The lines of each language as vectors `[N, D]`: the mean of the last block's output over the text's tokens."""
    found: dict[str, Tensor] = {}
    model.eval()
    for code in items[0] if items else ():
        examples = [join_parts(item[code], recipe.text.max_length) for item in items]
        order = sorted(range(len(examples)), key=lambda place: len(examples[place].ids))
        vectors = torch.zeros(len(examples), recipe.model.hidden_size)
        groups = group_by_length([examples[place] for place in order], recipe.training.batch_tokens)
        places = iter(order)
        for group in groups:
            vectors[list(itertools.islice(places, len(group)))] = _mean_states(model, group)
        found[code] = vectors
    return found


def _mean_states(model: BertForMaskedLM, examples: Sequence[Example]) -> Tensor:
    pad = nn.utils.rnn.pad_sequence
    ids = pad([torch.from_numpy(one.ids) for one in examples], batch_first=True, padding_value=_PAD)
    types = pad([torch.from_numpy(one.types) for one in examples], batch_first=True)
    counted = pad([torch.from_numpy(one.words != _NO_WORD) for one in examples], batch_first=True)
    mask = pad([torch.ones(len(one.ids), dtype=torch.long) for one in examples], batch_first=True)
    with torch.inference_mode():
        states = model.bert(input_ids=ids, attention_mask=mask, token_type_ids=types).last_hidden_state
    weights = counted.unsqueeze(-1).float()
    means: Tensor = (states * weights).sum(1) / weights.sum(1).clamp(min=1)
    return means


def retrieval_accuracy(vectors: Mapping[str, Tensor]) -> float | None:
    """How often the nearest line of another language, by cosine, says the same: mean over ordered pairs of languages.

    Args:
        vectors: by language `[N, D]`, row n of each the same line.

    Returns:
        The share; None with fewer than two languages or lines.
    """
    units = [nn.functional.normalize(found, dim=1) for found in vectors.values()]
    if len(units) < 2 or len(units[0]) < 2:
        return None
    right = torch.arange(len(units[0]))
    shares = [(one @ other.T).argmax(1).eq(right).double().mean() for one, other in itertools.permutations(units, 2)]
    return float(torch.stack(shares).mean())


def _as_items(lines: Mapping[str, tuple[str, ...]]) -> list[Item]:
    count = len(next(iter(lines.values()), ()))
    return [{code: (texts[number],) for code, texts in lines.items()} for number in range(count)]
