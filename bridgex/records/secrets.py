"""What no table, page or line may show: keys, tokens and passwords."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

MASK = "***"
_NAMES = re.compile(r"(api_?key|access_?key|token|secret|password|passwd|credentials?)$", re.IGNORECASE)
# Shorter values of such a variable are words like "true" or "none", which texts hold for other reasons.
_MIN_LENGTH = 8
_IN_URLS = re.compile(r"(?<=://)[^\s/@]+(?=@)")
_TOKENS = re.compile(r"\bhf_[A-Za-z0-9]{20,}")


def without_secrets(node: Any) -> Any:
    """The same value, with `***` in place of every secret.

    A secret is a text under a key that is called so (`api_key`, `hf_token`), the value of an environment variable
    that is called so, a user and password in a URL, a token that tells by its form.

    Args:
        node: a text, number, list or mapping, as deep as it likes.
    """
    if isinstance(node, Mapping):
        return {key: _masked(key, value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [without_secrets(value) for value in node]
    return _clean(node) if isinstance(node, str) else node


def _masked(key: object, value: Any) -> Any:
    is_secret = isinstance(value, str) and _NAMES.search(str(key))
    return MASK if is_secret else without_secrets(value)


def _clean(text: str) -> str:
    for name, value in os.environ.items():
        if _NAMES.search(name) and len(value) >= _MIN_LENGTH:
            text = text.replace(value, MASK)
    return _TOKENS.sub(MASK, _IN_URLS.sub(MASK, text))
