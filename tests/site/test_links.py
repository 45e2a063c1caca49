"""Every address and every anchor on every page leads to something."""

import functools
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

from book._extensions import search_index

ADDRESSES = ("href", "src", "poster", "data", "xlink:href")


# The reader's own machine, and a paper that its authors cite by this address.
PLAIN = ("http://localhost:", "http://learningsys.org/")


class Page(HTMLParser):
    """The anchors of a page, and the addresses that it names."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors = {""}
        self.links: list[tuple[str, dict[str, str | None]]] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.anchors |= {given[key] for key in ("id", "name") if given.get(key)}
        # The page for what is missing claims to be at the address that is missing.
        links = [given[key] for key in ADDRESSES if given.get(key)]
        links += [
            part.split()[0] for part in (given.get("srcset") or "").split(",") if part.strip()
        ]
        if tag == "meta" and given.get("http-equiv") == "Refresh":
            links.append(given["content"].partition("url=")[2])
        self.links += [(link, given) for link in links]


read = functools.cache(Page)


def pages(book: Path) -> list[Path]:
    return [path for path in book.rglob("*.html") if "_static" not in path.parts]


def wrong(book: Path, page: str, link: str) -> str | None:
    """Say what is wrong with a link inside the book."""
    parts = urlsplit(urljoin(f"https://book/{page}", link))
    path = book / unquote(parts.path).lstrip("/")
    path = path / "index.html" if path.is_dir() else path
    if not path.is_file():
        return f"{page}: there is no {link}"
    if "=" in parts.fragment:  # settings, which the page's script reads
        return None
    if path.suffix == ".html" and unquote(parts.fragment) not in read(path).anchors:
        return f"{page}: there is no anchor {link}"
    return None


def test_links_within_the_book(book: Path) -> None:
    problems = []
    for path in pages(book):
        page = path.relative_to(book).as_posix()
        inside = [link for link, _ in read(path).links if not urlsplit(link).scheme]
        assert inside
        problems += [said for link in inside if (said := wrong(book, page, link))]
    assert problems == []


def test_links_to_the_world(book: Path) -> None:
    """They are encrypted, and no page that opens beside the book can take hold of it."""
    outside = [
        (path.name, link, given)
        for path in pages(book)
        for link, given in read(path).links
        if urlsplit(link).scheme not in ("", "data")
    ]
    assert len(outside) > 50  # the references
    plain = [link for _, link, _ in outside if not link.startswith("https://")]
    assert [link for link in plain if not link.startswith(PLAIN)] == []
    unsafe = [
        (page, link)
        for page, link, given in outside
        if given.get("target") == "_blank" and "noopener" not in (given.get("rel") or "")
    ]
    assert unsafe == []


def test_style_sheets_name_what_is_there(book: Path) -> None:
    """Fonts in old formats are left out where the newer one is there."""
    problems = [
        f"{sheet.name}: {name}"
        for sheet in book.rglob("*.css")
        for name in re.findall(
            r"""(?:url\(|@import\s)["']?(?!data:)([\w./-]+)""", sheet.read_text("utf-8")
        )
        if not (sheet.parent / name).is_file()
        and not (sheet.parent / name).with_suffix(".woff2").is_file()
    ]
    assert problems == []


def found_by_search(book: Path) -> Iterator[tuple[str, str]]:
    """List the page and the anchor of all that the search knows."""
    text = (book / search_index.FILE).read_text(encoding="utf-8")
    for page in json.loads(text.removeprefix("var searchPages = ").removesuffix(";\n")):
        for entry in page["entries"]:
            yield page["path"], entry["anchor"]


def test_what_the_search_finds_is_there(book: Path) -> None:
    places = list(found_by_search(book))
    assert len(places) > 300
    links = [f"{page}#{anchor}" for page, anchor in places]
    assert [said for link in links if (said := wrong(book, "search.html", link))] == []
