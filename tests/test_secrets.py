"""Secrets are masked wherever they stand, and nothing else is."""

from __future__ import annotations

import pytest

from bridgex.secrets import without_secrets

KEY, TOKEN = "0123456789" * 4, "hf_" + "aB3" * 12


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("HF_TOKEN", "a-token-of-no-known-form")
    monkeypatch.setenv("SHORT_TOKEN", "true")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (f"sent {KEY}.", "sent ***."),
        ("Bearer a-token-of-no-known-form", "Bearer ***"),
        (f"token {TOKEN}", "token ***"),
        ("https://me:hunter2@host/model and s3://key@bucket", "https://***@host/model and s3://***@bucket"),
        ({"api_key": "x", "model": {"hf_token": "y", "path": "git+https://u:p@host/x"}},
         {"api_key": "***", "model": {"hf_token": "***", "path": "git+https://***@host/x"}}),
        ([("a", f"{KEY}{KEY}"), None, 1.5], [["a", "******"], None, 1.5]),
    ],
)  # fmt: skip
def test_a_secret_is_masked(given: object, expected: object) -> None:
    assert without_secrets(given) == expected


@pytest.mark.parametrize(
    "harmless",
    [
        "this is true",
        "meta-llama/Meta-Llama-3-8B",
        "a mail to me@host, and https://host/path?at=@me",
        {"num_tokens": 3, "batch_tokens": "auto", "token": 5, "api_key": None, "secrets": ["a"]},
        "hf_hub",
    ],
)
def test_what_is_none_stays(harmless: object) -> None:
    assert without_secrets(harmless) == harmless
