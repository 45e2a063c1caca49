"""The sheet of matrices, small, in a chapter: those of the running example that it is about.

::

    ```{matrix-sheet} scores
    ```

Without script it is a line that says so, and on paper nothing.
"""

from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive

from book._extensions import explorer_data

SHELL = Path(__file__).with_suffix(".html")
STATIONS = ("projections", "scores", "softmax", "masks", "heads")
STYLES = ("attention-row.css", "matrix-sheet.css")
SCRIPTS = ("attention-row.js", "matrix-products.js", "matrix-words.js", "matrix-sheet.js")
LEAD = """\
<p class="ms-lead">Point at an entry, and what makes it lights up; change one, and what follows \
moves.<noscript> (In a browser with script the matrices stand here.)</noscript></p>"""


def markup(station: str) -> str:
    """Write the sheet's frame and its data."""
    shell = SHELL.read_text(encoding="utf-8").replace("{station}", station)
    data = explorer_data.as_json(explorer_data.sheet_data())
    return f'{shell}<script type="application/json" class="sheet-data">{data}</script>'


class MatrixSheet(Directive):
    """The matrices of one step."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Compute everything from the running example."""
        (station,) = self.arguments
        if station not in STATIONS:
            raise self.error(f"a sheet is one of {', '.join(STATIONS)}, got {station}")
        environment = self.state.document.settings.env
        for source in (SHELL, Path(__file__), Path(explorer_data.__file__)):
            environment.note_dependency(str(source))
        return [nodes.raw("", LEAD + markup(station), format="html")]


def _load(app: Any, _page: str, _template: str, _context: Any, doctree: Any) -> None:
    """Give a page with a sheet, and no other, its scripts and styles."""
    raws = doctree.findall(nodes.raw) if doctree else ()
    if any("data-sheet=" in raw.astext() for raw in raws):
        for style in STYLES:
            app.add_css_file(style)
        for script in SCRIPTS:
            app.add_js_file(script, loading_method="defer")


def setup(app: Any) -> dict[str, Any]:
    """Register the directive with Sphinx."""
    app.add_directive("matrix-sheet", MatrixSheet)
    app.connect("html-page-context", _load)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
