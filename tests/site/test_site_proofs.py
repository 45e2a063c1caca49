"""Proofs are folded, and open by keyboard, by a link into them, without script and on paper."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pypdf import PdfReader

CHAPTER = "notebooks/06_heads.html"
FOLDS = "details.proof-fold"


def test_every_proof_is_folded_and_says_what_it_proves(book: Path) -> None:
    found = []
    for path in (book / "notebooks").glob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert 'id="proof"' not in text
        found += re.findall(r'<details class="proof-fold"><summary>(.*?)</summary>', text)
    assert len(found) > 60
    kinds = "Theorem|Proposition|Lemma|Corollary"
    assert [said for said in found if not re.fullmatch(rf"Proof of ({kinds}) \d+\.\d+", said)] == []


def test_every_solution_is_folded(book: Path, open_page: Callable[..., Any]) -> None:
    for path in (book / "notebooks").glob("*.html"):
        text = path.read_text(encoding="utf-8")
        folded = text.count('<details class="solution-fold"><summary>Solution</summary>')
        assert folded == text.count('<div class="solution')
    page = open_page(CHAPTER)
    fold = page.locator("details.solution-fold").first
    assert not fold.locator("p").first.is_visible()
    fold.locator("summary").focus()
    page.keyboard.press("Enter")
    assert fold.locator("p").first.is_visible()


def test_the_keyboard_unfolds_a_proof(open_page: Callable[..., Any]) -> None:
    page = open_page(CHAPTER)
    fold = page.locator(FOLDS).first
    assert not fold.locator("p").first.is_visible()
    fold.locator("summary").focus()
    page.keyboard.press("Enter")
    assert fold.locator("p").first.is_visible()
    assert fold.locator("math").first.is_visible()


def test_a_link_to_what_stands_in_a_proof_unfolds_it(open_page: Callable[..., Any]) -> None:
    page = open_page(CHAPTER)
    last = page.locator(FOLDS).last.locator("p").last
    last.evaluate("(e) => (e.id = 'within')")
    page.evaluate("location.hash = 'within'")
    last.wait_for(state="visible")
    assert page.locator(f"{FOLDS}[open]").count() == 1


def test_without_script_a_proof_unfolds(browser: Any, address: str) -> None:
    page = browser.new_page(java_script_enabled=False)
    page.goto(address + CHAPTER)
    fold = page.locator(FOLDS).first
    fold.locator("summary").click()
    assert fold.locator("p").first.is_visible()
    page.close()


def test_paper_shows_every_proof(open_page: Callable[..., Any], tmp_path: Path) -> None:
    page = open_page(CHAPTER)
    words = page.locator(f"{FOLDS} p").evaluate_all(
        "(all) => all.map((p) => p.firstChild.data ?? '').filter((text) => text.length > 30)"
    )
    page.pdf(path=tmp_path / "page.pdf")
    text = "".join(p.extract_text() for p in PdfReader(tmp_path / "page.pdf").pages)
    text = re.sub(r"\s", "", text)
    assert len(words) > 3
    assert [w for w in words if re.sub(r"\s", "", w)[:25] not in text] == []
