"""What the checkers share, and that all of them answer in one way."""

import importlib
import inspect
import math
import pkgutil
from fractions import Fraction

import numpy as np
import pytest

from companion import exercises
from companion.exercises import feedback
from companion.exercises.feedback import Feedback

TODO = "give it"
CHECKERS = [
    pytest.param(getattr(module, name), id=f"{module.__name__.rpartition('.')[2]}-{name}")
    for found in pkgutil.iter_modules(exercises.__path__)
    if found.name != "feedback"
    for module in [importlib.import_module(f"companion.exercises.{found.name}")]
    for name in module.__all__
]


def say(capsys, check, attempt):
    """Call a checker, with a matrix for whatever else it needs, and return its one line."""
    needed = [p for p in inspect.signature(check).parameters.values() if p.default is p.empty]
    check(attempt, *[np.eye(6)] * (len(needed) - 1))
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    return said


@pytest.mark.parametrize("check", CHECKERS)
def test_every_checker_answers_in_the_same_way(capsys, monkeypatch, check):
    monkeypatch.setenv("COMPANION_ARRAY_MODULE", "numpy")
    for nothing in (None, ...):
        assert say(capsys, check, nothing).startswith("Not attempted yet: ")
    assert " asked for, and this is object" in say(capsys, check, object())
    assert check.__doc__.startswith("Check ")
    assert "\n" not in check.__doc__


def test_a_check_is_said_with_all_it_needs_and_an_error_of_its_own_is_not_hidden(capsys):
    def check(attempt, wanted):
        if attempt != wanted:
            raise Feedback(f"Not {wanted}.")
        return "Right."

    feedback.say(check, 3, 3)
    feedback.say(check, 2, 3)
    assert capsys.readouterr().out == "Right.\nNot 3.\n"
    with pytest.raises(ZeroDivisionError):
        feedback.say(lambda attempt: 1 / attempt, 0)


@pytest.mark.parametrize(
    ("take", "attempt", "trouble"),
    [
        (feedback.number, ..., "Not attempted yet: give it."),
        (feedback.number, "3", "A number is asked for, and this is str."),
        (feedback.number, np.bool_(True), "A number is asked for, and this is bool."),
        (feedback.number, 1j, "A number is asked for, and this is complex."),
        (feedback.number, np.ones(1), "A number is asked for, and this is ndarray."),
        (feedback.number, math.nan, "A finite number is asked for, got nan."),
        (feedback.number, 10**400, "A number of ordinary size is asked for: "),
        (feedback.whole_number, None, "Not attempted yet: give it."),
        (feedback.whole_number, True, "A whole number is asked for, and this is bool."),
        (feedback.whole_number, np.asarray(3.0), "A whole number is asked for, and this is float."),
    ],
)
def test_what_is_no_number_is_named(take, attempt, trouble):
    with pytest.raises(Feedback) as raised:
        take(attempt, TODO)
    assert str(raised.value).startswith(trouble)


def test_numbers_of_any_library_are_taken(home):
    assert feedback.number(Fraction(1, 4), TODO) == 0.25
    assert feedback.number(np.float32(0.5), TODO) == 0.5
    assert feedback.number(home.asarray(np.asarray(0.5)), TODO) == 0.5
    assert feedback.whole_number(10**400, TODO) == 10**400
    assert type(feedback.whole_number(home.asarray(np.asarray(3)), TODO)) is int
    assert feedback.entries((home, home), 2, TODO) == [home, home]
    assert feedback.whole_numbers(home.asarray(np.asarray([3, 4])), 2, TODO) == [3, 4]
    taken = feedback.numbers(home.asarray(np.asarray([1.5, 2.0])), 2, TODO)
    np.testing.assert_array_equal(taken, [1.5, 2.0], strict=True)


@pytest.mark.parametrize(
    ("count", "attempt", "trouble"),
    [
        (2, None, "Not attempted yet: give it."),
        (2, (1, ...), "Not attempted yet: give it."),
        (2, {1, 2}, "A pair is asked for, and this is set: give it."),
        (2, "ab", "A pair is asked for, and this is str: give it."),
        (2, np.asarray(1.0), "A pair is asked for, and this is float: give it."),
        (2, np.ones((3, 2)), "A pair is asked for, and this is list of length 3: give it."),
        (3, (1, 2), "A list of 3 is asked for, and this is tuple of length 2: give it."),
        (2, (1, [2]), "A number is asked for, and this is list."),
        (2, np.ones((2, 2)), "A number is asked for, and this is list."),
    ],
)
def test_what_is_no_list_of_numbers_is_named(count, attempt, trouble):
    with pytest.raises(Feedback) as raised:
        feedback.numbers(attempt, count, TODO)
    assert str(raised.value) == trouble


def test_rows_are_whole_numbers_counted_from_one():
    assert feedback.rows([3, np.int64(1), 3], 3, TODO) == {1, 3}
    assert feedback.rows(frozenset(), 3, TODO) == set()
    for attempt, trouble in (
        (None, "Not attempted yet: give it."),
        (2, "A set of row numbers is asked for, and this is int."),
        ([[1]], "A whole number is asked for, and this is list."),
        ({4, 0, 1}, "There are rows 1 to 3, counted from one; got [0, 1, 4]."),
    ):
        with pytest.raises(Feedback) as raised:
            feedback.rows(attempt, 3, TODO)
        assert str(raised.value) == trouble


def test_arrays_come_to_the_host(home):
    given = np.arange(6).reshape(2, 3)
    for take, dtype in ((feedback.array, given.dtype), (feedback.floats, np.float64)):
        taken = take(home.asarray(given), (2, 3), "a row a token")
        np.testing.assert_array_equal(taken, given.astype(dtype), strict=True)
        assert take(home.asarray(given)).shape == (2, 3)
        with pytest.raises(Feedback, match=r"should be \(3, 2\), a row a token; yours is \(2, 3\)"):
            take(home.asarray(given), (3, 2), "a row a token")
        with pytest.raises(Feedback, match="An array is asked for, and this is list"):
            take([[1.0]])
    with pytest.raises(Feedback, match="Real numbers are asked for, and your array holds bool"):
        feedback.floats(home.asarray(given > 2))


def test_a_function_of_the_reader_may_fail_in_any_way():
    def stops(_):
        raise KeyError("x" * 200)

    assert feedback.function(stops) is stops
    assert feedback.result(divmod, 7, 2) == (3, 1)
    for call, trouble in (
        (lambda: feedback.function(None), "Not attempted yet: hand over your function."),
        (lambda: feedback.function(3, TODO), "A function is asked for, and this is int."),
        (
            lambda: feedback.result(print),
            "Not attempted yet: your function returns nothing so far.",
        ),
        (lambda: feedback.result(print, unfinished="return it"), "Not attempted yet: return it."),
        (
            lambda: feedback.result(stops, 1, case=" for one"),
            "Your function stops for one with KeyError: '" + "x" * 79,
        ),
    ):
        with pytest.raises(Feedback) as raised:
            call()
        assert str(raised.value) == trouble
