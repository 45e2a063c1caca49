"""Checkers for the exercises of the chapter on NumPy and CuPy."""

import math
import operator
from typing import Any

import numpy as np

from companion.arrays import to_numpy
from companion.devices import CommandQueue
from companion.rounding import gamma

__all__ = ["check_break_even", "check_portable", "check_stored_bits", "check_two_clocks"]

LAUNCH, DURATION, COMMANDS = 4, 25, 200  # microseconds
HOST_RATE, DEVICE_RATE, BANDWIDTH, ITEM = 2e11, 1e13, 1.6e10, 4
SUMMANDS, WANTED = 4096, 0.01


def check_two_clocks(attempt: Any) -> None:
    """Say whether these are the two times, in microseconds, that the host's clock can show."""
    if attempt is None or attempt is ...:
        print("Not attempted yet: give a pair of numbers of microseconds, (without, with).")
        return
    try:
        without, waiting = (float(number) for number in attempt)
    except (TypeError, ValueError, OverflowError):
        print(f"Give a pair of numbers (without, with); got {attempt!r}.")
        return
    queue = CommandQueue(launch=LAUNCH)
    for _ in range(COMMANDS):
        queue.submit(DURATION)
    launched = queue.host
    queue.synchronize()
    if without != launched:
        print("Without waiting: what does the host itself do, and how often?")
    elif waiting == COMMANDS * DURATION:
        print("With waiting: nearly. When can the device begin with the first command?")
    elif waiting == COMMANDS * (DURATION + LAUNCH):
        print("With waiting: the host hands over the next command while the device works.")
    elif waiting != queue.host:
        print("With waiting: who is the slower of the two, and when does that one begin?")
    else:
        print("Right: one launch, and then the device is never idle.")


def check_break_even(attempt: Any) -> None:
    """Say whether this is the shortest length for which the way over the bus pays."""
    if attempt is None or attempt is ...:
        print("Not attempted yet: give a whole number of tokens.")
        return
    try:
        length = operator.index(attempt)
    except TypeError:
        print(f"Give a whole number of tokens; got {attempt!r}.")
        return
    gain = 1 / HOST_RATE - 1 / DEVICE_RATE
    right = math.ceil(ITEM / BANDWIDTH / gain)
    if length == right:
        print("Right: and neither the heads nor their width entered.")
    elif length == math.ceil(ITEM / BANDWIDTH * HOST_RATE):
        print("Nearly: on the device the operations take a little time too.")
    elif length < right:
        print("Too short: there the way over the bus takes longer than what is saved.")
    else:
        print("It pays there, and for shorter sequences too.")


def check_stored_bits(attempt: Any) -> None:
    """Say whether this many stored bits are the fewest that keep the bound within the wanted."""
    if attempt is None or attempt is ...:
        print("Not attempted yet: give a whole number of bits.")
        return
    try:
        bits = operator.index(attempt)
    except TypeError:
        print(f"Give a whole number of bits; got {attempt!r}.")
        return
    if bits < 0:
        print(f"No number of bits is negative; got {bits}.")
    elif not _enough(bits):
        print("Too few: with t stored bits u is 2 to the minus (t + 1). How large is γ then?")
    elif _enough(bits - 1):
        print("Enough, but one fewer would do as well.")
    else:
        print("Right: more than TF32 and bfloat16 store, and fewer than float32.")


def _enough(bits: int) -> bool:
    u = math.ldexp(1.0, -(bits + 1))
    return SUMMANDS * u < 1 and gamma(SUMMANDS, u) <= WANTED


def check_portable(attempt: Any) -> None:
    """Say whether a function divides rows by their largest size, on any device, in any dtype."""
    if attempt is None or attempt is ...:
        print("Not attempted yet: write a function from (..., d) to (..., d).")
        return
    if not callable(attempt):
        print(f"A function is asked for, and this is {type(attempt).__name__}.")
        return
    fault = next((said for said in map(_fault_of(attempt), _homes()) if said), None)
    print(fault or "Right: it follows its array, in library, device and dtype.")


def _homes() -> list[tuple[str, Any, Any]]:
    """List where the function is tried; the strict library is an extra and may be missing."""
    homes = [("NumPy", np, None)]
    try:
        import array_api_strict
    except ImportError:
        print("(array-api-strict is not installed, so no second device was tried.)")
        return homes
    device = array_api_strict.Device("device1")
    return [*homes, ("the second device", array_api_strict, device)]


def _fault_of(function: Any) -> Any:
    rows = np.random.default_rng(3).standard_normal((2, 5, 3)).astype(np.float32)
    wanted = rows / np.max(np.abs(rows), axis=-1, keepdims=True)

    def fault(home: tuple[str, Any, Any]) -> str | None:
        name, xp, device = home
        given = xp.asarray(rows, dtype=xp.float32, device=device)
        try:
            got = function(given)
        except Exception as error:
            return f"On {name} it stops with {type(error).__name__}: {error}"
        if got is None:
            return "Not attempted yet: your function returns nothing."
        if type(got) is not type(given):
            return f"On {name} it returns {type(got).__name__}, another library's array."
        if got.shape != given.shape:
            return f"The shape must stay {given.shape}, (..., d); got {got.shape}."
        if got.device != given.device:
            return f"On {name} the result is on another device than the rows: {got.device}."
        if got.dtype != given.dtype:
            return f"On {name} float32 goes in and {got.dtype} comes out."
        if not np.allclose(to_numpy(got), wanted, atol=1e-6):
            return "The shape is right, but the largest size in every row should be 1, signs kept."
        return None

    return fault
