"""The search: the page that must come first, by rules that know none, and what it quotes."""

import re
from pathlib import Path
from typing import Any

import pytest

from book._extensions import search_index, term_links

ROOT = Path(__file__).parents[2]
TERMS = list(term_links.glossary((ROOT / term_links.GLOSSARY).read_text(encoding="utf-8")))

FIRST = {
    "attention explorer": "book/explorer",
    "bilinear form": "notebooks/02_projections",
    "causal mask": "notebooks/05_masks",
    "CuPy": "notebooks/11_cupy",
    "encoder": "notebooks/09_encoder",
    "embedding table": "notebooks/01_packing",
    "erfc": "notebooks/07_feed_forward",
    "flash attention": "notebooks/12_tiled",
    "FLOPs": "notebooks/10_cost",
    "GELU": "notebooks/07_feed_forward",
    "GPU": "notebooks/11_cupy",
    "heads": "notebooks/06_heads",
    "install": "book/run",
    "keys and values": "notebooks/02_projections",
    "layer norm": "notebooks/08_block",
    "logit": "notebooks/13_language_model",
    "mask": "notebooks/05_masks",
    "minus infinity": "notebooks/05_masks",
    "multi-head attention": "notebooks/06_heads",
    "notation": "book/notation",
    "online softmax": "notebooks/12_tiled",
    "prefill": "notebooks/10_cost",
    "Q K V": "notebooks/02_projections",
    "query": "notebooks/02_projections",
    "ragged batch": "notebooks/01_packing",
    "residual": "notebooks/08_block",
    "roofline": "notebooks/10_cost",
    "scaled_dot_product_attention": "book/api/one_head",
    "softmax": "notebooks/04_softmax",
    "sqrt": "notebooks/03_scores",
    "temperature": "notebooks/13_language_model",
    "tiles": "notebooks/12_tiled",
    "variance": "notebooks/03_scores",
}

READY = "window.bookSearch"
SEARCH = """questions => questions.map(question => bookSearch.search(question).slice(0, 5).map(
    ({ page: { path }, entry: { anchor, title } }) =>
        [path.replace(".html", "") + (anchor && "#" + anchor), title]
))"""

# A book of a few pages, to try the rules on.
SMALL = """pages => {
    window.searchPages = pages.map(([path, rank, ...entries]) => ({
        path, rank, number: "", entries: entries.map(([title, text, kind = "section"], i) =>
            ({ title, text, kind, anchor: i ? `s${i}` : "" })),
    }));
}"""


@pytest.fixture
def search_page(open_page: Any) -> Any:
    page = open_page("search.html")
    page.wait_for_function(READY)
    return page


def firsts(page: Any, *questions: str) -> list[str]:
    return [found[0][0] if found else "" for found in page.evaluate(SEARCH, questions)]


def test_the_page_that_must_come_first(search_page: Any) -> None:
    found = firsts(search_page, *FIRST)
    wrong = {
        question: (first, page)
        for (question, page), first in zip(FIRST.items(), found, strict=True)
        if first.partition("#")[0] != page
    }
    assert len(FIRST) >= 30
    assert not wrong


def test_every_term_of_the_glossary_is_the_second_at_the_latest(search_page: Any) -> None:
    for term, results in zip(TERMS, search_page.evaluate(SEARCH, TERMS), strict=True):
        where = [place for place, _ in results[:2]]
        assert any(place.startswith("book/glossary#term-") for place in where), (term, where)


def test_what_is_called_otherwise_is_found_too(search_page: Any) -> None:
    pairs = [
        ("RoPE", "rotary"),
        ("backpropagation", "gradients"),
        ("flash attention", "tiles"),
        ("Q", "query"),
        ("sqrt", "square root"),
        ("-inf", "minus infinity"),
    ]
    for one, other in pairs:
        first, second = firsts(search_page, one, other)
        assert first == second != "", (one, first, second)


RULES = [
    (
        "a title before a text",
        "mask",
        [["a", 0, ["Other", "mask mask mask"]], ["b", 0, ["A mask", ""]]],
        "b",
    ),
    (
        "a title before a section's",
        "mask",
        [["a", 0, ["Other", ""], ["The mask", "mask"]], ["b", 0, ["A mask", ""]]],
        "b",
    ),
    (
        "a section's title before a statement's",
        "mask",
        [
            ["a", 0, ["Other", ""], ["Mask", "mask", "statement"]],
            ["b", 0, ["Other", ""], ["A long mask", ""]],
        ],
        "b#s1",
    ),
    (
        "a chapter before the reference",
        "mask",
        [["a", 1, ["Mask", ""]], ["b", 0, ["The mask here", ""]]],
        "b",
    ),
    (
        "a function's name is no title",
        "layer norm",
        [
            ["a", 2, ["API", ""], ["companion.layer_norm", "", "code"]],
            ["b", 0, ["Other", "a layer norm"]],
        ],
        "b",
    ),
    (
        "but for who spells it so",
        "layer_norm",
        [
            ["a", 2, ["API", ""], ["companion.layer_norm", "", "code"]],
            ["b", 0, ["Other", "a layer norm"]],
        ],
        "a#s1",
    ),
    (
        "words that stand together",
        "layer norm",
        [
            ["a", 0, ["Other", f"layer {'x ' * 40} norm layer norms {'y ' * 40}"]],
            ["b", 0, ["One", "layer norm " * 3]],
        ],
        "b",
    ),
    (
        "numbers as numbers",
        "12",
        [["a", 0, ["Other", "512 and 12.5"]], ["b", 0, ["Other", "12 more"]]],
        "b",
    ),
    (
        "a short word whole",
        "norm",
        [["a", 0, ["Other", "normal enormous"]], ["b", 1, ["Other", "norms"]]],
        "b",
    ),
    ("a long word's beginning", "quant", [["a", 0, ["Other", "a quantity"]]], "a"),
    ("equals in the book's order", "mask", [["b", 0, ["Mask", ""]], ["a", 0, ["Mask", ""]]], "b"),
]


@pytest.mark.parametrize(
    ("question", "pages", "first"), [rule[1:] for rule in RULES], ids=[r[0] for r in RULES]
)
def test_the_rules_know_no_page(
    question: str, pages: list[Any], first: str, search_page: Any
) -> None:
    search_page.evaluate(SMALL, pages)
    search_page.add_script_tag(path=ROOT / "book/_static/search.js")
    assert firsts(search_page, question) == [first]


def test_a_result_quotes_the_sentence_with_what_was_asked(open_page: Any) -> None:
    page = open_page("search.html?q=variance")
    page.locator("ul.search > li").first.wait_for()
    quoted = page.locator("ul.search p.context").all_inner_texts()
    assert all("varianc" in text.lower() for text in quoted)
    assert not [text for text in quoted if "\\" in text or "$" in text]
    assert not [text for text in quoted if "You need" in text]
    whole = [text for text in quoted if re.fullmatch(r"[^…].*[.!?:…]", text)]
    assert len(whole) > len(quoted) / 2
    assert page.locator("ul.search p.context mark").count() >= len(quoted)


def test_a_title_that_has_it_all_is_followed_by_its_opening(open_page: Any) -> None:
    page = open_page("search.html?q=mask+leak")
    first = page.locator("ul.search > li").first
    first.wait_for()
    title = first.locator("a").first.inner_text().rpartition(" › ")[2]
    text = page.evaluate(
        "title => searchPages.flatMap((p) => p.entries).find((e) => e.title === title).text", title
    )
    assert title == "Two masks that leak"
    assert text.startswith(first.locator("p.context").inner_text())


def test_what_is_quoted_is_words(search_page: Any) -> None:
    texts = search_page.evaluate("searchPages.flatMap((p) => p.entries.map((e) => e.text))")
    assert len(texts) > 1000
    assert not [text for text in texts if re.search("</|/>|<svg", text)]


def test_a_formula_is_written_in_letters() -> None:
    assert search_index.in_letters(r"q(k)^{\mathsf T}") == "q(k)ᵀ"
    assert search_index.in_letters(r"\sqrt{d_k}") == "√d_k"


@pytest.mark.parametrize("word", ["constructor", "hasOwnProperty", "toString", "valueOf"])
def test_what_every_object_has_is_found_on_no_page(open_page: Any, word: str) -> None:
    page = open_page(f"search.html?q={word}")
    said = page.locator("#search-results [role=status]")
    said.wait_for()
    assert said.inner_text() == f"Nothing here has “{word}”."


def test_a_word_that_is_nowhere_is_left_out_and_named(open_page: Any) -> None:
    page = open_page("search.html?q=gobbledygook+mask")
    said = page.locator("#search-results [role=status]")
    said.wait_for()
    assert said.inner_text() == "No page has “gobbledygook”; of the rest:"
    assert page.locator("ul.search > li a").first.inner_text() == "5. Causal masks"


def test_the_keyboard_searches(open_page: Any) -> None:
    page = open_page("book/run.html")
    page.keyboard.press("Control+k")
    page.keyboard.type("pitfall")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html?q=pitfall*")
    first = page.locator("ul.search > li").first
    first.wait_for()
    assert first.locator("a").first.inner_text() == "Glossary › pitfall"
    first.locator("a").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/book/glossary.html#term-pitfall", wait_until="commit")


def test_what_is_typed_is_completed(open_page: Any) -> None:
    page = open_page("book/run.html")
    page.keyboard.press("Control+k")
    field = page.locator("#pst-search-dialog input")
    field.wait_for()
    page.wait_for_function(READY)
    page.keyboard.type("caus")
    options = page.locator("#pst-search-dialog [role=option]")
    options.first.wait_for()
    assert field.get_attribute("aria-expanded") == "true"
    assert options.first.inner_text().startswith("Causal masks")
    page.keyboard.press("ArrowDown")
    assert field.get_attribute("aria-activedescendant") == options.first.get_attribute("id")
    assert options.first.get_attribute("aria-selected") == "true"
    page.keyboard.press("ArrowUp")
    assert field.get_attribute("aria-activedescendant") is None
    page.keyboard.type("al")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url("**/notebooks/05_masks.html", wait_until="commit")


def test_a_book_on_the_disk_searches_too(open_page: Any, book: Path) -> None:
    page = open_page(f"{(book / 'search.html').as_uri()}?q=head")
    page.locator("ul.search > li").first.wait_for()
    assert page.locator("ul.search > li").count() > 5
    assert page.locator("ul.search > li a").first.inner_text() == "6. Many heads"
    assert page.locator("ul.search p.context").count() > 5
