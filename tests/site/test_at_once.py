"""A page is there at once: nothing holds up its first paint, and nothing moves after it."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
COVER, CHAPTER, EXPLORER, API = (
    "notebooks/cover.html",
    "notebooks/03_scores.html",
    "book/explorer.html",
    "book/api/one_head.html",
)
SCRIPT = re.compile(r"<script\b([^>]*)>(.*?)</script>", re.DOTALL)
SHIFTS = """() => new Promise((done) => {
    let sum = 0;
    new PerformanceObserver((list) => {
        for (const { value } of list.getEntries().filter((e) => !e.hadRecentInput)) sum += value;
    }).observe({ type: "layout-shift", buffered: true });
    setTimeout(() => done(sum), 300);
})"""


@pytest.fixture(scope="module")
def texts(book: Path) -> dict[str, str]:
    paths = [path for path in book.rglob("*.html") if path != book / "index.html"]
    return {path.relative_to(book).as_posix(): path.read_text(encoding="utf-8") for path in paths}


def test_no_script_runs_before_the_first_paint_but_the_theme_s(texts: dict[str, str]) -> None:
    for name, text in texts.items():
        at_once = [
            body
            for attributes, body in SCRIPT.findall(text)
            if "defer" not in attributes and "json" not in attributes
        ]
        (theme,) = at_once
        assert "prefers-color-scheme" in theme, name
        assert len(theme) < 700
        assert "module" not in "".join(attributes for attributes, _ in SCRIPT.findall(text))
        assert not re.search(r'\son(?!click)\w+="', text), name


def test_no_page_sets_mathematics(texts: dict[str, str], book: Path) -> None:
    scripts = [path.read_text(encoding="utf-8") for path in book.rglob("*.js")]
    for text in [*texts.values(), *scripts]:
        assert not re.search(r"mathjax\.|katex|temml", text, re.IGNORECASE)
    assert sum(text.count("<math") for text in texts.values()) > 2500


def test_a_page_loads_one_style_sheet_and_one_script(texts: dict[str, str]) -> None:
    """Some have one more of each of their own, and the explorer its data."""
    own = {EXPLORER: 3, COVER: 2, "book/contents.html": 1}
    own |= dict.fromkeys((name for name in texts if 'data-sheet="' in texts[name]), 2) | own
    assert len(own) == 8  # five chapters have the sheet of matrices
    for name, text in texts.items():
        sheets = re.findall(r'<link(?![^>]*media)[^>]*rel="stylesheet"[^>]*>', text)
        loaded = [attributes for attributes, _ in SCRIPT.findall(text) if "src=" in attributes]
        assert "_static/book.css" in sheets[0]
        assert "_static/book.js" in loaded[0]
        assert len(sheets) + len(loaded) == 2 + own.get(name, 0), name


def test_each_image_has_its_size(texts: dict[str, str]) -> None:
    images = [tag for text in texts.values() for tag in re.findall(r"<img\b[^>]*>", text)]
    assert len(images) > 60
    sized = re.compile(r'(?=.* width="[1-9]\d*")(?=.* height="[1-9]\d*")', re.DOTALL)
    assert [tag for tag in images if not sized.search(tag)] == []


@pytest.mark.parametrize("name", [COVER, CHAPTER, EXPLORER, API])
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_moves(name: str, width: int, open_page: Callable[..., Any]) -> None:
    page = open_page(name, width=width, first=True)
    assert page.evaluate(SHIFTS) < 0.1


@pytest.fixture(scope="module")
def page_without_scripts(browser: Any) -> Iterator[Any]:
    with browser.new_context() as context:
        context.route("**/*.js", lambda route: route.abort())
        yield context.new_page()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("mode", [None, "auto", "light", "dark"])
def test_the_theme_is_right_before_any_script_is_loaded(
    scheme: str, mode: str | None, page_without_scripts: Any, address: str
) -> None:
    page = page_without_scripts
    page.emulate_media(color_scheme=scheme)
    page.goto(f"{address}404.html")
    page.evaluate("localStorage.clear()")
    if mode:
        page.evaluate("mode => localStorage.setItem('mode', mode)", mode)
    page.goto(address + CHAPTER)
    shown = mode if mode in ("light", "dark") else scheme
    assert page.evaluate("document.documentElement.dataset.theme") == shown
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert dark == (shown == "dark")


def test_the_root_says_what_it_is_and_leads_on(book: Path) -> None:
    text = (book / "index.html").read_text(encoding="utf-8")
    assert "<title>Attention as matrix multiplication</title>" in text
    assert f'content="0; url={COVER}"' in text
    assert f'<a href="{COVER}">' in text


def test_titles_say_a_thing_once(texts: dict[str, str]) -> None:
    titles = [
        re.search(r"<title>(.*?)</title>", text)[1].split(" &#8212; ") for text in texts.values()
    ]
    assert all(len(set(title)) == len(title) for title in titles)
    assert ["Attention as matrix multiplication"] in titles


def test_each_formula_is_set_in_the_font_that_comes_along(open_page: Callable[..., Any]) -> None:
    page = open_page("notebooks/07_feed_forward.html")
    session = page.context.new_cdp_session(page)
    session.send("DOM.enable")
    session.send("CSS.enable")
    (root,) = [session.send("DOM.getDocument")["root"]["nodeId"]]
    found = session.send("DOM.querySelectorAll", {"nodeId": root, "selector": "article math"})
    names = {
        font["familyName"]
        for node in found["nodeIds"]
        for font in session.send("CSS.getPlatformFontsForNode", {"nodeId": node})["fonts"]
    }
    assert len(found["nodeIds"]) > 100
    assert names == {"Companion Mathematics"}
