"""The pages beside the chapters keep up with the library, the tools and the literature."""

import re
from inspect import ismodule
from pathlib import Path

import pytest

import companion
from book import claims

ROOT = Path(__file__).parent.parent
API = (ROOT / "book" / "api.md").read_text(encoding="utf-8")
RUN = (ROOT / "book" / "run.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "name", [name for name in companion.__all__ if not ismodule(getattr(companion, name))]
)
def test_every_public_name_is_on_the_api_page(name: str) -> None:
    assert re.search(rf"^\.\. auto(function|class|module):: companion\.{name}$", API, re.MULTILINE)


def test_the_table_of_contents_lists_every_page() -> None:
    listed = re.findall(r"book/(\w+)", (ROOT / "_toc.yml").read_text(encoding="utf-8"))
    assert sorted(listed) == sorted(path.stem for path in (ROOT / "book").glob("*.md"))


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
