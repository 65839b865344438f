"""`make audit`: known holes in what is installed, ruff's rules of security, the tests in this folder; one verdict."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

ANSWER_SECONDS = 10
_SERVICE = "osv"
_LIMIT_SECONDS = 600


class Part(NamedTuple):
    """What one part of the audit came to; `is_good` None: it could not be done."""

    name: str
    is_good: bool | None
    lines: Sequence[str]


def installed(*arguments: str) -> Part:
    """Asks a public database of advisories about every installed package."""
    name = "advisories on installed packages"
    try:
        import pip_audit  # noqa: F401
    except ImportError:
        return Part(name, None, ["pip-audit is not installed (pip install pip-audit)"])
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder, "found.json")
        command = [sys.executable, "-m", "pip_audit", "--vulnerability-service", _SERVICE, "--progress-spinner", "off"]
        options = ["--timeout", str(ANSWER_SECONDS), "--skip-editable", "-f", "json", "-o", str(found), *arguments]
        try:
            done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=_LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            return Part(name, None, [f"not done after {_LIMIT_SECONDS} s"])
        if not found.exists() or not found.stat().st_size:
            last = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
            return Part(name, None, [f"its service ({_SERVICE}) does not answer: {last[0][:200]}"])
        packages = json.loads(found.read_text())["dependencies"]
    lines = []
    for package in packages:
        for hole in package.get("vulns", []):
            mended = ", ".join(hole["fix_versions"]) or "none yet"
            lines.append(f"{package['name']} {package['version']}: {hole['id']}, mended in {mended}")
    asked = sum("vulns" in package for package in packages)
    return Part(name, not lines, lines or [f"{asked} packages, none with an advisory"])


def source() -> Part:
    """Reads the package's source by ruff's rules as pyproject.toml has them, those of security (S) among them."""
    command = [sys.executable, "-m", "ruff", "check", "--output-format", "concise", "bridgex"]
    done = subprocess.run(command, capture_output=True, text=True)
    return Part("ruff's rules of security", done.returncode == 0, (done.stdout + done.stderr).strip().splitlines())


def tests() -> Part:
    """Runs the tests of this folder."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", str(Path(__file__).parent)], capture_output=True, text=True
    )
    lines = (done.stdout + done.stderr).strip().splitlines()
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    return Part("tests of safety", done.returncode == 0, failed or lines[-1:])


def main(parts: Sequence[Callable[[], Part]] = (installed, source, tests)) -> int:
    """Prints what each part came to, then the verdict; the exit status is 1 where anything was found."""
    results = [part() for part in parts]
    words = {True: "good", False: "FOUND", None: "not done"}
    for result in results:
        print(f"{result.name}: {words[result.is_good]}")
        for line in result.lines:
            print(f"  {line}")
    bad = [result.name for result in results if result.is_good is False]
    undone = [result.name for result in results if result.is_good is None]
    said = f"audit: {'findings in ' + ', '.join(bad) if bad else 'no findings'}"
    print(said + (f"; not done: {', '.join(undone)}" if undone else ""))
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
