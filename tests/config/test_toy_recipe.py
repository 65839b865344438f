"""The recipe and its yaml are one, and mistakes in it are named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from bridgex.config.toy_recipe import MixRecipe, ToyRecipe, WorldRecipe

CONF = Path(__file__).parents[2] / "conf" / "finetune" / "toy_world.yaml"


class TestRecipe:
    def test_yaml_is_the_default_recipe_and_every_key_has_a_comment(self) -> None:
        text = CONF.read_text(encoding="utf-8")
        given = yaml.safe_load(text)
        assert ToyRecipe.model_validate(given) == ToyRecipe()
        assert json.loads(ToyRecipe().model_dump_json()) == given
        assert all(" # " in line for line in text.splitlines()[1:])

    def test_every_field_is_described(self) -> None:
        def undescribed(model: type) -> list[str]:
            missing = []
            for name, field in model.model_fields.items():  # type: ignore[attr-defined]
                if not field.description:
                    missing.append(name)
                if isinstance(field.annotation, type) and hasattr(field.annotation, "model_fields"):
                    missing += undescribed(field.annotation)
            return missing

        assert undescribed(ToyRecipe) == []

    def test_mistakes_name_what_was_given(self) -> None:
        with pytest.raises(ValidationError, match="test_verbs=25 is more than num_verbs=24"):
            WorldRecipe(test_verbs=25)
        with pytest.raises(ValidationError, match=r"the shares of the kinds of line sum to 1\.1; make it 1"):
            MixRecipe.model_validate(ToyRecipe().first_mix.model_dump() | {"word": 0.46})
        with pytest.raises(ValidationError, match="Extra inputs"):
            ToyRecipe.model_validate({"steps": 3})
