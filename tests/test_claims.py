"""Every claim of the book has a test, every test and citation names a claim that is there."""

from pathlib import Path

import pytest

from book import claims
from tests.support.small_book import LIBRARY, MUTATIONS, PAGE, TESTS, replaced, write_book

ROOT = Path(__file__).parent.parent
CHAPTERS = sorted(path.name for path in (ROOT / "notebooks").glob("[0-9]*.ipynb"))


def test_the_book_is_sound() -> None:
    assert claims.problems(ROOT) == []


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_chapter_claims_something(chapter: str) -> None:
    found = [d for d in claims.definitions(ROOT) if d.where == f"notebooks/{chapter}"]
    assert {"equation", "target", "figure", "exercise"} <= {d.kind for d in found}


def test_what_is_collected(tmp_path: Path) -> None:
    root = write_book(tmp_path)
    chapter, test = "notebooks/01_sums.ipynb", "tests/test_sums.py"
    assert claims.definitions(root) == [
        ("eq-two", chapter, "equation", "1 + 1 = 2"),
        ("ch-sums", chapter, "target", ""),
        ("fig-sum", chapter, "figure", ""),
        ("thm-more", chapter, "theorem", "More"),
        ("def-sum", chapter, "definition", ""),
    ]
    assert claims.citations(root) == [
        ("eq-two", chapter),
        ("fig-sum", chapter),
        ("ch-sums", chapter),
        ("eq-two", chapter),
        ("ch-sums", "book/run.md"),
        ("ch-sums", "companion/sums.py"),
        ("eq-two", "companion/sums.py::add"),
        ("thm-more", "companion/sums.py::add"),
        ("eq-two", "companion/sums.py::Sum.of"),
    ]
    assert claims.marked_tests(root) == [
        ("eq-two", f"{test}::test_two"),
        ("thm-more", f"{test}::test_more"),
        ("def-sum", f"{test}::test_more"),
    ]
    assert claims.problems(root) == []


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        (
            {"tests": replaced(TESTS, '"thm-more", ', "")},
            "notebooks/01_sums.ipynb: no test holds up thm-more",
        ),
        (
            {"tests": replaced(TESTS, '@pytest.mark.claim("eq-two")\n', "")},
            "notebooks/01_sums.ipynb: no test holds up eq-two",
        ),
        (
            {"tests": replaced(TESTS, '"def-sum"', '"def-sum", "lem-gone"')},
            "tests/test_sums.py::test_more: no page defines lem-gone",
        ),
        (
            {"page": PAGE + "\n$$ 1 $$ (eq-two)\n"},
            "notebooks/01_sums.ipynb: eq-two is defined again",
        ),
        (
            {"page": PAGE + "\n(fig-sum)=\n"},
            "notebooks/01_sums.ipynb: fig-sum is defined again",
        ),
        (
            {"page": PAGE + "\nBy {prf:ref}`the lemma <lem-gone>`.\n"},
            "notebooks/01_sums.ipynb: no page defines lem-gone",
        ),
        (
            {"library": replaced(LIBRARY, "`thm-more`", "`thm-gone`")},
            "companion/sums.py::add: no page defines thm-gone",
        ),
        (
            {"mutations": replaced(MUTATIONS, ', "thm-more"', "")},
            "notebooks/01_sums.ipynb: no mutation breaks thm-more",
        ),
        (
            {"mutations": replaced(MUTATIONS, '"thm-more"', '"thm-more", "lem-gone"')},
            "sums.py: the sum is a difference: no page defines lem-gone",
        ),
        (
            {"page": PAGE + "\n````{prf:lemma} Nameless\nText.\n````\n"},
            "notebooks/01_sums.ipynb: a lemma has no label",
        ),
        (
            {
                "page": replaced(PAGE, "def-sum", "thm-sum"),
                "tests": replaced(TESTS, "def-", "thm-"),
            },
            "notebooks/01_sums.ipynb: the label of the definition thm-sum must begin with def-",
        ),
    ],
)
def test_what_does_not_fit_is_said(changed: dict[str, str], problem: str, tmp_path: Path) -> None:
    assert claims.problems(write_book(tmp_path, **changed)) == [problem]


@pytest.mark.parametrize(
    "marker",
    [
        '@pytest.mark.claim(f"thm-{1}")\ndef test_x(): ...',
        '@pytest.mark.claim("thm-more", *LABELS)\ndef test_x(): ...',
        "@pytest.mark.claim()\ndef test_x(): ...",
        '@pytest.mark.claim("thm-more")\ndef helps(): ...',
        'pytestmark = pytest.mark.claim("thm-more")',
    ],
)
def test_a_marker_that_text_does_not_show_is_refused(marker: str, tmp_path: Path) -> None:
    root = write_book(tmp_path, tests=f"{TESTS}\n{marker}\n")
    with pytest.raises(ValueError, match="a claim marker must stand over a test function"):
        claims.marked_tests(root)
