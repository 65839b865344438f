"""Trains a small multilingual encoder from nothing: words of the text are hidden, and it is to find them again."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import lightning
import numpy as np
import torch
from torch import Tensor, nn

from bridgex.config.encoder_recipe import EncoderRecipe, TrainingRecipe
from bridgex.data.encoder_text import EncoderText, Item
from bridgex.extract.encoder_model import make_encoder, make_encoder_tokenizer, save_encoder
from bridgex.lit.from_nothing import fit, one_setting, write_model
from bridgex.lit.masked_words import (
    MEASURED,
    NO_WORD,
    PAD,
    EncodedItem,
    EncoderBatches,
    EncoderData,
    Example,
    MaskedBatch,
    count_tokens,
    encode_items,
    group_by_length,
    join_parts,
    mask_words,
)

if TYPE_CHECKING:
    from transformers import BertForMaskedLM

_REPORTED_SHARE = 0.05


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
            draw = np.random.default_rng((seed, MEASURED, step))
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
    ids = pad([torch.from_numpy(one.ids) for one in examples], batch_first=True, padding_value=PAD)
    types = pad([torch.from_numpy(one.types) for one in examples], batch_first=True)
    counted = pad([torch.from_numpy(one.words != NO_WORD) for one in examples], batch_first=True)
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
