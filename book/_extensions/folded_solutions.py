"""Fold every solution of an exercise; the fold is the browser's own, as that of a proof is."""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx_exercise.nodes import depart_solution_node, solution_node, visit_solution_node


def _open(translator: Any, solution: nodes.Element) -> None:
    translator.body.append('<details class="solution-fold"><summary>Solution</summary>\n')
    visit_solution_node(translator, solution)


def _close(translator: Any, solution: nodes.Element) -> None:
    depart_solution_node(translator, solution)
    translator.body.append("</details>\n")


def setup(app: Sphinx) -> dict[str, Any]:
    """Write the solutions of sphinx-exercise in this way."""
    app.setup_extension("sphinx_exercise")
    app.add_node(solution_node, override=True, html=(_open, _close))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
