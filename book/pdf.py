"""Print the built book into one PDF, with the Chromium that is on this machine.

    python book/pdf.py                  _build/attention-companion-<version>.pdf
    python book/pdf.py <html> <folder>  of the book built there, into that folder

The built pages become the chapters of one document, so all numbers are theirs. It is printed twice,
because only then is it known on which pages the lines of the contents find what they name.
"""

import html
import json
import mimetypes
import os
import re
import shutil
import sys
from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path
from urllib.parse import quote, unquote, urldefrag, urljoin, urlsplit

from playwright.sync_api import Page, Route, sync_playwright
from pypdf import PdfReader

import companion
from book._extensions.downloads import BUNDLE

ROOT = Path(__file__).resolve().parent.parent

HOST = "http://book/"  # there is none: what the document asks for is answered from the folder
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
WIDTH = 642  # of the text on A4 paper, in the pixels of a style sheet
SECONDS = 300  # a whole book is more than a page
WRONG = """async () => {
    await document.fonts.ready;
    const every = (selector) => [...document.querySelectorAll(selector)];
    const cut = (e) => e.getBoundingClientRect().right > innerWidth + 1;
    const drawn = (image) => image.complete && image.naturalWidth > 0;
    return [
      ...every("img").filter((e) => !drawn(e)).map((e) => `not drawn: ${e.src}`),
      ...every(".math:not(:has(math)), merror").map((e) => `not drawn: ${e.textContent}`),
      ...every("article :is(pre, table, img, svg, math)")
        .filter(cut).map((e) => `cut: ${e.outerHTML}`),
    ];
}"""
FILL_IN = """(numbers) => {
    for (const line of document.querySelectorAll("nav.printed-contents a"))
        line.lastElementChild.textContent = numbers[decodeURIComponent(line.hash).slice(1)];
}"""


def make_pdf(folder: Path, target: Path) -> None:
    """Print the book that was built in `folder`."""
    executable = chromium() or sys.exit(
        "printing needs a Chromium: install it (on Debian or Ubuntu, apt-get install chromium) "
        "or name one, as in CHROMIUM=/path/to/chrome"
    )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=OPTIONS)
        page = browser.new_page(viewport={"width": WIDTH, "height": 900})
        page.set_default_timeout(SECONDS * 1000)
        refused = _answer(page, folder, {HOST: document(folder)})
        page.emulate_media(media="print")
        page.goto(HOST)
        if wrong := page.evaluate(WRONG) + refused:
            sys.exit("\n".join(["the book cannot be printed as it is:", *wrong]))
        page.pdf(path=target, prefer_css_page_size=True)
        page.goto(HOST)  # one print may move the page breaks of the next
        page.evaluate(WRONG)  # waits for fonts and figures
        page.evaluate(FILL_IN, page_numbers(target))
        page.pdf(
            path=target,
            prefer_css_page_size=True,
            print_background=True,
            outline=True,
            tagged=True,
        )
        browser.close()


def chromium() -> str | None:
    """Find the machine's own Chromium, or the one that is named in the environment."""
    found = filter(None, [os.environ.get("CHROMIUM"), *map(shutil.which, CHROMIUM)])
    return next(found, None)


def _answer(page: Page, folder: Path, documents: dict[str, str]) -> list[str]:
    """Let the page load its document and the files of the folder, and list all else it asks for."""
    refused = []

    def answer(route: Route) -> None:
        address, _ = urldefrag(route.request.url)
        path = folder / unquote(urlsplit(address).path).lstrip("/")
        if address in documents:
            route.fulfill(body=documents[address], content_type="text/html; charset=utf-8")
        elif address.startswith(HOST) and path.is_file():
            route.fulfill(path=path, content_type=mimetypes.guess_type(path)[0])
        else:
            refused.append(f"not there: {route.request.url}")
            route.abort()

    page.route("**/*", answer)
    return refused


def page_numbers(pdf: Path) -> dict[str, int]:
    """Read on which page each target of a link is."""
    reader = PdfReader(pdf)
    return {
        unquote(name.lstrip("/")): reader.get_destination_page_number(target) + 1
        for name, target in reader.named_destinations.items()
    }


def document(folder: Path) -> str:
    """Put the title page, the contents and all pages of the book into one document."""
    cover = re.search(r'url=([^"]+)"', _read(folder, "index.html"))[1]
    first = _read(folder, cover)
    parts = list(_parts(first, cover))
    order = [cover, *(path for _, paths in parts for path in paths)]
    chapters = {path: chapter(folder, path, order) for path in order}
    ((_, title), *_) = _headings(chapters[cover])
    return f"""<!DOCTYPE html>
<html lang="en" data-theme="light" data-mode="light">
<head>
<meta charset="utf-8">
<title>{title}</title>
{_head(first, cover)}
<style>
@page {{ size: A4 }}
{"".join(_running_head(path, chapters[path]) for path in order)}
</style>
</head>
<body class="whole-book">
<main class="bd-content">
{_title_page(title, first)}
{_contents(cover, parts, chapters)}
{"".join(chapters.values())}
</main>
</body>
</html>
"""


def _read(folder: Path, path: str) -> str:
    return (folder / path).read_text(encoding="utf-8")


def _parts(first: str, cover: str) -> Iterator[tuple[str, list[str]]]:
    """Read from the side bar what the parts are called and which pages they have."""
    bar = re.search(r'<nav class="bd-links.*?</nav>', first, re.DOTALL)[0]
    for part in bar.split('<span class="caption-text">')[1:]:
        paths = re.findall(r'<a class="reference internal" href="([^"#]+)"', part)
        yield part.partition("</span>")[0], [urljoin(cover, path) for path in paths]


def _head(first: str, cover: str) -> str:
    """Take over the style sheets; paper needs no script."""
    styles = re.findall(r'<link[^>]* rel="stylesheet"[^>]*>', first)
    return "\n".join(_moved(element, cover) for element in styles)


def _moved(element: str, path: str) -> str:
    """Let a tag of that page load its file from the root of the book."""
    return re.sub(
        r'(?<= )(href|src)="([^"]*)"', lambda m: f'{m[1]}="{urljoin(path, m[2])}"', element
    )


def _name(path: str, fragment: str = "") -> str:
    return Path(path).stem + (f"/{fragment}" if fragment else "")


def chapter(folder: Path, path: str, order: list[str]) -> str:
    """Take the text of a page, with names and links that hold in one document of them all."""

    def renamed(name: re.Match[str]) -> str:
        return f' id="{_name(path, name[1])}"'

    def linked(link: re.Match[str]) -> str:
        target, fragment = urldefrag(urljoin(path, link[1]))
        if target in order:
            return f' href="#{quote(_name(target, fragment))}"'
        # What paper does not have, a file or an index, is no link.
        return link[0] if urlsplit(target).scheme else ""

    def mended(tag: re.Match[str]) -> str:
        tag = tag[0].replace(' loading="lazy"', "")  # paper shows all of them
        tag = _moved(tag, path) if tag.startswith("<img") else tag
        tag = re.sub(r' id="([^"]*)"', renamed, tag)
        return re.sub(r' href="([^"]*)"', linked, tag)

    text = re.search(r'<article class="bd-article">(.*)</article>', _read(folder, path), re.DOTALL)
    text = re.sub(r"<script.*?</script>|</?noscript>", "", text[1], flags=re.DOTALL)
    text = re.sub(r"<[a-z][^>]*>", mended, text)
    return f'<article class="bd-article" id="{_name(path)}">{text}</article>'


def _headings(text: str) -> list[tuple[str, str]]:
    """List the chapter's title and those of its sections, each with its name."""
    found = re.findall(
        r'<section[^>]* id="([^"]*)">\s*(?:<span id="[^"]*"></span>)*'
        r'<h[12]>(.*?)<a class="headerlink"',
        text,
    )
    return [(name, re.sub(r"</?a\b[^>]*>", "", words)) for name, words in found]


def _running_head(path: str, text: str) -> str:
    """Name the chapter at the top of its pages; a new name begins a new page."""
    title = html.unescape(re.sub(r"<[^>]*>", "", _headings(text)[0][1]))
    name = f"page-{_name(path)}"
    return f"""
[id="{_name(path)}"] {{ page: {name} }}
@page {name} {{ @top-left {{ content: {json.dumps(title, ensure_ascii=False)} }} }}"""


def _title_page(title: str, first: str) -> str:
    author = re.search(r'component-author">([^<]*)<', first)[1]
    rights = re.search(r'class="copyright">([^<]*)<', first)[1]
    return f"""<section class="title-page">
<p class="title">{title}</p>
<p>{author}</p>
<p>Version {companion.__version__}. {rights.strip()} Text and figures are under CC BY 4.0, code is
under the BSD 3-Clause licence.</p>
<p>Code that only draws a figure is left out on paper. It is in the notebooks, and so is the table
of the numbers behind a figure.</p>
</section>"""


def _contents(cover: str, parts: list[tuple[str, list[str]]], chapters: dict[str, str]) -> str:
    """List parts, chapters and sections, with room for the number of the page."""
    lines = ['<nav class="printed-contents"><h1>Contents</h1>', *_lines(chapters[cover])[:1]]
    for caption, paths in parts:
        lines.append(f'<p class="part">{caption}</p>')
        lines += [line for path in paths for line in _lines(chapters[path])]
    return "\n".join([*lines, "</nav>"])


def _lines(text: str) -> list[str]:
    kinds = chain(["chapter"], repeat("section"))
    return [
        f'<a class="{kind}" href="#{quote(name)}"><span>{words}</span><span>000</span></a>'
        for kind, (name, words) in zip(kinds, _headings(text), strict=False)
    ]


if __name__ == "__main__":
    built, folder = map(Path, sys.argv[1:] or (ROOT / "_build" / "html", ROOT / "_build"))
    make_pdf(built, folder / f"{BUNDLE}.pdf")
    print(folder / f"{BUNDLE}.pdf")
