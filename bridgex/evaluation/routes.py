"""The ways on which an item is asked: directly, straight into the target language, through a bridge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bridgex.languages import Language

DIRECT = "direct"
TRANSLATED = "translated"

Translate = Literal["context", "both"]
"""What goes into the bridge language: the context (premise, passage, problem), or the query and its options too."""


@dataclass(frozen=True)
class Route:
    """One way to ask an item.

    Attributes:
        kind: `direct`; `translated` puts the context straight into the target language; `via` goes through the bridge
            with the model's own translation, `gold` with the data set's text in the bridge language.
        bridge: of `via` and `gold`.
        translate: what goes into the bridge language; tasks without a context have one text only.
    """

    kind: Literal["direct", "translated", "via", "gold"] = "direct"
    bridge: Language | None = None
    translate: Translate = "context"

    def __post_init__(self) -> None:
        assert (self.bridge is not None) == (self.kind in ("via", "gold")), "a bridge route, and no other, has a bridge"

    @classmethod
    def to(cls, bridge: Language | None, translate: Translate = "context") -> Route:
        """Through a bridge in the model's own words; None: directly."""
        return cls() if bridge is None else cls("via", bridge, translate)

    @property
    def name(self) -> str:
        """As it stands in records: `direct`, `translated`, `via <code>`, `via <code> (gold)`."""
        if self.bridge is None:
            return self.kind
        return f"via {self.bridge.code} (gold)" if self.kind == "gold" else f"via {self.bridge.code}"


def bridge_of(route: str) -> str | None:
    """The bridge of a route in the model's own words, from the route's name; None: another kind of route.

    >>> bridge_of("via en"), bridge_of("via en (gold)"), bridge_of("direct")
    ('en', None, None)
    """
    code = route.removeprefix("via ")
    return None if code == route or " " in code else code
