"""Every page, loaded once, in both themes and at the width of a desk and of a phone."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
CHAPTERS = [chapter for part in TOC["parts"] for chapter in part["chapters"]]
LISTED = [TOC["root"]] + [
    page["file"] for chapter in CHAPTERS for page in [chapter, *chapter.get("sections", [])]
]
MADE = ["404", "genindex", "prf-prf", "search"]  # by Sphinx, not from a file

VIEWS = [("light", 1280), ("light", 390), ("dark", 390), ("dark", 1280)]
NARROW = 320  # a desk's page at 400 %
COLOURS = ["color-contrast", "link-in-text-block"]

CHECKS = Path(__file__).with_name("checks.js").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def axe() -> str:
    """Return axe-core, a script to run on a page."""
    return pytest.importorskip("axe_playwright_python.base").AXE_SCRIPT


@pytest.fixture(scope="session")
def judged() -> list[str]:
    """Keep the kinds of text that were judged on some page: no other page need show them."""
    return []


@pytest.mark.parametrize("name", LISTED + MADE)
def test_page(name: str, open_page: Callable[..., Any], axe: str, judged: list[str]) -> None:
    page = open_page(f"{name}.html")
    page.evaluate(f"{axe}; {CHECKS}")
    page.evaluate("checks.unfold()")
    problems = [f"mathematics: {said}" for said in page.evaluate("checks.mathematics()")]
    problems += [f"figure: {said}" for said in page.evaluate("checks.figures()")]
    problems += [f"output: {said}" for said in wrong_outputs(page, ROOT / f"{name}.ipynb")]
    known = len(judged)
    for scheme, width in VIEWS:
        switch(page, scheme, width)
        found = [f"too wide: {said}" for said in page.evaluate("checks.tooWide()")]
        if scheme == "light":  # all but two rules do not depend on the theme
            found += page.evaluate("rules => checks.accessibility(rules)", COLOURS)
        judged += page.evaluate("judged => checks.markNewKinds(judged)", judged)
        problems += [f"{scheme}, {width}: {said}" for said in found]
    switch(page, "light", NARROW)
    problems += [f"{NARROW}: too wide: {said}" for said in page.evaluate("checks.tooWide()")]
    if len(judged) > known:
        page.evaluate("checks.keepOneOfEachKind()")
        for scheme, width in VIEWS:
            switch(page, scheme, width)
            found = page.evaluate("rules => checks.colours(rules)", COLOURS)
            problems += [f"{scheme}, {width}: {said}" for said in found]
    assert not problems, "\n".join(problems)


def switch(page: Any, scheme: str, width: int) -> None:
    """Change theme and width in place, as a reader's system and hands do."""
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 800})
    page.wait_for_function(
        "([s, w]) => document.documentElement.dataset.theme === s && innerWidth === w",
        arg=[scheme, width],
    )
    page.evaluate("() => new Promise((done) => setTimeout(() => requestAnimationFrame(done), 50))")


def wrong_outputs(page: Any, notebook: Path) -> Iterator[str]:
    """Compare what the cells of a page show with what their notebook stores."""
    if not notebook.exists():
        return
    shown = page.evaluate("checks.outputs()")
    stored = list(stored_outputs(json.loads(notebook.read_text(encoding="utf-8"))))
    if len(shown) != len(stored):
        yield f"{len(shown)} cells for {len(stored)}"
    for number, (here, there) in enumerate(zip(shown, stored, strict=False), 1):
        if here != there:
            yield f"code cell {number} shows {here} for {there}"


def stored_outputs(notebook: dict[str, Any]) -> Iterator[list[str]]:
    """Say of each code cell what its outputs are."""
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            yield [
                "figure"
                if any(kind.startswith("image/") for kind in output.get("data", ()))
                else "text"
                for output in cell["outputs"]
            ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_menus(scheme: str, open_page: Callable[..., Any], axe: str) -> None:
    """What a phone shows on demand is judged while it is shown."""
    page = open_page("book/run.html", scheme=scheme, width=390)
    page.evaluate(f"{axe}; {CHECKS}")
    for button in (".primary-toggle", ".search-button", ".secondary-toggle"):
        page.locator(f"{button}:visible").first.click()
        page.locator("dialog[open]").wait_for()
        found = page.evaluate("() => checks.accessibility([])")
        assert not found, f"{button}: " + "\n".join(found)
        page.keyboard.press("Escape")
        page.locator("dialog[open]").wait_for(state="detached")


def test_these_are_all_pages(book: Path) -> None:
    found = [path.relative_to(book).with_suffix("").as_posix() for path in book.rglob("*.html")]
    listed = {*LISTED, *MADE, "index"}  # index.html leads to the cover
    apart = ("_static/", "_sources/", "_modules/")  # the last are the library's source
    assert {name for name in found if not name.startswith(apart)} == listed
