"""Execute notebooks in place and store their outputs: the same bytes on every run.

    python notebooks/execute.py                             every notebook of this folder
    python notebooks/execute.py notebooks/01_packing.ipynb  this one

A notebook in which a cell fails is left as it was.
"""

import importlib
import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

SECONDS_PER_CELL = 120
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def execute(notebook: NotebookNode, folder: Path) -> None:
    """Run every cell in a fresh kernel and keep nothing that another run would not repeat."""
    NotebookClient(
        notebook,
        timeout=SECONDS_PER_CELL,
        kernel_name=KERNEL["name"],
        record_timing=False,
        coalesce_streams=True,  # how often a kernel flushes is chance
        extra_arguments=["--log-level=ERROR"],  # it warns that it talks to itself in plain text
        resources={"metadata": {"path": str(folder)}},
    ).execute()
    notebook.metadata = {
        "kernelspec": KERNEL,
        "language_info": {
            key: value
            for key, value in notebook.metadata.language_info.items()
            if key != "version"  # the patch version of whoever ran it last
        },
    }
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            describe_figure(cell)


def describe_figure(cell: NotebookNode) -> None:
    """Give the page the alt text that the figure itself made from its data."""
    figures = [output.data for output in cell.outputs if "image/svg+xml" in output.get("data", {})]
    if len(figures) > 1:
        raise ValueError(f"one cell draws one figure, cell {cell.id} draws {len(figures)}")
    for figure in figures:
        image = cell.metadata.setdefault("mystnb", NotebookNode()).setdefault("image", {})
        image["alt"] = figure["text/plain"]


def main(names: list[str]) -> None:
    """Execute the named notebooks, or all, and say which of them changed."""
    os.environ["COMPANION_ARRAY_MODULE"] = "numpy"
    # Where its list of fonts is new, it is made and reported here, and no cell says so.
    importlib.import_module("matplotlib.font_manager")
    paths = [Path(name) for name in names] or sorted(Path(__file__).parent.glob("*.ipynb"))
    for path in paths:
        if not os.access(path, os.W_OK):
            sys.exit(f"{path}: no outputs can be stored, it is missing or may not be written to")
        stored = path.read_text(encoding="utf-8")
        notebook = nbformat.reads(stored, as_version=4)
        try:
            execute(notebook, path.parent)
        except CellExecutionError as error:
            sys.exit(f"{path}: {error}")
        executed = nbformat.writes(notebook) + "\n"
        path.write_text(executed, encoding="utf-8", newline="\n")
        print(path.name, "unchanged" if executed == stored else "rewritten")


if __name__ == "__main__":
    main(sys.argv[1:])
