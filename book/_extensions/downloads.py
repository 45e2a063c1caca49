"""Let a page hand out its notebook, which then says what it needs wherever it is opened.

The notebooks of the repository have all they need around them. A copy may lie in any folder, so the
build gives each copy one more cell, before the first that computes.
"""

import json
import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

import companion

BUNDLE = f"attention-companion-{companion.__version__}"
WHEEL = f"attention_companion-{companion.__version__}-py3-none-any.whl"

NOTICE = """\
# This copy may be far from home: say what it lacks, and where that is.
from importlib.util import find_spec
from pathlib import Path

if find_spec("companion") is None:
    raise ModuleNotFoundError(
        "companion is not installed: unpack {bundle}.zip and, in its folder, run "
        'pip install "{wheel}[encoder,figures]"'
    )
for name in {files}:
    if not Path(name).exists():
        raise FileNotFoundError(
            f"{{name}} is not here: unpack {bundle}.zip and open this chapter "
            "in its folder notebooks"
        )"""


def files_read(notebook: dict[str, Any], folder: Path) -> list[str]:
    """List the files that the cells name, by their paths from the notebook's folder.

    What is named but is not there, a record that nobody has made yet, the notebook does without.
    """
    named = {
        name
        for cell in notebook["cells"]
        if cell["cell_type"] == "code"
        for name in re.findall(r'"((?:data|\.\.)/[^"]+)"', "".join(cell["source"]))
    }
    return sorted(name for name in named if (folder / name).exists())


def with_notice(notebook: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the notebook with a cell that says what is missing before its first code cell."""
    files = json.dumps(files_read(notebook, folder))
    notice = {
        "cell_type": "code",
        "execution_count": None,
        "id": "what-is-missing",
        "metadata": {},
        "outputs": [],
        "source": NOTICE.format(bundle=BUNDLE, wheel=WHEEL, files=files).splitlines(keepends=True),
    }
    cells = notebook["cells"]
    first = [cell["cell_type"] for cell in cells].index("code")
    return {**notebook, "cells": [*cells[:first], notice, *cells[first:]]}


def _offer(
    _app: Sphinx, _page: str, _template: str, context: dict[str, Any], _doctree: object
) -> None:
    """Offer notebooks; the text of another page, half of it directives, is of no use alone."""
    for button in context.get("header_buttons", ()):
        if button["label"] == "download-buttons":
            button["buttons"] = [b for b in button["buttons"] if b["text"] != ".md"]


def _write(app: Sphinx, error: Exception | None) -> None:
    """Leave the notebooks among the sources that Sphinx has copied, each with its notice."""
    if error or app.builder.format != "html":
        return
    copies = Path(app.outdir, "_sources")
    for copy in copies.rglob("*.*"):
        source = Path(app.srcdir, copy.relative_to(copies))
        if source.suffix == ".ipynb" and source.exists():
            notebook = json.loads(source.read_text(encoding="utf-8"))
            text = json.dumps(with_notice(notebook, source.parent), ensure_ascii=False, indent=1)
            copy.write_text(text + "\n", encoding="utf-8", newline="\n")
        else:
            copy.unlink()


def setup(app: Sphinx) -> dict[str, Any]:
    """Tell Sphinx when to call the above."""
    app.connect("html-page-context", _offer, priority=600)  # after the theme has made its menu
    app.connect("build-finished", _write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
