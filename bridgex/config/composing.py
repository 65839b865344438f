"""Hydra's `compose`, out of which signals come as what they are."""

from __future__ import annotations

from collections.abc import Sequence

from hydra import compose
from omegaconf import DictConfig

from bridgex.signals import HeldSignals


def composed(entry: str, overrides: Sequence[str]) -> DictConfig:
    """A config with Hydra's own keys in it. A signal waits until it is done: OmegaConf would make an error of it.

    Args:
        entry: name of the config to begin with.
        overrides: of its keys.

    Raises:
        HydraException: they compose to nothing.
    """
    with HeldSignals():
        return compose(entry, overrides=list(overrides), return_hydra_config=True)
