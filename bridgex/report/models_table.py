"""Of which models the neurons can be read: what `bridgex models` prints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

from bridgex.records.model_checks import FamilyCheck, NeuronSite
from bridgex.report.console import SafeConsole


def progress(text: str) -> Status:
    """A line on stderr that says what is going on, while open; nothing where nobody looks."""
    return SafeConsole(is_error=True).status(Text(text))


def show_families(families: Sequence[str], check: Callable[[str], FamilyCheck], console: Console | None = None) -> None:
    """Checks families one by one, and prints a table of them and what it rests on.

    Args:
        families: their names.
        check: checks one.
        console: where to print.
    """
    console = console or SafeConsole()
    found: list[FamilyCheck] = []
    with progress("") as line:
        for number, family in enumerate(families, start=1):
            line.update(f"checking family {number} of {len(families)}: {family}")
            found.append(check(family))
    table = Table(title="families of models whose neurons can be read", title_justify="left")
    for title in ("family", "model=", "neurons", "read at", "kind", "verified"):
        table.add_column(title, overflow="fold")
    for row in found:
        state = {"verified": "yes", "not verified": "no", "refused": "refused"}[row.state]
        table.add_row(*map(Text, (row.family, "\n".join(row.ready), *_cells(row.site), state)))
    console.print(table)
    for text in _remarks(found):
        console.print(Text(text))


def show_folder(folder: Path, site: NeuronSite, console: Console | None = None) -> None:
    """Prints where the neurons of a model in a folder are read, and what its self-check found."""
    console = console or SafeConsole()
    widths = sorted(set(site.num_neurons))
    each = f"{widths[0]:,}" if len(widths) == 1 else f"{widths[0]:,} to {widths[-1]:,}"
    table = Table(title=Text(f"{folder}: its neurons can be read"), title_justify="left")
    table.add_column("blocks", justify="right")
    table.add_column("in a block", justify="right")
    for title in ("neurons", "read at", "kind"):
        table.add_column(title, overflow="fold")
    table.add_row(f"{site.num_blocks}", each, *map(Text, _cells(site)))
    console.print(table)
    for note in site.notes:
        console.print(Text(f"self-check: {note}"))


def _cells(site: NeuronSite | None) -> tuple[str, str, str]:
    if site is None:
        return "", "", ""
    function = site.function.removesuffix("Activation")
    return f"{function}({site.projection})", site.path.split("*.")[-1], "gated" if site.is_gated else "plain"


def _remarks(found: Sequence[FamilyCheck]) -> list[str]:
    sites = {row.family: row.site for row in found if row.site is not None}
    refused: dict[str, list[str]] = {}
    for row in found:
        if row.state == "refused":
            refused.setdefault(row.reason or "", []).append(row.family)
    num_refused = sum(map(len, refused.values()))
    lines = [
        f"here: transformers {version('transformers')}, torch {version('torch')}; {len(sites)} of "
        f"{len(found) - num_refused} families verified, {num_refused} refused as they must be",
        "neurons: the outputs of the activation function at that place in each block, applied to that projection (to "
        "its first half, where it holds gate and up in one); gated: taken before the product with the second one",
    ]
    if sites:
        recomputed = max(site.recomputed_difference or 0.0 for site in sites.values())
        batch = max(site.batch_difference for site in sites.values())
        lines.append(
            f"verified: on a tiny random model of the family, neurons read differ by {recomputed:.1g} of their size "
            f"from recomputed ones, and by {batch:.1g} in a batch from one text at a time, at most"
        )
    unpacked = [family for family, site in sites.items() if site.cannot_pack is not None]
    if unpacked:
        lines.append(f"batches of texts of one length only, since they cannot be packed: {', '.join(unpacked)}")
    lines += [f"refused: {', '.join(families)}: {reason}" for reason, families in refused.items()]
    lines += [f"no: {row.family}: {row.reason}" for row in found if row.state == "not verified"]
    lines.append("another model: bridgex models FOLDER tries it out")
    return lines
