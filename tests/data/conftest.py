from __future__ import annotations

import pytest

from bridgex.config.toy_recipe import ToyRecipe
from bridgex.data.toy_lines import ToyLines
from bridgex.data.toy_world import ToyWorld


@pytest.fixture(scope="module")
def world() -> ToyWorld:
    return ToyWorld(ToyRecipe(), seed=0)


@pytest.fixture(scope="module")
def lines(world: ToyWorld) -> ToyLines:
    return ToyLines(world)
