"""Link a chapter's words to the glossary where they first occur, and its letters to their page.

A chapter links the terms that it introduces: those it sets in bold type, and those whose entry in
the glossary leads to it. Each is linked once. Nothing has to be typed in a notebook, which so reads
well where no link would work.
"""

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

from book._extensions import contents_page

GLOSSARY = "book/glossary.md"

# What a chapter defines by its heading, its equations and its statements, and what an entry names.
DEFINED = re.compile(r"\((ch-[\w-]+|eq-[\w-]+)\)|:label: ([\w-]+)")
LED_TO = re.compile(r"\{(?:eq|prf:ref|ref)\}`([\w-]+)`")

# Where a link would be in the way, or stands already.
ELSEWHERE = (nodes.reference, addnodes.pending_xref, nodes.strong, nodes.literal, nodes.math)


def glossary(text: str) -> dict[str, str]:
    """Map each term, as it is written there, to its entry."""
    inside = re.search(r"^:::\{glossary\}\n(.+?)^:::$", text, re.MULTILINE | re.DOTALL)
    entries = {}
    for entry in inside[1].strip().split("\n\n"):
        lines = entry.split("\n")
        definition = [line for line in lines if line.startswith(" ")]
        entries |= dict.fromkeys(lines[: -len(definition)], " ".join(definition))
    return entries


def at_home(entries: dict[str, str], chapter: str) -> list[str]:
    """List the terms whose entry leads to a chapter, or to a statement that stands there."""
    defined = {label for pair in DEFINED.findall(chapter) for label in pair if label}
    return [term for term, entry in entries.items() if defined & set(LED_TO.findall(entry))]


def link_bold(document: nodes.document, terms: list[str]) -> set[str]:
    """Make the first bold use of each term a link; return the terms that were found."""
    known = {term.lower(): term for term in terms}
    found = set()
    for strong in list(document.findall(nodes.strong)):
        words = strong.astext().lower()
        spellings = (words, words.removesuffix("s"), f"{words} attention")
        term = next((known[spelling] for spelling in spellings if spelling in known), None)
        if term and term not in found:
            found.add(term)
            children, strong.children = strong.children, []
            strong += _reference("term", term, *children)
    return found


def link_plain(document: nodes.document, terms: list[str]) -> set[str]:
    """Make the first plain use of each term a link, the longest first; return those found."""
    found = set()
    paragraphs = [p for p in document.findall(nodes.paragraph) if _is_prose(p)][1:]
    for term in sorted(terms, key=len, reverse=True):
        use = re.compile(rf"(?<![\w-]){re.escape(term)}s?(?![\w-])", re.IGNORECASE)
        texts = (text for p in paragraphs for text in p.findall(nodes.Text))
        for text in texts:
            match = use.search(text)
            if match and not _within(text, ELSEWHERE):
                before, after = text[: match.start()], text[match.end() :]
                link = _reference("term", term, nodes.Text(match[0]))
                text.parent.replace(text, [nodes.Text(before), link, nodes.Text(after)])
                found.add(term)
                break
    return found


def _is_prose(paragraph: nodes.paragraph) -> bool:
    return isinstance(paragraph.parent, nodes.section)


def _within(node: nodes.Node, kinds: tuple[type, ...]) -> bool:
    while node := node.parent:
        if isinstance(node, kinds):
            return True
    return False


def _reference(kind: str, target: str, *words: nodes.Node) -> addnodes.pending_xref:
    link = addnodes.pending_xref(
        refdomain="std", reftype=kind, reftarget=target, refexplicit=True, refwarn=True
    )
    link += nodes.inline("", "", *words)
    return link


def _legend() -> nodes.paragraph:
    """Say once for all chapters where letters and words are explained."""
    return nodes.paragraph(
        "",
        "",
        nodes.Text("Every letter is in "),
        _reference("ref", "page-notation", nodes.Text("Notation")),
        nodes.Text(", every term in the "),
        _reference("ref", "page-glossary", nodes.Text("Glossary")),
        nodes.Text("."),
        classes=["legend"],
    )


def letters(document: nodes.document) -> nodes.paragraph:
    """Lead from each letter to the first entry that begins with it."""
    line = nodes.paragraph(classes=["letters"])
    found = set()
    for entry in document.findall(nodes.definition_list_item):
        term = entry.next_node(nodes.term)
        letter = term.astext()[0].upper()
        if letter not in found:
            found.add(letter)
            line += [nodes.reference("", letter, refid=term["ids"][0]), nodes.Text(" ")]
    return line


def _link(app: Sphinx, document: nodes.document) -> None:
    name = app.env.docname
    if f"{name}.md" == GLOSSARY:
        entries = next(document.findall(addnodes.glossary))
        entries.parent.insert(entries.parent.index(entries), letters(document))
    if not contents_page.has_opening(name):
        return
    path = Path(app.srcdir, GLOSSARY)
    app.env.note_dependency(str(path))
    entries = glossary(path.read_text(encoding="utf-8"))
    found = link_bold(document, list(entries))
    home = at_home(entries, "\n".join(contents_page.markdown(Path(app.srcdir), name)))
    link_plain(document, [term for term in home if term not in found])
    if contents_page.is_chapter(name):
        opening = next(p for p in document.findall(nodes.paragraph))
        opening.parent.insert(opening.parent.index(opening) + 1, _legend())


def setup(app: Sphinx) -> dict[str, Any]:
    """Tell Sphinx when to call the above."""
    app.connect("doctree-read", _link)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
