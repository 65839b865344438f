"""Runs docs/notebooks/api.ipynb and makes its page: `python docs/make_notebook.py` (packages: extra `docs`)."""

from __future__ import annotations

import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbconvert import MarkdownExporter

NOTEBOOK = Path(__file__).parent / "notebooks" / "api.ipynb"


def run() -> None:
    """Runs every cell in an empty folder and keeps what it printed and drew, without progress bars and warnings."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(notebook, timeout=300, resources={"metadata": {"path": folder}}).execute()
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = [
                output
                for output in cell.outputs
                if output.get("name") == "stdout" or "image/png" in output.get("data", {})
            ]
    notebook.metadata.pop("widgets", None)
    nbformat.write(notebook, NOTEBOOK)


def write_page() -> None:
    """The notebook as a page of the site, its pictures beside it."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    text, found = MarkdownExporter().from_notebook_node(
        notebook, resources={"unique_key": "api", "output_files_dir": "api_files"}
    )
    NOTEBOOK.with_suffix(".md").write_text(text.replace("![png](", "![What the cell draws]("), encoding="utf-8")
    for name, content in found["outputs"].items():
        path = NOTEBOOK.parent / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)


if __name__ == "__main__":
    run()
    write_page()
