"""Fold every proof under a line that says what it proves; the notebooks stay as they are.

The fold is the browser's own, so it needs no script, the keyboard opens it, a link to an equation
in it opens it too, and paper shows it open.
"""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx_proof.nodes import NODE_TYPES, proof_node

STATEMENTS = tuple(NODE_TYPES.values())
BETWEEN = (nodes.paragraph, nodes.math_block)
SAID = "Proof. "  # what sphinx-proof writes before the first words


class folded_proof(nodes.General, nodes.Element):
    """A proof, which knows kind, count and label of what it proves."""


def fold(document: nodes.document) -> None:
    """Put a fold in the place of each proof.

    Raises
    ------
    ValueError
        If a proof does not begin with a word.
    """
    for proof in list(document.findall(proof_node)):
        statement = proved(proof)
        kept = ("realtype", "countertype", "label") if statement else ()
        (content,) = proof.children
        folded = folded_proof("", *content.children, **{key: statement[key] for key in kept})
        first = next(folded.findall(nodes.Text))
        if not first.startswith(SAID):
            raise ValueError(f"a proof begins with a word, got {first[:40]!r}")
        first.parent.replace(first, nodes.Text(first.removeprefix(SAID)))
        proof.parent.replace(proof, folded)


def proved(proof: nodes.Element) -> nodes.Element | None:
    """Find the statement before a proof, if at most its reason, in words, stands between."""
    for before in reversed(proof.parent[: proof.parent.index(proof)]):
        if isinstance(before, STATEMENTS):
            return before
        if not isinstance(before, BETWEEN):
            break
    return None


def _fold(_app: Sphinx, document: nodes.document) -> None:
    fold(document)


def summary(numbers: dict[str, dict[str, tuple[int, ...]]], proof: folded_proof) -> str:
    """Say what is proved, by its kind and number, where that is known."""
    number = numbers.get(proof.get("countertype"), {}).get(proof.get("label"))
    if not number:
        return "Proof"
    return f"Proof of {proof['realtype'].title()} {'.'.join(map(str, number))}"


def _open(translator: Any, proof: folded_proof) -> None:
    words = summary(translator.builder.fignumbers, proof)
    translator.body.append(f'<details class="proof-fold"><summary>{words}</summary>\n<div>\n')


def _close(translator: Any, _node: folded_proof) -> None:
    translator.body.append("</div>\n</details>\n")


def setup(app: Sphinx) -> dict[str, Any]:
    """Tell Sphinx when to call the above."""
    app.add_node(folded_proof, html=(_open, _close))
    app.connect("doctree-read", _fold)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
