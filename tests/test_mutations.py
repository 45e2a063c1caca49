"""The list of mutations is not stale, and its runner can tell a survivor."""

from pathlib import Path

import pytest

from book.claims import mutations
from tests.mutants import ROOT, mutated, survived, watchers

MUTATIONS = mutations(ROOT)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: f"{m['file']}: {m['why']}")
def test_each_still_changes_one_line_that_some_test_watches(mutation):
    mutated(mutation)
    assert set(mutation) <= {"file", "old", "new", "why", "claims", "tests"}
    assert watchers(mutation)
    for tests in watchers(mutation).values():
        assert tests
        assert all((ROOT / test.split("::")[0]).is_file() for test in tests)


def test_a_break_is_looked_for_by_the_tests_of_each_claim():
    found = watchers(
        {"claims": ["eq-rms-norm"], "tests": "tests/test_norms.py tests/test_block.py"}
    )
    assert found == {
        "eq-rms-norm": ["tests/test_norms.py::test_rms_norm_is_its_definition"],
        "tests": ["tests/test_norms.py", "tests/test_block.py"],
    }


def write(folder: Path, lines: str) -> str:
    path = folder / "test_it.py"
    path.write_text(f"import companion, numpy\n\n{lines}")
    return str(path)


def test_a_break_that_no_test_looks_at_survives(tmp_path):
    blind = write(tmp_path, "def test_nothing():\n    assert companion.softmax\n")
    first = next(m for m in MUTATIONS if m["file"] == "softmax.py")
    assert survived(first | {"claims": [], "tests": blind}) == ["tests"]


def test_a_break_that_a_test_looks_at_is_noticed(tmp_path):
    watchful = write(
        tmp_path,
        "def test_large_scores():\n"
        "    assert numpy.isfinite(companion.softmax(numpy.asarray([1e4, 0.0]))).all()\n",
    )
    shift = next(m for m in MUTATIONS if m["why"] == "the maximum is not subtracted")
    assert survived(shift | {"claims": [], "tests": watchful}) == []


def test_each_claim_is_asked_by_itself():
    """A break of the one activation is noticed by its own test and by no other's."""
    folded = {
        "file": "feed_forward.py",
        "old": "return xp.maximum(x, xp.zeros_like(x))",
        "new": "return xp.abs(x)",
        "why": "ReLU folds the negative numbers over",
        "claims": ["eq-relu", "eq-silu"],
    }
    assert survived(folded) == ["eq-silu"]
