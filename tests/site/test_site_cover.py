"""The cover begins in the first screen, for every reader, and weighs little."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from book import drawings

PAGE = "notebooks/cover.html"
SPACE = "\N{NO-BREAK SPACE}"
SHE = f"she gives 65{SPACE}% to girl, 15{SPACE}% to [CLS], 12{SPACE}% to the, "
SHE += f"8{SPACE}% to all others together."

LIT = """() =>
    [...document.querySelectorAll(".ex-strong .ex-token")].map((e) => e.innerText)"""
ENDS = """(selectors) =>
    selectors.map((s) => document.querySelector(s).getBoundingClientRect().bottom)"""
FIRST_SCREEN = ["section > h1", "h1 + p", ".ex-words", ".ex-said", ".cover-ways"]


def select_anew(page: Any, word: int) -> None:
    page.locator(".cover-row .ex-word").nth(word).click()


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_that_matters_is_in_the_first_screen(
    width: int, height: int, scheme: str, open_page: Callable[..., Any]
) -> None:
    page = open_page(PAGE, scheme=scheme, width=width)
    page.set_viewport_size({"width": width, "height": height})
    assert max(page.evaluate(ENDS, FIRST_SCREEN)) <= height
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_she_lights_girl(open_page: Callable[..., Any]) -> None:
    page = open_page(PAGE)
    said = page.locator(".cover-row .ex-said")
    words = page.locator(".cover-row .ex-word")
    assert words.locator(".ex-token").all_inner_texts() == list(drawings.cover_weights()[0])
    assert said.inner_text() == SHE
    assert said.get_attribute("role") == "status"
    words.nth(6).hover()  # but
    assert page.evaluate(LIT) == ["lost"]
    words.nth(7).hover()
    assert (page.evaluate(LIT), said.inner_text()) == (["girl"], SHE)
    select_anew(page, 4)  # her
    page.locator("section > h1").hover()
    assert said.inner_text().startswith(f"her gives 56{SPACE}% to girl")
    assert words.nth(4).locator("input").is_checked()


def test_every_number_is_the_librarys(open_page: Callable[..., Any]) -> None:
    page = open_page(PAGE)
    for i, row in enumerate(drawings.cover_weights()[1]):
        select_anew(page, i)
        shares = page.locator(".cover-row .ex-share").all_inner_texts()
        for share, weight in zip(shares, row, strict=True):
            if share == f"<{SPACE}1{SPACE}%":
                assert 0 < weight < 0.005 + 1e-6
            else:
                assert abs(float(share.removesuffix(f"{SPACE}%")) - 100 * weight) <= 0.5001


def test_by_keyboard_and_by_touch(
    browser: Any, address: str, open_page: Callable[..., Any]
) -> None:
    page = open_page(PAGE)
    select_anew(page, 4)
    page.locator("section > h1").click()
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.name") == "ex-token":
            break
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert page.evaluate(LIT) == ["girl"]
    assert page.locator(".cover-row .ex-said").inner_text() == SHE
    for name in ("Start here", "Play"):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.innerText") == name
    context = browser.new_context(has_touch=True, viewport={"width": 390, "height": 844})
    touched = context.new_page()
    touched.goto(f"{address}{PAGE}")
    touched.locator(".cover-row .ex-word").nth(6).tap()
    assert touched.evaluate(LIT) == ["lost"]
    touched.locator(".cover-row .ex-word").nth(7).tap()
    assert touched.evaluate(LIT) == ["girl"]
    context.close()


def test_the_ways_lead_on(open_page: Callable[..., Any], book: Path) -> None:
    for name, there in (("Start here", "notebooks/tour.html"), ("Play", "book/explorer.html")):
        page = open_page((book / PAGE).as_uri())
        assert page.locator(".cover-row .ex-said").inner_text() == SHE
        way = page.locator(".cover-ways li", has_text=name)
        box = way.bounding_box()
        way.click(position={"x": box["width"] - 12, "y": box["height"] - 12})  # the whole field
        page.wait_for_load_state()
        assert re.sub(r"#.*", "", page.url) == (book / there).as_uri()


def test_without_script_and_on_paper(browser: Any, book: Path) -> None:
    for script in (False, True):
        context = browser.new_context(java_script_enabled=script)
        page = context.new_page()
        page.goto((book / PAGE).as_uri())
        if script:
            assert not page.locator("#fig-cover img").is_visible()
            page.emulate_media(media="print")
        picture = page.locator("#fig-cover img")
        assert picture.is_visible()
        assert "gives 65 % to girl" in picture.get_attribute("alt")
        assert not page.locator(".cover-row").is_visible()
        context.close()


def test_a_first_visit_is_light(browser: Any, address: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    network = context.new_cdp_session(page)
    network.send("Network.enable")
    network.send("Network.setBlockedURLs", {"urls": ["*/mathjax/*"]})  # it has no formula
    sizes: list[float] = []
    network.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    page.goto(f"{address}{PAGE}")
    page.evaluate("() => document.querySelectorAll('img').forEach((e) => (e.loading = 'eager'))")
    page.wait_for_load_state("networkidle")
    print(f"the cover, first {np.sum(sizes) / 1000:5.0f} kB")
    assert 0 < np.sum(sizes) < 500_000
    context.close()


def test_who_made_it_and_how_to_cite_it(open_page: Callable[..., Any]) -> None:
    text = open_page(PAGE).locator("main").inner_text()
    assert re.search(r"By the attention-companion authors\. Version \S+, \d+ \w+ \d{4}\.", text)
    assert "Text and figures are under CC BY 4.0, code under BSD 3-Clause." in text
    assert "To cite it: The attention-companion authors (" in text
    assert "@misc{attention_companion," in text
