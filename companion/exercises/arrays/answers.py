"""Checkers of the answers that are a number, and of a function that divides rows."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from companion.cost.devices import CommandQueue
from companion.cost.rounding import gamma
from companion.exercises.feedback import (
    Feedback,
    agrees,
    floats,
    function,
    numbers,
    result,
    say,
    whole_number,
)

__all__ = ["check_break_even", "check_portable", "check_stored_bits", "check_two_clocks"]

LAUNCH, DURATION, COMMANDS = 4, 25, 200  # microseconds
HOST_RATE, DEVICE_RATE, BANDWIDTH, ITEM = 2e11, 1e13, 1.6e10, 4
SUMMANDS, WANTED = 4096, 0.01


def check_two_clocks(attempt: Any) -> None:
    """Check the two times, in microseconds, that the host's clock can show, (without, with)."""
    say(_two_clocks, attempt)


def _two_clocks(attempt: Any) -> str:
    what_to_do = "give a pair of numbers of microseconds, (without, with)"
    without, waiting = numbers(attempt, 2, what_to_do)
    queue = CommandQueue(launch=LAUNCH)
    for _ in range(COMMANDS):
        queue.submit(DURATION)
    launched = queue.host
    queue.synchronize()
    if without != launched:
        raise Feedback("Without waiting: what does the host itself do, and how often?")
    if waiting == COMMANDS * DURATION:
        raise Feedback("With waiting: nearly. When can the device begin with the first command?")
    if waiting == COMMANDS * (DURATION + LAUNCH):
        raise Feedback("With waiting: the host hands over the next command while the device works.")
    if waiting != queue.host:
        raise Feedback("With waiting: who is the slower of the two, and when does that one begin?")
    return "Right: one launch, and then the device is never idle."


def check_break_even(attempt: Any) -> None:
    """Check the shortest length for which the way over the bus pays."""
    say(_break_even, attempt)


def _break_even(attempt: Any) -> str:
    length = whole_number(attempt, "give a whole number of tokens")
    gain = 1 / HOST_RATE - 1 / DEVICE_RATE
    right = math.ceil(ITEM / BANDWIDTH / gain)
    if length == right:
        return "Right: and neither the heads nor their width entered."
    if length == math.ceil(ITEM / BANDWIDTH * HOST_RATE):
        raise Feedback("Nearly: on the device the operations take a little time too.")
    if length < right:
        raise Feedback("Too short: there the way over the bus takes longer than what is saved.")
    raise Feedback("It pays there, and for shorter sequences too.")


def check_stored_bits(attempt: Any) -> None:
    """Check the fewest stored bits that keep the bound of 4096 products within one percent."""
    say(_stored_bits, attempt)


def _stored_bits(attempt: Any) -> str:
    bits = whole_number(attempt, "give a whole number of bits")
    if bits < 0:
        raise Feedback(f"No number of bits is negative; got {bits}.")
    if not _enough(bits):
        raise Feedback("Too few: with t stored bits u is 2 to the minus (t + 1). What is γ then?")
    if _enough(bits - 1):
        raise Feedback("Enough, but one fewer would do as well.")
    return "Right: more than TF32 and bfloat16 store, and fewer than float32."


def _enough(bits: int) -> bool:
    u = math.ldexp(1.0, -(bits + 1))
    return SUMMANDS * u < 1 and gamma(SUMMANDS, u) <= WANTED


def check_portable(attempt: Any) -> None:
    """Check a function that divides rows by their largest size, on any device, in any dtype."""
    say(_portable, attempt)


def _portable(attempt: Any) -> str:
    scale_rows = function(attempt, "write a function from (..., d) to (..., d)")
    praise = "Right: it follows its array, in library, device and dtype."
    _check_home(scale_rows, "NumPy", np)
    try:
        import array_api_strict
    except ImportError:  # the strict library is an extra
        return f"{praise} (array-api-strict is not installed, so no second device was tried.)"
    device = array_api_strict.Device("device1")
    _check_home(scale_rows, "the second device", array_api_strict, device)
    return praise


def _check_home(scale_rows: Callable[..., Any], name: str, xp: Any, device: Any = None) -> None:
    rng = np.random.default_rng(3)
    for shape, dtype, size in (
        ((2, 5, 3), "float32", 1.0),
        ((4, 6), "float64", 1e-6),
        ((7,), "float32", 1e6),
    ):
        # The largest entry of a row stands anywhere and has either sign.
        rows = (size * rng.standard_normal(shape)).astype(dtype)
        given = xp.asarray(rows, dtype=getattr(xp, dtype), device=device)
        case = f" on {name} for shape {shape}"
        got = result(scale_rows, given, case=case, unfinished="your function returns nothing")
        _check_scaled(got, given, rows, name)


def _check_scaled(got: Any, given: Any, rows: np.ndarray, name: str) -> None:
    if type(got) is not type(given):
        raise Feedback(f"On {name} it returns {type(got).__name__}, another library's array.")
    if got.shape != given.shape:
        raise Feedback(f"The shape should be {given.shape}, as it was; yours is {got.shape}.")
    if got.device != given.device:
        raise Feedback(f"On {name} the result is on another device than the rows: {got.device}.")
    if got.dtype != given.dtype:
        raise Feedback(f"On {name} {rows.dtype} goes in and {got.dtype} comes out.")
    if not agrees(floats(got), rows / np.max(np.abs(rows), axis=-1, keepdims=True), roundings=4):
        raise Feedback(
            "The shape is right, but the largest size in every row should be 1, signs kept."
        )
