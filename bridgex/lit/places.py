"""Which of a run's processes this is: one that the first one starts, or one of torchrun's."""

from __future__ import annotations

import os
from dataclasses import dataclass

from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment


@dataclass(frozen=True)
class Place:
    """Which of the processes this is.

    Attributes:
        rank: its number; 0 is the first.
        world_size: how many there are.
        local_rank: its number on its machine, and that of its device.
        local_size: how many there are on its machine.
        meet: where they find each other, an address that torch.distributed knows.
    """

    rank: int
    world_size: int
    local_rank: int
    local_size: int
    meet: str


def torchrun_place() -> Place | None:
    """Which of torchrun's processes this is; None: it is none of several."""
    environment = os.environ
    if "TORCHELASTIC_RUN_ID" not in environment or int(environment["WORLD_SIZE"]) == 1:
        return None
    return Place(
        rank=int(environment["RANK"]),
        world_size=int(environment["WORLD_SIZE"]),
        local_rank=int(environment["LOCAL_RANK"]),
        local_size=int(environment["LOCAL_WORLD_SIZE"]),
        meet="env://",
    )


def environment_of(place: Place) -> ClusterEnvironment:
    """What tells Lightning's strategy which process this is.

    Args:
        place: which.
    """
    return _Environment(place)


class _Environment(ClusterEnvironment):
    """Tells Lightning which process this is, and that nobody need be started."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self._place = place

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        return "127.0.0.1"

    @property
    def main_port(self) -> int:
        return 0  # they have met already

    @staticmethod
    def detect() -> bool:
        return False

    def world_size(self) -> int:
        return self._place.world_size

    def set_world_size(self, size: int) -> None:
        pass

    def global_rank(self) -> int:
        return self._place.rank

    def set_global_rank(self, rank: int) -> None:
        pass

    def local_rank(self) -> int:
        return self._place.local_rank

    def node_rank(self) -> int:
        return self._place.rank // self._place.local_size
