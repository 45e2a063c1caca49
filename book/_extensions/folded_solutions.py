"""Fold every solution under a line that says whose it is; the notebooks stay as they are.

The fold is the browser's own, like that of a proof: it needs no script, the keyboard opens it, and
paper shows it open.
"""

from html import escape
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx_exercise.nodes import solution_node


def _open(translator: Any, solution: solution_node) -> None:
    """Begin the fold, with the title as its line: a link in it would be a button in a button."""
    title = solution[0]
    if not isinstance(title, nodes.title):
        raise ValueError(f"a solution begins with its title, got {title.tagname}")
    solution.remove(title)
    words = escape(title.astext(), quote=False)
    translator.body.append(f'<details class="solution-fold"><summary>{words}</summary>\n<div>\n')


def _close(translator: Any, _node: solution_node) -> None:
    translator.body.append("</div>\n</details>\n")


def setup(app: Sphinx) -> dict[str, Any]:
    """Tell Sphinx how to write a solution."""
    app.setup_extension("sphinx_exercise")
    app.add_node(solution_node, override=True, html=(_open, _close))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
