"""Where the lines of a page end, above all on a phone."""

from collections.abc import Callable
from typing import Any

import pytest

# What a cell prints: each line's text, whether it is let wrap, and by how much it is too wide.
PRINTED = """() => [...document.querySelectorAll(".cell_output pre")].flatMap((pre) => {
    const right = pre.getBoundingClientRect().right;
    return [...pre.childNodes].map((node) => {
        const range = new Range();
        range.selectNodeContents(node);
        return [node.textContent, node.nodeType === Node.ELEMENT_NODE,
            range.getBoundingClientRect().right - right, range.getClientRects().length];
    });
})"""

# Pieces of text that stand on more than one line.
BROKEN = """(selector) => {
    const broken = [];
    for (const element of document.querySelectorAll(selector)) {
        const texts = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
        while (texts.nextNode()) {
            const range = new Range();
            range.selectNodeContents(texts.currentNode);
            if (range.getClientRects().length > 1) broken.push(texts.currentNode.data);
        }
    }
    return broken;
}"""

# Signatures in which a line begins with a comma or an opening bracket.
BADLY_BEGUN = """() => [...document.querySelectorAll("dt.sig")].filter((signature) => {
    const texts = document.createTreeWalker(signature, NodeFilter.SHOW_TEXT);
    let before;
    while (texts.nextNode()) {
        const range = new Range();
        range.setStart(texts.currentNode, 0);
        range.setEnd(texts.currentNode, 1);
        const { top, bottom } = range.getBoundingClientRect();
        if (before && /^[,(]/.test(texts.currentNode.data) && top > before.bottom) return true;
        range.selectNodeContents(texts.currentNode);
        before = [...range.getClientRects()].at(-1) ?? before;
    }
    return false;
}).map((signature) => signature.innerText)"""


def test_sentences_that_a_cell_prints_wrap_and_numbers_do_not(
    open_page: Callable[..., Any],
) -> None:
    page = open_page("notebooks/07_feed_forward.html", width=390)
    lines = page.evaluate(PRINTED)
    sentences = [line for line in lines if line[1]]
    assert all(over <= 0 for _, _, over, _ in sentences)
    assert any(rows > 1 for _, _, _, rows in sentences)
    assert not [text for text, *_ in sentences if "  " in text or text.startswith("[")]
    others = [text for text, wraps, *_ in lines if not wraps]
    assert any("  " in text or text.startswith("[") for text in others)


@pytest.mark.parametrize("name", ["source_audit", "claims", "run", "api", "api/encoder"])
def test_a_long_name_breaks_after_an_underline_a_short_one_nowhere(
    name: str, open_page: Callable[..., Any]
) -> None:
    page = open_page(f"book/{name}.html", width=390)
    assert page.evaluate(BROKEN, ".bd-content :not(pre) > code .pre") == []


@pytest.mark.parametrize("name", ["one_head", "block", "kernels", "figures"])
def test_signatures_and_contents_keep_their_lines(name: str, open_page: Callable[..., Any]) -> None:
    page = open_page(f"book/api/{name}.html", width=390)
    assert page.evaluate(BADLY_BEGUN) == []
    page.set_viewport_size({"width": 1280, "height": 800})
    ends = page.locator(".page-toc code").evaluate_all(
        "all => all.map((e) => e.getBoundingClientRect().right)"
    )
    assert max(ends) <= 1280
