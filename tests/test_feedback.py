"""What the checkers share, and that all of them answer in one way, whatever they are given."""

import ast
import importlib
import inspect
import itertools
import math
import pkgutil
import sys
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from companion import BlockParameters, exercises
from companion.exercises import feedback, mistakes
from companion.exercises.feedback import Feedback

TODO = "give it"
ROOMS = {
    found.name: importlib.import_module(f"companion.exercises.{found.name}")
    for found in pkgutil.iter_modules(exercises.__path__)
    if found.name not in {"feedback", "mistakes"}
}
CHECKERS = [
    pytest.param(getattr(room, name), id=f"{chapter}-{name}")
    for chapter, room in ROOMS.items()
    for name in room.__all__
]


class Hostile:
    """An attempt that stops whoever reads it, with an error that has no words."""

    class NoWords(Exception):
        def __str__(self):
            raise RuntimeError("no words")

    def stop(self, *_):
        raise self.NoWords

    __array__ = __array_namespace__ = __len__ = __iter__ = __float__ = __int__ = __index__ = stop
    __eq__ = __lt__ = __bool__ = __getitem__ = __contains__ = __hash__ = stop


class HostileList(list):
    """A list that cannot be gone through."""

    def __iter__(self):
        raise OSError("two\nlines")


class HostileArray(np.ndarray):
    """An array whose shape is a secret."""

    @property
    def shape(self):
        raise PermissionError("not yours")


def leaves(*_):
    sys.exit("good-bye")


def recurs(*given):
    return recurs(given)  # not *given: 3.15.2 does not count such calls, and its memory has no end


STRANGERS = {
    "class": np.float64,
    "huge": 1e308,
    "whole": 10**5000,
    "ragged": [np.ones(2), np.ones(3)],
    "arrays": [np.ones(2), np.ones(2)],
    "nan": math.nan,
    "nans": [math.nan] * 6,
    "nan-array": np.full((6, 3), math.nan),
    "signalling": Decimal("sNaN"),
    "objects": np.asarray([None, ...], dtype=object),
    "text": np.asarray("x"),
    "words": np.asarray(["x", "y"]),
    "empty": np.ones((0, 3)),
    "dates": np.asarray(["2020-01-01"], "datetime64[D]"),
    "pair": ("x", object()),
    "hostile": Hostile(),
    "hostiles": [Hostile(), Hostile()],
    "hostile-list": HostileList([1, 2]),
    "hostile-array": np.ones(6).view(HostileArray),
    "mapping": {"blocks[3].attention.w_o": Hostile()},
    "numbers": itertools.count(),
    "leaves": leaves,
    "recurs": recurs,
    "makes-hostile": lambda *_: Hostile(),
    "makes-class": lambda *_: np.float64,
    "makes-list": lambda *_: [np.ones(2), np.ones(3)],
    "makes-nan": lambda *_: np.float64("nan"),
    "makes-huge": lambda x, *_: np.full_like(x, 1e308),
    "gives-back": lambda x, *_: x,
    "warns": lambda x, *_: x * (1 / (0 * np.ones(1))),
}


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


@pytest.mark.parametrize("check", CHECKERS)
@pytest.mark.parametrize("stranger", STRANGERS)
def test_a_stranger_gets_one_line_of_feedback(capsys, monkeypatch, check, stranger):
    monkeypatch.setenv("COMPANION_ARRAY_MODULE", "numpy")
    said = say(capsys, check, STRANGERS[stranger])
    assert not said.startswith("Right")
    assert len(said) < 400


@pytest.mark.parametrize("chapter", ROOMS)
def test_every_checker_has_a_table_of_attempts(chapter):
    checks = {
        name
        for name, value in vars(ROOMS[chapter]).items()
        if name.startswith("check_") and inspect.isfunction(value)
    }
    assert checks == set(ROOMS[chapter].__all__)
    source = Path(__file__).with_name(f"test_exercises_{chapter}.py").read_text(encoding="utf-8")
    tables = {
        key.attr
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Dict)
        for key, value in zip(node.keys, node.values, strict=True)
        if isinstance(key, ast.Attribute) and ast.unparse(value).startswith("Attempts(wrong=[")
    }
    assert tables == checks
    assert "\ntest_attempts = tried_on(ATTEMPTS)\n" in source


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
        (feedback.number, Decimal("-inf"), "A finite number is asked for, got -Infinity."),
        (feedback.number, 10**400, "A number of ordinary size is asked for, and yours is beyond"),
        (feedback.number, -1e308, "A number of ordinary size is asked for, and yours is beyond"),
        (feedback.number, np.float64, "A number is asked for, and this is the class float64."),
        (feedback.whole_number, None, "Not attempted yet: give it."),
        (feedback.whole_number, True, "A whole number is asked for, and this is bool."),
        (feedback.whole_number, 2**53 + 2, "A number of ordinary size is asked for"),
        (feedback.whole_number, np.asarray(3.5), "A whole number is asked for, got 3.5."),
        (feedback.whole_number, Fraction(7, 2), "A whole number is asked for, got 7/2."),
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
    assert feedback.number(Decimal("0.25"), TODO) == 0.25
    assert type(feedback.whole_number(11008.0, TODO)) is int
    assert feedback.whole_number(Fraction(6, 2), TODO) == 3
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
        (2, np.ones((3, 2)), "A pair is asked for, and this is ndarray of shape (3, 2): give it."),
        (3, (1, 2), "A list of 3 is asked for, and this is tuple of length 2: give it."),
        (2, (1, [2]), "A number is asked for, and this is list."),
        (2, np.ones((2, 2)), "A number is asked for, and this is ndarray."),
        (2, (i for i in [1]), "A pair is asked for, and this is generator of length 1: give it."),
        (
            2,
            itertools.count(),
            "A pair is asked for, and this is count of length more than 2: give it.",
        ),
        (2, {1: 1, 2: 2}, "A pair is asked for, and this is dict: give it."),
        (2, tuple, "A pair is asked for, and this is the class tuple: give it."),
    ],
)
def test_what_is_no_list_of_numbers_is_named(count, attempt, trouble):
    with pytest.raises(Feedback) as raised:
        feedback.numbers(attempt, count, TODO)
    assert str(raised.value) == trouble


def test_rows_are_whole_numbers_counted_from_one():
    assert feedback.rows([3, np.int64(1), 3], 3, TODO) == {1, 3}
    assert feedback.rows(frozenset(), 3, TODO) == set()
    assert feedback.rows(np.asarray([3.0, 1.0]), 3, TODO) == {1, 3}
    assert feedback.rows(iter(range(1, 4)), 3, TODO) == {1, 2, 3}
    for attempt, trouble in (
        (None, "Not attempted yet: give it."),
        (2, "A set of row numbers is asked for, and this is int."),
        ([[1]], "A whole number is asked for, and this is list."),
        ({4, 0, 1}, "There are rows 1 to 3, counted from one; got [0, 1, 4]."),
    ):
        with pytest.raises(Feedback) as raised:
            feedback.rows(attempt, 3, TODO)
        assert str(raised.value) == trouble


def test_arrays_come_to_the_host_as_copies(home):
    given = np.arange(6).reshape(2, 3)
    for take, dtype in ((feedback.array, given.dtype), (feedback.floats, np.float64)):
        taken = take(home.asarray(given), (2, 3), "a row a token")
        np.testing.assert_array_equal(taken, given.astype(dtype), strict=True)
        assert not np.shares_memory(take(given), given)
        assert take(home.asarray(given)).shape == (2, 3)
        with pytest.raises(Feedback, match=r"should be \(3, 2\), a row a token; yours is \(2, 3\)"):
            take(home.asarray(given), (3, 2), "a row a token")
        with pytest.raises(Feedback, match="An array is asked for, and this is tuple"):
            take(([1.0],))
        with pytest.raises(Feedback, match="An array is asked for, and this is the class float64"):
            take(np.float64)
    with pytest.raises(Feedback, match="An array is asked for, and this is list"):
        feedback.array([[1.0]])
    assert feedback.floats(home.asarray(given.astype(np.float32))).dtype == np.float32
    for other, dtype in ((">f4", np.float32), (">f8", np.float64), (">i2", np.float64)):
        np.testing.assert_array_equal(
            feedback.floats(given.astype(other)), given.astype(dtype), strict=True
        )
    with pytest.raises(Feedback, match="Real numbers are asked for, and your array holds bool"):
        feedback.floats(home.asarray(given > 2))
    with pytest.raises(Feedback, match="float16 is too coarse"):
        feedback.floats(given.astype(np.float16))


def test_numbers_may_come_in_lists_and_one_by_one():
    right = np.asarray([[1.0, 0.5], [2.0, 3.0]])
    for given in (right.tolist(), [[Fraction(1), Decimal("0.5")], [2, 3]], right.astype(object)):
        np.testing.assert_array_equal(feedback.floats(given, (2, 2)), right, strict=True)
    for entry in (True, 1j, None, "1"):
        with pytest.raises(Feedback, match="your array holds object"):
            feedback.floats(np.asarray([0.5, entry], dtype=object))
    with pytest.raises(Feedback, match="Not attempted yet"):
        feedback.floats([1.0, None])
    with pytest.raises(Feedback, match="cannot be read: ValueError"):
        feedback.floats([[1.0], [1.0, 2.0]])


def test_one_array_is_no_tuple():
    rows = np.ones((2, 3))
    assert mistakes.one_array(rows, "the rows") is rows
    np.testing.assert_array_equal(mistakes.one_array(rows.tolist(), "the rows"), rows)
    for returned, trouble in (
        ((rows,), "is there a comma at the end"),
        ((rows, rows), "returns several things, in a tuple: the rows alone are asked for"),
        (tuple(rows), "returns several things, in a tuple: the rows alone are asked for"),
    ):
        with pytest.raises(Feedback, match=trouble):
            mistakes.one_array(returned, "the rows")


def test_a_mistake_is_named_that_gives_what_was_found_everywhere():
    def known(x):
        return [("Twice.", 2 * x), ("A square.", x**2), ("Flat.", x[:1])]

    def check(function, *draws):
        mistakes.check_named(draws[0], draws, function, known)

    two, three = np.asarray([2.0]), np.asarray([3.0, 4.0])
    for function, draws, said in (
        (lambda x: x + x, (two, three), "Twice"),
        (lambda x: x * x, (two, three), "A square"),
        (lambda x: x * x, (two,), "Twice"),  # which nobody can tell apart
        (lambda x: x[:1], (three, two), "Flat"),
        (lambda x: feedback.result(np.add, x, x) if len(x) == 1 else stop(), (two, three), "Twice"),
    ):
        with pytest.raises(Feedback, match=said):
            check(function, *draws)
    check(lambda x: 2 * x if len(x) == 1 else 3 * x, two, three)
    check(lambda x: np.full_like(x, np.nan), two, three)


def stop():
    raise Feedback("Your function stops.")


def test_what_is_off_by_little_is_told_so():
    right = np.asarray([[1.0, 2.0], [1e6, 1e6]])
    for off, options in ((1e-6, {}), (1e-4, {"within": 1e-3})):
        with pytest.raises(Feedback, match=r"Nearly: off by more than rounding\. Do you add"):
            mistakes.check_nearly(right * (1 + off), right, **options)
    with pytest.raises(Feedback, match=r"rounding\. Do you round"):
        mistakes.check_nearly(right * (1 + 1e-6), right, why="Do you round?")
    mistakes.check_nearly(right * (1 + 1e-4), right)
    mistakes.check_nearly(right + np.asarray([[1e-4], [0]]), right)
    mistakes.check_nearly(right * np.nan, right)


def test_finite_arrays_are_finite_and_of_ordinary_size(home):
    np.testing.assert_array_equal(feedback.finite(home.asarray(np.ones(2))), np.ones(2))
    for entry, trouble in ((math.nan, "not all of yours are"), (-1e308, "one of yours is beyond")):
        with pytest.raises(Feedback, match=trouble):
            feedback.finite(home.asarray(np.asarray([0.0, entry])))


def test_lists_of_numbers_are_arrays_written_out(home):
    for given in ([[1, 2], [3, 4]], ([1, 2], (3, 4)), [np.asarray([1, 2]), np.asarray([3, 4])]):
        np.testing.assert_array_equal(feedback.written_out(given, TODO), [[1, 2], [3, 4]])
    array = home.asarray(np.ones(2))
    assert feedback.written_out(array, TODO) is array
    mixed = feedback.written_out([Fraction(1, 4), Decimal("0.5"), 1], TODO)
    np.testing.assert_array_equal(mixed, np.asarray([0.25, 0.5, 1.0]), strict=True)
    for unfinished in ([1, None], [[1, 2], [3, ...]]):
        with pytest.raises(Feedback, match="Not attempted yet: give it"):
            feedback.written_out(unfinished, TODO)
    with pytest.raises(Feedback, match="What you give cannot be read: ValueError"):
        feedback.written_out([[1, 2], [3]], TODO)
    with pytest.raises(Feedback, match="Not attempted yet: give it"):
        feedback.written_out(None, TODO)


def test_rounding_is_that_of_the_coarser_dtype_and_of_each_row():
    right = np.asarray([[1.0, 2.0], [1e6, 1e6]])
    assert feedback.agrees(right.astype(np.float32) * np.float32(1 + 1e-6), right)
    assert not feedback.agrees(right.astype(np.float32) * np.float32(1 + 1e-4), right)
    assert not feedback.agrees(right * (1 + 1e-6), right)
    assert feedback.agrees(right * (1 + 1e-6), right.astype(np.float32))
    assert not feedback.agrees(right + np.asarray([[1e-9], [0]]), right)
    assert feedback.agrees(right + np.asarray([[0], [1e-9]]), right)
    assert not feedback.agrees(right + math.nan, right)
    assert not feedback.agrees(right + math.inf, right)
    assert not feedback.agrees(right + 1e-5, right, size=1.0)
    assert feedback.agrees(right + 1e-9, right, size=1e6)


def test_a_readers_function_gets_copies(home):
    array = home.asarray(np.ones((2, 3)))
    block = BlockParameters.random(np.random.default_rng(0), width=4, heads=2, hidden=3, xp=np)
    kept = block.attention.w_q.copy()

    def spoils(given, parameters, number):
        given[...] = 0
        parameters.attention.w_q[...] = 0
        return number

    assert feedback.result(spoils, array, block, 3) == 3
    np.testing.assert_array_equal(feedback.array(array), np.ones((2, 3)))
    np.testing.assert_array_equal(block.attention.w_q, kept)


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
            "Your function stops for one with KeyError: '" + "x" * 79 + "…",
        ),
        (
            lambda: feedback.result(np.matmul, np.ones((2, 3)), np.ones((2, 3))),
            "Your function stops with ValueError: matmul: Input operand 1 has a mismatch in its "
            "core dimension 0, with gufunc …",
        ),
        (
            lambda: feedback.array(np.ma.ones(2)),
            "A plain array is asked for, and this is MaskedArray.",
        ),
        (
            lambda: feedback.written_out([[1, 2], ["long " * 40, 3.0], [4]], TODO),
            "What you give cannot be read: ValueError: setting an array element with a sequence. "
            "The requested array has an …",
        ),
        (lambda: feedback.result(leaves), "Your function stops with SystemExit: good-bye"),
        (
            lambda: feedback.result(Hostile().stop),
            "Your function stops with NoWords: no words for it",
        ),
        (
            lambda: feedback.entries(HostileList([1]), 1, TODO),
            "What you give cannot be read: OSError: two lines.",
        ),
    ):
        with pytest.raises(Feedback) as raised:
            call()
        assert str(raised.value) == trouble
