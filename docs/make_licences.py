"""Writes docs/licences.md from the data catalogue and the packages installed here: `python docs/make_licences.py`."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from bridgex.data.catalogue import CATALOGUE

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10, where pytest and mypy bring it along
    import tomli as tomllib

PAGE = Path(__file__).with_name("licences.md")

HEAD = """# Licences

bridgex is under [Apache-2.0](https://www.apache.org/licenses/LICENSE-2.0); the toy world and its model, which are
made by the project, are part of it. **No other data set ships with bridgex**: `bridgex data fetch` brings them to your
machine, under licences of their own. Models have licences of their own too; a model's page on the hub names it.

This page is made by `python docs/make_licences.py`.

## Data sets

"""
PACKAGES = """
## Packages

What `pip install bridgex` brings along, by what the packages say of themselves.

"""
EXTRAS = """
## Packages of extras

Installed only where an extra is asked for (`pip install 'bridgex[typology]'`).

"""
NOTES = """
URIEL+ carries data under CC BY-SA 4.0 within its package; bridgex reads them from there and ships none.
"""
UNKNOWN = "not installed where this page was made: see the package"
# By what packages write where they write no identifier of SPDX.
_SPELLINGS = (
    (r"\bapache\b", "Apache-2.0"),
    (r"\bmit\b", "MIT"),
    (r"\bbsd.*3|3.clause", "BSD-3-Clause"),
    (r"\bbsd\b", "BSD"),
    (r"mozilla|mpl", "MPL-2.0"),
)


def licence_of(package: str) -> str | None:
    """What an installed package says its licence is; None: it is not installed, or says nothing."""
    try:
        found = metadata(package)
    except PackageNotFoundError:
        return None
    expression = found.get("License-Expression")
    if expression:
        return expression
    classified = [
        line.rpartition(" :: ")[2] for line in found.get_all("Classifier", []) if line.startswith("License ::")
    ]
    said = [text for text in (*classified, (found.get("License") or "").strip().split("\n")[0]) if text]
    for text in said:
        for form, name in _SPELLINGS:
            if re.search(form, text, flags=re.IGNORECASE):
                return name
    return said[0] if said else None


def dependencies() -> tuple[list[str], list[str]]:
    """Direct dependencies by name: those that are always there, and the others that extras ask for."""
    project = tomllib.loads((PAGE.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    always = [name_in(line) for line in project["dependencies"]]
    extra = {name_in(line) for lines in project["optional-dependencies"].values() for line in lines}
    return always, sorted(extra - set(always), key=str.lower)


def name_in(requirement: str) -> str:
    """The package's name in a requirement such as `torch>=2.6`."""
    return re.split(r"[ <>=!~;\[]", requirement, maxsplit=1)[0]


def data_rows() -> list[str]:
    """One line a data set."""
    rows = ["| data set | read for | licence | asks for |", "| --- | --- | --- | --- |"]
    for data in CATALOGUE.values():
        use = ", ".join(f"`{task}`" for task in data.tasks) or "profiles"
        asks = "; ".join(data.licence.conditions()) or "attribution"
        rows.append(f"| {data.title} (`{data.name}`) | {use} | [{data.licence.name}]({data.licence.page}) | {asks} |")
    return rows


def package_rows(names: list[str]) -> list[str]:
    """One line a package."""
    rows = ["| package | licence |", "| --- | --- |"]
    for name in names:
        rows.append(f"| `{name}` | {licence_of(name) or UNKNOWN} |")
    return rows


def page() -> str:
    """The whole page."""
    always, extra = dependencies()
    parts = [HEAD, "\n".join(data_rows()), "\n", PACKAGES, "\n".join(package_rows(always)), "\n", EXTRAS]
    return "".join([*parts, "\n".join(package_rows(extra)), "\n", NOTES])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
