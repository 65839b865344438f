"""Every key of train.py, typed and explained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, ValidationInfo, field_validator

from bridgex.config.encoder_recipe import EncoderRecipe
from bridgex.config.mistakes import lines_of
from bridgex.config.settings import (
    CacheSettings,
    DataSettings,
    FolderName,
    LateTargetNode,
    LoggerSettings,
    ModelSettings,
    Node,
    SweepSettings,
    TargetNode,
    TrainerSettings,
    known_language,
)
from bridgex.config.toy_recipe import ToyRecipe
from bridgex.errors import UserError
from bridgex.languages import language


class FinetuneSettings(Node):
    """How the model is fine-tuned."""

    name: FolderName = Field(description="stands in folder names")
    split: Annotated[str, Field(pattern=r"^\w+$")] = Field("train", description="part of the data to train on")
    limit: int | None = Field(None, ge=1, description="first N rows of each source language; null: all")
    learning_rate: float = Field(2e-5, gt=0, description="of AdamW at the first step, falling to 0 in a straight line")
    weight_decay: float = Field(0.0, ge=0, description="of AdamW")
    warmup_steps: int = Field(0, ge=0, description="steps until the full rate")
    clip_norm: float | None = Field(1.0, gt=0, description="largest norm of the gradient; null: any")
    epochs: float = Field(3.0, gt=0, description="how often every row is seen; a part of one is allowed")
    steps: int | None = Field(None, ge=1, description="optimiser steps; null: by epochs")
    batch_size: int = Field(32, ge=1, description="rows of an optimiser step")
    accumulate: int = Field(1, ge=1, description="passes that a step is cut into, where memory is short")
    max_length: int = Field(128, ge=8, description="tokens of a pair at most, in training and in reading")
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = Field("32-true", description="of the training passes")
    keep_model: bool = Field(False, description="whether the fine-tuned model is left in the run's folder")

    @field_validator("split")
    @classmethod
    def _split_is_not_measured(cls, split: str) -> str:
        if split == "test":
            raise ValueError("is what is measured. Train on train or validation")
        return split

    @field_validator("accumulate")
    @classmethod
    def _steps_can_be_cut(cls, passes: int, info: ValidationInfo) -> int:
        rows = info.data.get("batch_size", passes)
        if rows % passes:
            raise ValueError(f"does not cut finetune.batch_size={rows} into equal passes")
        return passes


class FreezeSettings(Node):
    """What is not trained."""

    name: Literal["none", "embeddings", "layers", "bottom", "by_correlation", "random"] = Field(
        "none", description="what is frozen, by which rule"
    )
    embeddings: bool = Field(False, description="whether what lies below block 1 is frozen")
    layers: list[Annotated[int, Field(ge=1)]] = Field(default_factory=list, description="frozen blocks, from 1")
    bottom: int = Field(0, ge=0, description="blocks 1 to this one are frozen, and what lies below them")
    num_layers: int = Field(3, ge=1, description="with by_correlation and random: how many blocks are frozen")
    relations: str | None = Field(
        None, description="with by_correlation: folder of a finished run without freezing, whose relations choose"
    )
    kind: str = Field("syntactic", description="with by_correlation: kind of distance that drift is to go against")
    development: list[str] = Field(
        default_factory=list,
        description="with by_correlation: languages that choose the blocks, not reported; empty: every second one",
    )

    @field_validator("development")
    @classmethod
    def _languages_exist(cls, codes: list[str]) -> list[str]:
        return [known_language(code) for code in codes]


class DriftSettings(Node):
    """How representations are read and compared."""

    pooling: list[Literal["auto", "cls", "mean", "last"]] = Field(
        ["auto"],
        min_length=1,
        description="tokens to one vector, the first one is reported; auto: cls where the tokenizer has one, else mean",
    )
    every: int | None = Field(None, ge=1, description="also after every so many steps; null: at the end only")
    batch_tokens: int | None = Field(
        None, ge=1, description="tokens in one pass at most, padding included; null: by device"
    )
    distances: str | None = Field(
        None, description="CSV file of distances, two columns of codes and one for each kind; null: URIEL+, or planted"
    )


class ControlSettings(Node):
    """What stands beside transfer and drift."""

    hypothesis_only: bool = Field(True, description="train a second model, by the same recipe, that sees no premise")


def _codes(value: object) -> object:
    """`en`, `en+de` or a list."""
    return value.split("+") if isinstance(value, str) else value


class TrainSettings(Node):
    """All keys of train.py."""

    model: ModelSettings
    task: TargetNode
    finetune: FinetuneSettings
    freeze: FreezeSettings
    drift: DriftSettings
    controls: ControlSettings
    callbacks: dict[str, LateTargetNode]
    logger: LoggerSettings
    trainer: TrainerSettings
    data: DataSettings
    cache: CacheSettings
    sweep: SweepSettings
    source: Annotated[list[str], BeforeValidator(_codes)] = Field(
        min_length=1, description="language that is fine-tuned on; several are joined with +"
    )
    targets: Annotated[list[str] | None, BeforeValidator(_codes)] = Field(
        None, description="languages that are measured; null: all that the data have"
    )
    seed: int = Field(0, ge=0, lt=2**32, description="seeds the head, the order of rows and dropout")

    @field_validator("source", "targets")
    @classmethod
    def _languages_exist(cls, codes: list[str] | None) -> list[str] | None:
        if codes is None:
            return None
        found = [known_language(code) for code in codes]
        twice = sorted({code for code in found if found.count(code) > 1})
        if twice:
            raise ValueError(f"names {', '.join(twice)} more than once")
        return found

    @property
    def sources(self) -> str:
        """The sources as one word: `en`, `en+de`."""
        return "+".join(self.source)

    @property
    def is_toy(self) -> bool:
        """Whether the source is an invented language."""
        return language(self.source[0]).is_toy


class ToyWorldSettings(Node):
    """All keys of train.py experiment=toy_world, which trains a model from nothing."""

    finetune: ToyRecipe
    sweep: SweepSettings
    seed: int = Field(0, ge=0, lt=2**32, description="seeds the world and the training")


class EncoderSettings(Node):
    """All keys of train.py experiment=small_encoder, which trains an encoder from nothing."""

    finetune: EncoderRecipe
    data: DataSettings
    sweep: SweepSettings
    seed: int = Field(0, ge=0, lt=2**32, description="seeds the choice of text and the training")


# Left out where the recipe of a new model has no such key, which is most of them.
_UNUSED_BY_RECIPES = (
    *("model", "task", "freeze", "drift", "controls", "callbacks", "logger", "trainer", "data", "cache"),
    *("source", "targets"),
)


# What only the recipe of a model from nothing has, and what train.py makes by it.
_RECIPES: Mapping[str, type[ToyWorldSettings] | type[EncoderSettings]] = {
    "circuit_stage": ToyWorldSettings,
    "masked_words": EncoderSettings,
}


def makes_a_model(config: Mapping[str, Any]) -> bool:
    """Whether a config of train.py is a recipe of a model from nothing, which measures no transfer."""
    return _recipe(config) is not None


def _recipe(config: Mapping[str, Any]) -> type[ToyWorldSettings] | type[EncoderSettings] | None:
    node = config.get("finetune")
    keys = node if isinstance(node, Mapping) else {}
    return next((settings for key, settings in _RECIPES.items() if key in keys), None)


def validate_train(config: Mapping[str, Any]) -> TrainSettings | ToyWorldSettings | EncoderSettings:
    """Turns a resolved config of train.py into settings.

    Raises:
        UserError: with one line for every mistake in it.
    """
    model: type[TrainSettings | ToyWorldSettings | EncoderSettings] = _recipe(config) or TrainSettings
    kept = {key: value for key, value in config.items() if key in model.model_fields or key not in _UNUSED_BY_RECIPES}
    try:
        return model.model_validate(kept)
    except ValidationError as error:
        raise UserError(*lines_of(error, model)) from None
