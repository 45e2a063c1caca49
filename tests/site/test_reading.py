"""Reading without a server, and without a mouse."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CHAPTER = "notebooks/07_feed_forward.html"

# The stop of the tab key, and whether a ring or a shadow, there or around its label or its form, as
# around the search, or around the sign of a fold, shows it.
STOP = """() => {
    const stop = document.activeElement;
    if (stop === document.body) return null;
    const sign = stop.matches("summary") ? [...stop.children] : [];
    const around = [...(stop.labels ?? []), ...sign, stop.form ?? stop];
    const seen = [stop, ...around].map((e) => [e, getComputedStyle(e)]);
    const looks = () => seen.map(([e, { outlineStyle, outlineWidth, boxShadow }]) =>
        e.checkVisibility() && e.getBoundingClientRect().width > 1
            ? `${outlineStyle === "none" ? 0 : outlineWidth} ${boxShadow}` : "");
    const focused = looks();
    stop.blur();
    const shown = looks().some((look, i) => look !== focused[i]);
    stop.focus();
    window.stops ??= [];
    const known = window.stops.includes(stop);
    window.stops.push(stop);
    const name = `${stop.tagName} ${stop.className} ${stop.innerText.slice(0, 40)}`;
    return { shown, known, name };
}"""


@pytest.mark.parametrize("name", ["notebooks/cover.html", CHAPTER, "book/explorer.html"])
def test_from_a_folder(name: str, open_page: Callable[..., Any], book: Path) -> None:
    page = open_page((book / name).as_uri())
    formulas = page.locator(".math")
    assert formulas.count() == page.locator(".math math").count()
    page.evaluate("document.querySelectorAll('img').forEach((e) => (e.loading = 'eager'))")
    page.wait_for_function("[...document.images].every((e) => e.complete && e.naturalWidth)")
    themes = set()
    for _ in range(3):
        page.locator(".theme-switch-button:visible").first.click()
        themes.add(page.evaluate("document.documentElement.dataset.theme"))
    assert themes == {"light", "dark"}
    page.locator(".prev-next-area a.right-next").click()
    page.wait_for_load_state()
    assert page.url.startswith(book.as_uri())
    assert not page.url.endswith(name)
    assert page.locator("h1:visible").count() == 1


def test_search_from_a_folder(open_page: Callable[..., Any], book: Path) -> None:
    page = open_page((book / "search.html").as_uri() + "?q=softmax")
    page.locator("#search-results li a").first.wait_for()
    page.locator("#search-results li a").first.click()
    page.wait_for_load_state()
    assert "softmax" in page.inner_text("main").lower()


@pytest.mark.parametrize(
    ("name", "width"),
    [(CHAPTER, 1280), (CHAPTER, 390), ("search.html", 1280), ("book/explorer.html", 1280)],
)
def test_by_keyboard(name: str, width: int, open_page: Callable[..., Any]) -> None:
    """The tab key shows where it is, skips to the text first, and comes out at the end."""
    page = open_page(name, width=width)
    assert page.locator("[tabindex]").evaluate_all("all => all.every((e) => e.tabIndex <= 0)")
    stops = []
    for _ in range(600):
        page.keyboard.press("Tab")
        stop = page.evaluate(STOP)
        if stop is None or stop["known"]:  # out of the page, or around
            break
        stops.append(stop)
    else:
        pytest.fail("the tab key does not come to an end")
    assert stops[0]["name"].endswith("Skip to main content")
    assert len(stops) > 10
    assert [stop["name"] for stop in stops if not stop["shown"]] == []
