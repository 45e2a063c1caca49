"""Show the numbers that a notebook stores beside a drawing as folded tables below the figure.

The tables are no text of the page: they are not searched, and CSS leaves them out on paper.
"""

import json
import re
from collections.abc import Iterable
from html import escape
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

TABLES = "application/vnd.attention-companion.tables+json"  # as companion.figures names them
KEPT = "figure_tables"  # where they are kept in a cell's metadata on their way to the page


class FigureTables(nodes.General, nodes.Element):
    """The tables of the figure before it."""


def keep_tables(_app: Sphinx, _name: str, source: list[str]) -> None:
    """Move tables from a notebook's outputs, where the page shows one of several forms."""
    if TABLES not in source[0] or not source[0].startswith("{"):  # a page may name them, too
        return
    notebook = json.loads(source[0])
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            if TABLES in output.get("data", {}):
                cell["metadata"][KEPT] = output["data"].pop(TABLES)["tables"]
    source[0] = json.dumps(notebook)


class PlaceTables(SphinxTransform):
    """Put the tables behind the figure that their cell draws."""

    default_priority = 900

    def apply(self, **kwargs: Any) -> None:
        """Find the cells that have tables, and their one figure."""
        for cell in self.document.findall(nodes.container):
            tables = cell.get("cell_metadata", {}).get(KEPT)
            if tables:
                (figure,) = cell.findall(nodes.figure)
                caption = "".join(c.astext() for c in figure.findall(nodes.caption))
                place = figure.parent.index(figure) + 1
                figure.parent.insert(place, FigureTables(tables=tables, caption=caption))


def render(tables: Iterable[dict[str, Any]], caption: str) -> str:
    """Return the folded tables of a figure as HTML."""
    # One box that scrolls, and so one stop of the tab key, however many tables there are.
    label = escape(f"The numbers: {caption.split('. ')[0]}", quote=True)
    return (
        '<details class="figure-numbers"><summary>The numbers</summary>\n'
        f'<div role="region" tabindex="0" aria-label="{label}">\n'
        f"{''.join(map(render_table, tables))}</div></details>\n"
    )


def typeset(text: str) -> str:
    """Raise and lower the indices of letters, as in N^2 and d_k, and no other name's parts."""
    text = re.sub(r"(?<!\w)([^\W\d_])_(\w+)", r"\1<sub>\2</sub>", escape(text))
    return re.sub(r"(?<=\w)\^(\w+)", r"<sup>\1</sup>", text)


def render_table(table: dict[str, Any]) -> str:
    """Return one table, its rows and columns headed by what they are."""
    (_, *columns), *rows = (line.split("\t") for line in table["lines"])
    signs = (("rows", "↓"), ("columns", "→"))
    # An arrow stays beside its word; where a table is wide the two stand below each other.
    axes = "<br>".join(
        f"{typeset(table[key])}\N{NO-BREAK SPACE}{sign}" for key, sign in signs if table[key]
    )
    head = "".join(f'<th scope="col">{typeset(column)}</th>' for column in columns)
    title = f"<caption>{typeset(table['title'])}</caption>" if table["title"] else ""
    body = "".join(
        f'<tr><th scope="row">{typeset(name)}</th>'
        + "".join(f"<td>{escape(number)}</td>" for number in numbers)
        + "</tr>\n"
        for name, *numbers in rows
    )
    return (
        f"<table>{title}\n"
        f"<thead><tr><td>{axes}</td>{head}</tr></thead>\n"
        f"<tbody>\n{body}</tbody></table>\n"
    )


def visit(translator: Any, node: FigureTables) -> None:
    """Write the tables to a page."""
    translator.body.append(render(node["tables"], node["caption"]))
    raise nodes.SkipNode


def skip(_translator: Any, _node: FigureTables) -> None:
    """Write nothing where the page is no HTML."""
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the tables."""
    pages, others = (visit, None), (skip, None)
    app.add_node(FigureTables, html=pages, singlehtml=pages, latex=others, text=others)
    app.connect("source-read", keep_tables)
    app.add_transform(PlaceTables)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
