"""`make audit` ends in a clear verdict, and in 1 where anything was found."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.safety import audit
from tests.safety.audit import Part


@pytest.fixture
def pip_audit(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A pip-audit that says what it is told to."""
    monkeypatch.setitem(sys.modules, "pip_audit", ModuleType("pip_audit"))
    told: dict[str, Any] = {"found": None, "stderr": "", "status": 0}

    def run(command: list[str], **given: object) -> subprocess.CompletedProcess[str]:
        assert command[command.index("--timeout") + 1] == "10"
        if told["found"] is not None:
            Path(command[command.index("-o") + 1]).write_text(json.dumps({"dependencies": told["found"]}))
        return subprocess.CompletedProcess(command, told["status"], "", told["stderr"])

    monkeypatch.setattr(audit.subprocess, "run", run)
    return told


def test_an_advisory_is_a_finding(pip_audit: dict[str, Any]) -> None:
    hole = {"id": "PYSEC-1", "fix_versions": ["1.1"]}
    pip_audit |= {"found": [{"name": "a", "version": "1.0", "vulns": [hole]}, {"name": "b", "skip_reason": "local"}]}
    pip_audit["status"] = 1
    assert audit.installed() == Part("advisories on installed packages", False, ["a 1.0: PYSEC-1, mended in 1.1"])


def test_none_is_good(pip_audit: dict[str, Any]) -> None:
    pip_audit["found"] = [{"name": "a", "version": "1.0", "vulns": []}]
    assert audit.installed().is_good is True


def test_a_silent_service_is_said_and_is_no_finding(pip_audit: dict[str, Any]) -> None:
    pip_audit |= {"stderr": "warning\nERROR: connection refused", "status": 1}
    part = audit.installed()
    assert part.is_good is None
    assert "does not answer: ERROR: connection refused" in part.lines[0]


@pytest.mark.parametrize(
    ("goods", "status", "verdict"),
    [
        ((True, True), 0, "audit: no findings"),
        ((None, True), 0, "audit: no findings; not done: part 0"),
        ((True, False), 1, "audit: findings in part 1"),
        ((None, False), 1, "audit: findings in part 1; not done: part 0"),
    ],
)
def test_the_last_line_is_the_verdict(
    goods: tuple[bool | None, ...], status: int, verdict: str, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = [lambda place=place, good=good: Part(f"part {place}", good, ["a line"]) for place, good in enumerate(goods)]
    assert audit.main(parts) == status
    assert capsys.readouterr().out.splitlines()[-1] == verdict


def test_the_source_keeps_ruffs_rules() -> None:
    part = audit.source()
    assert part.is_good, part.lines


def test_the_rules_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, repository: Path) -> None:
    shutil.copy(repository / "pyproject.toml", tmp_path)
    (tmp_path / "bridgex").mkdir()
    (tmp_path / "bridgex" / "a.py").write_text("import subprocess\nsubprocess.run('ls', shell=True)\n")
    monkeypatch.chdir(tmp_path)
    part = audit.source()
    assert part.is_good is False
    assert any("S602" in line for line in part.lines)
