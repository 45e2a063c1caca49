"""Pages read well: large letters, narrow screens, few stops, a system's own colours."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
LISTED = [page["file"] for part in TOC["parts"] for page in part["chapters"]]
CHAPTERS = [name for name in LISTED if name.startswith("notebooks/")]
CHECKS = Path(__file__).with_name("checks.js").read_text(encoding="utf-8")

SIZES = """() => [...document.querySelectorAll(".bd-content .cell_input pre")]
    .map((e) => parseFloat(getComputedStyle(e).fontSize))"""
# Boxes with the shadow that says there is more, and whether there is.
SHADOWS = """() => [...document.querySelectorAll("pre, div.formula, span.math")]
    .filter((e) => getComputedStyle(e).boxShadow.includes("inset"))
    .map((e) => e.scrollWidth > e.clientWidth)"""
WIDE = """() => [...document.querySelectorAll(".cell_input pre")]
    .filter((e) => e.scrollWidth > e.clientWidth).length"""
# Formulas wider than their box: whether a shadow says so, and whether the number stands below.
CUT = """() => [...document.querySelectorAll("div.formula")]
    .filter((e) => e.checkVisibility() && e.scrollWidth > e.clientWidth)
    .map((e) => [
        getComputedStyle(e).boxShadow.includes("inset"),
        (e.parentElement.querySelector(".eqno")?.getBoundingClientRect().top ?? Infinity)
            >= e.getBoundingClientRect().bottom,
    ])"""
BARS = """() => [...document.querySelectorAll("*")]
    .filter((e) => /auto|scroll/.test(getComputedStyle(e).overflow))
    .map((e) => getComputedStyle(e).scrollbarColor)"""
STOPS = """() => [...document.querySelectorAll(
        "a[href], button, input, select, summary, [tabindex]")]
    .filter((e) => e.tabIndex >= 0 && e.checkVisibility({ visibilityProperty: true })).length"""


def test_code_is_as_large_as_its_lines_allow(open_page: Callable[..., Any]) -> None:
    page = open_page("notebooks/03_scores.html", width=1440)
    page.evaluate(CHECKS)
    page.evaluate("checks.unfold()")
    for width, smallest in (
        (1440, 14),
        (1280, 13),
        (1100, 14),
        (992, 13),
        (390, 12.8),
        (320, 12.8),
    ):
        page.set_viewport_size({"width": width, "height": 800})
        assert min(page.evaluate(SIZES)) >= smallest, width
        assert max(page.evaluate(SIZES)) <= 14, width
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate(WIDE) == 0


def test_a_shadow_lies_only_where_there_is_more(open_page: Callable[..., Any]) -> None:
    page = open_page("notebooks/07_feed_forward.html")
    for width in (1280, 390, 700, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        page.wait_for_timeout(500)
        assert all(page.evaluate(SHADOWS)), width


def test_a_formula_that_goes_on_says_so(open_page: Callable[..., Any]) -> None:
    page = open_page("notebooks/03_scores.html", width=320)
    page.wait_for_timeout(500)
    cut = page.evaluate(CUT)
    assert cut
    assert all(shadow and below for shadow, below in cut), cut


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_scroll_bars_have_the_colours_of_the_theme(
    scheme: str, open_page: Callable[..., Any]
) -> None:
    page = open_page("notebooks/03_scores.html", scheme=scheme)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    bars = page.evaluate(BARS)
    assert len(bars) > 10
    assert all(bar.endswith(ground) for bar in bars)


def test_the_way_to_the_text_is_there_for_the_keyboard_alone(open_page: Callable[..., Any]) -> None:
    page = open_page("book/run.html")
    hidden = "getComputedStyle(document.querySelector('.skip-link')).clipPath !== 'none'"
    assert page.evaluate(hidden)
    page.keyboard.press("Tab")
    assert not page.evaluate(hidden)
    assert page.locator(".skip-link").bounding_box()["y"] == 0
    page.keyboard.press("Tab")
    assert page.evaluate(hidden)


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_has_few_stops(name: str, open_page: Callable[..., Any]) -> None:
    page = open_page(f"{name}.html")
    stops = page.evaluate(STOPS)
    copies = page.locator("button.copy").count()
    print(name, stops, copies)
    assert stops <= 175
    assert copies <= page.locator(".cell_input").count() / 2
    assert page.locator(".cell_output button.copy").count() == 0


def test_code_is_copied_without_what_stands_before_it(open_page: Callable[..., Any]) -> None:
    page = open_page("book/run.html")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    button = page.locator("button.copy").first
    button.focus()
    page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement.textContent === 'Copied'")
    copied = page.evaluate("navigator.clipboard.readText()")
    shown = page.locator("pre:has(+ button.copy)").first.inner_text()
    assert copied
    assert copied.splitlines()[0] in shown
    assert not copied.startswith("$")


def test_the_menu_of_downloads_is_in_words(open_page: Callable[..., Any]) -> None:
    page = open_page("notebooks/03_scores.html")
    page.get_by_label("Download this page").click()
    menu = page.locator(".page-downloads[open] li")
    assert menu.all_inner_texts() == ["Notebook (.ipynb)", "Print, or save as PDF"]
    page.locator("h1").click()
    assert page.locator(".page-downloads[open]").count() == 0


def test_in_a_system_s_own_colours_nothing_is_lost(open_page: Callable[..., Any]) -> None:
    page = open_page("book/explorer.html")
    page.emulate_media(forced_colors="active")
    bar = page.locator(".ex-share, .ex-word").first
    assert bar.is_visible()
    link = page.locator(".bd-links a").nth(2)
    link.focus()
    page.keyboard.press("Tab")
    style = "getComputedStyle(document.activeElement)"
    assert page.evaluate(f"{style}.outlineStyle") == "solid"
    assert page.evaluate(f"parseFloat({style}.outlineWidth)") >= 2
    cells = page.locator(".ex-map button")
    shades = cells.evaluate_all("all => all.map((e) => getComputedStyle(e).backgroundColor)")
    assert len(set(shades)) > 5
    current = page.evaluate(
        "getComputedStyle(document.querySelector('.ex-map [aria-pressed=true]')).outlineStyle"
    )
    assert current != "none"
