"""The attention explorer: the frame that its scripts fill, and the links that lead to its views.

::

    ```{attention-explorer}
    :layer: 2
    :sentence: 2
    :head: 4
    :token: 7
    ```

The options name the view of the static figure, which stands in for the scripts and on paper. Any
page links to a view with {explorer}`words <sentence=2&head=4&token=7>`; all counts are from zero.
"""

from os.path import relpath
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive, directives
from docutils.statemachine import StringList
from sphinx.util.docutils import ReferenceRole

from book._extensions import explorer_data, explorer_writer, matrix_sheet

SHELL = Path(__file__).with_suffix(".html")
EXPERIMENTS = SHELL.with_name("explorer_experiments.html")
PAGE = "book/explorer"
STYLES = (
    "attention-row.css",
    "matrix-sheet.css",
    "explorer.css",
    "explorer-look.css",
    "explorer-stations.css",
    "explorer-sheet.css",
    "explorer-write.css",
)
SCRIPTS = (  # in reading order: each calls what stands before it
    "explorer-load.js",
    "attention-row.js",
    "explorer-attention.js",
    "explorer-view.js",
    "explorer-look.js",
    "explorer-arithmetic.js",
    "matrix-products.js",
    "matrix-words.js",
    "matrix-sheet.js",
    "explorer-experiments.js",
    "explorer-predict.js",
    "writer-tokens.js",
    "writer-model.js",
    "explorer-write.js",
    "explorer-written.js",
    "explorer-tour.js",
    "explorer.js",
)
FIRST = 2  # the layer whose data come with the page
OPTIONS = ("layer", "sentence", "head", "token")


def frame(index: int) -> str:
    """Write the stations without what the scripts fill in; the first view is of this layer."""
    layers = sorted(explorer_data.trained_heads().layers)
    parts = {
        "layers": "".join(_layer(i, is_there=i == index) for i in layers),
        "sheet": matrix_sheet.markup("all"),
        "experiments": EXPERIMENTS.read_text(encoding="utf-8"),
        "write": explorer_writer.station(),
    }
    shell = SHELL.read_text(encoding="utf-8")
    for name, part in parts.items():
        shell = shell.replace(f"{{{name}}}", part)
    return shell


def _layer(i: int, *, is_there: bool) -> str:
    later = "" if is_there else f' data-script="../_static/explorer-layer-{i}.js"'
    output = f'data-output="../_static/explorer-output-{i}.js"'
    return f'<option value="{i}" data-layer="{i}"{later} {output}>{i}</option>'


class AttentionExplorer(Directive):
    """The figure without script, then the markup and the data for the scripts."""

    has_content = True  # the caption of the figure
    option_spec = dict.fromkeys(OPTIONS, directives.nonnegative_int)

    def run(self) -> list[nodes.Node]:
        """Compute everything from the shipped heads."""
        environment = self.state.document.settings.env
        shells = (SHELL, EXPERIMENTS, matrix_sheet.SHELL, explorer_writer.SHELL)
        for source in (explorer_data.DATA, *shells, Path(__file__), Path(explorer_data.__file__)):
            environment.note_dependency(str(source))
        index = self.options["layer"]
        data = explorer_data.as_json(explorer_data.page_data(index))
        script = f'<script type="application/json" id="explorer-data">{data}</script>'
        return [self._figure(environment), nodes.raw("", frame(index) + script, format="html")]

    def _figure(self, environment: Any) -> nodes.Node:
        drawn = explorer_data.static_figure(*(self.options[name] for name in OPTIONS))
        path = Path(environment.app.doctreedir) / "explorer.svg"
        drawn.save(path)
        uri = Path(relpath(path, environment.app.srcdir)).as_posix()
        image = nodes.image(uri=f"/{uri}", alt=drawn.alt, classes=["figure-svg"])
        caption = nodes.container()
        self.state.nested_parse(StringList(self.content), self.content_offset, caption)
        figure = nodes.figure("", image, classes=["explorer-static"], ids=["fig-explorer"])
        figure += nodes.caption("", "", *caption[0].children)
        return figure


class View(ReferenceRole):
    """A link to the explorer with a view in its address."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Leave the address to the builder, which knows where the page is."""
        options = {"refuri": f"#{self.target}", "internal": True, "classes": ["explorer-view"]}
        return [nodes.reference(self.rawtext, self.title, **options)], []


def _find(app: Any, doctree: nodes.document, docname: str) -> None:
    """Complete the links to views; on the one page of a printed book there is only the figure."""
    for link in doctree.findall(nodes.reference):
        if "explorer-view" in link["classes"]:
            page = app.builder.get_relative_uri(docname, PAGE)
            link["refuri"] = page if "#" in page else page + link["refuri"]


def _load(app: Any, pagename: str, _template: str, _context: Any, _doctree: Any) -> None:
    """Give the page, and no other, its script and style."""
    if pagename == PAGE:
        for style in STYLES:
            app.add_css_file(style)
        for script in SCRIPTS:
            app.add_js_file(script, loading_method="defer")


def _write(app: Any, error: Exception | None) -> None:
    """Write the scripts that bring more data when a reader asks for it."""
    if not error and app.builder.format == "html" and PAGE in app.env.found_docs:
        scripts = explorer_data.scripts(first=FIRST)
        if explorer_writer.is_there():
            scripts[explorer_writer.NAME] = explorer_writer.script()
        for name, text in scripts.items():
            path = Path(app.outdir, "_static", name)
            path.write_text(text, encoding="utf-8", newline="\n")


def setup(app: Any) -> dict[str, Any]:
    """Register the directive with Sphinx."""
    app.add_directive("attention-explorer", AttentionExplorer)
    app.add_role("explorer", View())
    app.connect("doctree-resolved", _find)
    app.connect("html-page-context", _load)
    app.connect("build-finished", _write)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
