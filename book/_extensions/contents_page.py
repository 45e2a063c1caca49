"""The page of contents, made from the first paragraph of each chapter.

A chapter begins *You will … You need …*. Here these two facts and the computed minutes become the
end of the page `book/contents.md`, and the minutes stand under the chapter's opening too. Where a
fact is missing there is a warning, which is an error of the build.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

from book.minutes import Minutes, minutes

ROOT = Path(__file__).resolve().parents[2]
PAGE = "book/contents"

# What the pages are that are no chapters.
ABOUT = {
    "notebooks/tour": "what attention is, in six lines of NumPy",
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
NUMBERS = ["no", "one", "two", "three", "four", "five", "six"]
NUMBERS += ["seven", "eight", "nine", "ten", "eleven", "twelve"]


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
    """Say whether a page of the table of contents is a chapter."""
    return re.fullmatch(r"notebooks/\d+_\w+", name) is not None


def markdown(root: Path, name: str) -> list[str]:
    """Return the text of the markdown cells of the chapter `notebooks/01_packing`."""
    notebook = json.loads((root / f"{name}.ipynb").read_text(encoding="utf-8"))
    return ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "markdown"]


def chapter(root: Path, name: str) -> Chapter:
    """Read the opening of a chapter."""
    return opening(markdown(root, name)[0])


def minutes_of(root: Path, name: str) -> Minutes:
    """Compute the minutes of a chapter."""
    return minutes(root / f"{name}.ipynb")


def rendered(root: Path) -> str:
    """Write the end of the page, part by part."""
    sections, total = [], []
    for caption, pages in parts(root):
        chapters = [(chapter(root, n), minutes_of(root, n)) for n in pages if is_chapter(n)]
        total += [took for _, took in chapters]
        others = [
            f"- {{doc}}`/{name}`: {ABOUT[name]}"
            for name in pages
            if not is_chapter(name) and name != PAGE
        ]
        entries = [_entry(*c) for c in chapters] + (["\n".join(others)] if others else [])
        sections += [f"## {caption}", *entries]
    return "\n\n".join([_sum(total), *sections])


def _entry(chapter: Chapter, took: Minutes) -> str:
    """Write one chapter as a definition."""
    return (
        f"{{numref}}`{{number}}. {{name}} <{chapter.label}>`\n"
        f": *You will* {chapter.gives}\n\n"
        f"  *You need* {chapter.needs}\n\n"
        f"  {took.sentence()}"
    )


def _sum(chapters: list[Minutes]) -> str:
    reading = _hours(sum(took.whole for took in chapters))
    exercises = _hours(sum(took.exercises for took in chapters))
    count = NUMBERS[len(chapters)] if len(chapters) < len(NUMBERS) else str(len(chapters))
    return (
        f"{count.capitalize()} chapters: about {reading} to read, and {exercises} more with the "
        "exercises."
    )


def _hours(minutes: int) -> str:
    hours = round(minutes / 60)
    return f"{NUMBERS[hours] if hours < len(NUMBERS) else hours} hour{'' if hours == 1 else 's'}"


def _warn(_app: Sphinx) -> None:
    for _, pages in parts(ROOT):
        for name in filter(is_chapter, pages):
            try:
                chapter(ROOT, name)
            except ValueError as error:
                logging.getLogger(__name__).warning(f"{name}: {error}", type="contents")


def _fill(_app: Sphinx, docname: str, source: list[str]) -> None:
    if docname == PAGE:
        source[0] += "\n" + rendered(ROOT) + "\n"


def _tell(app: Sphinx, document: nodes.document) -> None:
    """Say under a chapter's opening how long it takes."""
    name = app.env.docname
    if is_chapter(name):
        opening = next(document.findall(nodes.paragraph))
        line = nodes.paragraph(classes=["minutes"])
        for i, words in enumerate(minutes_of(ROOT, name).sentence().split("*")):
            line += nodes.emphasis(text=words) if i % 2 else nodes.Text(words)
        opening.parent.insert(opening.parent.index(opening) + 1, line)


def setup(app: Sphinx) -> dict[str, Any]:
    """Tell Sphinx when to call the above."""
    app.connect("builder-inited", _warn)
    app.connect("source-read", _fill)
    app.connect("doctree-read", _tell, priority=600)  # above the line that term_links inserts
    return {"parallel_read_safe": True, "parallel_write_safe": True}
