"""The exercises of the chapter on NumPy and CuPy: what their checkers take for right."""

import sys
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

import companion
from companion.cost import rounding
from companion.exercises import arrays as exercises
from tests.support.attempts import Attempts, tried_on


def scale_rows(x):
    xp = companion.array_namespace(x)
    return x / xp.max(xp.abs(x), axis=-1, keepdims=True)


def scale_in_place(rows):
    xp = companion.array_namespace(rows)
    rows /= xp.max(xp.abs(rows), axis=-1, keepdims=True)
    return rows


def scale_from_both_ends(x):
    xp = companion.array_namespace(x)
    top, bottom = (f(x, axis=-1, keepdims=True) for f in (xp.max, xp.min))
    return x * (1 / xp.maximum(top, -bottom))


class Scaler:
    """A class that works when it is called."""

    def __call__(self, x):
        return scale_rows(x)


def by(largest):
    return lambda x: x / largest(companion.array_namespace(x), x)


def through_the_host(x):
    return companion.array_namespace(x).asarray(scale_rows(companion.to_numpy(x)))


ATTEMPTS = {
    exercises.check_two_clocks: Attempts(
        wrong=[
            ((5000, 5004), "Without waiting"),
            ((4, 5004), "Without waiting"),
            ((800, 5000), "begin with the first command"),
            ((800, 5800), "while the device works"),
            ((800, 825), "who is the slower"),
            ((5004, 800), "Without waiting"),
        ],
        odd=[np.asarray([800, 5004], np.float32), iter([800, 5004]), (Decimal(800), 5004.0)],
        other=[
            (None, "Not attempted"),
            (5, "this is int: give a pair"),
            ((1, "x"), "A number is asked for, and this is str"),
            ((10**400, 1), "A number of ordinary size"),
            ((800, 1), "who is the slower"),
            ((800, 5004), "Right"),
        ],
    ),
    exercises.check_break_even: Attempts(
        wrong=[
            (51.02, "A whole number is asked for, got 51.02"),
            (50, "Nearly"),
            (51, "Too short"),
            (53, "for shorter sequences too"),
            (13, "Too short"),
        ],
        odd=[52.0, np.asarray(52), Fraction(104, 2)],
        other=[(..., "Not attempted"), (1e308, "ordinary size"), (52, "Right")],
    ),
    exercises.check_stored_bits: Attempts(
        wrong=[
            (17, "Too few"),
            (19, "one fewer"),
            (23, "one fewer"),
            (10, "Too few"),
            (18.5, "A whole number is asked for, got 18.5"),
        ],
        odd=[18.0, np.uint8(18), np.asarray(18)],
        other=[
            (None, "Not attempted"),
            ("18", "whole number"),
            (-2000, "negative"),
            (10**400, "ordinary size"),
            (10**9, "one fewer"),
            (3, "Too few"),
            (18, "Right"),
        ],
    ),
    exercises.check_portable: Attempts(
        wrong=[
            (by(lambda xp, x: xp.max(x, axis=-1, keepdims=True)), "largest size in every row"),
            (by(lambda xp, x: xp.max(xp.abs(x))), "largest size in every row"),
            (by(lambda xp, x: xp.max(xp.abs(x), axis=0, keepdims=True)), "largest size in every"),
            (
                by(lambda xp, x: xp.max(xp.abs(x), axis=-1, keepdims=True) + 1e-6),
                "largest size in every row",
            ),
            (by(lambda xp, x: xp.sum(xp.abs(x), axis=-1, keepdims=True)), "largest size in every"),
            (lambda x: abs(scale_rows(x)), "signs kept"),
            (lambda x: x / np.abs(x).max(-1)[..., None], "stops on the second device for shape"),
            (lambda x: x / np.float64(2) / np.ones(1), "float32 goes in and float64"),
            (through_the_host, "on another device"),
            (by(lambda xp, x: -xp.min(x, axis=-1, keepdims=True)), "largest size in every row"),
            (by(lambda xp, x: xp.abs(x[..., :1])), "largest size in every row"),
        ],
        odd=[scale_in_place, scale_from_both_ends, Scaler()],
        other=[
            (None, "Not attempted"),
            (3, "this is int"),
            (lambda _x: None, "returns nothing"),
            (lambda _x: [1], "another library's array"),
            (lambda x: x[0, ...], "The shape should be (2, 5, 3)"),
            (lambda x: x, "largest size in every row"),
            (lambda x: x * np.nan, "largest size in every row"),
            (scale_rows, "Right"),
        ],
    ),
}

test_attempts = tried_on(ATTEMPTS)


def test_without_the_strict_library_it_is_said_that_no_second_device_was_tried(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "array_api_strict", None)
    exercises.check_portable(scale_rows)
    assert "no second device was tried" in capsys.readouterr().out


@pytest.mark.parametrize("t", [17, 18])
def test_the_stored_bits_are_what_the_bound_says(t):
    assert (rounding.gamma(4096, 2.0 ** -(t + 1)) <= 0.01) == (t == 18)
