"""What leads through the book is made from the chapters, and says so where it cannot be."""

import hashlib
import json
import logging
import re
from pathlib import Path

import pytest
from docutils import nodes
from sphinx import addnodes

from book._extensions import contents_page, minutes_shown, page_cards, term_links
from book.minutes import spoken

ROOT = Path(__file__).parent.parent
CHAPTERS = [
    name
    for _, pages in contents_page.parts(ROOT)
    for name in pages
    if contents_page.is_chapter(name)
]
RENDERED = contents_page.rendered(ROOT)
GLOSSARY = term_links.glossary((ROOT / term_links.GLOSSARY).read_text(encoding="utf-8"))
OPENING = """\
(ch-sums)=
# Sums

*You will* add two numbers,
and see that $1 + 1 = 2$. *You need* {ref}`ch-numbers`,
and a little patience.

More is said elsewhere."""


# The contents


def test_an_opening_gives_its_facts() -> None:
    assert contents_page.opening(OPENING) == contents_page.Chapter(
        label="ch-sums",
        title="Sums",
        gives="add two numbers, and see that $1 + 1 = 2$.",
        needs="{ref}`ch-numbers`, and a little patience.",
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("(ch-sums)=\n", ""),
        ("*You will* ", ""),
        ("*You need* {ref}`ch-numbers`,\n", ""),
        ("patience.", "patience. *Time:* about forty minutes."),
        ("= 2$. *You need*", "= 2$.\n\n*You need*"),
    ],
)
def test_an_opening_without_a_fact_is_an_error(old: str, new: str) -> None:
    assert old in OPENING
    with pytest.raises(ValueError, match="a chapter begins: label"):
        contents_page.opening(OPENING.replace(old, new))


def test_a_chapter_without_its_opening_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    chapters = [{"file": "notebooks/01_sums"}, {"file": "book/run"}]
    toc = {"parts": [{"caption": "Numbers", "chapters": chapters}]}
    (tmp_path / "_toc.yml").write_text(json.dumps(toc), encoding="utf-8")
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setattr(contents_page, "ROOT", tmp_path)
    for text, count in [(OPENING, 0), ("# Sums", 1)]:
        cell = {"cell_type": "markdown", "source": text.splitlines(keepends=True)}
        path = tmp_path / "notebooks" / "01_sums.ipynb"
        path.write_text(json.dumps({"cells": [cell]}), encoding="utf-8")
        contents_page._warn(None)
        assert len(caplog.records) == count
    assert caplog.records[0].levelno == logging.WARNING
    assert caplog.messages[0].startswith("notebooks/01_sums: a chapter begins")


def test_every_notebook_but_the_cover_and_the_tour_is_a_chapter() -> None:
    notebooks = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert {name.removeprefix("notebooks/") for name in CHAPTERS} == notebooks - {"cover", "tour"}


@pytest.mark.parametrize("name", [contents_page.TOUR, *CHAPTERS])
def test_the_page_has_a_card_with_the_facts_of_every_chapter(name: str) -> None:
    chapter = contents_page.chapter(ROOT, name)
    (card,) = (
        card
        for card in re.findall(r"::::\{div\} chapter-card\n\n(.+?)\n\n::::", RENDERED, re.DOTALL)
        if re.search(rf"\b{chapter.label}[`>]", card.split("\n\n")[0])
    )
    _, image, gives, needs, took = card.split("\n\n")
    drawing, file = contents_page.picture(ROOT, name)
    assert drawing.startswith("<svg")
    assert re.fullmatch(
        rf'<img src="../_images/{file}" alt=".+" width="\d+" height="\d+" .+>', image
    )
    assert gives == f"*You will* {chapter.gives}"
    assert needs == f"*You need* {chapter.needs}"
    assert took == contents_page.minutes_of(ROOT, name).sentence()


def test_the_page_lists_the_other_pages_and_adds_the_times() -> None:
    for caption, pages in contents_page.parts(ROOT):
        assert f"## {caption}\n" in RENDERED
        for name in set(pages) - {*CHAPTERS, contents_page.TOUR, contents_page.PAGE}:
            assert f"- {{doc}}`/{name}`: {contents_page.ABOUT[name]}\n" in RENDERED + "\n"
    took = [contents_page.minutes_of(ROOT, name) for name in CHAPTERS]
    assert f"whole chapters {spoken(sum(t.whole for t in took))}," in RENDERED.splitlines()[0]


def test_the_picture_of_a_chapter_is_its_first_drawing(tmp_path: Path) -> None:
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "stored.svg").write_text("<svg>stored</svg>", encoding="utf-8")
    text = {"cell_type": "markdown", "source": ["Words."]}
    drawn = {"cell_type": "code", "outputs": [{"data": {"image/svg+xml": ["<svg>", "</svg>"]}}]}
    drawn["source"] = ["draw()"]
    named = {"cell_type": "markdown", "source": ["![a sum](stored.svg){.figure-svg}"]}
    hashed = f"{hashlib.sha256(b'<svg></svg>').hexdigest()}.svg"
    for cells, expected in [
        ([text], None),
        ([text, drawn, named], ("<svg></svg>", hashed)),
        ([text, named, drawn], ("<svg>stored</svg>", "stored.svg")),
    ]:
        path = tmp_path / "notebooks" / "01_sums.ipynb"
        path.write_text(json.dumps({"cells": cells}), encoding="utf-8")
        assert contents_page.picture(tmp_path, "notebooks/01_sums") == expected


# The minutes that a text asks for


def test_minutes_are_added_up_as_they_are_named() -> None:
    took = [contents_page.minutes_of(ROOT, name) for name in CHAPTERS]
    tour = contents_page.minutes_of(ROOT, contents_page.TOUR).core
    for names, expected in {
        "tour": tour,
        "tour + 30": tour + 30,
        "01_packing": took[0].core,
        "tour+cores": tour + sum(t.core for t in took),
        "whole + exercises": sum(t.whole + t.exercises for t in took),
    }.items():
        assert minutes_shown.minutes_of(ROOT, names) == expected
    with pytest.raises(ValueError, match=r"minutes are of the tour or a chapter, .* got 'core'"):
        minutes_shown.minutes_of(ROOT, "tour + core")


# What a page says of itself


def test_a_card_is_plain_text() -> None:
    text = r"You *will* divide by $\sqrt{d_k}$, see {ref}`the block <ch-block>`, and call `show`."
    assert page_cards.plain(text) == "You will divide by √d_k, see the block, and call show."
    with pytest.raises(ValueError, match="a card cannot show"):
        page_cards.plain(r"You will meet $\frac12$.")


def test_a_card_ends_with_a_sentence_or_a_word() -> None:
    first, second = "One " + "a" * 90 + ".", "Two " + "b" * 90 + "."
    assert page_cards.shortened(f"{first} {second}") == f"{first} {second}"
    assert page_cards.shortened(f"{first} {second} {first}") == f"{first} {second}"
    assert page_cards.shortened(f"{first} {second} Three, and so on.") == f"{first} {second}"
    long = page_cards.shortened("word " * 50)
    assert long.endswith("word …")
    assert page_cards.SHORTEST <= len(long) <= page_cards.LONGEST
    assert page_cards.shortened("It is this:") == "It is this."


@pytest.mark.parametrize("name", [contents_page.TOUR, *CHAPTERS])
def test_a_chapter_is_described_by_its_first_sentence(name: str) -> None:
    text = page_cards.description(nodes.document("", ""), name)
    assert text.startswith("You will ")
    assert page_cards.SHORTEST <= len(text) <= page_cards.LONGEST


def test_a_page_is_described_by_its_first_paragraphs() -> None:
    page = nodes.document("", "")
    section = nodes.section("", nodes.title("", "Title"))
    section += nodes.paragraph("", "A short one [Someone et al., 2017].")
    section += nodes.bullet_list("", nodes.list_item("", nodes.paragraph("", "An entry.")))
    section += nodes.paragraph("", "And one that is long enough for a card, as it goes on and on.")
    section += nodes.paragraph("", "What nobody reads.")
    page += section
    expected = "A short one. And one that is long enough for a card, as it goes on and on."
    assert page_cards.description(page, "book/run").startswith(expected)
    assert "An entry" not in page_cards.description(page, "book/run")
    assert page_cards.description(nodes.document("", ""), "book/references") == ""


# Words that lead to the glossary


def paragraph(*children: nodes.Node | str) -> nodes.paragraph:
    inside = [nodes.Text(child) if isinstance(child, str) else child for child in children]
    return nodes.paragraph("", "", *inside)


def links(document: nodes.Node) -> list[tuple[str, str]]:
    return [(x["reftarget"], x.astext()) for x in document.findall(addnodes.pending_xref)]


def test_a_bold_word_leads_to_its_term_once() -> None:
    words = ["Masks", "mask", "grouped-query", "head count", "KV cache"]
    page = nodes.section("", *[paragraph("a ", nodes.strong(text=word)) for word in words])
    terms = ["mask", "grouped-query attention", "head", "KV cache"]
    found = term_links.link_bold(page, terms)
    assert found == {"mask", "grouped-query attention", "KV cache"}
    assert links(page) == [
        ("mask", "Masks"),
        ("grouped-query attention", "grouped-query"),
        ("KV cache", "KV cache"),
    ]
    assert all(isinstance(x.parent, nodes.strong) for x in page.findall(addnodes.pending_xref))


def test_a_plain_word_leads_to_its_term_where_it_first_stands_free() -> None:
    page = nodes.section(
        "",
        paragraph("In the opening, a mask."),
        nodes.title("", "A mask"),
        paragraph(nodes.literal(text="mask"), " and a bitmask or a mask-free row"),
        paragraph("Causal masks, and then a mask for padding."),
        paragraph("No mask here."),
    )
    assert term_links.link_plain(page, ["mask", "causal mask", "head"]) == {"mask", "causal mask"}
    assert links(page) == [("causal mask", "Causal masks"), ("mask", "mask")]
    assert page[3].astext() == "Causal masks, and then a mask for padding."


def test_a_term_is_at_home_where_its_entry_leads() -> None:
    entries = {
        "sum": "See {ref}`ch-sums`.",
        "total": "That of {eq}`eq-total`.",
        "proof": "{prf:ref}`thm-sum`, and {ref}`ch-other`.",
        "elsewhere": "See {ref}`ch-other`.",
    }
    chapter = "(ch-sums)=\n$$\nt\n$$ (eq-total)\n```{prf:theorem}\n:label: thm-sum\n```"
    assert term_links.at_home(entries, chapter) == ["sum", "total", "proof"]


@pytest.mark.parametrize("name", CHAPTERS)
def test_every_chapter_is_home_to_some_terms(name: str) -> None:
    text = "\n".join(contents_page.markdown(ROOT, name))
    home = term_links.at_home(GLOSSARY, text)
    assert len(home) >= 2
    assert any(term.lower() in text.lower() for term in home)


def test_a_letter_leads_to_the_first_entry_that_begins_with_it() -> None:
    page = nodes.document("", "")
    for i, names in enumerate((["bias"], ["batch", "KV cache"], ["GELU"])):
        terms = [nodes.term("", name, ids=[f"term-{i}-{name}"]) for name in names]
        page += nodes.definition_list_item("", *terms, nodes.definition())
    links = term_links.letters(page).findall(nodes.reference)
    assert [(a.astext(), a["refid"]) for a in links] == [("B", "term-0-bias"), ("G", "term-2-GELU")]


def test_the_glossary_is_read_whole_and_in_order() -> None:
    assert GLOSSARY["KV cache"] == GLOSSARY["cache"]
    assert len(GLOSSARY) > 100
    filed: dict[str, str] = {}
    for term, entry in GLOSSARY.items():
        filed.setdefault(entry, term.lower())  # by its first name
    assert list(filed.values()) == sorted(filed.values())
