"""A run's config.yaml is read back as OmegaConf reads it, in a tenth of the time."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from bridgex.config.settings import from_yaml, to_yaml

# What YAML takes for something else unless it is quoted, or OmegaConf reads otherwise than YAML 1.1.
_TEXTS = (
    "no", "on", "yes", "y", "null", "~", "", " ", "1_000", "010", "0o10", "0x1f", "1e-5", "1e5", "1.", ".5", "12:30:45",
    "2024-01-31", "2024-01-31T10:00:00Z", "true", "nan", ".nan", "-.inf", "???", "a: b", "# no comment", "- a", "{a}",
    "[1]", "&a", "*a", "!!python/name:os.system", "%s", "@", "`", "\\", '"', "'", "a\nb", "a\n\nb\n", "\t", "日本",
    "\u200b", "\u2028", "\x07", "é", "<<", "=", "1,000", "+1", "-0", "0.1", "é" * 200,
)  # fmt: skip
_NUMBERS = (0, 7, -3, 10**20, 1e-5, 2e-5, 1.0, -0.5, 1e300, math.inf, -math.inf, True, False, None)


def as_omegaconf_reads(path: Path) -> Any:
    return OmegaConf.to_container(OmegaConf.load(path))


@pytest.mark.parametrize("value", [*_TEXTS, *_NUMBERS], ids=ascii)
def test_every_value_comes_back_as_it_was(value: object, tmp_path: Path) -> None:
    config = {"key": value, "list": [value, [value]], "node": {"deeper": {"key": value}}}
    if isinstance(value, str) and value.strip() and value != "<<":
        config[value] = 1
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(config), encoding="utf-8")
    assert from_yaml(path) == as_omegaconf_reads(path) == config
    assert type(from_yaml(path)["key"]) is type(value)


def test_not_a_number_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml({"key": math.nan}), encoding="utf-8")
    assert math.isnan(from_yaml(path)["key"])


@pytest.mark.parametrize(
    "text",
    [
        "a: 1e-5\nb: 1_000\nc: 010\nd: no\ne: 2024-01-31\nf: 12:30\ng: 1e5\nh: .5\ni: 1_0.5\nj: 0b11\nk: 0x_f",
        "a: [1, no, ~]\nb: {c: yes}\n1: 2\n",
    ],
)  # fmt: skip
def test_what_a_hand_wrote_is_read_alike(text: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    expected = as_omegaconf_reads(path)
    assert from_yaml(path) == {str(key): value for key, value in expected.items()}
    assert [type(value) for value in from_yaml(path).values()] == [type(value) for value in expected.values()]


def test_every_shipped_config_is_read_alike(repository: Path) -> None:
    paths = sorted((repository / "conf").rglob("*.yaml"))
    assert len(paths) > 50
    for path in paths:
        assert from_yaml(path) == (as_omegaconf_reads(path) or {}), path


@pytest.mark.parametrize("text", ["a: [", "- 1", "", "a: !!python/object/apply:os.mkdir [made]", "a: \x00", "\ud800"])
def test_what_is_no_config_is_empty(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
    assert from_yaml(Path("config.yaml")) == {}
    assert not Path("made").exists()
    assert from_yaml(Path("missing.yaml")) == {}
