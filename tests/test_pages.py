"""The pages beside the chapters keep up with the library, the tools and the literature."""

import doctest
import re
from pathlib import Path

import numpy as np

from book import claims

ROOT = Path(__file__).parent.parent
RUN = (ROOT / "book" / "run.md").read_text(encoding="utf-8")


def test_the_table_of_contents_lists_every_page() -> None:
    listed = re.findall(r"book/([\w/]+)", (ROOT / "_toc.yml").read_text(encoding="utf-8"))
    pages = [path.relative_to(ROOT / "book") for path in (ROOT / "book").rglob("*.md")]
    assert sorted(listed) == sorted(page.with_suffix("").as_posix() for page in pages)


def test_the_numbers_of_what_one_needs_to_know_are_right() -> None:
    text = (ROOT / "book" / "prerequisites.md").read_text(encoding="utf-8").replace("```", "")
    examples = doctest.DocTestParser().get_doctest(text, {"np": np}, "prerequisites", None, 0)
    found = doctest.DocTestRunner().run(examples)
    assert found.attempted == text.count(">>> ") >= 8
    assert not found.failed


def test_every_reference_is_cited_and_every_citation_is_a_reference() -> None:
    bibliography = (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
    references = re.findall(r"^@\w+\{(\S+),$", bibliography, re.MULTILINE)
    cited = {
        key.strip()
        for _, text, _ in claims.pages(ROOT)
        for keys in re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", text)
        for key in keys.split(",")
    }
    assert references == sorted(cited)


def test_the_targets_of_make_are_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"(?:^|`)make (\w+)", RUN, re.MULTILINE))
    assert {"book", "test", "help", "notebooks"} <= named
    assert named <= set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
