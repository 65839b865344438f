"""The encoder's recipe and its yaml are one, mistakes in it are named, and its command is told from the others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from bridgex import preflight
from bridgex.config import command
from bridgex.config.encoder_recipe import EncoderModelRecipe, EncoderRecipe, MaskRecipe
from bridgex.config.train_settings import EncoderSettings, ToyWorldSettings, TrainSettings, validate_train
from bridgex.errors import UserError

CONF = Path(__file__).parents[2] / "conf" / "finetune" / "small_encoder.yaml"


def config_of(*overrides: str) -> dict[str, object]:
    (cell,) = command.check("train", list(overrides), validate_train)
    return dict(cell.config)


class TestRecipe:
    def test_yaml_is_the_default_recipe_and_every_key_has_a_comment(self) -> None:
        text = CONF.read_text(encoding="utf-8")
        given = yaml.safe_load(text)
        assert EncoderRecipe.model_validate(given) == EncoderRecipe()
        assert json.loads(EncoderRecipe().model_dump_json()) == given
        assert all(" # " in line for line in text.splitlines()[1:])

    def test_every_comment_is_the_fields_description(self) -> None:
        told = {line.split(":")[0].strip(): line.split(" # ")[1] for line in CONF.read_text("utf-8").splitlines()[1:]}
        described = {name: field.description for name, field in EncoderRecipe.model_fields.items()}
        for part in EncoderRecipe.model_fields.values():
            for name, field in getattr(part.annotation, "model_fields", {}).items():
                described[name] = field.description
        assert told == described

    def test_mistakes_name_what_was_given(self) -> None:
        with pytest.raises(ValidationError, match="hidden_size=100 must be a multiple of heads=3"):
            EncoderModelRecipe(hidden_size=100, heads=3)
        with pytest.raises(ValidationError, match=r"hidden_share and random_share sum to 1\.1; make it 1 at most"):
            MaskRecipe(hidden_share=0.8, random_share=0.3)
        with pytest.raises(ValidationError, match="Extra inputs"):
            EncoderRecipe.model_validate({"steps": 3})


class TestCommand:
    def test_the_three_commands_are_told_apart(self) -> None:
        encoder = validate_train(config_of("experiment=small_encoder", "data.root=somewhere", "seed=3"))
        assert isinstance(encoder, EncoderSettings)
        assert encoder.seed == 3
        assert encoder.data.root == "somewhere"
        assert encoder.finetune == EncoderRecipe()
        assert isinstance(validate_train(config_of("experiment=toy_world")), ToyWorldSettings)
        assert isinstance(validate_train(config_of()), TrainSettings)

    def test_a_wrong_key_is_named(self) -> None:
        with pytest.raises(UserError) as error:
            config_of("experiment=small_encoder", "finetune.training.steps=0")
        assert error.value.problems[0].startswith("finetune.training.steps=0: ")

    def test_without_text_one_line_is_all_that_happens(self, tmp_path: Path) -> None:
        (tmp_path / "ntrex").mkdir()
        for override, told in (
            ("data.root=null", "data.root=null: an encoder is trained on your own text. Give data.root=FOLDER that"),
            (f"data.root={tmp_path}/no", f"data.root={tmp_path}/no: no such folder. Give data.root=FOLDER that"),
            (f"data.root={tmp_path}", f"data.root={tmp_path}: holds neither lines of ntrex/ nor validation rows of"),
        ):
            with pytest.raises(UserError) as error:
                preflight.agree_train(config_of("experiment=small_encoder", override))
            (line,) = error.value.problems
            assert line.startswith(told)
