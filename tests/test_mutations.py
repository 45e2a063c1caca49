"""The list of mutations is not stale, and its runner can tell a survivor."""

import pytest
from mutants import mutated, mutations, survives


def test_there_are_enough_of_them():
    assert len(mutations()) >= 30


@pytest.mark.parametrize("mutation", mutations(), ids=lambda m: f"{m['file']}: {m['why']}")
def test_each_still_changes_one_line(mutation):
    mutated(mutation)


def test_a_break_that_no_test_looks_at_survives(tmp_path):
    blind = tmp_path / "test_blind.py"
    blind.write_text("import companion\n\ndef test_nothing():\n    assert companion.softmax\n")
    first = next(m for m in mutations() if m["file"] == "softmax.py")
    assert survives(first | {"tests": str(blind)})


def test_a_break_that_a_test_looks_at_is_noticed(tmp_path):
    watchful = tmp_path / "test_watchful.py"
    watchful.write_text(
        "import companion, numpy\n\n"
        "def test_large_scores():\n"
        "    assert numpy.isfinite(companion.softmax(numpy.asarray([1e4, 0.0]))).all()\n"
    )
    shift = next(m for m in mutations() if m["why"] == "the maximum is not subtracted")
    assert not survives(shift | {"tests": str(watchful)})
