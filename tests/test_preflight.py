"""What is said of packages and tiny models before anything heavy is imported or fetched."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bridgex import preflight
from bridgex.config.settings import ModelSettings

LARGE = ("accelerate", "bitsandbytes")


def lines(monkeypatch: pytest.MonkeyPatch, installed: tuple[str, ...], **more: Any) -> list[str]:
    monkeypatch.setattr(preflight, "find_spec", lambda name: object() if name in installed else None)
    return preflight._loading_problems(ModelSettings.model_validate({"kind": "hf", "name": "m", "path": "x/y", **more}))


@pytest.mark.parametrize(
    ("more", "installed", "lacking"),
    [
        ({"device_map": "auto"}, (), "accelerate"),
        ({"device_map": "auto"}, ("bitsandbytes",), "accelerate"),
        ({"quantization": "8bit"}, (), "accelerate and bitsandbytes"),
        ({"quantization": "4bit"}, ("accelerate",), "bitsandbytes"),
    ],
)
def test_a_package_that_is_not_there_is_named(
    monkeypatch: pytest.MonkeyPatch, more: dict[str, str], installed: tuple[str, ...], lacking: str
) -> None:
    ((key, value),) = more.items()
    assert lines(monkeypatch, installed, **more) == [
        f"model.{key}={value}: needs {lacking}, not installed here. Run pip install 'bridgex[large]', or leave the key "
        f"out"
    ]


@pytest.mark.parametrize("more", [{}, {"device_map": "auto"}, {"quantization": "8bit"}, {"quantization": "4bit"}])
def test_packages_that_are_there_or_not_needed_are_not(monkeypatch: pytest.MonkeyPatch, more: dict[str, str]) -> None:
    assert lines(monkeypatch, LARGE, **more) == []
    assert (lines(monkeypatch, (), **more) == []) is (not more)


@pytest.mark.parametrize("kind", ["toy", "random"])
def test_a_tiny_model_is_not_quantised(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    expected = (
        "model.quantization=4bit: is for the weights of large models, and model=m is tiny. Leave the key out, or use "
        "model=hf"
    )
    for installed in ((), LARGE):
        assert lines(monkeypatch, installed, kind=kind, quantization="4bit") == [expected]


def test_the_check_of_a_command_imports_nothing_heavy(repository: Path) -> None:
    heavy = "{'torch', 'scipy', 'transformers', 'lightning'}"
    code = f"import sys, bridgex.preflight; print(*sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
