"""The exercises of the chapter on NumPy and CuPy: what their checkers take for right."""

import math
import statistics
import sys
import time
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


def causal_attention(query, key, value):
    xp = companion.array_namespace(query, key, value)
    place = xp.arange(query.shape[-2], device=query.device)
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    return mix(xp, xp.where(place[:, None] >= place[None, :], scores, -math.inf), value)


def mix(xp, scores, value):
    powers = xp.exp(scores - xp.max(scores, axis=-1, keepdims=True))
    return powers / xp.sum(powers, axis=-1, keepdims=True) @ value


def with_mask(make, hide):
    """Write attention whose (N, N) mask is made by one function, and used by another."""

    def attend(query, key, value):
        xp = companion.array_namespace(query, key, value)
        scores = query @ key.mT / math.sqrt(query.shape[-1])
        return mix(xp, hide(xp, scores, make(xp, query)), value)

    return attend


def triangle(xp, query):
    seen = xp.ones((query.shape[-2],) * 2, dtype=xp.bool, device=query.device)
    return xp.tril(seen)


def numpys_triangle(_xp, query):
    return np.tri(query.shape[-2], dtype=bool)


def on_the_default_device(xp, query):
    return xp.tril(xp.ones((query.shape[-2],) * 2, dtype=xp.bool))


def added(xp, query):
    hidden = xp.full((query.shape[-2],) * 2, -math.inf, device=query.device)
    return xp.triu(hidden, k=1)


def choose(xp, scores, mask):
    return xp.where(mask, scores, -math.inf)


def add(_xp, scores, mask):
    return scores + mask


def with_numpy(query, key, value):
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    return mix(np, np.where(np.tri(query.shape[-2], dtype=bool), scores, -np.inf), value)


def with_methods(query, key, value):
    xp = companion.array_namespace(query, key, value)
    scores = choose(xp, query @ key.mT / math.sqrt(query.shape[-1]), triangle(xp, query))
    powers = xp.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True) @ value


def divided_by_numpys_root(query, key, value):
    xp = companion.array_namespace(query, key, value)
    scores = query @ key.mT / np.sqrt(query.shape[-1])
    return mix(xp, choose(xp, scores, triangle(xp, query)), value)


def left_on_the_host(query, key, value):
    on_the_host = map(companion.to_numpy, (query, key, value))
    return companion.array_namespace(query).asarray(causal_attention(*on_the_host))


def by_way_of_the_host(query, key, value):
    on_the_host = map(companion.to_numpy, (query, key, value))
    output = causal_attention(*on_the_host)
    return companion.array_namespace(query).asarray(output, device=query.device)


def with_a_look(query, key, value):
    xp = companion.array_namespace(query, key, value)
    if xp.any(xp.isnan(query)):
        raise ValueError
    return causal_attention(query, key, value)


def two_axes_only(query, key, value):
    xp = companion.array_namespace(query, key, value)
    scores = query @ xp.permute_dims(key, (1, 0)) / math.sqrt(query.shape[-1])
    return mix(xp, choose(xp, scores, triangle(xp, query)), value)


def one_for_all_sentences(query, key, value):
    if query.ndim == 2:
        return causal_attention(query, key, value)
    return causal_attention(query, key, value[:1, ...]) + 0 * value


def the_librarys(query, key, value):
    return companion.scaled_dot_product_attention(query, key, value, is_causal=True)


def timer(warm=True, settle=True, wait="each", summary=statistics.median):
    """Write a timer, or one that leaves something out."""

    def time_of(call, synchronize, clock, repeats):
        if warm:
            call()
        if settle:
            synchronize()
        times, began = [], clock()
        for _ in range(repeats):
            start = clock()
            call()
            if wait == "each":
                synchronize()
            times.append(clock() - start)
            if wait == "late":
                synchronize()
        if wait == "once":
            synchronize()
            return (clock() - began) / repeats
        return summary(times)

    return time_of


def by_another_clock(call, synchronize, _clock, repeats):
    return timer()(call, synchronize, time.perf_counter, repeats)


def one_call(call, synchronize, clock, _repeats):
    return timer()(call, synchronize, clock, 1)


def one_repeat_short(call, synchronize, clock, repeats):
    return timer(warm=False, summary=lambda times: statistics.median(times[1:] or times))(
        call, synchronize, clock, repeats
    )


def in_milliseconds(call, synchronize, clock, repeats):
    return 1000 * timer()(call, synchronize, clock, repeats)


def warmed_twice(call, synchronize, clock, repeats):
    call()
    synchronize()
    return timer()(call, synchronize, clock, repeats)


def in_numpy(call, synchronize, clock, repeats):
    call()
    readings = []
    for _ in range(repeats):
        synchronize()
        readings.append(clock())
        call()
        synchronize()
        readings.append(clock())
    return np.median(np.diff(readings)[::2])


ATTEMPTS = {
    exercises.check_attention_anywhere: Attempts(
        wrong=[
            (with_numpy, "An array meets NumPy there"),
            (with_mask(numpys_triangle, choose), "An array meets NumPy there"),
            (with_mask(on_the_default_device, choose), "on the default device: say which"),
            (with_mask(added, add), "float32 goes in and float64 comes out"),
            (divided_by_numpys_root, "float32 goes in and float64 comes out"),
            (with_methods, "knows functions of arrays"),
            (left_on_the_host, "on another device than the queries"),
            (by_way_of_the_host, "at every call your function fetches an array"),
            (with_a_look, "asks for the value of a number"),
            (two_axes_only, "stops on NumPy for queries of shape (2, 5, 7)"),
            (one_for_all_sentences, "One sentence comes out right, a batch does not"),
            (companion.scaled_dot_product_attention, "nothing is masked"),
            (
                lambda q, k, v: (
                    companion.scaled_dot_product_attention(q, k, v)
                    if q.shape[0] == 5
                    else causal_attention(q, k, v)
                ),
                "Not yet on NumPy for queries of shape (5, 3)",
            ),
            (lambda q, k, v: causal_attention(k, q, v), "have changed places"),
            (lambda q, k, v: causal_attention(q * math.sqrt(q.shape[-1]), k, v), "not scaled"),
            (with_mask(triangle, lambda xp, s, m: xp.where(m, s, 0.0)), "Hidden scores are 0"),
            (lambda q, k, v: causal_attention(q, k, v) * (1 + 1e-7), "Nearly"),
            (lambda q, k, v: 2 * causal_attention(q, k, v), "Not yet on NumPy for queries"),
        ],
        odd=[the_librarys, with_mask(triangle, choose)],
        other=[
            (None, "Not attempted"),
            (3, "this is int"),
            (lambda _q, _k, _v: None, "returns nothing"),
            (lambda _q, _k, _v: 1.0, "it returns float, and an array"),
            (lambda q, _k, _v: q, "a row for each query"),
            (causal_attention, "Right"),
        ],
    ),
    exercises.check_timer: Attempts(
        wrong=[
            (timer(wait="never"), "before the device has finished"),
            (timer(wait="late"), "before the device has finished"),
            (timer(warm=False, settle=False, wait="never"), "before the device has finished"),
            (timer(warm=False), "Your first call is counted in"),
            (timer(warm=False, settle=False), "Your first call is counted in"),
            (timer(settle=False), "still works on what was handed over before"),
            (timer(wait="once"), "You wait once for all repeats"),
            (timer(summary=statistics.fmean), "The mean is drawn along"),
            (timer(summary=sum), "all repeats together"),
            (timer(summary=min), "the quickest run"),
            (timer(summary=max), "the slowest run"),
            (by_another_clock, "never calls clock()"),
            (lambda _call, _wait, clock, _repeats: clock(), "never calls call()"),
            (one_call, "2 calls for repeats = 5"),
            (one_repeat_short, "the one that compiles is thrown away"),
            (in_milliseconds, "in another unit"),
            (timer(summary=lambda times: statistics.median(times) / 7), "no time that these calls"),
            (timer(wait="never", summary=lambda _: 1.0), "no time that these calls"),
            (timer(settle=False, wait="never", summary=lambda _: 1.0), "You never wait"),
        ],
        odd=[warmed_twice, in_numpy],
        other=[
            (None, "Not attempted"),
            (3.0, "this is float"),
            (lambda *_: None, "returns nothing"),
            (lambda *_: "fast", "A number is asked for"),
            (timer(), "Right"),
        ],
    ),
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


@pytest.mark.parametrize(
    ("check", "right"),
    [
        (exercises.check_portable, scale_rows),
        (exercises.check_attention_anywhere, causal_attention),
    ],
)
def test_without_the_strict_library_it_is_said_that_no_second_device_was_tried(
    check, right, capsys, monkeypatch
):
    monkeypatch.setitem(sys.modules, "array_api_strict", None)
    check(right)
    assert "no second device was tried" in capsys.readouterr().out


def test_the_strict_library_is_left_as_it_was():
    strict = pytest.importorskip("array_api_strict")
    before = {**vars(type(strict.asarray(0.0)))}
    exercises.check_attention_anywhere(by_way_of_the_host)
    assert {**vars(type(strict.asarray(0.0)))} == before


@pytest.mark.parametrize("t", [17, 18])
def test_the_stored_bits_are_what_the_bound_says(t):
    assert (rounding.gamma(4096, 2.0 ** -(t + 1)) <= 0.01) == (t == 18)
