"""Proofs are folded under a line that says what they prove."""

import pytest
from docutils import nodes
from sphinx_proof.nodes import proof_node, theorem_node

from book._extensions import folded_proofs


def page(*children: nodes.Node) -> nodes.document:
    document = nodes.document("", "")
    document += nodes.section("", *children)
    return document


def statement() -> nodes.Element:
    return theorem_node(realtype="lemma", countertype="theorem", label="lem-sum", ids=["lem-sum"])


def proof(words: str) -> nodes.Element:
    return proof_node("", nodes.admonition("", nodes.paragraph("", words), ids=["proof"]))


def test_a_proof_after_its_statement_says_what_it_proves() -> None:
    reason = nodes.paragraph("", "Why? So.")
    document = page(
        statement(), reason, proof("Proof. Add."), reason.copy(), proof("Proof. Count.")
    )
    folded_proofs.fold(document)
    assert not list(document.findall(proof_node))
    first, second = document.findall(folded_proofs.folded_proof)
    assert (first.astext(), second.astext()) == ("Add.", "Count.")
    numbers = {"theorem": {"lem-sum": (3,)}}
    assert folded_proofs.summary(numbers, first) == "Proof of Lemma 3"
    assert folded_proofs.summary({}, first) == "Proof"
    assert folded_proofs.summary(numbers, second) == "Proof"


def test_a_proof_begins_with_a_word() -> None:
    with pytest.raises(ValueError, match="a proof begins with a word, got '1 = 1'"):
        folded_proofs.fold(page(proof("1 = 1")))
