"""One finds one's way: by search, by the pages before and after, by the sidebar, when lost too."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from bs4 import BeautifulSoup

ROOT = Path(__file__).parents[2]
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
PAGES = [TOC["root"]]
for page in (page for part in TOC["parts"] for page in part["chapters"]):
    PAGES += [page["file"], *(below["file"] for below in page.get("sections", ()))]
CHAPTERS = [name for name in PAGES if re.match(r"notebooks/\d", name)]


@pytest.fixture(scope="module")
def soups(book: Path) -> dict[str, BeautifulSoup]:
    """Parse every page of the table of contents."""
    return {name: _parsed(book / f"{name}.html") for name in PAGES}


def _parsed(path: Path) -> BeautifulSoup:
    """Parse a page without its code and its tables, which take most of the time."""
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"<(pre|table)\b.*?</\1>", "", text, flags=re.DOTALL)
    return BeautifulSoup(text, "html.parser")


def _title(soup: BeautifulSoup) -> str:
    return " ".join(soup.select_one("article h1").get_text().removesuffix("#").split())


# Written into the pages


def test_each_page_leads_to_the_one_before_and_the_one_after(
    soups: dict[str, BeautifulSoup],
) -> None:
    for i, name in enumerate(PAGES):
        around = {"a.left-prev": PAGES[i - 1] if i else None, "a.right-next": [*PAGES, None][i + 1]}
        for selector, other in around.items():
            links = soups[name].select(selector)
            if other is None:
                assert not links
                continue
            (link,) = links
            where = Path(name).parent / link["href"]
            assert where.resolve() == Path(f"{other}.html").resolve()
            shown = " ".join(link.select_one(".prev-next-title").get_text().split())
            assert shown == _title(soups[other]), name


def test_the_sidebar_marks_the_page_and_its_titles_are_short(
    soups: dict[str, BeautifulSoup],
) -> None:
    for name, soup in soups.items():
        marked = soup.select("nav.bd-links li.current > a")
        if name == TOC["root"]:
            assert not marked
            continue
        *above, link = marked
        assert len(above) == name.startswith("book/api/")
        assert link["href"] == "#"
        assert " ".join(link.get_text().split()) == _title(soup)
        assert len(_title(soup)) <= 40


def test_each_page_says_in_a_sentence_what_it_is_about(
    soups: dict[str, BeautifulSoup], book: Path
) -> None:
    told = []
    for name, soup in soups.items():
        card = {tag["property"]: tag["content"] for tag in soup.select("meta[property^='og:']")}
        picture = {f"og:image{part}" for part in ("", ":width", ":height", ":alt")}
        assert set(card) == {"og:title", "og:type", "og:site_name", "og:description", *picture}
        picture = book.joinpath(name).parent / card["og:image"]
        assert picture.read_bytes() == (ROOT / "book/_static/share.png").read_bytes()
        assert card["og:title"] == _title(soup)
        assert card["og:site_name"] == "Attention as matrix multiplication"
        (description,) = soup.select("meta[name=description]")
        text = description["content"]
        assert text == card["og:description"]
        assert 80 <= len(text) <= 200, name
        assert re.fullmatch(r"[A-Z][\w\s.,:;()’'√−∞-]+(?:\.| …)", text), text
        told.append(text)
    assert len(set(told)) == len(told)


def test_the_book_has_an_icon_of_its_own(book: Path) -> None:
    for name in [*PAGES, "search", "genindex"]:
        path = book / f"{name}.html"
        (icon,) = re.findall(r'<link rel="icon" href="([^"]+)"', path.read_text(encoding="utf-8"))
        there = path.parent / icon.partition("?")[0]
        assert there.read_bytes() == (ROOT / "book/_static/favicon.svg").read_bytes()


def test_a_chapter_leads_to_each_term_that_it_introduces(soups: dict[str, BeautifulSoup]) -> None:
    glossary = soups["book/glossary"]
    for name in CHAPTERS:
        (legend,) = soups[name].select("p.legend")
        assert [a["href"].rpartition("/")[2] for a in legend.select("a")] == [
            "notation.html#page-notation",
            "glossary.html#page-glossary",
        ]
        links = [a["href"] for a in soups[name].select("article a[href*='glossary.html#term-']")]
        assert len(links) >= 2, name
        assert all(glossary.find(id=link.partition("#")[2]) for link in links)


def test_the_contents_show_each_chapter_on_a_card(
    soups: dict[str, BeautifulSoup], book: Path
) -> None:
    cards = soups["book/contents"].select(".chapter-card")
    for card, name in zip(cards, ["notebooks/tour", *CHAPTERS], strict=True):
        link, *_ = card.select("a")
        assert link["href"].startswith(f"../{name}.html")
        assert link.get_text().strip() == _title(soups[name])
        assert card.img["loading"] == "lazy"
        assert (book / "book" / card.img["src"]).is_file()
        _, gives, needs, took = (p.get_text() for p in card.select("p"))
        assert gives.startswith("You will ")
        assert needs.startswith("You need ")
        assert took == soups[name].select_one("p.minutes").get_text()
        assert re.fullmatch(r"(Core|Whole chapter|Time) \d+ minutes( · .+)?", took)


# In the browser


def test_the_browser_remembers_what_is_ticked(open_page: Any) -> None:
    page = open_page("book/contents.html")
    box = page.get_by_label("Read: 4. Softmax and weighted values")
    assert not box.is_checked()
    box.focus()
    page.keyboard.press("Space")
    assert box.is_checked()
    page.reload()
    checked = page.locator(".chapter-card input:checked")
    assert checked.count() == 1
    assert page.evaluate("localStorage['chapters-read']") == '["04_softmax"]'
    assert page.evaluate("document.cookie") == ""
    checked.click()
    page.evaluate("localStorage['chapters-read'] += 'nonsense'")
    page.reload()
    assert page.locator(".chapter-card input:checked").count() == 0
    page.get_by_label("Read: Attention in fifteen minutes").check()
    assert page.evaluate("localStorage['chapters-read']") == '["tour"]'


def test_without_script_the_cards_are_plain(browser: Any, address: str) -> None:
    page = browser.new_page(java_script_enabled=False)
    page.goto(f"{address}book/contents.html")
    assert page.locator(".chapter-card").count() == len(CHAPTERS) + 1
    assert page.locator(".chapter-card label").count() == 0
    page.close()


def test_only_the_contents_load_the_script_of_its_ticks(book: Path) -> None:
    for name in PAGES:
        text = (book / f"{name}.html").read_text(encoding="utf-8")
        assert ("contents.js" in text) == (name == "book/contents")


def test_the_letters_of_the_glossary_lead_to_its_entries(soups: dict[str, BeautifulSoup]) -> None:
    glossary = soups["book/glossary"]
    links = glossary.select("p.letters a")
    letters = [link.get_text() for link in links]
    assert letters == sorted(letters)
    assert len(letters) > 15
    for link in links:
        term = glossary.find(id=link["href"].removeprefix("#"))
        assert term.get_text().upper().startswith(link.get_text())


@pytest.mark.parametrize("path", ["nowhere.html", "notebooks/no/such/page"])
def test_who_is_lost_is_led_back(open_page: Any, address: str, path: str) -> None:
    page = open_page(path, status=404, scheme="dark", width=390)
    assert page.locator("article h1").inner_text() == "This page is not here"
    links = page.locator("article a").evaluate_all("links => links.map(link => link.href)")
    places = ["book/contents.html", "search.html", "notebooks/cover.html"]
    assert links == [address + place for place in places]
    style = "getComputedStyle(document.querySelector('p')).fontFamily"
    assert "serif" in page.evaluate(style)
    page.locator("article a").first.click()
    page.wait_for_url("**/book/contents.html", wait_until="commit")


def test_the_sidebar_opens_on_a_phone(open_page: Any) -> None:
    page = open_page("book/references.html", width=390)
    current = page.locator("#pst-primary-sidebar-modal li.current > a, nav.bd-links li.current > a")
    assert not current.first.is_visible()
    page.locator("button.primary-toggle:visible").click()
    page.wait_for_function("document.querySelector('dialog[open] li.current > a')")
    shown = page.locator("dialog[open] li.current > a")
    assert " ".join(shown.inner_text().split()) == "References"
    assert shown.is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
