"""What the search knows: every section, statement, term and function, with its text.

The text is what a reader reads: formulas in letters, no code, no numbers of figures. It is a
script, since a page that was opened as a file may not fetch anything else. `_static/search.js`
reads it.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx_design.dropdown import dropdown_title

from book._extensions.contents_page import is_chapter
from book._extensions.figure_tables import FigureTables

FILE = "_static/search-index.js"
# Chapters and what leads to them come first, then reference pages, then the library's.
FRONT = {"notebooks/cover", "book/contents", "book/run", "book/explorer"}
UNREAD = (
    addnodes.toctree,
    dropdown_title,
    FigureTables,
    nodes.citation,
    nodes.comment,
    nodes.image,
    nodes.literal_block,
    nodes.math_block,
    nodes.raw,
    nodes.title,
)

# The signs that have a letter of their own.
# fmt: off
LETTERS = {
    "sqrt": "√", "cdot": "·", "times": "×", "odot": "⊙", "oplus": "⊕", "circ": "∘", "pm": "±",
    "sum": "Σ", "partial": "∂", "infty": "∞", "dots": "…", "ldots": "…", "cdots": "…",
    "lVert": "‖", "rVert": "‖", "ell": "ℓ", "le": "≤", "leq": "≤", "ge": "≥", "geq": "≥",
    "ne": "≠", "neq": "≠", "approx": "≈", "in": "∈", "notin": "∉", "to": "→", "mapsto": "↦",
    "rightarrow": "→", "leftarrow": "←", "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ",
    "varepsilon": "ε", "theta": "θ", "kappa": "κ", "lambda": "λ", "mu": "μ", "pi": "π",
    "rho": "ρ", "sigma": "σ", "phi": "φ", "varphi": "φ", "psi": "ψ", "omega": "ω", "Delta": "Δ",
    "Pi": "Π", "Sigma": "Σ", "Phi": "Φ",
}
# fmt: on
SIGNS = {
    **LETTERS,
    **{name: name for name in ("max", "min", "log", "exp", "sin", "cos", "tanh")},
    **dict.fromkeys(("text", "operatorname", "mathbb", "mathcal", "mathsf"), ""),
}

Entry = dict[str, str]


def in_letters(tex: str) -> str:
    """Write a formula with letters and signs."""
    tex = re.sub(r"\^\{\\mathsf T\}", "ᵀ", tex)
    tex = re.sub(r"\\([A-Za-z]+)", lambda m: SIGNS.get(m[1], " "), re.sub(r"\\[^A-Za-z]", "", tex))
    return re.sub(r"[{}]", "", tex)


def text_of(node: nodes.Node) -> str:
    """Return the words of a paragraph, its formulas in letters."""
    if isinstance(node, nodes.math):
        return in_letters(node.astext())
    if isinstance(node, nodes.raw):
        return ""
    if isinstance(node, nodes.Text):
        return str(node)
    return "".join(map(text_of, node.children))


def entries(document: nodes.document) -> list[Entry]:
    """List what can be found on a page, the page itself first."""
    found: list[Entry] = []
    _walk(document, found, [])
    if found:
        found[0]["anchor"] = ""
    return [{**entry, "text": " ".join(entry["text"].split())} for entry in found]


def _walk(node: nodes.Node, found: list[Entry], current: list[Entry]) -> None:
    """Add what stands below a node to its entries, or to new ones: a term may have other names."""
    begun = [
        {"kind": kind, "title": " ".join(title.split()), "anchor": anchor, "text": ""}
        for kind, title, anchor in _begun(node)
    ]
    found += begun
    current = begun or current
    if isinstance(node, UNREAD):
        return
    if isinstance(node, nodes.TextElement) and not isinstance(node, addnodes.desc_signature):
        for entry in [] if isinstance(node, nodes.term) else current:
            entry["text"] += f" {_told(' '.join(text_of(node).split()))}"
        return
    for child in node.children:
        _walk(child, found, current)


def _told(text: str) -> str:
    """Leave out what a chapter needs, in its opening and in the contents."""
    if text.startswith("You will "):
        return text.partition(" You need ")[0]
    return "" if text.startswith(("You need ", "Time: ")) else text


def _begun(node: nodes.Node) -> Iterator[tuple[str, str, str]]:
    """Yield kind, title and anchor of what begins with a node."""
    if isinstance(node, nodes.section) and isinstance(node[0], nodes.title):
        yield "section", text_of(node[0]), node["ids"][0]
    elif isinstance(node, addnodes.desc) and node[0]["ids"]:
        yield "code", node[0]["ids"][0], node[0]["ids"][0]
    elif isinstance(node, nodes.definition_list_item):
        terms = [term for term in node.findall(nodes.term) if term["ids"]]
        yield from (("term", term.astext(), term["ids"][0]) for term in terms)
    elif isinstance(node, addnodes.index):
        marked = (e for e in node["entries"] if e[3] == "main" and not e[2].startswith("term-"))
        yield from (("term", value, anchor) for _, value, anchor, *_ in marked)
    elif isinstance(node, nodes.Element) and node.get("realtype") and node["ids"]:
        title = node.get("title", "").strip(" ()")
        yield from [("statement", title, node["ids"][0])] if title else []


def _collect(
    app: Sphinx,
    name: str,
    _template: str,
    _context: dict[str, Any],
    document: nodes.document | None,
) -> None:
    """Keep the entries of a page until all are written."""
    if document is None or app.builder.name != "html":
        return
    number = app.env.toc_secnumbers.get(name, {}).get("")
    rank = 0 if is_chapter(name) or name in FRONT else 2 if name.startswith("book/api") else 1
    page = {
        "path": app.builder.get_target_uri(name),
        "number": ".".join(map(str, number)) if number else "",
        "rank": rank,
        "entries": entries(document),
    }
    app.env.search_pages[name] = page  # type: ignore[attr-defined]


def _write(app: Sphinx, error: Exception | None) -> None:
    if error or app.builder.name != "html":
        return
    pages = app.env.search_pages  # type: ignore[attr-defined]
    order = [name for name in _order(app.env) if name in pages]
    listed = json.dumps([pages[name] for name in order], ensure_ascii=False, separators=(",", ":"))
    Path(app.outdir, FILE).write_text(f"var searchPages = {listed};\n", encoding="utf-8")
    Path(app.outdir, "searchindex.js").unlink(missing_ok=True)  # Sphinx's own, which nothing reads


def _order(environment: BuildEnvironment) -> Iterator[str]:
    """Yield the names of the pages in the order of the book."""

    def below(name: str) -> Iterator[str]:
        yield name
        for page in environment.toctree_includes.get(name, ()):
            yield from below(page)

    return below(environment.config.root_doc)


def _begin(app: Sphinx) -> None:
    app.env.search_pages = {}  # type: ignore[attr-defined]


def setup(app: Sphinx) -> dict[str, Any]:
    """Tell Sphinx when to call the above."""
    app.connect("builder-inited", _begin)
    app.connect("html-page-context", _collect)
    app.connect("build-finished", _write, priority=800)
    return {"parallel_read_safe": True, "parallel_write_safe": False}
