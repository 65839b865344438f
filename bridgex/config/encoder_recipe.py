"""Every number from which a small multilingual encoder is made, out of the user's own text."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from bridgex.config.settings import Node
from bridgex.config.toy_recipe import Count, Rate, Share, Size


class TextRecipe(Node):
    """How the text is cut into tokens and examples."""

    vocabulary: Annotated[int, Field(ge=300)] = Field(
        8000, description="tokens of the tokenizer at most, the 256 bytes and 5 special ones among them"
    )
    max_token_bytes: Size = Field(24, description="longest token; without it whole clauses of unspaced scripts get one")
    max_length: Annotated[int, Field(ge=8)] = Field(128, description="longest input in tokens; the model reads no more")
    held_out_share: Annotated[float, Field(ge=0, le=0.5)] = Field(
        0.1, description="share of the NTREX lines, the last ones, that are never trained on but measured at the end"
    )


class EncoderModelRecipe(Node):
    """The small BERT."""

    blocks: Size = Field(4, description="transformer blocks")
    hidden_size: Size = Field(128, description="width")
    intermediate_size: Size = Field(512, description="neurons of a block")
    heads: Size = Field(4, description="attention heads of a block")
    init_std: Rate = Field(0.02, description="standard deviation of the first weights")
    dropout: Share = Field(0.1, description="when it is fine-tuned later; there is none while it is made")

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> EncoderModelRecipe:
        if self.hidden_size % self.heads:
            raise ValueError(f"hidden_size={self.hidden_size} must be a multiple of heads={self.heads}")
        return self


class MaskRecipe(Node):
    """Which tokens are to be found again."""

    share: Annotated[float, Field(gt=0, lt=1)] = Field(0.2, description="share of the text's tokens that are chosen")
    hidden_share: Share = Field(0.8, description="of the chosen ones: replaced by [MASK]")
    random_share: Share = Field(0.1, description="of the chosen ones: replaced by any token; the rest stay")
    word_tokens: Size = Field(
        4, description="words of so many tokens at most are chosen whole, longer ones token by token"
    )

    @model_validator(mode="after")
    def _shares_are_parts(self) -> MaskRecipe:
        total = self.hidden_share + self.random_share
        if total > 1 + 1e-9:
            raise ValueError(f"hidden_share and random_share sum to {total:.4g}; make it 1 at most")
        return self


class TrainingRecipe(Node):
    """AdamW: the rate rises in a straight line, then falls to 0 in one."""

    steps: Size = Field(5000, description="optimiser steps")
    batch_tokens: Size = Field(1024, description="tokens of a step at most, padding included; a longer one goes alone")
    learning_rate: Rate = Field(1e-3, description="of AdamW, at its highest")
    warmup_steps: Count = Field(300, description="steps until then")
    weight_decay: Annotated[float, Field(ge=0)] = Field(0.01, description="of matrices; biases and norms have none")
    betas: tuple[Share, Share] = Field((0.9, 0.98), description="of AdamW")
    clip_norm: Rate = Field(1.0, description="largest norm of the gradient")


class EncoderRecipe(Node):
    """The whole recipe; with a seed and a text it gives the same weights on one machine and torch build.

    Example:
        >>> EncoderRecipe().model.blocks
        4
    """

    name: Annotated[str, Field(pattern=r"^[\w.+-]+$")] = Field("small_encoder", description="stands in folder names")
    num_threads: Size = Field(1, description="CPU threads of the training; another number gives other weights")
    text: TextRecipe = Field(default_factory=TextRecipe, description="tokens and examples")
    model: EncoderModelRecipe = Field(default_factory=EncoderModelRecipe, description="the model")
    masked_words: MaskRecipe = Field(default_factory=MaskRecipe, description="what is to be found again")
    training: TrainingRecipe = Field(default_factory=TrainingRecipe, description="the optimiser and its steps")
