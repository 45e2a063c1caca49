"""What is folded: proofs, solutions, outputs and answers.

They open by keyboard, by a link into them, without script and on paper.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pypdf import PdfReader

from tests.support.printed import squeezed

CHAPTER = "notebooks/06_heads.html"
FOLDS = "details.proof-fold"
EVERY_FOLD = pytest.mark.parametrize("folds", [FOLDS, "details.solution-fold"])
# What stands in a fold: proofs, solutions, outputs that answer a prediction, and words on them.
FOLDED = {
    CHAPTER: {"proofs": f"{FOLDS} p", "solutions": "details.solution-fold p"},
    "notebooks/04_softmax.html": {
        "outputs": "details.hide.below-input .cell_output pre",
        "answers": "details.sd-dropdown p",
    },
}


def test_every_proof_is_folded_and_says_what_it_proves(book: Path) -> None:
    found = []
    for path in (book / "notebooks").glob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert 'id="proof"' not in text
        found += re.findall(r'<details class="proof-fold"><summary>(.*?)</summary>', text)
    assert len(found) > 60
    kinds = "Theorem|Proposition|Lemma|Corollary"
    assert [said for said in found if not re.fullmatch(rf"Proof of ({kinds}) \d+\.\d+", said)] == []


def test_every_solution_is_folded_and_says_whose_it_is(book: Path) -> None:
    found = 0
    for path in sorted(Path("notebooks").glob("[0-9]*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        sources = "".join("".join(cell["source"]) for cell in cells)
        written = len(re.findall(r"\{solution(?:-start)?\}", sources))
        text = (book / path.with_suffix(".html")).read_text(encoding="utf-8")
        said = re.findall(r'<details class="solution-fold"><summary>(.*?)</summary>', text)
        assert len(said) == written
        assert [s for s in said if not re.match(r"Solution to Exercise \d+\.\d+ \(", s)] == []
        found += written
    assert found > 50


@EVERY_FOLD
def test_the_keyboard_unfolds(folds: str, open_page: Callable[..., Any]) -> None:
    page = open_page(CHAPTER)
    fold = page.locator(folds).first
    assert not fold.locator("p").first.is_visible()
    fold.locator("summary").first.focus()
    page.keyboard.press("Enter")
    inside = fold.locator("p, math").all()
    assert all(one.is_visible() for one in inside)


def test_a_link_to_what_stands_in_a_proof_unfolds_it(open_page: Callable[..., Any]) -> None:
    page = open_page(CHAPTER)
    last = page.locator(FOLDS).last.locator("p").last
    last.evaluate("(e) => (e.id = 'within')")
    page.evaluate("location.hash = 'within'")
    last.wait_for(state="visible")
    assert page.locator(f"{FOLDS}[open]").count() == 1


@EVERY_FOLD
def test_without_script_it_unfolds(folds: str, browser: Any, address: str) -> None:
    page = browser.new_page(java_script_enabled=False)
    page.goto(address + CHAPTER)
    fold = page.locator(folds).first
    assert not fold.locator("p").first.is_visible()
    fold.locator("summary").first.click()
    assert fold.locator("p").first.is_visible()
    page.close()


@pytest.mark.parametrize("chapter", FOLDED)
def test_paper_shows_what_is_folded(
    chapter: str, open_page: Callable[..., Any], tmp_path: Path
) -> None:
    page = open_page(chapter)
    words = {what: folded_words(page, selector) for what, selector in FOLDED[chapter].items()}
    page.pdf(path=tmp_path / "page.pdf")
    text = "".join(p.extract_text() for p in PdfReader(tmp_path / "page.pdf").pages)
    text = squeezed(text)
    for what, there in words.items():
        assert len(there) > (3 if what == "proofs" else 1), what
        assert [w for w in there if squeezed(w)[:25] not in text] == [], what


def folded_words(page: Any, selector: str) -> list[str]:
    """Return how each piece begins that nobody sees yet."""
    visible, words = page.locator(selector).evaluate_all("""(all) => [
        all.filter((e) => e.checkVisibility() && e.getClientRects().length).length,
        all.map((e) => [...e.childNodes].find((n) => n.nodeType == 3)?.data ?? "")
            .filter((text) => text.length > 30),
    ]""")
    assert visible == 0, selector
    return words
