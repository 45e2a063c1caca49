"""The printed book has every page of the book, with its numbers, its outline and its links."""

import functools
import html
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pypdf import PdfReader

from tests.support.printed import squeezed

ROOT = Path(__file__).parents[2]
SCRIPT = [sys.executable, str(ROOT / "book" / "pdf.py")]
A4 = (595, 842)
PAGE = """<nav class="bd-links"></nav><article class="bd-article"><section id="s">
<h1>Title<a class="headerlink" href="#s">#</a></h1>{}</section></article>
<p class="component-author">By them</p><p class="copyright">2026.</p>"""


@pytest.fixture(scope="module")
def pdf(browser: Any, book: Path, tmp_path_factory: pytest.TempPathFactory) -> PdfReader:
    """Print the built book."""
    del browser  # where there is none, it has skipped this
    folder = tmp_path_factory.mktemp("pdf")
    subprocess.run([*SCRIPT, str(book), str(folder)], check=True)
    (path,) = folder.iterdir()
    return PdfReader(path)


@functools.cache  # reading a page full of formulas takes a while, so only some are read
def text_of(pdf: PdfReader, number: int) -> str:
    return squeezed(pdf.pages[number].extract_text())


def pages() -> list[str]:
    """List the pages of the table of contents, in its order."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    pages = [page for part in toc["parts"] for page in part["chapters"]]
    below = [[page, *page.get("sections", ())] for page in pages]
    return [toc["root"], *(page["file"] for listed in below for page in listed)]


def article(book: Path, page: str) -> str:
    text = (book / f"{page}.html").read_text(encoding="utf-8")
    return re.search(r'<article class="bd-article">(.*)</article>', text, re.DOTALL)[1]


def plain(markup: str) -> str:
    """Return the words of an element, without its mathematics."""
    words = re.sub(r'<span class="math.*?</span>|<[^>]*>', "", markup, flags=re.DOTALL)
    return squeezed(html.unescape(words))


def headings(book: Path, page: str) -> list[str]:
    found = re.findall(r'<h[1-6]>(.*)<a class="headerlink"', article(book, page))
    return [plain(heading) for heading in found]


def outline(entries: list[Any]) -> Iterator[Any]:
    for entry in entries:
        yield from outline(entry) if isinstance(entry, list) else [entry]


def page_of(pdf: PdfReader, target: Any) -> int:
    return pdf.get_destination_page_number(target)


def first_pages(pdf: PdfReader) -> list[int]:
    """Return where each page of the book begins in the printed one, and where the last ends."""
    tops = [entry for entry in pdf.outline if not isinstance(entry, list)][1:]  # without contents
    return [*(page_of(pdf, top) for top in tops), len(pdf.pages)]


def test_the_outline_has_every_heading_of_the_book(pdf: PdfReader, book: Path) -> None:
    said = [squeezed(entry.title) for entry in outline(pdf.outline)]
    expected = ["Contents", *(h for page in pages() for h in headings(book, page))]
    assert [e for e, s in zip(expected, said, strict=True) if not is_heading(e, s)] == []
    tops = [squeezed(entry.title) for entry in pdf.outline if not isinstance(entry, list)]
    assert tops == ["Contents", *(headings(book, page)[0] for page in pages())]


def is_heading(expected: str, said: str) -> bool:
    """Compare letter by letter; mathematics, which only the outline may have, is passed over."""
    letters = iter(said)
    return all(letter in letters for letter in expected)


def test_every_chapter_begins_a_page_that_has_its_name_and_number(
    pdf: PdfReader, book: Path
) -> None:
    starts = first_pages(pdf)
    assert len(starts) == len(set(starts)) == len(pages()) + 1
    assert len(pdf.pages) > 200
    assert {(round(p.mediabox.width), round(p.mediabox.height)) for p in pdf.pages} == {A4}
    for page, start in zip(pages(), starts, strict=False):
        title = headings(book, page)[0]
        assert text_of(pdf, start).startswith(f"{title}{start + 1}{title}")  # head, foot, heading


def test_figures_and_equations_have_the_numbers_of_the_book(pdf: PdfReader, book: Path) -> None:
    compared = 0
    for page in pages():
        found = re.findall(
            r'<figure[^>]* id="([^"]+)".*?"caption-number">([^<]+)<'
            r'|id="(equation-[^"]+)">\s*<span class="eqno">([^<]+)<',
            article(book, page),
            re.DOTALL,
        )
        named = {f"{Path(page).stem}/{f or e}": fn or en for f, fn, e, en in found}
        linked = [name for name in named if f"/{name}" in pdf.named_destinations]
        for name in linked[:1]:
            number = page_of(pdf, pdf.named_destinations[f"/{name}"])
            text = text_of(pdf, number) + text_of(pdf, number + 1)
            assert squeezed(named[name]) in text
            compared += 1
    assert compared >= 12


def test_the_contents_name_the_right_pages(pdf: PdfReader, book: Path) -> None:
    starts = first_pages(pdf)
    contents = "".join(text_of(pdf, number) for number in range(1, starts[0]))
    for page, start in zip(pages(), starts, strict=False):
        assert f"{headings(book, page)[0]}{start + 1}" in contents


def test_links_lead_into_the_book_or_out_of_it(pdf: PdfReader) -> None:
    names = set(pdf.named_destinations)
    inner, outer = [], set()
    for page in pdf.pages:
        for annotation in (entry.get_object() for entry in page.get("/Annots", [])):
            if "/A" in annotation:
                outer.add(str(annotation["/A"]["/URI"]))
            else:
                inner.append(str(annotation["/Dest"]))
    assert len(inner) > 1000
    assert [name for name in inner if name not in names] == []
    assert outer
    assert [uri for uri in outer if not re.match(r"https?://[\w-]+[.:]", uri)] == []


def test_no_mathematics_is_left_as_it_was_written(pdf: PdfReader) -> None:
    texts = [text_of(pdf, number) for number in first_pages(pdf)[:-1]]
    assert [
        i for i, text in enumerate(texts) if re.search(r"\\[()\[\]]|\\(frac|mathsf)", text)
    ] == []


FAULTS = {
    '<img src="missing.png">': "missing.png",
    '<img src="http://192.0.2.1/x.png">': "not there: http://192.0.2.1/x.png",
    '<span class="math">x</span>': "not drawn: x",
    f'<table><tr><td style="min-width: 2000px">{"w" * 9}</table>': "cut: <table>",
}


@pytest.mark.usefixtures("browser")
def test_a_book_that_cannot_be_printed_is_not(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text('<meta content="0; url=cover.html">', encoding="utf-8")
    (tmp_path / "cover.html").write_text(PAGE.format("".join(FAULTS)), encoding="utf-8")
    run = subprocess.run([*SCRIPT, str(tmp_path), str(tmp_path)], capture_output=True, text=True)
    assert run.returncode == 1
    assert [said for said in FAULTS.values() if said not in run.stderr] == []
    assert not list(tmp_path.glob("*.pdf"))


def test_a_page_is_printed_light_and_without_what_is_around_it(
    open_page: Any, tmp_path: Path
) -> None:
    page = open_page("notebooks/01_packing.html", scheme="dark")
    page.evaluate("""() => addEventListener("beforeprint", () => {
        window.printed = getComputedStyle(document.querySelector("pre")).backgroundColor;
    })""")
    page.pdf(path=tmp_path / "page.pdf")
    assert min(map(int, re.findall(r"\d+", page.evaluate("printed")))) > 200
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    text = "".join(page.extract_text() for page in PdfReader(tmp_path / "page.pdf").pages)
    assert "1. Packing tokens into X" in text
    assert "Right:" in text  # a solution's checker
    assert not re.search("Search|Show|Click|Back to top|previous|The numbers|copyright", text)


def test_without_a_browser_it_says_what_is_missing(tmp_path: Path) -> None:
    nowhere = {k: v for k, v in os.environ.items() if k != "CHROMIUM"} | {"PATH": str(tmp_path)}
    command = [*SCRIPT, str(tmp_path), str(tmp_path)]
    run = subprocess.run(command, env=nowhere, capture_output=True, text=True)
    assert run.returncode == 1
    assert run.stderr.startswith("printing needs a Chromium: install it")
