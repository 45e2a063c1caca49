"""The page of claims says of each what cites it, what tests it and what was broken."""

from pathlib import Path

import pytest
from docutils import nodes

from book._extensions import api_pages, claims_page
from tests.support.small_book import PAGE, TESTS, replaced, write_book

ROOT = Path(__file__).parent.parent
CHAPTER = "notebooks/01_sums.ipynb"


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = write_book(tmp_path)
    monkeypatch.setattr(api_pages, "shown_names", lambda: {"companion.sums.add": "companion.add"})
    monkeypatch.setattr(claims_page, "ROOT", root)
    return root


def test_an_entry_says_what_holds_it_up(book: Path) -> None:
    page = claims_page.rendered(book)
    assert page.startswith("(claims-sums)=\n## Sums\n")
    equation, theorem = page.split("{eq}`eq-two`")[1].split("{prf:ref}`thm-more` More")
    assert ": $$\n  1 + 1 = 2\n  $$" in equation
    assert ": In the library: {py:obj}`companion.add`, `companion.sums.Sum.of`\n" in equation
    assert ": `tests/test_sums.py`: two\n" in equation
    for entry in (equation, theorem):
        assert "\n  Seen to fail when the sum is a difference\n" in entry
        assert "\n  In `companion/sums.py`:\n" in entry
        before, after = entry.split("```")[1].splitlines()[1:3]  # the whole line of the library
        assert before == "  - return x + y  # :eq:`eq-no-docstring`"
        assert after == before.replace("- return x +", "+ return x -")
    assert ": `tests/test_sums.py`: more\n" in theorem
    assert "no claim" not in page  # a mutation that breaks none
    assert "def-sum" not in page


def test_a_row_of_the_audit_is_a_link_that_does_not_break(book: Path) -> None:
    tests = replaced(TESTS, "def test_more", "def test_004_s7_and_more")
    (book / "tests" / "test_sums.py").write_text(tests, encoding="utf-8")
    page = claims_page.rendered(book)
    assert ": `tests/test_sums.py`: {ref}`004‑S7 <audit-004-s7>` and more\n" in page


def test_the_real_page_has_every_claim_of_every_chapter() -> None:
    page = claims_page.rendered(ROOT)
    for claimed in claims_page.claimed_on(ROOT).values():
        for claim in claimed:
            assert page.count(f"`{claim.name}`") == 1, claim.name
    assert page.count("\n  Seen to fail when ") >= page.count("\n{eq}`") > 30


class Signals:
    """What an extension asks of Sphinx: it keeps the functions to be called."""

    def __init__(self, root: Path, docname: str) -> None:
        self.called: dict[str, object] = {}
        self.env = self
        self.docname = docname
        self.doc2path = lambda name: str(root / f"{name}.ipynb")

    def connect(self, event: str, function: object) -> None:
        self.called[event] = function


def test_what_does_not_fit_is_a_warning(book: Path, caplog: pytest.LogCaptureFixture) -> None:
    app = Signals(book, "notebooks/01_sums")
    claims_page.setup(app)
    app.called["builder-inited"](app)
    assert caplog.messages == []
    tests = replaced(TESTS, '"thm-more", ', '"lem-gone", ')
    (book / "tests" / "test_sums.py").write_text(tests, encoding="utf-8")
    library = '"""By :eq:`eq-gone`."""'
    (book / "companion" / "sums.py").write_text(library, encoding="utf-8")
    app.called["builder-inited"](app)
    assert caplog.messages == [
        f"{CHAPTER}: no test holds up thm-more",
        "tests/test_sums.py::test_more: no page defines lem-gone",
        "companion/sums.py: no page defines eq-gone",
    ]
    assert {record.levelname for record in caplog.records} == {"WARNING"}


def test_a_chapter_ends_with_a_link_to_its_claims(book: Path) -> None:
    app = Signals(book, "notebooks/01_sums")
    claims_page.setup(app)
    document = nodes.document("", "")
    document += nodes.section("", nodes.title("", PAGE))
    app.called["doctree-read"](app, document)
    link = document.children[-1].children[-1].children[1]
    assert link["reftarget"] == "claims-sums"
    app.docname = "notebooks/cover"
    other = nodes.document("", "")
    other += nodes.section()
    app.called["doctree-read"](app, other)
    assert not other.children[0].children


def test_only_the_page_of_claims_is_filled(book: Path) -> None:
    app = Signals(book, "book/claims")
    claims_page.setup(app)
    source, other = ["# Claims\n"], ["# Other\n"]
    app.called["source-read"](app, "book/claims", source)
    app.called["source-read"](app, "book/run", other)
    assert source[0].startswith("# Claims\n\n(claims-sums)=")
    assert other == ["# Other\n"]
