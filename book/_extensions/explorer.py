"""The attention explorer: its data, computed by `companion`, and the markup that its script fills.

::

    ```{attention-explorer}
    :layer: 2
    :sentence: 2
    :head: 4
    :token: 7
    ```

The options name the view of the static figure, which stands in for the script and on paper. Any
page links to a view with {explorer}`words <sentence=2&head=4&token=7>`; all counts are from zero.
"""

import json
from base64 import b64encode
from os.path import relpath
from pathlib import Path
from typing import Any

import numpy as np
from docutils import nodes
from docutils.parsers.rst import Directive, directives
from docutils.statemachine import StringList
from sphinx.util.docutils import ReferenceRole

import companion
from companion.figures import Figure, heat_map

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "notebooks" / "data" / "minilm_heads.npz"
SHELL = Path(__file__).with_suffix(".html")
PAGE = "book/explorer"
SCRIPTS = ("attention-row.js", "explorer-attention.js", "explorer-experiments.js", "explorer.js")
OPTIONS = ("layer", "sentence", "head", "token")


def page_data(index: int) -> dict[str, Any]:
    """Collect what the script computes with: Q, K, V of all heads, and W^O as far as it shows.

    A row z of head h becomes z W^O_h in the layer's output. Its length needs only the Gram matrix
    W^O_h (W^O_h)ᵀ.
    """
    trained = companion.load_trained_heads(DATA, xp=np)
    layer = trained.layer(index)
    heads, width = layer.b_v.shape
    w_o = np.reshape(layer.w_o, (heads, width, -1))
    return {
        "layer": index,
        "heads": heads,
        "width": width,
        "gram": _packed(w_o @ w_o.mT),
        "sentences": [
            _sentence_data(sentence, index, layer) for sentence in trained.sentences.values()
        ],
    }


def _sentence_data(sentence: Any, index: int, layer: Any) -> dict[str, Any]:
    x = sentence.inputs[index]
    projected = dict(zip(("query", "key", "value"), companion.project_heads(x, layer), strict=True))
    return {
        "text": sentence.text,
        "tokens": sentence.tokens,
        "lengths": _packed(np.linalg.vector_norm(x, axis=-1)),
        **{role: _packed(rows) for role, rows in projected.items()},
    }


def _packed(array: np.ndarray) -> str:
    return b64encode(array.astype("<f4").tobytes()).decode("ascii")


def static_figure(index: int, sentence: int, head: int, token: int) -> Figure:
    """Draw the view that a page without script shows."""
    trained = companion.load_trained_heads(DATA, xp=np)
    shown, layer = list(trained.sentences.values())[sentence], trained.layer(index)
    x = shown.inputs[index]
    query = companion.project(x, layer.w_q[head], layer.b_q[head])
    key = companion.project(x, layer.w_k[head], layer.b_k[head])
    weights = companion.softmax(companion.scaled_scores(query, key))
    return heat_map(weights, shown.tokens, shown.tokens, highlight_row=token)


class AttentionExplorer(Directive):
    """The figure without script, then the markup and the data for the script."""

    has_content = True  # the caption of the figure
    option_spec = dict.fromkeys(OPTIONS, directives.nonnegative_int)

    def run(self) -> list[nodes.Node]:
        """Compute everything from the shipped heads."""
        environment = self.state.document.settings.env
        for source in (DATA, SHELL, Path(__file__)):
            environment.note_dependency(str(source))
        index = self.options["layer"]
        data = json.dumps(page_data(index), ensure_ascii=False, separators=(",", ":"))
        shell = SHELL.read_text(encoding="utf-8").replace("{layer}", str(index))
        script = f'<script type="application/json" id="explorer-data">{data}</script>'
        return [self._figure(environment), nodes.raw("", shell + script, format="html")]

    def _figure(self, environment: Any) -> nodes.Node:
        drawn = static_figure(*(self.options[name] for name in OPTIONS))
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
        for style in ("attention-row.css", "explorer.css"):
            app.add_css_file(style)
        for script in SCRIPTS:
            app.add_js_file(script, loading_method="defer")


def setup(app: Any) -> dict[str, Any]:
    """Register the directive with Sphinx."""
    app.add_directive("attention-explorer", AttentionExplorer)
    app.add_role("explorer", View())
    app.connect("doctree-resolved", _find)
    app.connect("html-page-context", _load)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
