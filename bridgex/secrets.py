"""What no table, page or line may show: keys, tokens and passwords."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

MASK = "***"
_NAMES = re.compile(r"((^|[\W_])key|apikey|token|secret|password|passwd|credentials?)$", re.IGNORECASE)
# Shorter values of such a variable are words like "true" or "none", which texts hold for other reasons.
_MIN_LENGTH = 8
# One slash: what is taken for a path has lost the other.
_IN_URLS = re.compile(r"(:/{1,2})[^\s/@]+(?=@)")
# In addresses, error lines and overrides. `key=value` alone is how our own lines speak of any key.
_ASSIGNED = re.compile(
    r"((?:[?&](?:key|sig)|[_-]key|apikey|token|secret|password|passwd|credentials?|signature)=)"
    r"[^&\s\"'<>,;:${}\[\]]+",
    re.IGNORECASE,
)
# Of the hubs, W&B, providers of models, GitHub, GitLab, Slack, AWS, and any in a header.
_TOKENS = re.compile(
    r"\bhf_[A-Za-z0-9]{20,}|\bwandb_v\d_\w{20,}|\bsk-[\w-]{20,}|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_\w{20,}"
    r"|\bglpat-[\w-]{20,}|\bxox[abprs]-[\w-]{10,}|\bA[KS]IA[A-Z0-9]{16}\b|(?<=\bBearer )[\w.~+/=-]{8,}"
)


def without_secrets(node: Any) -> Any:
    """The same value, with `***` in place of every secret.

    A secret is a text under a key that is called so (`api_key`, `hf_token`), the value of an environment variable
    that is called so, a user and password or a signature in a URL, a token that tells by its form.

    Args:
        node: a text, number, list or mapping, as deep as it likes.
    """
    if isinstance(node, Mapping):
        return {key: _masked(key, value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [without_secrets(value) for value in node]
    return _clean(node) if isinstance(node, str) else node


def holds_secret(override: str) -> bool:
    """Whether a config key and its value, as they are typed, hold a secret; one that names a variable does not.

    >>> holds_secret("task.api_key=abc"), holds_secret("task.api_key='${oc.env:KEY}'")
    (True, False)
    """
    key, _, value = override.partition("=")
    value = value.strip("'\"")
    return value != "null" and not value.startswith("${") and without_secrets({key: value}) != {key: value}


def _masked(key: object, value: Any) -> Any:
    is_secret = isinstance(value, str) and _NAMES.search(str(key))
    return MASK if is_secret else without_secrets(value)


def _clean(text: str) -> str:
    for name, value in os.environ.items():
        if _NAMES.search(name) and len(value) >= _MIN_LENGTH:
            text = text.replace(value, MASK)
    text = _ASSIGNED.sub(rf"\1{MASK}", _IN_URLS.sub(rf"\1{MASK}", text))
    return _TOKENS.sub(MASK, text)
