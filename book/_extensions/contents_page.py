"""The page of contents, made from the first paragraph of each chapter.

A chapter begins *You will … You need … Time: …*. Here these three facts become the end of the page
`book/contents.md`; where they are missing there is a warning, which is an error of the build.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from sphinx.application import Sphinx
from sphinx.util import logging

ROOT = Path(__file__).resolve().parents[2]
PAGE = "book/contents"

# What the pages are that are no chapters.
ABOUT = {
    "book/run": "what to install, how to build and test, on a GPU too",
    "book/notation": "every letter and every sign",
    "book/explorer": "a trained attention layer to play with",
    "book/source_audit": "the study notes that the book began with, and what of them is true",
    "book/claims": "the tests behind each equation and statement, and what they catch",
    "book/glossary": "what the words mean, and where they are introduced",
    "book/api": "every function of the library",
    "book/references": "the books and papers that the text cites",
}

HEADING = re.compile(r"\((ch-[\w-]+)\)=\n# (.+)")
FACTS = re.compile(r"\*You will\* (.+) \*You need\* (.+) \*Time:\* about (.+)\.")
TIME = re.compile(r"(.+?), and (half )?as much again with the exercises")
MINUTES = {
    "twenty minutes": 20,
    "half an hour": 30,
    "forty minutes": 40,
    "forty-five minutes": 45,
    "fifty minutes": 50,
    "an hour": 60,
    "an hour and a half": 90,
    "two hours": 120,
}
NUMBERS = ["no", "one", "two", "three", "four", "five", "six"]
NUMBERS += ["seven", "eight", "nine", "ten", "eleven", "twelve"]


class Chapter(NamedTuple):
    """What a chapter says of itself, in MyST Markdown; the last two are minutes."""

    label: str
    title: str
    gives: str
    needs: str
    time: str
    reading: int
    exercises: int


def opening(text: str) -> Chapter:
    """Read the label, the title and the first paragraph of a chapter.

    Raises
    ------
    ValueError
        If the paragraph does not say what it gives, what it needs and how long it takes.
    """
    paragraphs = text.split("\n\n")
    heading = HEADING.fullmatch(paragraphs[0])
    facts = FACTS.fullmatch(" ".join(paragraphs[1].split())) if paragraphs[1:] else None
    if not heading or not facts:
        raise ValueError("a chapter begins: label, title, You will …, You need …, Time: about ….")
    time = TIME.fullmatch(facts[3])
    if not time or time[1] not in MINUTES:
        raise ValueError(f"no time can be read from: about {facts[3]}")
    minutes = MINUTES[time[1]]
    exercises = minutes // 2 if time[2] else minutes
    return Chapter(*heading.groups(), *facts.groups(), minutes, exercises)


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


def rendered(root: Path) -> str:
    """Write the end of the page, part by part."""
    sections, total = [], []
    for caption, pages in parts(root):
        chapters = [chapter(root, name) for name in pages if is_chapter(name)]
        total += chapters
        others = [
            f"- {{doc}}`/{name}`: {ABOUT[name]}"
            for name in pages
            if not is_chapter(name) and name != PAGE
        ]
        entries = [_entry(c) for c in chapters] + (["\n".join(others)] if others else [])
        sections += [f"## {caption}", *entries]
    return "\n\n".join([_sum(total), *sections])


def _entry(chapter: Chapter) -> str:
    """Write one chapter as a definition."""
    return (
        f"{{numref}}`{{number}}. {{name}} <{chapter.label}>`\n"
        f": *You will* {chapter.gives}\n\n"
        f"  *You need* {chapter.needs}\n\n"
        f"  *Time:* about {chapter.time}."
    )


def _sum(chapters: list[Chapter]) -> str:
    reading = _hours(sum(c.reading for c in chapters))
    exercises = _hours(sum(c.exercises for c in chapters))
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


def setup(app: Sphinx) -> dict[str, Any]:
    """Tell Sphinx when to call the above."""
    app.connect("builder-inited", _warn)
    app.connect("source-read", _fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
