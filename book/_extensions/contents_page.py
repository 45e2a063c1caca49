"""The page of contents, made from the first paragraph and the first picture of each chapter.

A chapter begins *You will … You need …*. Here these two facts, its picture and its computed minutes
become a card at the end of the page `book/contents.md`. Where a fact is missing there is a warning,
which is an error of the build. A script lets a reader tick a card; without it a card is a card.
"""

import functools
import hashlib
import json
import re
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from sphinx.application import Sphinx
from sphinx.util import logging

from book.minutes import Minutes, minutes, spoken

ROOT = Path(__file__).resolve().parents[2]
PAGE = "book/contents"
TOUR = "notebooks/tour"
SCRIPT = "contents.js"

# What the pages are that are no chapters.
ABOUT = {
    "book/prerequisites": "matrices, variance, exponential and slope, each in a few lines",
    "book/run": "what to install, how to build and test, on a GPU too",
    "book/notation": "every letter and every sign",
    "book/explorer": "a trained attention layer to play with",
    "book/source_audit": "the study notes that the book began with, and what of them is true",
    "book/claims": "the tests behind each equation and statement, and what they catch",
    "book/glossary": "what the words mean, and where they are introduced",
    "book/api": "every function of the library",
    "book/references": "the books and papers that the text cites",
}

HEADING = re.compile(r"\(((?:ch|page)-[\w-]+)\)=\n# (.+)")
FACTS = re.compile(r"\*You will\* (.+) \*You need\* (.+\.)")
PICTURE = re.compile(r"!\[[^\]]*\]\(([\w./-]+\.svg)\)")
SIZE = re.compile(r'viewBox="0 0 ([\d.]+) ([\d.]+)"')


class Chapter(NamedTuple):
    """What a chapter says of itself, in MyST Markdown."""

    label: str
    title: str
    gives: str
    needs: str


def opening(text: str) -> Chapter:
    """Read the label, the title and the first paragraph of a chapter.

    Raises
    ------
    ValueError
        If the paragraph lacks what it gives or what it needs, or types a time: that is computed.
    """
    paragraphs = text.split("\n\n")
    heading = HEADING.fullmatch(paragraphs[0])
    facts = FACTS.fullmatch(" ".join(paragraphs[1].split())) if paragraphs[1:] else None
    if not heading or not facts or "*Time:*" in facts[0]:
        raise ValueError("a chapter begins: label, title, You will …, You need …, and no time")
    return Chapter(*heading.groups(), *facts.groups())


def parts(root: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the parts of the book, each with the names of its pages."""
    contents = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    for part in contents["parts"]:
        yield part["caption"], [page["file"] for page in part["chapters"]]


def is_chapter(name: str) -> bool:
    """Say whether a page of the table of contents is a chapter, which has a number."""
    return re.fullmatch(r"notebooks/\d+_\w+", name) is not None


def has_opening(name: str) -> bool:
    """Say whether a page is a chapter or the tour before them, and begins as they do."""
    return name == TOUR or is_chapter(name)


def markdown(root: Path, name: str) -> list[str]:
    """Return the text of the markdown cells of the chapter `notebooks/01_packing`."""
    notebook = json.loads((root / f"{name}.ipynb").read_text(encoding="utf-8"))
    return ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "markdown"]


def chapter(root: Path, name: str) -> Chapter:
    """Read the opening of a chapter."""
    return opening(markdown(root, name)[0])


@functools.cache  # several pages and lines tell them
def minutes_of(root: Path, name: str) -> Minutes:
    """Compute the minutes of a chapter."""
    return minutes(root / f"{name}.ipynb")


def picture(root: Path, name: str) -> tuple[str, str] | None:
    """Return the first drawing of a chapter and the name that its file gets among the images."""
    path = root / f"{name}.ipynb"
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        named = PICTURE.search("".join(cell["source"])) if cell["cell_type"] == "markdown" else None
        if named:
            return (path.parent / named[1]).read_text(encoding="utf-8"), Path(named[1]).name
        for output in cell.get("outputs", ()):
            if drawing := "".join(output.get("data", {}).get("image/svg+xml", ())):
                return drawing, f"{hashlib.sha256(drawing.encode()).hexdigest()}.svg"
    return None


def rendered(root: Path) -> str:
    """Write the end of the page, part by part."""
    sections = []
    for caption, pages in parts(root):
        others = [
            f"- {{doc}}`/{name}`: {ABOUT[name]}"
            for name in pages
            if not has_opening(name) and name != PAGE
        ]
        entries = [card(root, name) for name in pages if has_opening(name)]
        sections += [f"## {caption}", *entries, *(["\n".join(others)] if others else [])]
    return "\n\n".join([total(root), *sections])


def card(root: Path, name: str) -> str:
    """Write a chapter as a card: its name, its picture, what it gives and needs, its minutes."""
    known = chapter(root, name)
    link = f"{{ref}}`{known.label}`"
    if is_chapter(name):
        link = f"{{numref}}`{{number}}. {{name}} <{known.label}>`"
    facts = [f"*You will* {known.gives}", f"*You need* {known.needs}"]
    took = minutes_of(root, name)
    lines = [f"**{link}**", *_image(picture(root, name), known.title), *facts, took.sentence()]
    return "\n\n".join(["::::{div} chapter-card", *lines, "::::"])


def _image(drawing: tuple[str, str] | None, title: str) -> list[str]:
    if drawing is None:
        return []
    width, height = SIZE.search(drawing[0]).groups()
    return [
        f'<img src="../_images/{drawing[1]}" alt="The first drawing of: {escape(title)}" '
        f'width="{float(width):.0f}" height="{float(height):.0f}" loading="lazy">'
    ]


def total(root: Path) -> str:
    """Say how long the chapters take together."""
    names = [name for _, pages in parts(root) for name in pages if is_chapter(name)]
    took = [minutes_of(root, name) for name in names]
    cores, whole, exercises = (
        spoken(sum(getattr(t, part) for t in took)) for part in ("core", "whole", "exercises")
    )
    return (
        f"The cores of all chapters take {cores} to read, the whole chapters {whole}, and the "
        f"exercises {exercises} more."
    )


def _warn(_app: Sphinx) -> None:
    for _, pages in parts(ROOT):
        for name in filter(has_opening, pages):
            try:
                chapter(ROOT, name)
            except ValueError as error:
                logging.getLogger(__name__).warning(f"{name}: {error}", type="contents")


def _fill(_app: Sphinx, docname: str, source: list[str]) -> None:
    if docname == PAGE:
        source[0] += "\n" + rendered(ROOT) + "\n"


def _load(app: Sphinx, name: str, _template: str, _context: Any, _doctree: Any) -> None:
    """Give the page, and no other, its script."""
    if name == PAGE:
        app.add_js_file(SCRIPT, loading_method="defer")


def setup(app: Sphinx) -> dict[str, Any]:
    """Tell Sphinx when to call the above."""
    app.connect("builder-inited", _warn)
    app.connect("source-read", _fill)
    app.connect("html-page-context", _load)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
