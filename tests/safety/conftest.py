from __future__ import annotations

from tests.end_to_end.conftest import cache, command  # fixtures

__all__ = ["cache", "command"]
