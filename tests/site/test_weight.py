"""What a page weighs over the wire, and that the book carries nothing else."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from book._extensions import static_files

ROOT = Path(__file__).parents[2]
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
CHAPTERS = [page["file"] for part in TOC["parts"] for page in part["chapters"]]
CHAPTERS = [file for file in CHAPTERS if file.startswith("notebooks/")]

FIRST, NEXT = 500_000, 250_000  # bytes over the wire, with all figures
OTHER = "book/notation"


@pytest.fixture(scope="module")
def page(browser: Any) -> Iterator[Any]:
    with browser.new_context() as context:
        yield context.new_page()


def transferred(page: Any, address: str, *, cached: bool = False) -> dict[str, int]:
    """Open a page with all its figures, and count what is transferred from each address."""
    network = page.context.new_cdp_session(page)
    network.send("Network.enable")
    network.send("Network.setCacheDisabled", {"cacheDisabled": not cached})
    asked, sizes = {}, {}

    def request(event: dict[str, Any]) -> None:
        if not event["request"]["url"].startswith("data:"):  # a part of what names it
            asked[event["requestId"]] = event["request"]["url"]

    def finished(event: dict[str, Any]) -> None:
        if url := asked.get(event["requestId"]):
            sizes[url] = int(event["encodedDataLength"])

    network.on("Network.requestWillBeSent", request)
    network.on("Network.loadingFinished", finished)
    page.goto(address)
    page.evaluate("() => document.querySelectorAll('img').forEach((e) => (e.loading = 'eager'))")
    page.wait_for_function("[...document.images].every((e) => e.complete && e.naturalWidth)")
    for _ in range(500):
        if sizes.keys() == set(asked.values()):
            break
        page.wait_for_timeout(20)
    assert sizes.keys() == set(asked.values())  # what fails to load never ends
    network.detach()
    return sizes


def test_a_chapter_is_light(page: Any, address: str) -> None:
    """A first visit to any chapter, and one that comes after another page."""
    known = transferred(page, f"{address}{OTHER}.html")
    for name in CHAPTERS:
        sizes = transferred(page, f"{address}{name}.html")
        first = sum(sizes.values())
        following = sum(size for url, size in sizes.items() if url not in known)
        print(f"{name:24} {first / 1000:5.0f} kB, {following / 1000:5.0f} kB after another page")
        assert first <= FIRST, name
        assert following <= NEXT, name


def test_what_two_pages_share_is_transferred_once(page: Any, address: str) -> None:
    known = transferred(page, f"{address}{OTHER}.html")
    transferred(page, f"{address}{OTHER}.html", cached=True)  # and now it is kept
    again = transferred(page, f"{address}{CHAPTERS[2]}.html", cached=True)
    shared = known.keys() & again.keys()
    assert len(shared) >= 2
    assert [url for url in shared if again[url] > 0] == []


def test_static_files_are_named_by_something(book: Path) -> None:
    files = [path for path in (book / "_static").rglob("*") if path.is_file()]
    readers = [path for path in book.rglob("*") if path.suffix in (".html", ".css", ".js")]
    texts = {path: path.read_text(encoding="utf-8") for path in readers}
    unnamed = [
        path.name
        for path in files
        if "LICENSE" not in path.name
        and not any(path.name in text for reader, text in texts.items() if reader != path)
    ]
    assert unnamed == []
    assert not [path for path in files if path.suffix in (".map", ".po", ".mo", ".ttf", ".html")]
    licences = sorted(path.name for path in files if "LICENSE" in path.name)
    assert licences == ["LICENSE.txt"]


def test_what_nothing_names_goes(tmp_path: Path) -> None:
    contents = {
        "index.html": '<script src="_static/a.js?v=1"></script><link href="_static/css/b.css">',
        "_static/a.js": 'import { x } from "./part.js";',
        "_static/part.js": "",
        "_static/part.js.map": "",
        "_static/unused.js": 'const name = "used-by-unused.js";',
        "_static/used-by-unused.js": "",
        "_static/css/b.css": "p { x: url(../f.woff2), url(../f.ttf), url(c.png) }",
        "_static/css/c.png": "",
        "_static/f.woff2": "",
        "_static/f.ttf": "",
        "_static/old.ttf": "",
        "_static/LICENSE": "",
        "_static/a.js.LICENSE.txt": "",
        "_static/unused.js.LICENSE.txt": "",
        "_static/locales/nl/x.po": "",
        "_static/page.html": '<img src="_static/old.ttf">',
    }
    for name, text in contents.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    static_files.prune(tmp_path)
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    gone = set(contents) - left
    assert gone == {
        "_static/part.js.map",
        "_static/unused.js",
        "_static/used-by-unused.js",
        "_static/f.ttf",
        "_static/old.ttf",
        "_static/unused.js.LICENSE.txt",
        "_static/locales/nl/x.po",
        "_static/page.html",
    }
    assert not (tmp_path / "_static" / "locales").exists()
