from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path

import pytest

from bridgex.records.log import LogFile


def test_third_parties_go_to_the_file_and_not_to_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    loud = logging.getLogger("lightning.pytorch")
    handler = logging.StreamHandler()
    loud.addHandler(handler)
    level = loud.level
    loud.setLevel(logging.INFO)
    try:
        with LogFile(tmp_path / "log.jsonl"):
            loud.info("💡 %s", "tip")
            warnings.warn("old", DeprecationWarning, stacklevel=1)
        assert loud.handlers == [handler]
    finally:
        loud.removeHandler(handler)
        loud.setLevel(level)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(line["level"], line["logger"]) for line in lines] == [
        ("info", "lightning.pytorch"),
        ("warning", "py.warnings"),
    ]
    assert lines[0]["message"] == "💡 tip"
    assert "DeprecationWarning: old" in lines[1]["message"]
    assert capfd.readouterr() == ("", "")


def test_messages_are_data(tmp_path: Path) -> None:
    with LogFile(tmp_path / "log.jsonl"):
        logging.getLogger("x").warning('a "quoted"\nline {with} %s')
    (line,) = (tmp_path / "log.jsonl").read_text().splitlines()
    assert json.loads(line)["message"] == 'a "quoted"\nline {with} %s'
